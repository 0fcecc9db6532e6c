"""Unfinished transfers: what has to be known to go on with one after any break.

Within a process that is a few digests in memory. With a folder to keep them in, it is one journal per transfer, so that
the same command goes on tomorrow: `<id>.put` or `<id>.get`. Two processes never share one: it is locked while it is in
use. What is in it: `upload_job.py`, `download_job.py`.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from ftpc.errors import InUseError, LocalFileError
from ftpd.payload.journal import Found, Journal, Value

VERBS = ("put", "get")


class Task(NamedTuple):
    """Which file goes where. Two transfers with the same task are the same job."""

    verb: str
    """One of `VERBS`."""
    server: str
    remote: str
    local: str
    """The absolute path of the local file."""

    @property
    def id(self) -> str:
        """A short name for it."""
        return blake3("\0".join(self).encode(errors="surrogateescape")).hexdigest(5)


class Memory(NamedTuple):
    """Where unfinished transfers with a server are remembered."""

    folder: Path | None
    """None to remember nothing beyond this process."""
    server: str
    tasks: set[Task]
    """Takes those that are asked for."""
    is_share: bool = False
    """Whether a share code gives access, which is not remembered."""

    def task(self, verb: str, remote: str, local: str) -> Task:
        """Give the task of moving a file."""
        task = Task(verb, self.server, remote, local)
        self.tasks.add(task)
        return task

    def knows(self, task: Task) -> bool:
        """Tell whether a file has been begun to be moved, and not finished."""
        return self.folder is not None and (self.folder / f"{task.id}.{task.verb}").exists()


class JobFile:
    """The journal of a job, locked for this process."""

    def __init__(self, path: Path, task: Task, lock: int) -> None:
        self._path = path
        self._task = task
        self._lock = lock
        self._journal: Journal | None = None
        self.found: Found | None = None
        """What was in it when it was opened."""
        if (opened := Journal.open(lock)) is not None:
            self._journal, self.found = opened

    @classmethod
    def open(cls, folder: Path, task: Task, *, create: bool = True) -> "JobFile | None":
        """Open what is known of the job, or begin to know something if `create` says so.

        Raises:
            InUseError: another process is at it.
            LocalFileError: the file can not be read or written.
        """
        path = folder / f"{task.id}.{task.verb}"
        with _state_errors(path):
            if not create and not path.exists():
                return None
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(path, task)
            try:
                return cls(path, task, lock)
            except BaseException:
                os.close(lock)
                raise

    def begin(self, facts: Mapping[str, Value]) -> None:
        """Begin anew; what was known is void."""
        with _state_errors(self._path):
            os.ftruncate(self._lock, 0)
            self._journal = Journal.create(self._lock, {**self._task._asdict(), **facts})

    def note(self, index: int, leaf: bytes) -> None:
        """Take note of the digest of a chunk."""
        if self._journal is not None:
            with _state_errors(self._path):
                self._journal.add(index, leaf)

    def close(self, *, done: bool) -> None:
        """Give the job back; if it is done, or there is nothing to remember, forget it. May be called again."""
        if self._lock < 0:
            return
        if done or self._journal is None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._lock)
        self._lock = -1


class Unfinished(NamedTuple):
    """A job that is not done."""

    id: str
    task: Task
    size: int
    preserve: bool
    if_exists: str
    """Of an upload; else empty."""
    part: str
    """The hidden file of a download; else empty."""
    upload: str
    """The server's name for an upload; else empty."""
    changed: float
    """When it was last worked on, in seconds since 1970."""
    is_running: bool
    is_share: bool
    """Whether it came through a share code, without which nothing goes on."""

    def __str__(self) -> str:
        """Name the file that is moved."""
        return self.task.local if self.task.verb == "put" else self.task.remote


def unfinished(folder: Path) -> list[Unfinished]:
    """List the jobs in a folder, the newest first.

    Raises:
        LocalFileError: the folder can not be read.
    """
    ends = tuple(f".{verb}" for verb in VERBS)
    try:
        names = [name for name in os.listdir(folder) if name.endswith(ends)]  # noqa: PTH208 (of a missing one as well)
        jobs = [job for name in names if (job := _look_at(folder / name)) is not None]
    except FileNotFoundError:
        return []
    except OSError as exc:
        what = "unfinished transfers are remembered there, and it can not be read"
        raise LocalFileError(f"{exc.filename or folder}: {what}: {exc.strerror or exc}") from exc
    return sorted(jobs, key=lambda job: -job.changed)


def forget(folder: Path, job: Unfinished) -> None:
    """Forget a job, and remove what is here of a download. Of what a server has see `Client.drop`."""
    with _state_errors(folder):
        if job.part:
            Path(job.part).unlink(missing_ok=True)
        (folder / f"{job.id}.{job.task.verb}").unlink(missing_ok=True)


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
            str(head.get("if_exists", "")),
            str(head.get("part", "")),
            str(head.get("upload", "")),
            found.st_mtime,
            is_running=not _try_lock(fd),
            is_share=head.get("share") is True,
        )
    finally:
        os.close(fd)


def _lock(path: Path, task: Task) -> int:
    """Open a job's file for this process alone."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o600)
        if not _try_lock(fd):
            os.close(fd)
            doing = "uploading" if task.verb == "put" else "downloading"
            raise InUseError(f"another ftpc is {doing} this file to this place already")
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
            f"{path}: {exc.strerror or exc} (unfinished transfers are remembered there; --no-resume does without)"
        ) from exc
