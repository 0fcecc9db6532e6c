"""Unfinished uploads: what has to be known to go on with one after any break.

Within a process that is a few digests in memory. With a folder to keep them in, it is one journal per upload, so that
the same command goes on tomorrow: `<id>.put`, with the local file's state, the server's name for the upload and the
digest of every chunk that was announced. Two processes never share one: it is locked while it is in use.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from ftpc.errors import InUseError, LocalFileError
from ftpc.files import State
from ftpd.payload.journal import Journal, Value

_SUFFIX = ".put"


class Task(NamedTuple):
    """Which file goes where. Two uploads with the same task are the same job."""

    server: str
    remote: str
    local: str
    """The absolute path of the local file."""

    @property
    def id(self) -> str:
        """A short name for it."""
        return blake3("\0".join(self).encode(errors="surrogateescape")).hexdigest(5)


class UploadJob:
    """An upload under way: its name on the server, and the digests of its chunks as far as they are known."""

    def __init__(self, source: State) -> None:
        self.source = source
        """The state of the local file that the digests are of."""
        self.upload: str | None = None
        """The server's name for it, once it has been begun."""
        self.chunk_size = 0
        self.leaves: dict[int, bytes] = {}
        self.has_changed = False
        """Whether the local file is not the one any more that the digests are of."""
        self.is_known = False
        """Whether it was begun by an earlier process."""

    def begin(self, upload: str, chunk_size: int) -> None:
        """Take note of a new upload; what was known of an older one is void."""
        self.upload, self.chunk_size, self.leaves = upload, chunk_size, {}
        self.has_changed = False

    def note(self, index: int, leaf: bytes) -> None:
        """Take note of the digest of a chunk, before the chunk is sent."""
        self.leaves[index] = leaf

    def close(self, *, done: bool) -> None:
        """Give the job back; if it is done, forget it."""


class StoredJob(UploadJob):
    """An upload that is remembered in a file."""

    def __init__(self, folder: Path, task: Task, source: State, options: dict[str, Value]) -> None:
        """Open what is known of the job, or begin to know something.

        Raises:
            LocalFileError: another process is at it; or the file can not be read or written.
        """
        super().__init__(source)
        self._path = folder / f"{task.id}{_SUFFIX}"
        self._head: dict[str, Value] = {**options, **task._asdict()}
        self._journal: Journal | None = None
        with _state_errors(self._path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(self._path)
            try:
                self._read()
            except BaseException:
                os.close(self._lock)
                raise

    def begin(self, upload: str, chunk_size: int) -> None:
        """See `UploadJob.begin`."""
        super().begin(upload, chunk_size)
        with _state_errors(self._path):
            os.ftruncate(self._lock, 0)
            self._journal = Journal.create(
                self._lock, {**self._head, **self.source._asdict(), "upload": upload, "chunk_size": chunk_size}
            )

    def note(self, index: int, leaf: bytes) -> None:
        """See `UploadJob.note`."""
        if self._journal is not None and self.leaves.get(index) != leaf:
            with _state_errors(self._path):
                self._journal.add(index, leaf)
        super().note(index, leaf)

    def close(self, *, done: bool) -> None:
        """See `UploadJob.close`."""
        if self._lock < 0:
            return
        if done or self.upload is None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._lock)
        self._lock = -1

    def _read(self) -> None:
        opened = Journal.open(self._lock)
        if opened is None:
            return
        self.is_known = True
        journal, found = opened
        upload, chunk_size = found.head.get("upload"), found.head.get("chunk_size")
        if not isinstance(upload, str) or not isinstance(chunk_size, int) or found.head.get("size") != self.source.size:
            self.has_changed = found.head.get("size") != self.source.size
            return
        self._journal, self.upload, self.chunk_size, self.leaves = journal, upload, chunk_size, found.leaves
        self.has_changed = any(found.head.get(key) != value for key, value in self.source._asdict().items())


class Unfinished(NamedTuple):
    """A job that is not done."""

    id: str
    task: Task
    size: int
    preserve: bool
    if_exists: str
    changed: float
    """When it was last worked on, in seconds since 1970."""
    is_running: bool


def unfinished(folder: Path) -> list[Unfinished]:
    """List the jobs in a folder, the newest first.

    Raises:
        LocalFileError: the folder can not be read.
    """
    with _state_errors(folder):
        paths = [*folder.glob(f"*{_SUFFIX}")] if folder.is_dir() else []
        jobs = [job for path in paths if (job := _look_at(path)) is not None]
    return sorted(jobs, key=lambda job: -job.changed)


def forget(folder: Path, job: Unfinished) -> None:
    """Forget a job. What the server has of it, it drops in its own time."""
    with _state_errors(folder):
        (folder / f"{job.id}{_SUFFIX}").unlink(missing_ok=True)


def _look_at(path: Path) -> Unfinished | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        line = os.pread(fd, 2**16, 0).partition(b"\n")[0]
        head = Journal.head_of(line)
        if head is None:
            return None
        task = Task(*(str(head.get(key)) for key in Task._fields))
        found = os.fstat(fd)
        size = head.get("size")
        return Unfinished(
            path.stem,
            task,
            size if isinstance(size, int) else 0,
            head.get("preserve") is True,
            str(head.get("if_exists")),
            found.st_mtime,
            is_running=not _try_lock(fd),
        )
    finally:
        os.close(fd)


def _lock(path: Path) -> int:
    """Open a job's file for this process alone."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o600)
        if not _try_lock(fd):
            os.close(fd)
            msg = "another ftpc is uploading this file to this place already"
            raise InUseError(msg)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(fd).st_ino:
                return fd
        os.close(fd)  # it was finished, and removed, between the two steps


def _try_lock(fd: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _state_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise LocalFileError(
            f"{path}: {exc.strerror or exc} (unfinished uploads are remembered there; --no-resume does without)"
        ) from exc
