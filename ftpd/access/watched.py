"""Files that are read again when they have changed."""

import os
import time
from pathlib import Path

from ftpd.access.aside import Aside

RETRY_S = 1.0
"""How soon a file that could not be used is read again if nothing has changed: it was not to be had for a moment."""

beside = Aside("beside")
"""Reads what takes long, one after the other. What was there before holds until then."""

State = tuple[int, ...]
"""What tells one state of a file from every other; empty if it can not be looked at."""


class Watched:
    """A file, and which of its states is in use."""

    def __init__(self, file: Path) -> None:
        """Take the state it is in for the one in use."""
        self._file = file
        self._used = _state_of(file)
        self._refused: State | None = None
        self._refused_at = 0.0

    def changed(self) -> State | None:
        """Give its state if it should be read; then say by `use` or `refuse` what came of it."""
        state = _state_of(self._file)
        is_new = state != self._refused or time.monotonic() - self._refused_at >= RETRY_S
        return state if state != self._used and is_new else None

    def use(self, state: State) -> None:
        """Take note that it was read."""
        self._used, self._refused = state, None

    def refuse(self, state: State) -> None:
        """Take note that it could not be used, so that it is not read again and again."""
        self._refused, self._refused_at = state, time.monotonic()


def _state_of(file: Path) -> State:
    try:
        found = os.stat(file)  # noqa: PTH116 (called for many requests, at half the price)
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)
