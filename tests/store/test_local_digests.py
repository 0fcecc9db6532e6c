"""The cache of digests: never computed twice, never of another content, never in the way.

What a store remembers is seen in its database: a value that is changed there, and comes back, was not computed.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ftpd.store.local import LocalStore, digests
from ftpd.store.local.digests import SETTLED_NS, DigestCache, State
from ftpd.wire.digests import Tree, tree_of
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import SMALL_FILE
from ftpd.wire.terms import Algorithm
from tests.store.conftest import OpenLocal
from tests.store.helpers import PATIENCE_S, get, opened, path_of, put, refused, settled, tree_in

FORGED = "f" * 32
FORGED_TREE = Tree(3, 8 * 1024 * 1024, b"\xff" * 32)


def md5_of(data: bytes) -> str:
    """Give what `md5sum` prints."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def database(root: Path) -> Path:
    """Give the file of the cache."""
    return root / ".ftpd" / "digests.sqlite"


def query(root: Path, text: str, *values: object) -> list[tuple[Any, ...]]:
    """Look into the cache, or change it, behind the store's back."""
    with closing(sqlite3.connect(database(root), isolation_level=None)) as connection:
        return connection.execute(text, values).fetchall()


async def forge(local: LocalStore, root: Path, name: str = "a.txt") -> None:
    """Have the cache hold an md5 and a tree of a settled file that only a cache can give."""
    await settled(root / name)
    await local.checksum(path_of(name), Algorithm.MD5)
    async with opened(local, name) as file:
        await file.remember(tree_of(get_bytes(root / name)))
    values = FORGED, FORGED_TREE.leaves, FORGED_TREE.root, name
    query(root, "UPDATE files SET md5 = ?, leaves = ?, root = ? WHERE path = ?", *values)
    assert FORGED == await local.checksum(path_of(name), Algorithm.MD5)
    assert FORGED_TREE == await tree_in(local, name)


def get_bytes(file: Path) -> bytes:
    """Read a file without the store."""
    return file.read_bytes()


async def test_nothing_is_computed_twice(local: LocalStore, root: Path) -> None:
    """An md5 and a tree that are known come from the cache, to `checksum`, `stat` and `open`."""
    (root / "a.txt").write_bytes(b"abc")
    await forge(local, root)
    async with opened(local, "a.txt") as file:
        assert FORGED_TREE == file.tree


async def test_each_algorithm_is_kept_beside_the_others(local: LocalStore, root: Path) -> None:
    """One row holds all that is known of one state of a file."""
    await put(local, "a.txt", b"abc")
    await settled(root / "a.txt")
    expected = [await local.checksum(path_of("a.txt"), algorithm) for algorithm in Algorithm]
    assert [(*expected, tree_of(b"abc").leaves)] == query(root, "SELECT md5, sha1, sha256, blake3, leaves FROM files")


@pytest.mark.parametrize("leaves", [bytes(32), b"short"])
async def test_damaged_leaves_are_not_believed(local: LocalStore, root: Path, leaves: bytes) -> None:
    """Leaves that do not give the root kept beside them are dropped: they would make a good file look damaged."""
    await put(local, "a.txt", b"abc")
    query(root, "UPDATE files SET leaves = ?", leaves)
    assert await tree_in(local, "a.txt") is None
    assert [] == query(root, "SELECT path FROM files")


async def test_digests_survive_a_restart(root: Path, open_local: OpenLocal) -> None:
    """What was computed before a restart is not computed again."""
    (root / "a.txt").write_bytes(b"abc")
    local = open_local(root)
    await forge(local, root)
    await local.close()
    local = open_local(root)
    assert FORGED == await local.checksum(path_of("a.txt"), Algorithm.MD5)
    assert FORGED_TREE == await tree_in(local, "a.txt")


def write_in_place(file: Path) -> bytes:
    """Change a byte; size and mtime are as before."""
    found = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"X")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    return b"Xbc"


def replace(file: Path) -> bytes:
    """Put another file of the same size and mtime in its place."""
    found, other = file.stat(), file.with_name("other")
    other.write_bytes(b"XYZ")
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(file)
    return b"XYZ"


def truncate(file: Path) -> bytes:
    """Cut it; the mtime is as before."""
    found = file.stat()
    os.truncate(file, 1)
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    return b"a"


def grow(file: Path) -> bytes:
    """Make it longer."""
    with file.open("ab") as opened:
        opened.write(b"def")
    return b"abcdef"


def rewrite(file: Path) -> bytes:
    """Empty it and write as much again."""
    file.write_bytes(b"UVW")
    return b"UVW"


@pytest.mark.parametrize("change", [write_in_place, replace, truncate, grow, rewrite])
async def test_a_changed_file_loses_its_digests(local: LocalStore, root: Path, change: Callable[[Path], bytes]) -> None:
    """However a file is changed, even with its mtime set back, its old md5 and tree are gone for `stat` and `open`."""
    (root / "a.txt").write_bytes(b"abc")
    await forge(local, root)
    data = change(root / "a.txt")
    assert md5_of(data) == await local.checksum(path_of("a.txt"), Algorithm.MD5)
    assert await tree_in(local, "a.txt") is None
    async with opened(local, "a.txt") as file:
        assert tree_of(data) == file.tree  # which a small file gets at once
    await settled(root / "a.txt")
    assert md5_of(data) == await local.checksum(path_of("a.txt"), Algorithm.MD5)
    [(md5, leaves)] = query(root, "SELECT md5, leaves FROM files")
    assert md5_of(data) == md5
    assert leaves in {None, tree_of(data).leaves}


async def test_an_upload_replaces_all_digests(local: LocalStore, root: Path) -> None:
    """After an upload the tree is the new one's, and no md5 of the old file is left."""
    (root / "a.txt").write_bytes(b"abc")
    await forge(local, root)
    await put(local, "a.txt", b"new")
    assert tree_of(b"new") == await tree_in(local, "a.txt")
    assert md5_of(b"new") == await local.checksum(path_of("a.txt"), Algorithm.MD5)


async def test_a_removed_file_has_no_digest(local: LocalStore, root: Path) -> None:
    """A digest that is still in the cache is of no use without its file."""
    (root / "a.txt").write_bytes(b"abc")
    await forge(local, root)
    (root / "a.txt").unlink()
    with refused(ErrorCode.NOT_FOUND):
        await local.checksum(path_of("a.txt"), Algorithm.MD5)


@pytest.mark.parametrize("mtime_s", [None, 4_000_000_000], ids=["now", "future"])
async def test_what_changed_just_now_is_not_kept(local: LocalStore, root: Path, mtime_s: int | None) -> None:
    """The digests of a file that could change again unseen are right but not kept, whatever its mtime says."""
    file, deadline = root / "a.txt", time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        file.write_bytes(b"abc")
        if mtime_s is not None:
            os.utime(file, (mtime_s, mtime_s))
        assert md5_of(b"abc") == await local.checksum(path_of("a.txt"), Algorithm.MD5)
        async with opened(local, "a.txt") as reading:
            await reading.remember(tree_of(b"abc"))
        kept = query(root, "SELECT md5, leaves FROM files")
        if time.time_ns() - file.stat().st_ctime_ns < SETTLED_NS:
            assert [] == kept
            return
        query(root, "DELETE FROM files")  # the machine was too slow to tell anything: again
    pytest.fail("the machine is too slow for this test")


@pytest.mark.parametrize("change", [write_in_place, truncate, grow])
async def test_remember_refuses_a_file_that_was_written_to(
    local: LocalStore, root: Path, change: Callable[[Path], bytes]
) -> None:
    """`remember` says `changed` when the open file was written to since, and nothing is kept."""
    data = b"abc" * SMALL_FILE  # a smaller one would be read when it is opened
    (root / "a.txt").write_bytes(data)
    await settled(root / "a.txt")
    async with opened(local, "a.txt") as file:
        change(root / "a.txt")
        with refused(ErrorCode.CHANGED):
            await file.remember(tree_of(data))
    assert await tree_in(local, "a.txt") is None


@pytest.mark.parametrize("mtime_ns", [-(2**62), -1, 10**19], ids=["long-ago", "before-1970", "year-2286"])
async def test_any_time_on_the_disk_can_be_served(local: LocalStore, root: Path, mtime_ns: int) -> None:
    """A file whose time is beyond what the cache can hold is served like any other."""
    (root / "a.txt").write_bytes(b"abc")
    os.utime(root / "a.txt", ns=(mtime_ns, mtime_ns))
    await settled(root / "a.txt")
    for _ in range(2):
        assert md5_of(b"abc") == await local.checksum(path_of("a.txt"), Algorithm.MD5)
        assert b"abc" == await get(local, "a.txt")
    async with opened(local, "a.txt") as file:
        await file.remember(tree_of(b"abc"))


def overwrite(file: Path) -> None:
    """Fill the database with what is none."""
    file.write_bytes(b"not a database" * 1000)


def make_empty(file: Path) -> None:
    """Cut the database to nothing."""
    file.write_bytes(b"")


def tear(file: Path) -> None:
    """Keep the head of the database and spoil the rest."""
    data = file.read_bytes()
    file.write_bytes(data[:100] + b"\xa5" * (len(data) - 100))


def make_another(file: Path) -> None:
    """Have a database whose table is another one."""
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE files (something TEXT)")


def make_folder(file: Path) -> None:
    """Have a folder in the place of the database."""
    file.unlink()
    file.mkdir()


DAMAGES = [Path.unlink, overwrite, make_empty, tear, make_another, make_folder]


async def use(local: LocalStore, root: Path) -> None:
    """Do all that looks into the cache, with right results."""
    await put(local, "b.txt", b"bcd")
    await settled(root / "b.txt")
    for name, data in (("a.txt", b"abc"), ("b.txt", b"bcd")):
        for _ in range(2):
            assert md5_of(data) == await local.checksum(path_of(name), Algorithm.MD5)
            assert await tree_in(local, name) in {tree_of(data), None}
        async with opened(local, name) as file:
            await file.remember(tree_of(data))
        assert tree_of(data) == await tree_in(local, name)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_cache_damaged_while_stopped_breaks_nothing(
    root: Path, open_local: OpenLocal, damage: Callable[[Path], None]
) -> None:
    """Whatever is found in the place of the cache at start, the store starts and every digest is right."""
    local = open_local(root)
    await put(local, "a.txt", b"abc")
    await settled(root / "a.txt")
    await local.checksum(path_of("a.txt"), Algorithm.MD5)
    await local.close()
    damage(database(root))
    await use(open_local(root), root)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_cache_damaged_while_running_breaks_nothing(
    root: Path, open_local: OpenLocal, damage: Callable[[Path], None]
) -> None:
    """Whatever happens to the cache while it is open, every digest stays right, and the store starts again after."""
    local = open_local(root)
    await put(local, "a.txt", b"abc")
    await settled(root / "a.txt")
    damage(database(root))
    await use(local, root)
    await local.close()
    await use(open_local(root), root)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A cache in memory that is full keeps what it has, and takes no more; nobody is bothered with it."""
    monkeypatch.setattr(digests, "MEMORY_PAGES", 50)
    tree = tree_of(b"abc")
    files = [(path_of(f"{number:0100}"), State(3, number, number, number)) for number in range(1000)]
    with closing(DigestCache(None)) as cache:
        for file in files:
            cache.keep_tree(*file, tree)
        known = [cache.tree(*file) for file in files]
    kept = known.index(None)
    assert [tree] * kept == known[:kept]
    assert kept > 100
    assert [] == caplog.messages
