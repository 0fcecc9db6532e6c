"""Digests: leaves and root of a file, computed while its bytes go by.

The leaf of a chunk is the BLAKE3-256 of its bytes. The root is BLAKE3-256 over a tag, the file's size, the chunk size
and the leaves, so it names both the content and the way it was cut. BLAKE3: https://github.com/BLAKE3-team/BLAKE3-specs.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from blake3 import blake3

from ftpd.wire.errors import BadRequestError
from ftpd.wire.limits import DIGEST_SIZE, MAX_CHUNKS, MIN_CHUNK

_ROOT_TAG = b"ftpd root 1\n"
_ROOT_HEAD = struct.Struct("<QQ")

Buffer = bytes | bytearray | memoryview


class Digest(Protocol):
    """Anything that is fed the bytes of a file in their order."""

    def update(self, data: Buffer, /) -> object:
        """Take the next bytes."""


class Hasher(Digest, Protocol):
    """A digest that tells its value."""

    def digest(self) -> bytes:
        """Give the digest of all bytes taken so far."""


class _Leaves(NamedTuple):
    size: int
    chunk_size: int
    leaves: bytes


class Tree(_Leaves):
    """The digests of one file: its leaves, back to back, and how it was cut."""

    _root = ""

    @property
    def root(self) -> str:
        """The root digest, in hex. Computed once: for small files it is as much work as the leaf."""
        if not self._root:
            head = _ROOT_TAG + _ROOT_HEAD.pack(self.size, self.chunk_size)
            self._root = blake3(head + self.leaves).hexdigest()
        return self._root

    @property
    def leaf_count(self) -> int:
        """How many leaves there are; 1 for an empty file."""
        return len(self.leaves) // DIGEST_SIZE

    def leaf(self, index: int) -> bytes:
        """The digest of chunk `index`."""
        return self.leaves[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE]


class TreeHasher:
    """Computes the `Tree` of bytes as they go by, once."""

    def __init__(self, chunk_size: int) -> None:
        self.chunk_size = chunk_size
        self.size = 0
        self._leaves = bytearray()
        self._leaf = blake3()
        self._room = chunk_size

    def update(self, data: Buffer, /) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        self.size += len(view)
        while len(view) > self._room:
            self._leaf.update(view[: self._room])
            self._leaves += self._leaf.digest()
            view = view[self._room :]
            self._leaf, self._room = blake3(), self.chunk_size
        self._leaf.update(view)
        self._room -= len(view)

    @property
    def complete(self) -> bytes:
        """The leaves of the chunks that are known to be complete: behind each of them there was another byte."""
        return bytes(self._leaves)

    def leaves_from(self, first: int) -> list[bytes]:
        """Give those of them from a chunk on."""
        ends = range((first + 1) * DIGEST_SIZE, len(self._leaves) + 1, DIGEST_SIZE)
        return [bytes(self._leaves[end - DIGEST_SIZE : end]) for end in ends]

    def finish(self) -> Tree:
        """Give the tree of all bytes taken so far."""
        return Tree(self.size, self.chunk_size, bytes(self._leaves) + self._leaf.digest())


def hash_leaf(data: Buffer) -> bytes:
    """Give the leaf of one chunk."""
    return blake3(data).digest()


def tree_of(data: Buffer) -> Tree:
    """Give the tree of a file that is in memory."""
    if len(data) <= MIN_CHUNK:  # one chunk, whose leaf is all there is to do
        return Tree(len(data), MIN_CHUNK, blake3(data).digest())
    hasher = TreeHasher(chunk_size_for(len(data)))
    hasher.update(data)
    return hasher.finish()


def chunk_size_for(size: int) -> int:
    """Give the chunk size of a file: the least power of two from `MIN_CHUNK` that cuts it in at most `MAX_CHUNKS`."""
    chunk_size = MIN_CHUNK
    while chunk_size * MAX_CHUNKS < size:
        chunk_size *= 2
    return chunk_size


def chunk_count(size: int, chunk_size: int) -> int:
    """Give the number of chunks of a file; an empty file has one, of no bytes."""
    return max(1, -(-size // chunk_size))


def size_of_chunk(size: int, chunk_size: int, index: int) -> int:
    """Give the bytes in chunk `index` of a file."""
    return min(chunk_size, size - index * chunk_size)


def digest_of_twins(files: Iterable[tuple[str, str]]) -> str:
    """Give the digest over files of which two sides say that they are the same: over their names and roots.

    It is that of the lines which programs for checksums print.
    """
    return blake3("".join(f"{root}  {name}\n" for name, root in files).encode()).hexdigest()


def parse_digest(text: str, size: int = DIGEST_SIZE) -> bytes:
    """Read a digest of `size` bytes from hex, in either case.

    Raises:
        BadRequestError: it is not `2 * size` hex digits.
    """
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != size or len(text) != 2 * size:
        raise BadRequestError(f"a digest must be {2 * size} hex digits, got {text[:80]!r}")
    return digest
