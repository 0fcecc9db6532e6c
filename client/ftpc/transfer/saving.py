"""Storing small files that have arrived, many at a time, and the folders that they go to. All of it runs in threads."""

import contextlib
import itertools
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

from ftpc.errors import FtpcError
from ftpc.files import local_error, refuse_irregular
from ftpc.results import TreeFile
from ftpd.payload.files import sync_all
from ftpd.wire.replies import Content

_FOLDER = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0)
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)

_endings = (f"{prefix}{number:x}.part" for prefix in (secrets.token_hex(4),) for number in itertools.count())


class Wanted(NamedTuple):
    """A remote file, and where it is to go."""

    remote: str
    local: str
    size: int


class Arrived(NamedTuple):
    """A small file that is here and verified."""

    wanted: Wanted
    data: bytes
    content: Content


class _Hidden:
    """A file of the batch on its way."""

    def __init__(self, file: Arrived) -> None:
        self.file = file
        folder, self.name = os.path.split(file.wanted.local)
        self.folder = folder or "."
        self.hidden = f".{os.fsdecode(os.fsencode(self.name)[:200])}.{next(_endings)}"
        self.fd = -1
        self.is_there = False
        """Whether it has its name."""
        self.error: FtpcError | None = None


class Saver:
    """Stores a batch: hidden files, all synced together, then their names, then a sync of their folders."""

    def __init__(self, files: Sequence[Arrived], *, preserve: bool) -> None:
        self._files = [_Hidden(file) for file in files]
        self._preserve = preserve
        self._folders: dict[str, int] = {}
        """Their descriptors: a path is walked once, and not per file and step."""

    def save(self, threads: Executor) -> list[TreeFile]:
        """Give for each what became of it."""
        try:
            self._for_all(self._write)
            self._sync(threads)
            self._for_all(self._give_name)
            self._sync_folders()
        finally:
            self._clean_up()
        return [_result(hidden) for hidden in self._files]

    def _for_all(self, step: Callable[[_Hidden], None]) -> None:
        for hidden in self._files:
            if hidden.error is None:
                try:
                    step(hidden)
                except FtpcError as exc:
                    hidden.error = exc
                except (OSError, ValueError) as exc:
                    hidden.error = local_error(exc, hidden.file.wanted.local)

    def _write(self, hidden: _Hidden) -> None:
        if not os.path.isdir(hidden.file.wanted.local):  # noqa: PTH112 (a folder can not be replaced anyway)
            refuse_irregular(hidden.file.wanted.local)
        hidden.fd = fd = os.open(hidden.hidden, _NEW_FILE, 0o666, dir_fd=self._open(hidden.folder))
        written = os.write(fd, hidden.file.data)
        while written < len(hidden.file.data):
            written += os.write(fd, hidden.file.data[written:])
        if self._preserve:
            content = hidden.file.content
            mtime_ns = content.mtime * 1_000_000_000 + content.mtime_ns
            os.fchmod(fd, content.mode)
            os.utime(fd, ns=(mtime_ns, mtime_ns))

    def _open(self, folder: str) -> int:
        if folder not in self._folders:
            self._folders[folder] = os.open(folder, _FOLDER)
        return self._folders[folder]

    def _sync(self, threads: Executor) -> None:
        waiting = [hidden for hidden in self._files if hidden.error is None]
        for hidden, exc in zip(waiting, sync_all([hidden.fd for hidden in waiting], threads), strict=True):
            if exc is not None:
                hidden.error = local_error(exc, hidden.file.wanted.local)

    def _give_name(self, hidden: _Hidden) -> None:
        folder = self._folders[hidden.folder]
        os.replace(hidden.hidden, hidden.name, src_dir_fd=folder, dst_dir_fd=folder)
        hidden.is_there = True

    def _sync_folders(self) -> None:
        for folder, fd in self._folders.items():
            try:
                os.fsync(fd)
            except OSError as exc:
                for hidden in self._files:
                    if hidden.folder == folder and hidden.error is None:
                        hidden.error = local_error(exc, folder)

    def _clean_up(self) -> None:
        for hidden in self._files:
            if hidden.fd >= 0:
                os.close(hidden.fd)
                if not hidden.is_there:
                    with contextlib.suppress(OSError):
                        os.unlink(hidden.hidden, dir_fd=self._folders[hidden.folder])
        for fd in self._folders.values():
            os.close(fd)


def _result(hidden: _Hidden) -> TreeFile:
    wanted, data, content = hidden.file
    size, mtime = 0 if hidden.error else len(data), content.mtime + content.mtime_ns / 1e9
    return TreeFile(wanted.local, wanted.remote, size, content.root, error=hidden.error, mtime=mtime)


def make_folders(paths: Iterable[str], made: set[str] | None = None) -> list[FtpcError | None]:
    """Make folders where they are missing, and their names durable; give for each what was wrong, if anything was.

    Those that were missing are added to `made`.
    """
    errors: list[FtpcError | None] = []
    changed: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        errors.append(None)
        try:
            if not os.path.isdir(path):  # noqa: PTH112 (paths are strings here)
                os.makedirs(path, exist_ok=True)  # noqa: PTH103
                if made is not None:
                    made.add(path)
                changed.setdefault(os.path.dirname(path) or ".", []).append(index)  # noqa: PTH120
        except (OSError, ValueError) as exc:
            errors[index] = local_error(exc, path)
    for parent, indexes in changed.items():
        try:
            _sync_folder(parent)
        except OSError as exc:
            for index in indexes:
                errors[index] = local_error(exc, parent)
    return errors


def _sync_folder(path: str) -> None:
    fd = os.open(path, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
