"""Ctrl-C while a command is not ready for it yet, or not any more: it ends, and shows nobody a traceback."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 128 + signal.SIGINT


def end_at_once() -> None:
    """Let SIGINT end the process from now on, at once and without a word; one that is ignored stays so.

    To be called before anything is imported that takes long: nothing has begun then that would have to be undone.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """Let SIGINT raise `KeyboardInterrupt` in the block, as Python does by itself: there something is to be undone."""
    before = signal.getsignal(signal.SIGINT)
    if before is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if before is _end:
            signal.signal(signal.SIGINT, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)
