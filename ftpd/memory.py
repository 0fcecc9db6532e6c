"""Memory of the server's process: how much there is, and that freed buffers are kept for the next ones."""

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from ftpd.wire.limits import MIB

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
"""Parameters of `mallopt(3)`, malloc.h."""

_GROUPS = Path("/sys/fs/cgroup")
_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
"""Files of a group of processes: two of cgroups(7) version 2, of which the second slows down, and one of version 1."""

_MMAP_BYTES = MIB
"""Payload buffers of that size and more go back at once, as before: each connection may have two (`PayloadReader`)."""
_KEPT_BYTES = 16 * MIB


def keep_freed_memory() -> None:
    """Have the C library keep up to 16 MiB of freed memory, instead of giving it back and asking for it again.

    By default glibc gives a buffer of 128 KiB and more back to the kernel when it is freed, so that each page of the
    next one is fetched and cleared anew: two page faults for each small file that arrives, 20,000 for 10,000 files of
    4 KiB instead of 50, and 3 to 9 % of the server's processor time (`ps -o min_flt,time PID`, before and after an
    upload). And all threads share it: by default each has a part of its own, with freed memory that no other can use.
    Other C libraries are left alone.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError, OSError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_ARENA_MAX, 1)


def memory_limit(mine: Path = Path("/proc/self/cgroup"), groups: Path = _GROUPS) -> int:
    """Give the bytes that the process may use: the least of what the machine has and what `RLIMIT_AS` and groups allow.

    Groups are those of cgroups(7), in which containers and systemd's `MemoryMax=` keep processes. `mine` says in which
    we are, `groups` is where they are mounted.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits_of_groups(mine, groups)]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    return min(limits)


def _limits_of_groups(mine: Path, groups: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for line in mine.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            # A container may see less of the tree than its path tells: what it does see begins with its own group.
            group = groups / controllers / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(groups / controllers):
                    yield from _limits_in(folder)


def _limits_in(folder: Path) -> Iterator[int]:
    for name in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # it is not there, or says "max"
            yield int((folder / name).read_text(encoding="ascii"))
