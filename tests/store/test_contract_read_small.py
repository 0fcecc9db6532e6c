"""Many small files read at once, in every kind of store: each as if it had been opened by itself."""

import os
import shutil
import time
from pathlib import Path

import pytest

from ftpd.store.base import Store
from ftpd.store.local import reading
from ftpd.store.local.digests import SETTLED_NS
from ftpd.store.values import WholeFile
from ftpd.wire.digests import tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import MIB, SMALL_FILE
from ftpd.wire.terms import Algorithm
from tests.store.conftest import OpenLocal
from tests.store.helpers import path_of, put, settled, tree_in
from tests.store.test_local_digests import query

ROOM = 4 * MIB


async def read(store: Store, *names: str, room: int = ROOM) -> list[bytes | str | None]:
    """Read files; give their bytes, or the code of what went wrong."""
    results = await store.read_small([path_of(name) for name in names], room)
    for result in results:
        if isinstance(result, WholeFile):
            assert tree_of(result.data) == result.tree
            assert len(result.data) == result.details.size
    return [
        what.code.value if isinstance(what, FtpdError) else bytes(what.data) if what is not None else None
        for what in results
    ]


async def test_all_are_read(store: Store) -> None:
    """Every file is whole, in its order, with what is known of it; one that is asked for twice comes twice."""
    files = {f"{n % 3}/{n % 5}/{n}": b"%d," % n * n for n in range(40)}
    for name, data in files.items():
        await put(store, name, data)
    names = [*files, *files]
    assert [*files.values()] * 2 == await read(store, *names)
    for name, whole in zip(names, await store.read_small([path_of(name) for name in names], ROOM), strict=True):
        assert isinstance(whole, WholeFile)
        assert (whole.details, whole.tree) == await store.stat(path_of(name))


async def test_none(store: Store) -> None:
    """No files are no work."""
    assert [] == await read(store)


async def test_one_that_fails_costs_no_other(store: Store) -> None:
    """Each error is that of its file alone, and the one that opening it gives."""
    await put(store, "a", b"a")
    await put(store, "folder/b", b"b")
    names = ("a", "nothing", "folder", "folder/b", "a/b", "nothing/b", "a")
    expected = [b"a", "not_found", "is_directory", b"b", "not_directory", "not_found", b"a"]
    assert expected == await read(store, *names)
    for name, code in zip(names, expected, strict=True):
        if isinstance(code, str):
            with pytest.raises(FtpdError) as caught:
                await store.open(path_of(name))
            assert code == caught.value.code.value


async def test_one_that_is_not_small_ends_it(store: Store) -> None:
    """A file that is not small is not read, nor any behind it."""
    await put(store, "small", b"x" * SMALL_FILE)
    await put(store, "large", b"x" * (SMALL_FILE + 1))
    assert [b"x" * SMALL_FILE, None] == await read(store, "small", "large", "small")
    assert [None] == await read(store, "large", "large")


@pytest.mark.parametrize(("room", "count"), [(0, 1), (1, 1), (100, 1), (101, 2), (200, 2), (250, 3), (10_000, 8)])
async def test_it_ends_when_there_is_enough(store: Store, room: int, count: int) -> None:
    """Files are read until they have so many bytes together, the first in any case."""
    for n in range(8):
        await put(store, str(n), b"x" * 100)
    assert count == len(await read(store, *map(str, range(8)), room=room))


async def test_what_is_no_file(root: Path, open_local: OpenLocal) -> None:
    """Links and FIFOs are refused as when they are opened; no descriptor stays."""
    store = open_local(root)
    (root / "a").write_bytes(b"a")
    (root / "folder").mkdir()
    (root / "folder" / "b").write_bytes(b"b")
    (root / "link").symlink_to("a")
    (root / "around").symlink_to("folder")
    os.mkfifo(root / "fifo")
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names will do)
    names = ("link", "around/b", "fifo", "folder/b", "a")
    assert ["symlink", "symlink", "not_regular", b"b", b"a"] == await read(store, *names)
    assert before == set(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def test_trees_are_remembered(root: Path, open_local: OpenLocal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What had to be hashed is known the next time, beside the digests that were known before."""
    store = open_local(root)
    for name in ("a", "b", "c"):
        (root / name).write_bytes(name.encode())
    await settled(root / "c")
    md5 = await store.checksum(path_of("b"), Algorithm.MD5)
    assert [b"a", b"b", b"c"] == await read(store, "a", "b", "c")
    assert [tree_of(b"a"), tree_of(b"b"), tree_of(b"c")] == [await tree_in(store, name) for name in ("a", "b", "c")]
    monkeypatch.setattr(reading, "tree_of", None)  # nothing is hashed again
    assert [b"a", b"b", b"c"] == await read(store, "a", "b", "c")
    monkeypatch.setattr("ftpd.store.local.store.read_pieces", None)
    assert md5 == await store.checksum(path_of("b"), Algorithm.MD5)


async def test_a_file_that_was_just_written_is_not_remembered(root: Path, open_local: OpenLocal) -> None:
    """The tree of a file that could change without a trace is given, and not kept."""
    store = open_local(root)
    for _ in range(20):
        (root / "a").write_bytes(b"a")
        assert [b"a"] == await read(store, "a")
        if time.time_ns() - (root / "a").stat().st_ctime_ns < SETTLED_NS:
            assert await tree_in(store, "a") is None
            return
    pytest.fail("the machine is too slow for this test")


async def test_a_file_that_is_being_written(root: Path, open_local: OpenLocal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes while it is read is `changed`, and the others are read."""
    store, real = open_local(root), os.read
    for name in ("a", "b", "c"):
        (root / name).write_bytes(name.encode())

    def read_slowly(fd: int, size: int) -> bytes:
        data = real(fd, size)
        if data == b"b":
            (root / "b").write_bytes(b"something else")
        return data

    monkeypatch.setattr(os, "read", read_slowly)
    assert [b"a", "changed", b"c"] == await read(store, "a", "b", "c")


async def test_a_damaged_cache_is_not_believed(root: Path, open_local: OpenLocal) -> None:
    """A tree that is not what its root says is thrown away, and the file is hashed."""
    store = open_local(root)
    for name in ("a", "b"):
        await put(store, name, name.encode())
    query(root, "UPDATE files SET leaves = zeroblob(32) WHERE path = 'a'")
    await settled(root / "b")
    assert [b"a", b"b"] == await read(store, "a", "b")
    assert tree_of(b"a") == await tree_in(store, "a")


async def test_times_that_the_cache_can_not_hold(root: Path, open_local: OpenLocal) -> None:
    """A file from a far future is read like any other, and costs the others nothing."""
    store = open_local(root)
    for name in ("a", "b"):
        (root / name).write_bytes(name.encode())
    os.utime(root / "a", ns=(10**19, 10**19))
    await settled(root / "b")
    for _ in range(2):
        assert [b"a", b"b"] == await read(store, "a", "b")
    assert [None, tree_of(b"b")] == [await tree_in(store, name) for name in ("a", "b")]


async def test_the_root_is_gone(root: Path, open_local: OpenLocal) -> None:
    """Without its root the store says so."""
    store = open_local(root)
    shutil.rmtree(root)
    with pytest.raises(FtpdError) as caught:
        await store.read_small([path_of("a"), path_of("b")], ROOM)
    assert caught.value.code is ErrorCode.UNAVAILABLE


async def test_the_default_leaves_nothing_open(root: Path, open_local: OpenLocal) -> None:
    """What a store does by default leaves nothing open."""
    store = open_local(root)
    (root / "a").write_bytes(b"a")
    (root / "large").write_bytes(b"x" * (SMALL_FILE + 1))
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    results = await Store.read_small(store, [path_of("a"), path_of("nothing"), path_of("large")], ROOM)
    assert before == set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert [WholeFile, FtpdError, type(None)] == [type(result) for result in results]
