"""Asking whoever sits at the terminal for a secret, which is not shown while it is typed."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from ftpc.errors import AbandonedError

TICK_S = 0.2
"""After how long a signal ends a question at the latest."""

_Handler = Callable[[int, FrameType | None], None]


def can_ask() -> bool:
    """Tell whether somebody sits there."""
    return sys.stdin is not None and sys.stdin.isatty()


def read_secret(question: str) -> str:
    """Read a secret: asked for if somebody sits there, else a line of standard input. It is never on a command line.

    Raises:
        AbandonedError: Ctrl-C was typed.
    """
    if can_ask():
        return ask_secret(question)
    try:
        with _signals_at_once():
            return sys.stdin.readline().strip("\r\n") if sys.stdin is not None else ""
    except KeyboardInterrupt:
        raise AbandonedError from None


def ask_secret(question: str) -> str:
    """Ask for a secret. An end of the input (Ctrl-D) is an empty one.

    Raises:
        AbandonedError: Ctrl-C was typed.
    """
    import getpass

    try:
        with _signals_at_once():
            return getpass.getpass(question)
    except EOFError:
        print(file=sys.stderr)  # noqa: T201 (the cursor still stands behind the question)
        return ""
    except KeyboardInterrupt:
        print(file=sys.stderr)  # noqa: T201 (as above)
        raise AbandonedError from None


@contextlib.contextmanager
def _signals_at_once() -> Iterator[None]:
    """Let signals end a read that blocks: an event loop's own handlers would be called when the line is there.

    One that arrives just before the system call does not interrupt it, and Python acts on it when a line has been read
    (PEP 475). So a clock interrupts the read every `TICK_S`, and Python then looks what else there was.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, _Handler] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _end}
    if sys.platform != "win32":  # which has no such clock
        handlers[signal.SIGALRM] = lambda *_: None
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    wakeup = signal.set_wakeup_fd(-1)  # the event loop does not run, and its pipe would be full some day
    _tick(TICK_S)
    try:
        yield
    finally:
        _tick(0)
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)


def _tick(seconds: float) -> None:
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
