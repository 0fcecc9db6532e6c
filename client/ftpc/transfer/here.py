"""What is here already of what is to be fetched: looked at, digested and made durable in threads, many at a time."""

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

from ftpc.errors import FtpcError
from ftpc.files import local_error, refuse_irregular
from ftpc.transfer.pages import pages
from ftpc.transfer.saving import Wanted, make_folders
from ftpc.transfer.twins import FILE_BYTES, twins_in
from ftpd.payload.files import sync_all
from ftpd.wire.digests import tree_of
from ftpd.wire.limits import SMALL_FILE
from ftpd.wire.messages import encode_request
from ftpd.wire.replies import Twins
from ftpd.wire.requests import Same

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class Candidate(NamedTuple):
    """A file that is here under its name, and has the size of the remote one."""

    wanted: Wanted
    root: str
    details: tuple[int, int, int]
    """Its time, nanoseconds of it, and mode."""


class Question(NamedTuple):
    """The question which of these the server has as well."""

    files: list[Candidate]
    frame: bytes

    def judge(self, reply: Twins) -> tuple[list[Candidate], list[Wanted]]:
        """Give those that are the same, and those that have to be fetched.

        Raises:
            DamagedError: the server means other files than those that it was asked about.
        """
        same = twins_in([(file.wanted.remote, file.root) for file in self.files], reply)
        here = [file for index, file in enumerate(self.files) if index in same]
        return here, [file.wanted for index, file in enumerate(self.files) if index not in same]


class Places(NamedTuple):
    """What there is where named files are to go."""

    new: list[Wanted]
    small: list[Wanted]
    """There is a small file of that name, perhaps the same; with its size."""
    large: list[Wanted]
    """There is a file that is not small."""
    bad: list[tuple[Wanted, FtpcError]]
    """Nothing can be put there."""


def look_at(files: Sequence[Wanted]) -> Places:
    """Look at the places of files, and make folders where they are missing."""
    folders = list({os.path.dirname(file.local) or ".": None for file in files})  # noqa: PTH120 (paths are strings)
    errors = dict(zip(folders, make_folders(folders), strict=True))
    places = Places([], [], [], [])
    for file in files:
        error = errors[os.path.dirname(file.local) or "."]  # noqa: PTH120
        try:
            size = _size_of(file.local) if error is None else None
        except FtpcError as exc:
            error, size = exc, None
        if error is not None:
            places.bad.append((file, error))
        elif size is None:
            places.new.append(file)
        else:
            (places.small if size <= SMALL_FILE else places.large).append(file._replace(size=size))
    return places


def _size_of(path: str) -> int | None:
    """Give the size of a file, if there is one; what a symbolic link leads to is not meant.

    Raises:
        LocalFileError: there is something else, which a file must not replace.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise local_error(exc, path) from exc
    if not stat.S_ISREG(found.st_mode):
        refuse_irregular(path)
        return None
    return found.st_size


def find_candidates(files: Iterable[Wanted]) -> tuple[list[Candidate], list[Wanted]]:
    """Digest the small files that are here and have the right size; give them, and the others."""
    found: list[Candidate] = []
    others: list[Wanted] = []
    for file in files:
        candidate = None
        with contextlib.suppress(OSError, ValueError):  # whatever it is, it is not the same
            candidate = _look_into(file)
        if candidate is None:
            others.append(file)
        else:
            found.append(candidate)
    return found, others


def _look_into(file: Wanted) -> Candidate | None:
    fd = os.open(file.local, _FLAGS)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
            return None
        data = os.read(fd, file.size + 1)
    finally:
        os.close(fd)
    if len(data) != file.size:
        return None
    mtime, mtime_ns = divmod(max(found.st_mtime_ns, 0), 1_000_000_000)
    return Candidate(file, tree_of(data).root, (mtime, mtime_ns, found.st_mode & 0o777))


def questions(files: Sequence[Candidate], *, preserve: bool) -> list[Question]:
    """Ask which of these the server has as well; with `preserve` with the same times and modes."""
    return [
        Question(page, encode_request(_request(page, preserve=preserve)))
        for page in pages(files, lambda file: file.wanted.remote, FILE_BYTES)
    ]


def _request(files: Sequence[Candidate], *, preserve: bool) -> Same:
    return Same(
        files=[(file.wanted.remote, file.wanted.size, file.root) for file in files],
        details=[file.details for file in files] if preserve else None,
    )


def make_durable(paths: Sequence[str], threads: Executor) -> list[FtpcError | None]:
    """Make files durable that others may have written, with their names; give for each what was wrong, if anything."""
    results: list[FtpcError | None] = []
    for start in range(0, len(paths), _MOST_OPEN):
        results += _sync(paths[start : start + _MOST_OPEN], threads)
    folders: dict[str, FtpcError | None] = {}
    for index, path in enumerate(paths):
        folder = os.path.dirname(path) or "."  # noqa: PTH120
        if folder not in folders:
            [folders[folder]] = _sync([folder], threads)
        results[index] = results[index] or folders[folder]
    return results


_MOST_OPEN = 64


def _sync(paths: Sequence[str], threads: Executor) -> list[FtpcError | None]:
    errors: list[FtpcError | None] = [None] * len(paths)
    with contextlib.ExitStack() as opened:
        fds: dict[int, int] = {}
        for index, path in enumerate(paths):
            try:
                # Not blocking: a FIFO may have been put there meanwhile.
                fds[index] = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
                opened.callback(os.close, fds[index])
            except (OSError, ValueError) as exc:
                errors[index] = local_error(exc, path)
        for index, failure in zip(fds, sync_all([*fds.values()], threads), strict=True):
            if failure is not None:
                errors[index] = local_error(failure, paths[index])
    return errors
