"""Asking whoever sits at the terminal for a secret, which is not shown while it is typed."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

from ftpc.errors import AbandonedError


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
    return sys.stdin.readline().strip("\r\n") if sys.stdin is not None else ""


def ask_secret(question: str) -> str:
    """Ask for a secret. An end of the input (Ctrl-D) is an empty one.

    Raises:
        AbandonedError: Ctrl-C was typed.
    """
    import getpass

    try:
        with _ctrl_c_at_once():
            return getpass.getpass(question)
    except EOFError:
        print(file=sys.stderr)  # noqa: T201 (the cursor still stands behind the question)
        return ""
    except KeyboardInterrupt:
        print(file=sys.stderr)  # noqa: T201 (as above)
        raise AbandonedError from None


@contextlib.contextmanager
def _ctrl_c_at_once() -> Iterator[None]:
    """Let Ctrl-C end a read that blocks: an event loop's own handler would be called when the line is there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
