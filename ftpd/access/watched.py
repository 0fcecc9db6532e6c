"""Files that are read again when they have changed."""

import os
from pathlib import Path


def state_of(file: Path) -> tuple[int, ...]:
    """Give what tells one state of a file from every other; empty if it can not be looked at."""
    try:
        found = os.stat(file)  # noqa: PTH116 (called for many requests, at half the price)
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)
