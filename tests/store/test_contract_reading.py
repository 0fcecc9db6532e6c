"""The contract of a store (`ftpd/store/base.py`), its reading half: every implementation passes."""

import hashlib

import pytest
from blake3 import blake3

from ftpd.store.base import Store
from ftpd.wire.digests import TreeHasher, chunk_size_for, tree_of
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import MIB
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Entry
from ftpd.wire.terms import Algorithm, EntryType, IfExists
from tests.store.conftest import Reopen
from tests.store.helpers import ROOT, get, names, opened, pages, path_of, plan_for, put, refused, tree_in

DATA = hashlib.shake_128(b"reading").digest(2 * MIB + 5)


async def test_a_listing_comes_in_pages(store: Store) -> None:
    """Pages are full but for the last, hold each name once, and go on being empty after the end."""
    expected = [f"{number:03}" for number in range(25)]
    for name in expected:
        await put(store, f"folder/{name}")
    listing = await store.list(path_of("folder"), long=False)
    found = [await listing.next(10) for _ in range(5)]
    await listing.close()
    assert [10, 10, 5, 0, 0] == [len(page) for page in found]
    assert expected == sorted(entry.name for page in found for entry in page)
    assert 0 == listing.unnameable


async def test_names_that_stay_are_listed_once_while_others_come_and_go(store: Store) -> None:
    """Each name that is there all the time is listed exactly once, whatever is published between two pages."""
    expected = [f"stays-{number:03}" for number in range(60)]
    for name in expected:
        await put(store, name)
    listing = await store.list(ROOT, long=True)
    found: list[str] = []
    while page := await listing.next(7):
        found += [entry.name for entry in page]
        await put(store, f"new-{len(found)}")
        await put(store, expected[len(found) % 60], b"replaced")
    await listing.close()
    assert expected == sorted(name for name in found if name.startswith("stays-"))


async def test_a_listing_tells_that_it_is_over(store: Store) -> None:
    """Who has got less than he asked for knows that it is over, and who has not been told so gets more, or nothing."""
    for name in ("folder/a", "folder/b", "folder/c"):
        await put(store, name)
    listing = await store.list(path_of("folder"), long=True)
    assert (False, 2, False) == (listing.is_over, len(await listing.next(2)), listing.is_over)
    assert (1, True) == (len(await listing.next(2)), listing.is_over)
    assert [] == await listing.next(2)
    await listing.close()


async def test_a_listing_may_be_given_up(store: Store) -> None:
    """A listing may be closed before its end, and again."""
    await put(store, "a")
    await put(store, "b")
    listing = await store.list(ROOT, long=False)
    assert 1 == len(await listing.next(1))
    await listing.close()
    await listing.close()


async def test_the_root_is_a_folder(store: Store) -> None:
    """The root can be listed and told of, even while it is empty."""
    assert [] == await pages(store)
    details, tree = await store.stat(ROOT)
    assert (EntryType.DIRECTORY, None) == (details.type, tree)
    await put(store, "a.txt")
    await put(store, "folder/b.txt")
    assert ["a.txt", "folder"] == await names(store)
    assert ["b.txt"] == await names(store, "folder")


async def test_a_short_listing_tells_types_only(store: Store) -> None:
    """Without `long` an entry is a name and a type."""
    await put(store, "a.txt", b"abc")
    await put(store, "folder/b.txt")
    entries = {entry.name: entry for page in await pages(store) for entry in page}
    assert Entry(name="a.txt", type=EntryType.FILE) == entries["a.txt"]
    assert Entry(name="folder", type=EntryType.DIRECTORY) == entries["folder"]


async def test_a_long_listing_tells_what_stat_tells(store: Store) -> None:
    """With `long` an entry has the size, time and mode that `stat` gives."""
    await put(store, "a.txt", b"abc", mtime=1_000_000_007)
    await put(store, "folder/b.txt")
    for entry in [entry for page in await pages(store, long=True) for entry in page]:
        details, _ = await store.stat(path_of(entry.name))
        assert details == (entry.type, entry.size, entry.mtime, entry.mtime_ns, entry.mode)
        assert entry.type is EntryType.DIRECTORY or (3, 1_000_000_007) == (entry.size, entry.mtime)


async def test_parents_come_with_their_files(store: Store) -> None:
    """Folders on the way to a file are there once it is published."""
    await put(store, "a/b/c.txt", b"abc")
    assert (["a"], ["b"], ["c.txt"]) == (await names(store), await names(store, "a"), await names(store, "a/b"))
    assert EntryType.DIRECTORY is (await store.stat(path_of("a/b")))[0].type


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nothing", ErrorCode.NOT_FOUND),
        ("nothing/at/all", ErrorCode.NOT_FOUND),
        ("folder/nothing", ErrorCode.NOT_FOUND),
        ("file/nothing", ErrorCode.NOT_DIRECTORY),
        ("folder", ErrorCode.IS_DIRECTORY),
        ("", ErrorCode.IS_DIRECTORY),
    ],
)
async def test_what_is_no_file_can_not_be_read(store: Store, name: str, code: ErrorCode) -> None:
    """`open` and `checksum` say what a name is instead of a file; `stat` says the same of names that nothing has."""
    await put(store, "folder/file")
    await put(store, "file")
    path = RemotePath.parse_folder(name)
    with refused(code):
        await store.open(path)
    with refused(code):
        await store.checksum(path, Algorithm.MD5)
    if code is not ErrorCode.IS_DIRECTORY:
        with refused(code):
            await store.stat(path)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nothing", ErrorCode.NOT_FOUND),
        ("folder/nothing", ErrorCode.NOT_FOUND),
        ("file", ErrorCode.NOT_DIRECTORY),
        ("file/nothing", ErrorCode.NOT_DIRECTORY),
    ],
)
async def test_what_is_no_folder_can_not_be_listed(store: Store, name: str, code: ErrorCode) -> None:
    """`list` says what a name is instead of a folder."""
    await put(store, "folder/file")
    await put(store, "file")
    with refused(code):
        await store.list(path_of(name), long=False)


@pytest.mark.parametrize(
    ("offset", "size"), [(0, len(DATA)), (0, 0), (0, 1), (MIB - 1, 2), (MIB, MIB + 5), (len(DATA), 0)]
)
async def test_a_range_can_be_loaded(store: Store, offset: int, size: int) -> None:
    """`load` gives the bytes of a range where they are asked for, and feeds them to the digest either way."""
    await put(store, "a.bin", DATA)
    expected = DATA[offset : offset + size]
    async with opened(store, "a.bin") as file:
        for copy in (True, False):
            hasher = TreeHasher(chunk_size_for(size))
            data = await file.load(offset, size, hasher, copy=copy)
            assert tree_of(expected) == hasher.finish()
            if copy or file.file() is None:
                assert data is not None
                assert expected == bytes(data)
            else:
                assert data is None
        plain = await file.load(offset, size, None, copy=True)
        assert plain is not None
        assert expected == bytes(plain)


async def test_remembering_a_known_tree_is_harmless(store: Store) -> None:
    """`remember` of the tree that is known changes nothing."""
    await put(store, "a.txt", b"abc")
    async with opened(store, "a.txt") as file:
        await file.remember(tree_of(b"abc"))
    assert tree_of(b"abc") == await tree_in(store, "a.txt")


@pytest.mark.parametrize("data", [b"", b"abc", DATA], ids=len)
@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_checksums_are_what_everybody_else_computes(store: Store, algorithm: Algorithm, data: bytes) -> None:
    """Each digest is the one over the plain content, in hex, however often it is asked for."""
    await put(store, "a.bin", data)
    hasher = blake3(data) if algorithm is Algorithm.BLAKE3 else hashlib.new(algorithm.value, data)
    for _ in range(2):
        assert hasher.hexdigest() == await store.checksum(path_of("a.bin"), algorithm)


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_a_checksum_follows_the_file(store: Store, algorithm: Algorithm) -> None:
    """The digest of a replaced file is that of the new one, even if size and mtime are the same."""
    found = []
    for data in (b"old", b"new"):
        await put(store, "a.txt", data, mtime=1_000_000_000)
        found.append(await store.checksum(path_of("a.txt"), algorithm))
    assert found[0] != found[1]
    assert tree_of(b"new") == await tree_in(store, "a.txt")


async def test_a_read_only_store_reads(store: Store, read_only: Reopen) -> None:
    """All that reads works in a store that only reads, and remembering is no error."""
    await put(store, "folder/a.txt", b"abc")
    reader = await read_only(store)
    assert ["a.txt"] == await names(reader, "folder")
    assert hashlib.md5(b"abc", usedforsecurity=False).hexdigest() == await reader.checksum(
        path_of("folder/a.txt"), Algorithm.MD5
    )
    async with opened(reader, "folder/a.txt") as file:
        await file.remember(tree_of(b"abc"))
    assert 3 == (await reader.stat(path_of("folder/a.txt")))[0].size


async def test_a_read_only_store_refuses_uploads(store: Store, read_only: Reopen) -> None:
    """A store that is read-only says so to every upload, and still reads."""
    await put(store, "a.txt", b"abc")
    reader = await read_only(store)
    assert reader.read_only
    for if_exists in IfExists:
        with refused(ErrorCode.READ_ONLY):
            await reader.begin(plan_for("a.txt", 3, if_exists))
    with refused(ErrorCode.READ_ONLY):
        await reader.begin(plan_for("new/b.txt", 3))
    assert (b"abc", ["a.txt"]) == (await get(reader, "a.txt"), await names(reader))
