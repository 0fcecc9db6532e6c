"""Digests: leaves and root, however the bytes come."""

import hashlib
import struct

import pytest
from blake3 import blake3

from ftpd.wire.digests import Tree, TreeHasher, chunk_count, chunk_size_for, hash_leaf, parse_digest, tree_of
from ftpd.wire.errors import BadRequestError
from ftpd.wire.limits import DIGEST_SIZE, MAX_CHUNKS, MAX_INTEGER, MIN_CHUNK

DATA = bytes(index % 251 for index in range(5000))


def expected_tree(data: bytes, chunk_size: int) -> Tree:
    """Compute leaves as the protocol's document says it: one BLAKE3 per chunk, one chunk at least."""
    pieces = [data[start : start + chunk_size] for start in range(0, len(data), chunk_size)] or [b""]
    return Tree(len(data), chunk_size, b"".join(blake3(piece).digest() for piece in pieces))


@pytest.mark.parametrize("step", [1, 7, 999, 1000, 1001, 5000])
@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2000, 4999, 5000])
def test_tree_does_not_depend_on_how_the_bytes_come(size: int, step: int) -> None:
    """Bytes in pieces of any size give the leaves that the definition gives; a full last chunk adds no empty one."""
    hasher = TreeHasher(1000)
    for start in range(0, size, step):
        hasher.update(memoryview(DATA)[start : min(start + step, size)])
    assert expected_tree(DATA[:size], 1000) == hasher.finish()
    assert size == hasher.size


def test_empty_updates_change_nothing() -> None:
    """Taking no bytes is harmless, also at the border of a chunk."""
    hasher = TreeHasher(1000)
    for piece in (b"", DATA[:1000], bytearray(), DATA[1000:2000], memoryview(b"")):
        hasher.update(piece)
    assert expected_tree(DATA[:2000], 1000) == hasher.finish()


def test_finish_can_be_asked_for_on_the_way() -> None:
    """The tree of what has come so far does not disturb what follows."""
    hasher = TreeHasher(1000)
    hasher.update(DATA[:1500])
    assert expected_tree(DATA[:1500], 1000) == hasher.finish()
    hasher.update(DATA[1500:])
    assert expected_tree(DATA, 1000) == hasher.finish()


def test_root_is_the_digest_of_tag_sizes_and_leaves() -> None:
    """The root is BLAKE3 over the tag, the two sizes as little-endian 64-bit numbers, and the leaves."""
    tree = expected_tree(DATA, 1000)
    assert blake3(b"ftpd root 1\n" + struct.pack("<QQ", 5000, 1000) + tree.leaves).hexdigest() == tree.root


def test_root_names_the_cut_as_well() -> None:
    """The same bytes in other chunks, and the same leaves with another size, have other roots."""
    tree = expected_tree(DATA, 1000)
    others = {expected_tree(DATA, 5000).root, tree._replace(size=4999).root, tree._replace(chunk_size=1001).root}
    assert len(others | {tree.root}) == 4


def test_tree_gives_its_leaves() -> None:
    """Leaves are found by index; an empty file has one, that of no bytes."""
    tree = expected_tree(DATA, 1000)
    assert tree.leaf_count == 5
    assert [hash_leaf(DATA[i * 1000 : (i + 1) * 1000]) for i in range(5)] == [tree.leaf(i) for i in range(5)]
    assert (1, hash_leaf(b"")) == (tree_of(b"").leaf_count, tree_of(b"").leaf(0))


def test_file_in_memory_is_cut_by_the_rule() -> None:
    """A file in memory has the tree it would have if it were stored."""
    data = bytes(MIN_CHUNK + 1)
    assert expected_tree(data, MIN_CHUNK) == tree_of(data)


@pytest.mark.parametrize(
    ("size", "chunk_size"),
    [
        (0, MIN_CHUNK),
        (1, MIN_CHUNK),
        (MIN_CHUNK, MIN_CHUNK),
        (MIN_CHUNK * MAX_CHUNKS, MIN_CHUNK),
        (MIN_CHUNK * MAX_CHUNKS + 1, 2 * MIN_CHUNK),
        (2 * MIN_CHUNK * MAX_CHUNKS, 2 * MIN_CHUNK),
        (2 * MIN_CHUNK * MAX_CHUNKS + 1, 4 * MIN_CHUNK),
        (MAX_INTEGER, 2**40),
    ],
)
def test_chunk_size_is_the_least_that_keeps_chunks_few(size: int, chunk_size: int) -> None:
    """The chunk size doubles exactly when there would be too many chunks."""
    assert chunk_size == chunk_size_for(size)
    assert chunk_count(size, chunk_size) <= MAX_CHUNKS


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (2000, 2), (2001, 3)])
def test_chunk_count(size: int, count: int) -> None:
    """There is one chunk at least, and none of no bytes behind a full one."""
    assert count == chunk_count(size, 1000)


def test_digests_are_read_in_either_case() -> None:
    """Hex digits may be small or capital; other digests than BLAKE3 have other sizes."""
    digest = bytes(range(DIGEST_SIZE))
    assert digest == parse_digest(digest.hex()) == parse_digest(digest.hex().upper())
    md5 = hashlib.md5(b"", usedforsecurity=False)
    assert md5.digest() == parse_digest(md5.hexdigest(), 16)


@pytest.mark.parametrize(
    "text",
    ["", "00", "0" * 63, "0" * 65, "0" * 66, "g" * 64, "0x" + "0" * 62, "0 " * 32, " " + "0" * 64, "00 " * 21 + "0",
     "é" * 64, "\u0660" * 64, "0" * 60_000],
)  # fmt: skip
def test_what_is_not_a_digest_is_refused(text: str) -> None:
    """Anything but exactly 64 hex digits is refused with a short sentence; spaces do not count as nothing."""
    with pytest.raises(BadRequestError, match="must be 64 hex digits") as refused:
        parse_digest(text)
    assert len(refused.value.message) < 500
