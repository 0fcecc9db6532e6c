"""An open file of a local store, with what is known of its digests."""

import os
from collections.abc import Callable
from contextlib import suppress
from io import FileIO

from ftpd.payload.files import FileSource
from ftpd.payload.workers import Workers
from ftpd.store.base import StoredFile
from ftpd.store.loaded import LoadedFile
from ftpd.store.local.details import details_of
from ftpd.store.local.digests import DigestCache, State, was_written_to
from ftpd.store.local.errors import os_errors
from ftpd.wire.digests import Buffer, Digest, Tree, tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath


class LocalFile(FileSource, StoredFile):
    """An open regular file of a local store."""

    def __init__(
        self, file: FileIO, path: RemotePath, found: os.stat_result, digests: DigestCache, workers: Workers
    ) -> None:
        super().__init__(file, workers)
        self._path = path
        self._found = found
        self._state = State.of(found)
        self._settled = self._state.is_settled()
        self._digests = digests
        self.details = details_of(found)
        self.tree = digests.tree(path, self._state)
        self.prefix = b"" if self.tree else digests.prefix(path, self._state)

    async def load(self, offset: int, size: int, digest: Digest | None, *, copy: bool) -> Buffer | None:
        """See `Source.load`."""
        with os_errors(self._path):
            return await super().load(offset, size, digest, copy=copy)

    async def feed(self, offset: int, size: int, take: Callable[[memoryview], bool], most: int) -> int:
        """See `Source.feed`."""
        with os_errors(self._path):
            return await super().feed(offset, size, take, most)

    async def check_unchanged(self) -> None:
        """See `StoredFile.check_unchanged`."""
        await self.workers.disk(self._look_again)

    async def remember(self, tree: Tree) -> None:
        """See `StoredFile.remember`."""
        await self.workers.disk(self._remember, tree)

    async def remember_prefix(self, leaves: bytes) -> None:
        """See `StoredFile.remember_prefix`."""
        await self.workers.finish(lambda: self._remember_prefix(leaves))

    async def close(self) -> None:
        """See `StoredFile.close`."""
        await self.workers.finish(self.release)  # of a file that was replaced, this gives its space back

    def read(self) -> LoadedFile:
        """Read the whole file, in a thread."""
        with os_errors(self._path):
            data = os.pread(self._file.fileno(), self._found.st_size, 0)
        if len(data) != self._found.st_size:
            raise FtpdError(ErrorCode.CHANGED, f"{self._path}: the file changed while it was read")
        tree = self.tree or tree_of(data)
        if self.tree is None:
            self._remember(tree)
        else:
            self._look_again()
        return LoadedFile(self.details, tree, data)

    def release(self) -> None:
        """Close the file."""
        self._file.close()

    def _look_again(self) -> State:
        with os_errors(self._path):
            after = os.fstat(self._file.fileno())
        if was_written_to(self._found, after):
            raise FtpdError(ErrorCode.CHANGED, f"{self._path}: the file changed while it was sent")
        return State.of(after)

    def _remember(self, tree: Tree) -> None:
        if self._look_again() == self._state and self._settled:
            self._digests.keep_tree(self._path, self._state, tree)

    def _remember_prefix(self, leaves: bytes) -> None:
        with suppress(FtpdError):
            if self._look_again() == self._state and self._settled:
                self._digests.keep_prefix(self._path, self._state, leaves)
