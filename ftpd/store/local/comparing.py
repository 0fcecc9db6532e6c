"""Many files compared with what is stored under their names, by one thread, without reading any.

A hop to a thread, a walk to the folder and a query of the digest cache are done once and not per file.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

from ftpd.payload.files import sync_all
from ftpd.store.base import Likeness, Twin
from ftpd.store.local.beneath import NAME_FLAGS, Beneath
from ftpd.store.local.details import details_of
from ftpd.store.local.digests import DigestCache, State
from ftpd.store.local.errors import os_errors
from ftpd.wire.paths import RemotePath

MOST_OPEN = 64
"""Files that are open at once."""


class _Found(NamedTuple):
    """A file that may be the same: size, time and mode are."""

    number: int
    fd: int
    state: State
    folder: int


class Comparison:
    """Files that are looked up together."""

    def __init__(self, root: Beneath, digests: DigestCache, files: Sequence[Twin], *, sync: bool) -> None:
        self._root = root
        self._digests = digests
        self._files = files
        self._sync = sync
        self._folders: dict[tuple[str, ...], int | None] = {}
        """Those of the files at hand, by the parts of their names; None if there is none."""

    def compare(self, syncers: Executor) -> list[Likeness]:
        """See `Store.same`.

        Raises:
            FtpdError: `unavailable`, the root is gone.
        """
        with os_errors("", self._root):
            pages = range(0, len(self._files), MOST_OPEN)
            return [likeness for start in pages for likeness in self._compare(start, syncers)]

    def _compare(self, start: int, syncers: Executor) -> list[Likeness]:
        files = self._files[start : start + MOST_OPEN]
        found: list[_Found] = []
        try:
            answers = [self._look(number, file, found) for number, file in enumerate(files)]
            trees = self._digests.trees([(files[one.number].path, one.state) for one in found])
            same = [
                one
                for one, tree in zip(found, trees, strict=True)
                if tree is not None and tree.root == files[one.number].root
            ]
            for one in self._durable(same, syncers) if self._sync else same:
                answers[one.number] = Likeness.SAME
        finally:
            self._close(found)
        return answers

    def _look(self, number: int, file: Twin, found: list[_Found]) -> Likeness:
        """Open a file if it may be the same."""
        folder = self._enter(file.path.parts[:-1])
        if folder is None:
            return Likeness.NO_FOLDER
        with contextlib.suppress(OSError):
            fd = os.open(file.path.name, os.O_RDONLY | NAME_FLAGS, dir_fd=folder)
            seen = os.fstat(fd)
            details = details_of(seen)
            if stat.S_ISREG(seen.st_mode) and seen.st_size == file.size and file.details in {None, details[2:]}:
                found.append(_Found(number, fd, State.of(seen), folder))
            else:
                os.close(fd)
        return Likeness.OTHER

    def _enter(self, parts: tuple[str, ...]) -> int | None:
        if parts not in self._folders:
            self._folders[parts] = None
            with contextlib.suppress(OSError):
                self._folders[parts] = self._root.open_folder(RemotePath(parts))
        return self._folders[parts]

    def _durable(self, found: Sequence[_Found], syncers: Executor) -> Iterator[_Found]:
        """Give those that are durable with their names from now on."""
        synced = zip(found, sync_all([one.fd for one in found], syncers), strict=True)
        folders = sorted({one.folder for one in found})
        lost = {folder for folder, exc in zip(folders, sync_all(folders, syncers), strict=True) if exc is not None}
        return (one for one, exc in synced if exc is None and one.folder not in lost)

    def _close(self, found: Sequence[_Found]) -> None:
        for one in found:
            os.close(one.fd)
        for folder in self._folders.values():
            if folder is not None:
                os.close(folder)
        self._folders.clear()
