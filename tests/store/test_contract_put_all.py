"""Many small files at once, in every kind of store: each as if it had come alone."""

import asyncio
import os
import shutil
import stat
from pathlib import Path

import pytest

from ftpd.store.base import Store
from ftpd.store.local import batch
from ftpd.store.values import SmallFile, UploadPlan
from ftpd.wire.digests import tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.terms import Durability, IfExists
from tests.store.conftest import OpenLocal
from tests.store.helpers import get, names, path_of, plan_for, put, tree_in


def small(name: str, data: bytes = b"", if_exists: IfExists = IfExists.OVERWRITE) -> SmallFile:
    """Make a file that has arrived."""
    return SmallFile(plan_for(name, len(data), if_exists), data, tree_of(data))


def detailed(number: int) -> SmallFile:
    """Make a file with a time and a mode."""
    data = b"x" * number
    path = path_of(f"{number % 3}/{number % 5}/{number}")
    plan = UploadPlan(path, number, mtime=1000 + number, mtime_ns=number, mode=0o640 + number % 8)
    return SmallFile(plan, data, tree_of(data))


async def stored(store: Store, *files: SmallFile) -> list[str | None]:
    """Store files; give their names, or the code of what went wrong."""
    results = await store.put_all(files)
    assert len(results) == len(files)
    return [what.code.value if isinstance(what, FtpdError) else None if what is None else str(what) for what in results]


async def test_all_are_there(store: Store) -> None:
    """Every file is whole, in its folder, with its tree and what was wanted of its time and mode."""
    files = [detailed(number) for number in range(40)]
    assert [str(file.plan.path) for file in files] == await stored(store, *files)
    for file in files:
        path = str(file.plan.path)
        details, tree = await store.stat(file.plan.path)
        assert (file.data, file.tree, file.tree) == (await get(store, path), await tree_in(store, path), tree)
        assert (file.plan.mtime, file.plan.mtime_ns, file.plan.mode) == details[2:]


async def test_none(store: Store) -> None:
    """No files are no work."""
    assert [] == await stored(store)
    assert [] == await names(store)


async def test_one_that_fails_costs_no_other(store: Store) -> None:
    """Each refusal is that of its file alone, also where files stand in each other's way."""
    await put(store, "folder/inner", b"inner")
    await put(store, "taken", b"taken")
    results = await stored(
        store,
        small("a", b"a"),
        small("folder", b"a folder has this name"),
        small("a/b", b"a is a file, since a moment ago"),
        small("taken", b"new", IfExists.FAIL),
        small("taken", b"new", IfExists.SKIP),
        small("taken", b"new", IfExists.RENAME),
        small("z", b"z"),
    )
    assert ["a", "is_directory", "not_directory", "exists", None, "taken (1)", "z"] == results
    contents = [await get(store, name) for name in ("a", "taken", "taken (1)", "z", "folder/inner")]
    assert [b"a", b"taken", b"new", b"z", b"inner"] == contents


async def test_the_last_of_one_name_stays(store: Store) -> None:
    """Files of one name are stored in their order; with `fail` the first stays."""
    assert ["a", "a", "b", "exists"] == await stored(
        store, small("a", b"1"), small("a", b"two"), small("b", b"1"), small("b", b"two", IfExists.FAIL)
    )
    assert (b"two", b"1") == (await get(store, "a"), await get(store, "b"))
    assert tree_of(b"two") == await tree_in(store, "a")


async def test_one_has_the_name(store: Store) -> None:
    """Of many batches at once that may not overwrite, each name is given exactly once."""
    batches = [[small(f"{n}", b"%d" % turn, IfExists.FAIL) for n in range(8)] for turn in range(6)]
    results = await asyncio.gather(*(stored(store, *files) for files in batches))
    for n in range(8):
        winners = [turn for turn, result in enumerate(results) if result[n] == str(n)]
        assert [b"%d" % turn for turn in winners] == [await get(store, str(n))]


def hidden(root: Path) -> list[str]:
    """Tell what is left of unfinished files."""
    return os.listdir(root / ".ftpd" / "tmp")  # noqa: PTH208 (names will do)


async def test_nothing_is_left(root: Path, open_local: OpenLocal) -> None:
    """Whatever becomes of the files of a batch, no hidden file and no descriptor stays."""
    store = open_local(root)
    (root / "link").symlink_to("elsewhere")
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    names_ = ("good", "link", "link/inner", "good/inner")
    assert ["good", "symlink", "symlink", "not_directory"] == await stored(
        store, *(small(name, b"x") for name in names_)
    )
    assert before == set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert [] == hidden(root)
    assert (root / "link").is_symlink()


@pytest.mark.parametrize("step", ["write_all", "give_name"])
async def test_a_disk_that_fails(root: Path, open_local: OpenLocal, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A disk that fails for one file is that file's error; the others are stored."""
    store, calls, real = open_local(root), 0, getattr(batch, step)

    def fail(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(5, "Input/output error")
        return real(*args)

    monkeypatch.setattr(batch, step, fail)
    assert ["a", "io_error", "c"] == await stored(store, *(small(name, b"x") for name in "abc"))
    assert ["a", "c"] == sorted(await names(store))
    assert [] == hidden(root)


async def test_a_sync_that_fails(root: Path, open_local: OpenLocal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose bytes are not known to be on the disk does not get its name."""
    store = open_local(root, durability=Durability.FULL)
    real = os.fsync

    def fail(fd: int) -> None:
        if stat.S_ISREG(os.fstat(fd).st_mode) and os.pread(fd, 1, 0) == b"!":
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr(os, "fsync", fail)
    assert ["a", "no_space"] == await stored(store, small("a", b"x"), small("b", b"!"))
    assert ["a"] == await names(store)
    assert [] == hidden(root)


async def test_the_root_is_gone(root: Path, open_local: OpenLocal) -> None:
    """Without its root the store says so."""
    store = open_local(root)
    shutil.rmtree(root)
    with pytest.raises(FtpdError) as caught:
        await store.put_all([small("a", b"x"), small("b", b"x")])
    assert caught.value.code is ErrorCode.UNAVAILABLE
