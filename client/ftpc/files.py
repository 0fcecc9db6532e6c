"""Local files: what is sent, and where what arrives is kept until it is whole."""

import asyncio
import contextlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from ftpc.errors import ChangedError, FtpcError, LocalFileError, LocalNotFoundError, PipeClosedError
from ftpd.payload.direct import Stretch
from ftpd.payload.files import FileSink, FileSource, read_pieces
from ftpd.payload.send import Outlet
from ftpd.payload.workers import Workers
from ftpd.wire.digests import Buffer, Digest
from ftpd.wire.errors import FtpdError

PIECE = 2**18
"""Bytes read from a pipe at once at the most; a pipe rarely holds more than 64 KiB."""

SETTLED_NS = 20_000_000
"""How long after its time of change a file may still be written to by whoever has set it."""


@contextlib.contextmanager
def local_errors(path: object) -> Iterator[None]:
    """Let errors of the local file system out as ours."""
    try:
        yield
    except FtpdError as exc:
        raise ChangedError(f"{path}: {exc.message}") from exc
    except (FileNotFoundError, NotADirectoryError, ValueError) as exc:  # ValueError: a NUL in the name
        raise LocalNotFoundError(f"{path}: there is no such file or folder here") from exc
    except OSError as exc:
        raise LocalFileError(f"{path}: {exc.strerror or exc}") from exc


def local_error(exc: Exception, path: object) -> FtpcError:
    """Give an error as `local_errors` would let it out: where that block around each of many files would cost."""
    try:
        with local_errors(path):
            raise exc
    except FtpcError as ours:
        return ours


class State(NamedTuple):
    """What tells one state of a local file from another."""

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int
    """Which nobody can set back, as a program can with `mtime_ns`."""


class LocalSource(FileSource):
    """A regular local file that is sent."""

    def __init__(self, path: Path, workers: Workers, *, follows: bool = True) -> None:
        """Open the file; with `follows` also what a symbolic link leads to.

        Raises:
            FtpcError: it is not there, not readable, or not a regular file.
        """
        self.path = path
        with local_errors(path):
            # Not blocking: a FIFO without a writer would keep us waiting for ever.
            flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)
            fd = os.open(path, flags if follows else flags | getattr(os, "O_NOFOLLOW", 0))
            found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            is_folder = stat.S_ISDIR(found.st_mode)
            what = "a folder; put -r sends folders" if is_folder else "not a regular file; only files can be sent"
            raise LocalFileError(f"{path}: it is {what}")
        super().__init__(FileIO(fd, "rb"), workers)
        self.size = found.st_size
        self.mtime_ns = max(found.st_mtime_ns, 0)
        self.mode = found.st_mode & 0o777
        self.state = _state(found)

    async def read_all(self) -> Buffer:
        """Read the whole file, if it is small."""
        with local_errors(self.path):
            data = await self.load(0, self.size, None, copy=True)
            fd = self._file.fileno()
            if not self.size and os.pread(fd, 1, 0):
                raise LocalFileError(f"{self.path}: it has bytes, but says that it has none; send it through a pipe")
            assert data is not None
            if await self.workers.disk(is_torn, fd, data, self.state.ctime_ns):
                raise self.changed()
        return data

    async def leaf(self, offset: int, size: int) -> bytes:
        """Compute the digest of one chunk."""
        hasher = blake3()
        with local_errors(self.path):
            await self.workers.disk(read_pieces, self._file.fileno(), offset, size, hasher.update)
        return hasher.digest()

    def send_chunk(self, outlet: Outlet, offset: int, size: int, announce: Callable[[bytes], bytes]) -> None:
        """Send a range behind the header that `announce` makes of its digest, in a thread.

        The range is read first. It is in the page cache then, and mostly in the processor's when it is sent.

        Raises:
            FtpcError: the file can not be read, or has become shorter.
            ConnectionError: the connection is lost.
        """
        hasher, fd = blake3(), self._file.fileno()
        with local_errors(self.path):
            read_pieces(fd, offset, size, hasher.update)
        outlet.send(announce(hasher.digest()))
        outlet.send_file(fd, offset, size)

    def check_unchanged(self) -> None:
        """Compare the file with what it was when it was opened.

        Raises:
            ChangedError: it has been written to.
        """
        with local_errors(self.path):
            if _state(os.fstat(self._file.fileno()))[:3] != self.state[:3]:  # a link more, say, is no other content
                raise self.changed()

    def is_touched(self) -> bool:
        """Tell whether the file may have been written to behind a time set back."""
        with local_errors(self.path):
            return _state(os.fstat(self._file.fileno())) != self.state

    def changed(self) -> ChangedError:
        """Say that it has been written to."""
        return ChangedError(f"{self.path}: the file changed while it was being sent; nothing was stored")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def is_torn(fd: int, data: Buffer, ctime_ns: int) -> bool:
    """Tell whether what was read of a file may be of two versions, though its size and time of modification stayed.

    A write sets the times when it begins, so one that was under way shows only in the bytes: those of a file that has
    just changed are looked at once more. And a program can set back `st_mtime`, but not `st_ctime`.

    Raises:
        OSError: it can not be read.
    """
    found = os.fstat(fd).st_ctime_ns
    age = time.time_ns() - found
    if found == ctime_ns and not 0 <= age < SETTLED_NS:
        return False
    time.sleep(max(0, min(SETTLED_NS - age, SETTLED_NS)) / 1e9)
    return os.pread(fd, len(data) + 1, 0) != data


class PipeSource:
    """A stream of unknown length: standard input, a FIFO, a file that is read as it comes."""

    def __init__(self, fd: int, workers: Workers) -> None:
        self._fd = fd
        self._workers = workers
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)

    async def fill(self, buffer: memoryview) -> int:
        """Read until the buffer is full or the stream ends. Returns the bytes read."""
        filled = 0
        while filled < len(buffer):
            with local_errors("standard input"):
                count = await self._read(buffer[filled : filled + PIECE])
            if not count:
                break
            filled += count
        return filled

    async def _read(self, room: memoryview) -> int:
        if self._is_file:
            return await self._workers.disk(os.readv, self._fd, [room])
        # No thread: one that waits in read(2) can not be called back when the user gives up.
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(self._fd, ready.set)
        except PermissionError:  # what can not be waited for, like /dev/null, never keeps anybody waiting
            return os.readv(self._fd, [room])
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._fd)
        return os.readv(self._fd, [room])


_PARTIAL = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class Partial(FileSink):
    """A hidden file beside its target that becomes the target when it is whole."""

    def __init__(self, target: Path, workers: Workers) -> None:
        """Make the file.

        Raises:
            FtpcError: the folder is not there or can not be written to, or the target is a folder.
        """
        self.target = target
        stem = os.fsdecode(os.fsencode(target.name)[:200])
        # Absolute, with symbolic links as they are: whoever goes on may be in another folder.
        self.full_target = Path(os.path.abspath(target))  # noqa: PTH100 (resolve() follows them)
        self.path = self.full_target.with_name(f".{stem}.{secrets.token_hex(4)}.part")
        self.is_kept = False
        """Whether it stays when it has not become the target, for whoever goes on."""
        self._done = False
        self.size: int | None = None
        """How long it is to be, where a first try may have written more."""
        with local_errors(target):
            refuse_irregular(target)
            if not target.parent.exists():
                raise LocalNotFoundError(f"{target.parent}: there is no such folder here")
            fd = os.open(self.path, os.O_CREAT | os.O_EXCL | _PARTIAL, 0o666)
        super().__init__(fd, workers)

    @property
    def inode(self) -> int:
        """What tells the file from another one of its name."""
        return os.fstat(self._fd).st_ino

    def reopen(self, path: Path, inode: object) -> bool:
        """Go on in the hidden file of an earlier process, if it is still there. Returns whether it is."""
        if path.parent != self.path.parent:
            return False
        try:
            fd = os.open(path, _PARTIAL)
        except OSError:
            return False
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_ino != inode:
            os.close(fd)
            return False
        os.close(self._fd)
        self.path.unlink()
        self._fd, self.path = fd, path
        return True

    def leaf(self, offset: int, size: int) -> bytes | None:
        """Compute the digest of a chunk that is here; None if it can not be read."""
        hasher = blake3()
        try:
            read_pieces(self._fd, offset, size, hasher.update)
        except (OSError, FtpdError):
            return None
        return hasher.digest()

    async def write(self, offset: int, data: Buffer | Stretch, digest: Digest) -> int:
        """See `FileSink.write`."""
        with local_errors(self.target):
            return await super().write(offset, data, digest)

    async def publish(self, mtime_ns: int | None, mode: int | None) -> None:
        """Make the file durable and give it its name, replacing what has it.

        Raises:
            LocalFileError: it could not be done; the target is what it was, or the whole new file.
        """
        with local_errors(self.target):
            await self._workers.sync(self._publish, mtime_ns, mode)
        self._done = True

    def close(self) -> None:
        """Drop the file if it has not become the target."""
        os.close(self._fd)
        if not self._done and not self.is_kept:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _publish(self, mtime_ns: int | None, mode: int | None) -> None:
        if self.size is not None:
            os.ftruncate(self._fd, self.size)
        if mode is not None:
            os.fchmod(self._fd, mode)
        if mtime_ns is not None:
            os.utime(self._fd if os.utime in os.supports_fd else self.path, ns=(mtime_ns, mtime_ns))
        os.fsync(self._fd)
        self.path.replace(self.target)
        folder = os.open(self.target.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def is_path(name: str) -> bool:
    r"""Tell whether a name of a remote file is more than a name here: `..\x` or `C:x` on Windows."""
    return os.path.basename(name) != name or bool(os.path.splitdrive(name)[0])  # noqa: PTH119 (there may be thousands)


def refuse_path(name: str) -> None:
    """Make sure that a name of a remote file is one here too.

    Raises:
        LocalFileError: it is a path here.
    """
    if is_path(name):
        raise LocalFileError(f"{name}: that name is not possible here; say where it is to go")


def refuse_irregular(target: str | os.PathLike[str]) -> None:
    """Make sure that a download may take a name: renaming over /dev/null would be the end of it.

    Raises:
        LocalFileError: it is a folder, or no regular file.
    """
    if os.path.exists(target) and not os.path.isfile(target):  # noqa: PTH110, PTH113 (paths of many are strings)
        is_folder = os.path.isdir(target)  # noqa: PTH112
        what = "a folder; get -r fetches folders" if is_folder else "no regular file; -o - writes to standard output"
        raise LocalFileError(f"{os.fspath(target)}: it is {what}")


class PipeSink:
    """Standard output, or anything else that takes bytes in order."""

    def __init__(self, fd: int, workers: Workers) -> None:
        self._fd = fd
        self._workers = workers
        mode = os.fstat(fd).st_mode
        self._can_wait = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)

    async def write(self, offset: int, data: Buffer, digest: Digest) -> int:
        """Feed bytes to `digest` and write them; return their number. Cancelling is safe, also while nobody reads."""
        if not offset and b"\0" in bytes(data[:PIECE]) and os.isatty(self._fd):
            raise LocalFileError("standard output is a terminal, and this is no text; send it to a file or a pipe")
        await self._workers.disk(digest.update, data)
        try:
            with local_errors("standard output"):
                if self._can_wait:
                    await self._write_waiting(memoryview(data))
                else:
                    await self._workers.disk(self._write, memoryview(data))
            return len(data)
        except LocalFileError as exc:
            if isinstance(exc.__cause__, BrokenPipeError):
                raise PipeClosedError(exc.message) from exc
            raise

    async def _write_waiting(self, view: memoryview) -> None:
        # No thread: one that waits in write(2) can not be called back. The flag is shared with whoever else has the
        # pipe open, so it is only set as long as it is needed.
        loop = asyncio.get_running_loop()
        was_blocking = os.get_blocking(self._fd)
        os.set_blocking(self._fd, False)
        ready = asyncio.Event()
        loop.add_writer(self._fd, ready.set)
        try:
            while view:
                await ready.wait()
                ready.clear()
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self._fd, view) :]
        finally:
            loop.remove_writer(self._fd)
            os.set_blocking(self._fd, was_blocking)

    def _write(self, view: memoryview) -> None:
        while view:
            view = view[os.write(self._fd, view) :]


def _state(found: os.stat_result) -> State:
    return State(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
