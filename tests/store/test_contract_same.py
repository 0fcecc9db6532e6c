"""Which files need not be sent again: only what is there to the last byte, in every kind of store."""

import os
from pathlib import Path

import pytest

from ftpd.store.base import Store
from ftpd.store.local import comparing
from ftpd.store.memory import MemoryStore
from ftpd.store.values import Likeness, Twin
from ftpd.wire.digests import tree_of
from ftpd.wire.errors import ErrorCode
from ftpd.wire.terms import Durability
from tests.store.conftest import OpenLocal, Reopen
from tests.store.helpers import open_descriptors, path_of, put, refused, settled, snapshot, tree_in

SAME, OTHER, NO_FOLDER = Likeness.SAME, Likeness.OTHER, Likeness.NO_FOLDER


def twin(name: str, data: bytes, details: tuple[int, int, int] | None = None) -> Twin:
    """Describe a file that somebody has."""
    return Twin(path_of(name), len(data), tree_of(data).root, details)


async def test_what_is_there(store: Store) -> None:
    """The same bytes under the same name are the same; other bytes, names and folders are not."""
    await put(store, "a", b"abc")
    await put(store, "folder/b", b"")
    asked = [
        twin("a", b"abc"), twin("a", b"abd"), twin("a", b"abcd"), twin("folder/b", b""), twin("folder/c", b""),
        twin("c", b"abc"), twin("none/a", b"abc"), twin("folder", b""), twin("a/b", b"abc"),
    ]  # fmt: skip
    expected = [SAME, OTHER, OTHER, SAME, OTHER, OTHER, NO_FOLDER, OTHER, NO_FOLDER]
    assert expected == await store.same(asked)
    assert [] == await store.same([])


async def test_many(store: Store) -> None:
    """Each of many files is told by itself, in their order, in whatever folders they are."""
    names = [f"{number % 7}/{number}" for number in range(3 * comparing.MOST_COMPARED)]
    for name in names[::2]:
        await put(store, name, name.encode())
    assert [SAME, OTHER] * (len(names) // 2) == await store.same([twin(name, name.encode()) for name in names])


async def test_another_size_under_the_same_root(store: Store) -> None:
    """Size and root both count."""
    await put(store, "a", b"abc")
    assert [OTHER] == await store.same([twin("a", b"abc")._replace(size=4)])


async def test_time_and_mode(store: Store) -> None:
    """They count if they are given, each of them."""
    await put(store, "a", b"abc", mtime=1000)
    details, _ = await store.stat(path_of("a"))
    time, nanoseconds, mode = details[2:]
    asked = [(time, nanoseconds, mode), (time + 1, nanoseconds, mode), (time, 1, mode), (time, nanoseconds, mode ^ 1)]
    assert [SAME, OTHER, OTHER, OTHER] == await store.same([twin("a", b"abc", found) for found in asked])


async def test_a_store_that_only_reads(store: Store, read_only: Reopen) -> None:
    """It can be asked: what it has not read it does not know, and what differs is not the same."""
    await put(store, "a", b"abc")
    reader = await read_only(store)
    known = SAME if isinstance(reader, MemoryStore) else OTHER  # which has read all it has
    assert [known, OTHER] == await reader.same([twin("a", b"abc"), twin("a", b"abd")])


@pytest.mark.parametrize("durability", Durability)
async def test_what_came_by_other_means(root: Path, open_local: OpenLocal, durability: Durability) -> None:
    """A file that the store has not read is not known, however alike it is; nothing is hashed, changed or left open."""
    store = open_local(root, durability=durability)
    (root / "a").write_bytes(b"abc")
    await put(store, "b", b"abc")
    before, opened = snapshot(root), open_descriptors()
    assert [OTHER, SAME] == await store.same([twin("a", b"abc"), twin("b", b"abc")])
    assert await tree_in(store, "a") is None
    assert (before, opened) == (snapshot(root), open_descriptors())


async def test_a_file_that_was_changed(root: Path, open_local: OpenLocal) -> None:
    """A file that was changed by other means is not the same, even with its old size and time."""
    store = open_local(root)
    await put(store, "a", b"abc", mtime=1000)
    before = (root / "a").stat()
    await settled(root / "a")
    (root / "a").write_bytes(b"abd")
    os.utime(root / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [OTHER] * 2 == await store.same([twin("a", b"abc"), twin("a", b"abd")])


async def test_links(root: Path, open_local: OpenLocal) -> None:
    """A link is never the same as the file it leads to, nor is what is in a folder it leads to."""
    store = open_local(root)
    await put(store, "folder/a", b"abc")
    (root / "link").symlink_to("folder/a")
    (root / "around").symlink_to("folder")
    os.mkfifo(root / "fifo")
    asked = [twin("link", b"abc"), twin("around/a", b"abc"), twin("fifo", b"")]
    assert [OTHER, NO_FOLDER, OTHER] == await store.same(asked)


async def test_what_is_the_same_is_durable(root: Path, open_local: OpenLocal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are the same are synced with their folder, and no others; what can not be synced is not the same."""
    store = open_local(root, durability=Durability.FULL)
    for name in ("a", "b", "c"):
        await put(store, f"folder/{name}", name.encode())
    synced: list[str] = []
    broken = {"b"}

    def sync_all(fds: list[int], _: object) -> list[OSError | None]:
        names = [Path(f"/proc/self/fd/{fd}").readlink().name for fd in fds]
        synced.extend(names)
        return [OSError(5, "no disk") if name in broken else None for name in names]

    monkeypatch.setattr(comparing, "sync_all", sync_all)
    asked = [twin("folder/a", b"a"), twin("folder/b", b"b"), twin("folder/c", b"other")]
    assert [SAME, OTHER, OTHER] == await store.same(asked)
    assert ["a", "b", "folder"] == synced
    broken = {"folder"}
    assert [OTHER, OTHER, OTHER] == await store.same(asked)


async def test_a_root_that_is_gone(root: Path, open_local: OpenLocal) -> None:
    """It is told, and not taken for an empty one."""
    store = open_local(root, read_only=True)
    root.rmdir()  # noqa: ASYNC240 (it is in memory)
    with refused(ErrorCode.UNAVAILABLE):
        await store.same([twin("a", b"")])
