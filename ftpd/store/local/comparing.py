"""Many files compared with what is stored under their names, by one thread, without reading any.

A hop to a thread, a walk to the folder and a query of the digest cache are done once and not per file.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

from ftpd.payload.files import sync_all
from ftpd.store.local.beneath import NAME_FLAGS, Beneath
from ftpd.store.local.details import details_of
from ftpd.store.local.digests import DigestCache, State
from ftpd.store.local.errors import os_errors
from ftpd.store.values import Likeness, Twin
from ftpd.wire.paths import RemotePath

MOST_COMPARED = 64
"""Files that are compared in one go, and are open meanwhile. Others want the thread too."""

_NO_FOLDER = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class _Found(NamedTuple):
    """A file that may be the same: size, time and mode are."""

    number: int
    fd: int
    state: State
    folder: int


class Comparison:
    """At most `MOST_COMPARED` files that are looked up together."""

    def __init__(self, root: Beneath, digests: DigestCache, files: Sequence[Twin], *, sync: bool) -> None:
        self._root = root
        self._digests = digests
        self._files = files
        self._sync = sync
        self._folders: dict[tuple[str, ...], int | Likeness] = {}
        """By the parts of their names: descriptors, or what is to be said of all that would be in them."""
        self._found: list[_Found] = []

    def compare(self, syncers: Executor) -> list[Likeness]:
        """See `Store.same`.

        Raises:
            FtpdError: `unavailable`, the root is gone.
        """
        try:
            with os_errors("", self._root):
                answers = [self._look(number, file) for number, file in enumerate(self._files)]
                same = self._known()
                for one in self._durable(same, syncers) if self._sync else same:
                    answers[one.number] = Likeness.SAME
        finally:
            self._close()
        return answers

    def _look(self, number: int, file: Twin) -> Likeness:
        """Open a file if it may be the same."""
        folder = self._enter(file.path.parts[:-1])
        if isinstance(folder, Likeness):
            return folder
        try:
            fd = os.open(file.path.name, os.O_RDONLY | NAME_FLAGS, dir_fd=folder)
        except OSError:
            return Likeness.OTHER
        is_kept = False
        try:
            seen = os.fstat(fd)
            is_kept = stat.S_ISREG(seen.st_mode) and seen.st_size == file.size
            is_kept = is_kept and file.details in {None, details_of(seen)[2:]}
        finally:
            if not is_kept:
                os.close(fd)
        if is_kept:
            self._found.append(_Found(number, fd, State.of(seen), folder))
        return Likeness.OTHER

    def _enter(self, parts: tuple[str, ...]) -> int | Likeness:
        if parts not in self._folders:
            try:
                self._folders[parts] = self._root.open_folder(RemotePath(parts))
            except OSError as exc:
                self._folders[parts] = Likeness.NO_FOLDER if exc.errno in _NO_FOLDER else Likeness.OTHER
        return self._folders[parts]

    def _known(self) -> list[_Found]:
        """Give those whose content is known to be the same."""
        trees = self._digests.trees([(self._files[one.number].path, one.state) for one in self._found])
        return [
            one
            for one, tree in zip(self._found, trees, strict=True)
            if tree is not None and tree.root == self._files[one.number].root
        ]

    def _durable(self, found: Sequence[_Found], syncers: Executor) -> Iterator[_Found]:
        """Give those that are durable with their names from now on."""
        files = _synced({one.state.inode: one.fd for one in found}, syncers)
        folders = _synced({one.folder: one.folder for one in found}, syncers)
        return (one for one in found if one.state.inode in files and one.folder in folders)

    def _close(self) -> None:
        for one in self._found:
            os.close(one.fd)
        for folder in self._folders.values():
            if isinstance(folder, int):
                os.close(folder)


def _synced(fds: dict[int, int], syncers: Executor) -> set[int]:
    """Sync descriptors, each with a key; give the keys of those that could be."""
    errors = sync_all([*fds.values()], syncers)
    return {key for key, exc in zip(fds, errors, strict=True) if exc is None}
