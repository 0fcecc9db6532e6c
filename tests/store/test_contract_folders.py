"""The contract of a store (`ftpd/store/base.py`), its folders: every implementation passes."""

import asyncio

import pytest

from ftpd.store.base import Store
from ftpd.wire.errors import ErrorCode
from ftpd.wire.terms import EntryType, IfExists
from tests.store.conftest import Reopen
from tests.store.helpers import ROOT, get, names, path_of, plan_for, put, refused


async def test_an_empty_folder_is_there(store: Store) -> None:
    """A folder that was made can be told of and listed, and is listed where it is, as are those it is in."""
    assert await store.make_folder(path_of("a/b/c"))
    for name, inner in (("", ["a"]), ("a", ["b"]), ("a/b", ["c"]), ("a/b/c", [])):
        assert inner == await names(store, name)
    for name in ("a", "a/b", "a/b/c"):
        assert EntryType.DIRECTORY is (await store.stat(path_of(name)))[0].type


async def test_making_a_folder_again_is_no_error(store: Store) -> None:
    """What is there already is not new, whether it was made by itself, on the way, or for a file; nor is the root."""
    await store.make_folder(path_of("a/b"))
    await put(store, "c/d/file", b"abc")
    for name in ("a/b", "a", "c", "c/d"):
        assert not await store.make_folder(path_of(name))
    assert not await store.make_folder(ROOT)
    assert ["a", "c"] == await names(store)
    assert b"abc" == await get(store, "c/d/file")


async def test_making_a_folder_has_exactly_one_winner(store: Store) -> None:
    """Of 64 that make one folder at once, exactly one hears that it is new."""
    made = await asyncio.gather(*(store.make_folder(path_of("a/b")) for _ in range(64)))
    assert 1 == made.count(True)


async def test_a_folder_that_was_made_takes_files(store: Store) -> None:
    """A folder is the same for files whether it was made or came with one; what is beside it is not in it."""
    await store.make_folder(path_of("a/b"))
    await put(store, "a/b/c", b"abc")
    await put(store, "a/bc", b"abc")
    assert (["b", "bc"], ["c"]) == (await names(store, "a"), await names(store, "a/b"))


@pytest.mark.parametrize("name", ["file", "file/a", "file/a/b"])
async def test_a_file_in_the_way_of_a_folder(store: Store, name: str) -> None:
    """Where a file has the name, or that of a parent, no folder is made."""
    await put(store, "file", b"abc")
    with refused(ErrorCode.NOT_DIRECTORY):
        await store.make_folder(path_of(name))
    assert ["file"] == await names(store)
    assert b"abc" == await get(store, "file")


@pytest.mark.parametrize("if_exists", list(IfExists))
async def test_an_empty_folder_is_never_replaced(store: Store, if_exists: IfExists) -> None:
    """A file can not take the name of an empty folder, nor that of one it is in."""
    await store.make_folder(path_of("a/b"))
    for name in ("a", "a/b"):
        with refused(ErrorCode.IS_DIRECTORY):
            await store.begin(plan_for(name, 3, if_exists))


async def test_rename_takes_an_empty_folder_for_taken(store: Store) -> None:
    """`rename` leaves a folder its name, with or without something in it."""
    await put(store, "a.txt", b"old")
    await store.make_folder(path_of("a (1).txt"))
    assert path_of("a (2).txt") == await put(store, "a.txt", b"new", IfExists.RENAME)


async def test_an_empty_folder_is_no_file(store: Store) -> None:
    """An empty folder can not be read."""
    await store.make_folder(path_of("a"))
    with refused(ErrorCode.IS_DIRECTORY):
        await store.open(path_of("a"))


async def test_a_read_only_store_makes_no_folder(store: Store, read_only: Reopen) -> None:
    """A store that is read-only refuses new folders and those that are there, and still lists them."""
    await store.make_folder(path_of("a"))
    reader = await read_only(store)
    for name in ("a", "b"):
        with refused(ErrorCode.READ_ONLY):
            await reader.make_folder(path_of(name))
    assert ["a"] == await names(reader)
