"""Files at the ends of a transfer: where payload is read from and written to, off the event loop."""

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from io import FileIO
from pathlib import Path
from typing import Protocol

from ftpd.payload.direct import Stretch
from ftpd.payload.workers import SYNC_THREADS, Workers
from ftpd.wire.digests import Buffer, Digest
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import KIB, MIB

READ_SIZE = MIB
"""What a thread reads at once: fits in a processor's cache, so that hashing does not go to memory again."""

SLICE = 512 * KIB
"""What is hashed and written in turns: small enough that the second finds it in the processor's cache."""

WRITE_BEHIND = MIB
"""Less than that is left to lie until `fsync`: a disk likes large pieces."""

PROBE_STEP = 128 * KIB
"""Distance of the looks that tell whether a range is in the page cache: the kernel's default read-ahead."""

_local = threading.local()


class Source(Protocol):
    """A file whose bytes are going to be sent."""

    def file(self) -> FileIO | None:
        """Give the file to send from, if the kernel can do that by itself."""

    async def load(self, offset: int, size: int, digest: Digest | None, *, copy: bool) -> Buffer | None:
        """Make a range ready to be sent without waiting for a disk, and feed it to `digest`.

        Returns its bytes if `copy` is asked for or there is no `file()`, else None.

        Raises:
            FtpdError: `changed` if the file has become shorter; `io_error`.
        """

    async def feed(self, offset: int, size: int, take: Callable[[memoryview], bool], most: int) -> int:
        """Hand a range to `take`, in a thread, at most `most` bytes at a time until it returns False.

        Returns how much it was given.

        Raises:
            FtpdError: as `load`.
        """


class FileSource:
    """An open regular file to be sent. Closing it is its owner's work, after the last `load` has returned."""

    def __init__(self, file: FileIO, workers: Workers) -> None:
        self._file = file
        self.workers = workers

    def file(self) -> FileIO | None:
        """Give the file to send from."""
        return self._file

    async def load(self, offset: int, size: int, digest: Digest | None, *, copy: bool) -> Buffer | None:
        """See `Source.load`. Cancelling is safe."""
        return await self.workers.disk(_load, self._file.fileno(), offset, size, digest, copy)

    async def feed(self, offset: int, size: int, take: Callable[[memoryview], bool], most: int) -> int:
        """See `Source.feed`. Cancelling is safe."""
        return await self.workers.disk(read_some, self._file.fileno(), offset, size, take, most)


class FileSink:
    """An open file that payload is written to, to be made durable in the end.

    Closing it is its owner's work, after the last `write` has returned.
    """

    def __init__(self, fd: int, workers: Workers) -> None:
        self._fd = fd
        self._workers = workers

    async def write(self, offset: int, data: Buffer | Stretch, digest: Digest) -> int:
        """Feed the bytes to `digest`, and write them at `offset`. Returns their number. Cancelling is safe.

        Raises:
            OSError: as `pwrite(2)` does.
        """
        return await self._workers.disk(store, self._fd, offset, data, digest, sync=True)


def write_all(fd: int, data: Buffer, offset: int) -> None:
    """Write everything at `offset`, however the kernel cuts it."""
    written = os.pwrite(fd, data, offset) if data else 0
    while written < len(data):
        written += os.pwrite(fd, memoryview(data)[written:], offset + written)


def sync_all(fds: Sequence[int], threads: Executor) -> list[OSError | None]:
    """Make files of one file system durable; give for each the error, if there was one.

    They wait together, each thread for its share, which a journaling file system commits as one. Where files are in
    memory there is nothing to be done: fsync(2) of tmpfs and ramfs is `noop_fsync` (mm/shmem.c, fs/ramfs/file-mmu.c).
    """
    if not fds or os.fstat(fds[0]).st_dev in memory_devices():
        return [None] * len(fds)
    count = min(SYNC_THREADS, len(fds))
    shares = [threads.submit(_sync_share, fds[start::count]) for start in range(count)]
    results: list[OSError | None] = [None] * len(fds)
    for start, share in enumerate(shares):
        results[start::count] = share.result()
    return results


def _sync_share(fds: Sequence[int]) -> list[OSError | None]:
    return [_sync(fd) for fd in fds]


def _sync(fd: int) -> OSError | None:
    try:
        os.fsync(fd)
    except OSError as exc:
        return exc
    return None


def read_pieces(fd: int, offset: int, size: int, take: Callable[[memoryview], object]) -> None:
    """Hand a range to `take`, `READ_SIZE` bytes at a time; they are valid during the call.

    Raises:
        FtpdError: `changed`, the file ends before the range does.
    """

    def go_on(piece: memoryview) -> bool:
        take(piece)
        return True

    read_some(fd, offset, size, go_on)


def read_some(fd: int, offset: int, size: int, take: Callable[[memoryview], bool], most: int = READ_SIZE) -> int:
    """Do as `read_pieces` until `take` returns False, with at most `most` bytes each. Returns how much it was given."""
    scratch, taken, goes_on = _scratch(), 0, True
    while taken < size and goes_on:
        count = os.preadv(fd, [scratch[: min(most, size - taken)]], offset + taken)
        if not count:
            raise became_shorter(size - taken)
        taken += count
        goes_on = take(scratch[:count])
    return taken


def became_shorter(missing: int) -> FtpdError:
    """Say that a file ends before the range that is to be sent."""
    return FtpdError(ErrorCode.CHANGED, f"the file became shorter while it was read: {missing} bytes are missing")


def _scratch() -> memoryview:
    """Give this thread's buffer for reading."""
    buffer: memoryview | None = getattr(_local, "scratch", None)
    if buffer is None:
        buffer = _local.scratch = memoryview(bytearray(READ_SIZE))
    return buffer


def store(fd: int, offset: int, data: Buffer | Stretch, digest: Digest, *, sync: bool = False) -> int:
    """Feed the bytes to `digest`, and write them at `offset`. Returns their number.

    With `sync` the file is going to be made durable: the disk begins with it now.
    """
    end = offset
    for view in data if isinstance(data, Stretch) else (memoryview(data),):
        for start in range(0, len(view), SLICE):
            piece = view[start : start + SLICE]
            digest.update(piece)
            write_all(fd, piece, end)
            end += len(piece)
    if sync and end - offset >= WRITE_BEHIND:
        _begin_writing(fd, offset, end - offset)
    return end - offset


def _begin_writing(fd: int, offset: int, size: int) -> None:
    """Have the kernel write a range to the disk without waiting for it, so that `fsync` finds little to wait for.

    It is what sync_file_range(2) does with SYNC_FILE_RANGE_WRITE, which Python does not have. Advised that pages are
    not needed, Linux begins to write those that are changed, and forgets only those that are on the disk already
    (mm/fadvise.c). Errors are left to `fsync`, which tells them too.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, offset, size, os.POSIX_FADV_DONTNEED)


def _load(fd: int, offset: int, size: int, digest: Digest | None, copy: bool) -> Buffer | None:  # noqa: FBT001 (called through a pool)
    if copy:
        parts = bytearray()
        read_pieces(fd, offset, size, parts.extend)
        if digest is not None:
            digest.update(parts)
        return parts
    if digest is not None:
        read_pieces(fd, offset, size, digest.update)
    elif not _is_cached(fd, offset, size):
        read_pieces(fd, offset, size, len)
    return None


def _is_cached(fd: int, offset: int, size: int) -> bool:
    """Tell whether sending the range would not wait for a disk, by looking at one byte in each `PROBE_STEP`."""
    if not hasattr(os, "RWF_NOWAIT"):  # not Linux
        return False
    probe = bytearray(1)
    try:
        for at in (*range(offset, offset + size, PROBE_STEP), offset + size - 1):
            os.preadv(fd, [probe], at, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:  # a file system that does not know the flag: tmpfs, some network file systems
        return os.fstat(fd).st_dev in memory_devices()
    return True


@functools.cache
def memory_devices() -> frozenset[int]:
    """Give the devices whose files are always in memory. One that is mounted later is only served more slowly."""
    devices = set()
    with contextlib.suppress(OSError), Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as mounts:
        for line in mounts:  # proc_pid_mountinfo(5): the third field is the device, the type follows a lone dash
            fields = line.split()
            if fields[fields.index("-") + 1] in {"tmpfs", "ramfs"}:
                major, minor = fields[2].split(":")
                devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)
