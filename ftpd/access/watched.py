"""Files that are read again when they have changed."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

beside = ThreadPoolExecutor(1, thread_name_prefix="beside")
"""Reads what takes long, one after the other. What was there before holds until then."""


def state_of(file: Path) -> tuple[int, ...]:
    """Give what tells one state of a file from every other; empty if it can not be looked at."""
    try:
        found = os.stat(file)  # noqa: PTH116 (called for many requests, at half the price)
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)
