"""A stored file whose bytes are in memory."""

from collections.abc import Callable
from io import FileIO

from ftpd.store.base import StoredFile
from ftpd.store.values import Details
from ftpd.wire.digests import Buffer, Digest, Tree


class LoadedFile(StoredFile):
    """The bytes as they were when the file was opened; nothing is held open."""

    def __init__(self, details: Details, tree: Tree, data: Buffer) -> None:
        self.details = details
        self.tree = tree
        self._data = self.content = memoryview(data)

    def file(self) -> FileIO | None:
        """See `Source.file`."""
        return None

    async def load(self, offset: int, size: int, digest: Digest | None, *, copy: bool) -> Buffer | None:
        """See `Source.load`."""
        del copy
        data = self._data[offset : offset + size]
        if digest is not None:
            digest.update(data)
        return data

    async def feed(self, offset: int, size: int, take: Callable[[memoryview], bool], most: int) -> int:
        """See `Source.feed`."""
        count = min(size, most)
        take(self._data[offset : offset + count])
        return count

    async def check_unchanged(self) -> None:
        """See `StoredFile.check_unchanged`."""

    async def remember(self, tree: Tree) -> None:
        """See `StoredFile.remember`."""

    async def close(self) -> None:
        """See `StoredFile.close`."""
