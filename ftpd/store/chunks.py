"""A chunk on its way into a store, and what can be wrong with the chunks of an upload."""

from collections.abc import Mapping

from blake3 import blake3

from ftpd.payload.direct import Stretch
from ftpd.wire.digests import Tree
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath


class OpenChunk:
    """A chunk on its way in: where its next bytes go, and what it is to be in the end."""

    def __init__(self, index: int, offset: int, size: int, leaf: bytes) -> None:
        self.begin(index, offset, size, leaf)

    def begin(self, index: int, offset: int, size: int, leaf: bytes) -> None:
        """Be another chunk from here on."""
        self.index = index
        self.offset = offset
        self.size = size
        self.missing = size
        self.leaf = leaf
        self.digest = blake3()

    def go_on(self) -> Stretch | None:
        """Take note that the chunk is sealed, and `begin` the one that follows at once, if there is one.

        Called by the thread that stores it. Returns the bytes of that one.
        """
        return None

    def take(self, count: int) -> None:
        """Take note that `count` bytes were stored."""
        self.offset += count
        self.missing -= count

    def check(self, path: RemotePath) -> None:
        """Compare the digest of the complete chunk with what it should be.

        Raises:
            FtpdError: `integrity`.
        """
        actual = self.digest.digest()
        if actual != self.leaf:
            raise FtpdError(
                ErrorCode.INTEGRITY,
                f"{path}: chunk {self.index} has another digest than announced",
                index=self.index,
                expected=self.leaf.hex(),
                actual=actual.hex(),
            )


def unknown_upload(name: str) -> FtpdError:
    """Say that there is no such upload to go on with."""
    return FtpdError(ErrorCode.UNKNOWN_UPLOAD, f"there is no upload {name[:64]!r} of this file to go on with")


def lease_lost(path: RemotePath) -> FtpdError:
    """Say that an upload is somebody else's now."""
    return FtpdError(ErrorCode.LEASE_LOST, f"{path}: the upload was resumed by another connection")


def incomplete(path: RemotePath, index: int) -> FtpdError:
    """Say that an upload can not be published yet."""
    return FtpdError(ErrorCode.INCOMPLETE, f"{path}: chunk {index} is not there", index=index)


def check_complete(path: RemotePath, leaves: Mapping[int, bytes], tree: Tree) -> None:
    """Make sure that every chunk of a tree is sealed: one that was may be on its way again.

    Raises:
        FtpdError: `incomplete`.
    """
    for index in range(tree.leaf_count):
        if leaves.get(index) != tree.leaf(index):
            raise incomplete(path, index)
