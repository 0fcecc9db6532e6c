"""The digests of a file, computed from the protocol's description and the `blake3` package alone."""

import struct
from typing import NamedTuple

from blake3 import blake3

MIB = 1024 * 1024


class Tree(NamedTuple):
    """What a `get` has to say about the bytes it sends."""

    chunk_size: int
    leaves: bytes
    root: str


def tree_of(data: bytes, chunk_size: int = 8 * MIB) -> Tree:
    """Compute leaves and root; up to 64 GiB the chunk size is 8 MiB when the size of the file is known beforehand."""
    starts = range(0, max(len(data), 1), chunk_size)
    leaves = b"".join(blake3(data[start : start + chunk_size]).digest() for start in starts)
    return Tree(chunk_size, leaves, root_of(len(data), leaves, chunk_size))


def root_of(size: int, leaves: bytes, chunk_size: int = 8 * MIB) -> str:
    """Compute the root from the leaves."""
    return blake3(b"ftpd root 1\n" + struct.pack("<QQ", size, chunk_size) + leaves).hexdigest()


def leaf_of(data: bytes) -> str:
    """Compute the digest of a chunk."""
    return blake3(data).hexdigest()
