"""Many small files read at once, by one thread: each as if it had been opened by itself.

A hop to a thread, a walk to the folder and a query of the digest cache are done once and not per file.
"""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from ftpd.store.local.beneath import NAME_FLAGS, Beneath
from ftpd.store.local.details import check_regular, details_of
from ftpd.store.local.digests import DigestCache, State, was_written_to
from ftpd.store.local.errors import os_errors
from ftpd.store.values import WholeFile
from ftpd.wire.digests import tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import SMALL_FILE
from ftpd.wire.paths import RemotePath


class _Read(NamedTuple):
    """A file whose tree has not been looked up yet."""

    path: RemotePath
    found: os.stat_result
    state: State
    data: bytes


class Reading:
    """Small files that are read together."""

    def __init__(self, root: Beneath, digests: DigestCache, paths: Sequence[RemotePath]) -> None:
        self._root = root
        self._digests = digests
        self._paths = paths
        self._folder: tuple[tuple[str, ...], int] | None = None
        """The one that the last file was in: those of one folder mostly come behind each other."""

    def read(self, room: int) -> list[WholeFile | FtpdError | None]:
        """See `Store.read_small`.

        Raises:
            FtpdError: `unavailable`, the root is gone.
        """
        started = time.time_ns()
        results: list[_Read | FtpdError | None] = []
        try:
            with os_errors("", self._root):
                for path in self._paths:
                    result = self._read_one(path)
                    results.append(result)
                    if isinstance(result, _Read):
                        room -= len(result.data)
                    if result is None or room <= 0:
                        break
        finally:
            self._leave_folder()
        files = iter(self._look_up([result for result in results if isinstance(result, _Read)], started))
        return [next(files) if isinstance(result, _Read) else result for result in results]

    def _read_one(self, path: RemotePath) -> _Read | FtpdError | None:
        try:
            fd = os.open(path.name, os.O_RDONLY | NAME_FLAGS, dir_fd=self._enter(path.parts[:-1]))
            try:
                found = os.fstat(fd)
                check_regular(found, path)
                if found.st_size > SMALL_FILE:
                    return None
                data = os.read(fd, found.st_size)
                after = os.fstat(fd)
            finally:
                os.close(fd)
        except FtpdError as exc:
            return exc
        except OSError as exc:
            return self._told(exc, path)
        if len(data) != found.st_size or was_written_to(found, after):
            return FtpdError(ErrorCode.CHANGED, f"{path}: the file changed while it was read")
        return _Read(path, found, State.of(found), data)

    def _told(self, exc: OSError, path: RemotePath) -> FtpdError:
        try:
            with os_errors(path, self._root):
                raise exc
        except FtpdError as told:
            return told

    def _enter(self, parts: tuple[str, ...]) -> int:
        if self._folder is None or self._folder[0] != parts:
            self._leave_folder()
            self._folder = parts, self._root.open_folder(RemotePath(parts))
        return self._folder[1]

    def _leave_folder(self) -> None:
        if self._folder is not None:
            os.close(self._folder[1])
            self._folder = None

    def _look_up(self, files: Sequence[_Read], started: int) -> list[WholeFile]:
        """Find the trees of files, and keep those that were not known as long as they can be told from later ones."""
        trees = self._digests.trees([(file.path, file.state) for file in files])
        new = []
        whole = []
        for file, known in zip(files, trees, strict=True):
            tree = known or tree_of(file.data)
            if known is None and file.state.is_settled(started):
                new.append((file.path, file.state, tree))
            whole.append(WholeFile(details_of(file.found), tree, file.data))
        self._digests.learn_trees(new)
        return whole
