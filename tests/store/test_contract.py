"""The contract of a store (`ftpd/store/base.py`), its writing half: every implementation passes.

The reading half is in `test_contract_reading.py`. A new kind of store joins by one line in the fixture `store`.
"""

import asyncio
import hashlib
from collections import Counter

import pytest

from ftpd.store.base import Store
from ftpd.store.values import UploadPlan
from ftpd.wire.digests import TreeHasher, chunk_size_for, tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import MAX_COMPONENT, MIB
from ftpd.wire.terms import EntryType, IfExists
from tests.store.helpers import Nothing, begun, content, get, names, opened, path_of, plan_for, put, refused, tree_in

SIZES = (0, 1, MIB - 1, MIB, MIB + 1)


def some_bytes(size: int) -> bytes:
    """Give bytes in which every misplaced block shows."""
    return hashlib.shake_128(b"contract").digest(size)


async def test_nobody_sees_an_upload_before_it_is_published(store: Store) -> None:
    """A name in the making can not be opened, told of, listed or taken a digest of."""
    upload = await begun(store, plan_for("a.txt", 3), b"abc")
    with refused(ErrorCode.NOT_FOUND):
        await store.open(path_of("a.txt"))
    with refused(ErrorCode.NOT_FOUND):
        await store.stat(path_of("a.txt"))
    assert [] == await names(store)
    await upload.discard()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("announced", [True, False])
async def test_a_published_file_is_whole(store: Store, size: int, announced: bool) -> None:  # noqa: FBT001 (a column)
    """After `publish` the name shows every byte, whether the size was known before or not."""
    data = some_bytes(size)
    upload = await begun(store, plan_for("a.bin", size if announced else None), data)
    assert path_of("a.bin") == await upload.publish(tree_of(data))
    assert data == await get(store, "a.bin")
    assert ["a.bin"] == await names(store)
    assert size == (await store.stat(path_of("a.bin")))[0].size


async def test_publishing_keeps_the_tree(store: Store) -> None:
    """The tree given to `publish` is known without reading the file, to `stat` and to `open`."""
    tree = tree_of(b"abc")
    await put(store, "a.txt", b"abc")
    assert tree == await tree_in(store, "a.txt")
    async with opened(store, "a.txt") as file:
        assert tree == file.tree


async def test_writes_may_come_in_any_order(store: Store) -> None:
    """Bytes end up at their offsets, whichever are written first."""
    data = some_bytes(3 * 1000)
    upload = await begun(store, plan_for("a.bin", len(data)))
    for offset in (2000, 0, 1000):
        await upload.write(offset, data[offset : offset + 1000], Nothing())
    await upload.publish(tree_of(data))
    assert data == await get(store, "a.bin")


async def test_a_write_may_be_repeated(store: Store) -> None:
    """What is written last at an offset counts."""
    upload = await begun(store, plan_for("a.bin", 6), b"abcdef")
    await upload.write(2, b"CD", Nothing())
    await upload.publish(tree_of(b"abCDef"))
    assert b"abCDef" == await get(store, "a.bin")


async def test_a_write_feeds_the_digest(store: Store) -> None:
    """`write` gives the digest all bytes, and has let go of the buffer when it returns."""
    upload = await begun(store, plan_for("a.bin", 6))
    hasher, buffer = TreeHasher(chunk_size_for(6)), bytearray(b"abc")
    await upload.write(0, memoryview(buffer), hasher)
    buffer[:] = b"def"
    await upload.write(3, memoryview(buffer), hasher)
    buffer[:] = b"xxx"
    tree = hasher.finish()
    assert tree_of(b"abcdef") == tree
    await upload.publish(tree)
    assert b"abcdef" == await get(store, "a.bin")


async def test_publishing_cuts_the_file_to_its_size(store: Store) -> None:
    """Bytes beyond the size of the tree are no part of the file."""
    upload = await begun(store, plan_for("a.bin"), b"abcdef")
    await upload.publish(tree_of(b"abc"))
    assert b"abc" == await get(store, "a.bin")


async def test_discard_leaves_nothing(store: Store) -> None:
    """A discarded upload was never there, and may be discarded again."""
    upload = await begun(store, plan_for("folder/a.txt", 3), b"abc")
    await upload.discard()
    await upload.discard()
    assert [] == await names(store)


async def test_discard_after_publish_changes_nothing(store: Store) -> None:
    """The file stays when its upload is discarded after it was published."""
    upload = await begun(store, plan_for("a.txt", 3), b"abc")
    await upload.publish(tree_of(b"abc"))
    await upload.discard()
    await upload.discard()
    assert b"abc" == await get(store, "a.txt")


async def test_discard_after_the_store_was_closed_is_harmless(store: Store) -> None:
    """`discard` may be called at any time: closing a store loses its open uploads, without an error."""
    upload = await begun(store, plan_for("a.txt", 3), b"abc")
    await store.close()
    await upload.discard()


async def test_overwrite_replaces_the_file(store: Store) -> None:
    """`overwrite` gives the name the new content, tree and size."""
    await put(store, "a.txt", b"old")
    assert path_of("a.txt") == await put(store, "a.txt", b"newer")
    assert b"newer" == await get(store, "a.txt")
    assert tree_of(b"newer") == await tree_in(store, "a.txt")


async def test_readers_keep_the_file_they_opened(store: Store) -> None:
    """A file that is open reads as it was, details and tree included, while its name is given to another."""
    await put(store, "a.txt", b"old content")
    async with opened(store, "a.txt") as file:
        await put(store, "a.txt", b"new")
        assert b"old content" == await content(file)
        assert (11, tree_of(b"old content")) == (file.details.size, file.tree)
    assert b"new" == await get(store, "a.txt")


async def test_remember_is_not_confused_by_a_replaced_name(store: Store) -> None:
    """`remember` refuses only what was written to: a reader of a replaced file finishes, the new one keeps its tree."""
    await put(store, "a.txt", b"old")
    async with opened(store, "a.txt") as file:
        await put(store, "a.txt", b"newer")
        await file.remember(tree_of(b"old"))
    assert tree_of(b"newer") == await tree_in(store, "a.txt")


async def test_fail_refuses_a_taken_name_at_once(store: Store) -> None:
    """`fail` says `exists` before the first byte, and the file stays."""
    await put(store, "a.txt", b"old")
    with refused(ErrorCode.EXISTS):
        await store.begin(plan_for("a.txt", 3, IfExists.FAIL))
    assert b"old" == await get(store, "a.txt")


async def test_fail_refuses_a_name_taken_meanwhile(store: Store) -> None:
    """`fail` says `exists` when the name was taken after `begin`, and the upload leaves nothing."""
    upload = await begun(store, plan_for("a.txt", 4, IfExists.FAIL), b"late")
    await put(store, "a.txt", b"first")
    with refused(ErrorCode.EXISTS):
        await upload.publish(tree_of(b"late"))
    assert b"first" == await get(store, "a.txt")
    assert ["a.txt"] == await names(store)


async def test_fail_has_exactly_one_winner(store: Store) -> None:
    """Of 64 uploads published at once under one name exactly one gets it, whole; the others hear `exists`."""
    contents = [b"%03d" % number * 1000 for number in range(64)]
    uploads = [await begun(store, plan_for("a.txt", len(data), IfExists.FAIL), data) for data in contents]
    publishing = (upload.publish(tree_of(data)) for upload, data in zip(uploads, contents, strict=True))
    results = await asyncio.gather(*publishing, return_exceptions=True)
    winners = [data for data, result in zip(contents, results, strict=True) if result == path_of("a.txt")]
    refusals = Counter(result.code for result in results if isinstance(result, FtpdError))
    assert (1, {ErrorCode.EXISTS: 63}) == (len(winners), refusals)
    assert winners[0] == await get(store, "a.txt")


async def test_skip_leaves_a_taken_name(store: Store) -> None:
    """`skip` begins nothing when the name is taken, and the file stays."""
    await put(store, "a.txt", b"old")
    assert await store.begin(plan_for("a.txt", 3, IfExists.SKIP)) is None
    assert b"old" == await get(store, "a.txt")


async def test_skip_leaves_a_name_taken_meanwhile(store: Store) -> None:
    """`skip` publishes nothing when the name was taken after `begin`."""
    upload = await begun(store, plan_for("a.txt", 4, IfExists.SKIP), b"late")
    await put(store, "a.txt", b"first")
    assert await upload.publish(tree_of(b"late")) is None
    assert b"first" == await get(store, "a.txt")


@pytest.mark.parametrize("if_exists", list(IfExists))
async def test_a_free_name_is_given_whatever_the_plan_says(store: Store, if_exists: IfExists) -> None:
    """`if_exists` plays no part while the name is free."""
    assert path_of("a.txt") == await put(store, "a.txt", b"abc", if_exists)
    assert b"abc" == await get(store, "a.txt")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", ["a (1).txt", "a (2).txt"]),
        ("folder/a.tar.gz", ["folder/a.tar (1).gz", "folder/a.tar (2).gz"]),
        ("plain", ["plain (1)", "plain (2)"]),
        (".hidden", [".hidden (1)", ".hidden (2)"]),
        ("x" * 251 + ".txt", ["x" * 247 + " (1).txt", "x" * 247 + " (2).txt"]),
        ("é" * 125 + ".txt", ["é" * 123 + " (1).txt", "é" * 123 + " (2).txt"]),
    ],
)
async def test_rename_finds_the_next_free_name(store: Store, name: str, expected: list[str]) -> None:
    """`rename` keeps what is there and counts on, cutting names that would be too long between two characters."""
    await put(store, name, b"0")
    for number, other in enumerate(expected, start=1):
        assert path_of(other) == await put(store, name, b"%d" % number, IfExists.RENAME)
        assert b"%d" % number == await get(store, other)
    assert b"0" == await get(store, name)


async def test_rename_cuts_what_looks_like_a_long_extension(store: Store) -> None:
    """`rename` finds a name even where nothing can be cut before the dot."""
    name = "a." + "x" * (MAX_COMPONENT - 2)
    await put(store, name, b"old")
    other = await put(store, name, b"new", IfExists.RENAME)
    assert other is not None
    assert (b"old", b"new") == (await get(store, name), await get(store, str(other)))


async def test_rename_leaves_folders_alone(store: Store) -> None:
    """`rename` takes the name of a folder for taken."""
    await put(store, "a.txt", b"old")
    await put(store, "a (1).txt/inner", b"inner")
    assert path_of("a (2).txt") == await put(store, "a.txt", b"new", IfExists.RENAME)
    assert b"inner" == await get(store, "a (1).txt/inner")


async def test_rename_gives_everybody_a_name(store: Store) -> None:
    """16 uploads published at once under one name get 16 names, each with its own content."""
    uploads = [await begun(store, plan_for("a", 2, IfExists.RENAME), b"%02d" % number) for number in range(16)]
    published = await asyncio.gather(
        *(upload.publish(tree_of(b"%02d" % number)) for number, upload in enumerate(uploads))
    )
    assert 16 == len(set(published))
    for number, path in enumerate(published):
        assert b"%02d" % number == await get(store, str(path))


async def test_times_and_modes_are_kept(store: Store) -> None:
    """The mtime, to the nanosecond, and the mode of the plan are the file's."""
    upload = await begun(
        store, UploadPlan(path_of("a"), 1, mtime=1_234_567_890, mtime_ns=987_654_321, mode=0o741), b"a"
    )
    await upload.publish(tree_of(b"a"))
    details, _ = await store.stat(path_of("a"))
    assert (EntryType.FILE, 1, 1_234_567_890, 987_654_321, 0o741) == details
    async with opened(store, "a") as file:
        assert details == file.details


@pytest.mark.parametrize("mtime", [0, 2**31, 10**10, 2**53 - 1])
async def test_any_time_of_the_protocol_can_be_stored(store: Store, mtime: int) -> None:
    """No mtime that a request may carry breaks an upload or the file's later use, even if the disk has to bend it."""
    await put(store, "a.txt", b"abc", mtime=mtime)
    assert b"abc" == await get(store, "a.txt")
    assert 3 == (await store.stat(path_of("a.txt")))[0].size


@pytest.mark.parametrize("if_exists", list(IfExists))
async def test_a_folder_is_never_replaced(store: Store, if_exists: IfExists) -> None:
    """A file can not take the name of a folder."""
    await put(store, "folder/a.txt", b"abc")
    with refused(ErrorCode.IS_DIRECTORY):
        await store.begin(plan_for("folder", 3, if_exists))


async def test_a_folder_made_meanwhile_is_never_replaced(store: Store) -> None:
    """A file can not take the name of a folder that was made after `begin`."""
    upload = await begun(store, plan_for("folder", 3), b"abc")
    await put(store, "folder/a.txt", b"inner")
    with refused(ErrorCode.IS_DIRECTORY):
        await upload.publish(tree_of(b"abc"))
    assert b"inner" == await get(store, "folder/a.txt")


@pytest.mark.parametrize("name", ["file/a.txt", "file/folder/a.txt"])
async def test_a_file_is_no_folder(store: Store, name: str) -> None:
    """Nothing can be put beneath a file, nor beneath one that took its place after `begin`."""
    upload = await begun(store, plan_for(name, 3), b"abc")
    await put(store, "file", b"file")
    with refused(ErrorCode.NOT_DIRECTORY):
        await upload.publish(tree_of(b"abc"))
    with refused(ErrorCode.NOT_DIRECTORY):
        await store.begin(plan_for(name, 3))
    assert b"file" == await get(store, "file")
