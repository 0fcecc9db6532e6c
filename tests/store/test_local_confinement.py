"""The local store serves regular files and folders beneath its root, and nothing else that a disk can hold."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from ftpd.store.local import LocalStore
from ftpd.wire.digests import tree_of
from ftpd.wire.errors import ErrorCode
from ftpd.wire.paths import RemotePath
from ftpd.wire.terms import Algorithm, EntryType, IfExists
from tests.store.helpers import (
    PATIENCE_S,
    ROOT,
    begun,
    get,
    names,
    open_descriptors,
    pages,
    path_of,
    plan_for,
    put,
    refused,
    snapshot,
)

WAYS = ["openat2", "walk"]


@pytest.fixture(params=WAYS)
def confined(request: pytest.FixtureRequest, local: LocalStore) -> LocalStore:
    """A store for each of the two ways to stay beneath the root."""
    if request.param == "walk":
        local._root._openat2 = None
    elif local._root._openat2 is None:
        pytest.skip("this kernel has no openat2")
    return local


def make_folder(folder: Path) -> None:
    """Make a folder behind the store's back."""
    folder.mkdir()


def make_link(link: Path, target: Path) -> None:
    """Make a symbolic link behind the store's back."""
    link.symlink_to(target)


def replace_folder(folder: Path, moved: Path) -> None:
    """Move a folder away, and make an empty one in its place."""
    folder.rename(moved)
    folder.mkdir()


@pytest.fixture
def links(root: Path) -> Path:
    """Symbolic links of all kinds in the root, and the folder outside that some lead to."""
    outside = root.parent / "outside"
    for folder in (outside, root / "inside"):
        (folder / "deep").mkdir(parents=True)
        (folder / "file").write_bytes(b"behind a link")
    for name, target in {
        "to-file": "inside/file",
        "to-folder": "inside",
        "to-outside": str(outside),
        "to-outside-file": str(outside / "file"),
        "to-parent": "..",
        "to-root": ".",
        "to-nothing": "nothing",
        "to-itself": "to-itself",
        "to-magic": f"/proc/self/cwd/{os.path.relpath(outside)}",
    }.items():
        (root / name).symlink_to(target)
    (root / "inside" / "to-outside").symlink_to(outside)
    return outside


LINKS = [
    "to-file",
    "to-folder",
    "to-outside",
    "to-outside-file",
    "to-parent",
    "to-root",
    "to-nothing",
    "to-itself",
    "to-magic",
    "inside/to-outside",
]


@pytest.mark.parametrize("name", LINKS)
async def test_a_link_is_shown_as_a_link(confined: LocalStore, links: Path, name: str) -> None:
    """`stat` and both listings tell of the link itself, never of what it leads to."""
    path = path_of(name)
    details, tree = await confined.stat(path)
    assert (EntryType.SYMLINK, None) == (details.type, tree)
    for long in (True, False):
        found = [entry for page in await pages(confined, path.parent, long=long) for entry in page]
        assert [EntryType.SYMLINK] == [entry.type for entry in found if entry.name == path.name]


@pytest.mark.parametrize("name", [*LINKS, "to-folder/file", "to-outside/file", "to-outside/deep", "to-magic/file"])
async def test_a_link_is_never_followed(confined: LocalStore, links: Path, name: str) -> None:
    """What is a link, or lies behind one, can not be opened, hashed, listed, put or made a folder: it is `symlink`."""
    path, before = path_of(name), (snapshot(links), open_descriptors())
    with refused(ErrorCode.SYMLINK):
        await confined.open(path)
    with refused(ErrorCode.SYMLINK):
        await confined.checksum(path, Algorithm.MD5)
    with refused(ErrorCode.SYMLINK):
        await confined.list(path, long=False)
    for folder in (name, f"{name}/new/inner"):
        with refused(ErrorCode.SYMLINK):
            await confined.make_folder(path_of(folder))
    for if_exists in IfExists:
        with refused(ErrorCode.SYMLINK):
            await confined.begin(plan_for(name, 3, if_exists))
        with refused(ErrorCode.SYMLINK):
            await confined.begin(plan_for(f"{name}/new/a.txt", 3, if_exists))
    assert before == (snapshot(links), open_descriptors())


@pytest.mark.parametrize("name", ["to-folder/file", "to-outside/file", "to-outside/nothing", "to-parent/root"])
async def test_nothing_is_told_of_what_lies_behind_a_link(confined: LocalStore, links: Path, name: str) -> None:
    """`stat` through a link is refused with `symlink`, whether anything is there or not."""
    with refused(ErrorCode.SYMLINK):
        await confined.stat(path_of(name))


@pytest.mark.parametrize("target", ["folder", "../outside"])
@pytest.mark.parametrize("name", ["a.txt", "a/b.txt", "a/b/c.txt"])
async def test_a_link_that_appears_during_an_upload_is_not_followed(
    confined: LocalStore, root: Path, name: str, target: str
) -> None:
    """A link that has taken the name, or the first part of it, since `begin` is refused, and nothing appears behind."""
    behind = root / target
    make_folder(behind)
    upload = await begun(confined, plan_for(name, 3), b"abc")
    make_link(root / path_of(name).parts[0], behind)
    with refused(ErrorCode.SYMLINK):
        await upload.publish(tree_of(b"abc"))
    assert {"."} == snapshot(behind).keys()


async def test_the_root_is_the_folder_it_was_at_start(root: Path, tmp_path: Path, local: LocalStore) -> None:
    """A store stays in the folder that it was started on, wherever that is moved."""
    await put(local, "a.txt", b"abc")
    replace_folder(root, tmp_path / "moved")
    await put(local, "b.txt", b"b")
    assert ["a.txt", "b.txt"] == await names(local)
    assert {"."} == snapshot(root).keys()


@pytest.fixture
def oddities(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is neither file nor folder nor link."""
    monkeypatch.chdir(root)  # the address of a socket holds 108 bytes
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    found = ["fifo", "socket"]
    if os.geteuid() == 0:
        os.mknod("device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero: reading it would never end
        os.mknod("nobody", 0o600 | stat.S_IFCHR, os.makedev(60, 1))  # for local use: no driver
        found += ["device", "nobody"]
    return found


async def test_what_is_no_regular_file_is_refused_at_once(confined: LocalStore, oddities: list[str]) -> None:
    """A FIFO, socket or device is `not_regular` for every command that wants a file, without waiting for it."""
    before = open_descriptors()
    async with asyncio.timeout(PATIENCE_S):
        for name in oddities:
            with refused(ErrorCode.NOT_REGULAR):
                await confined.open(path_of(name))
            with refused(ErrorCode.NOT_REGULAR):
                await confined.checksum(path_of(name), Algorithm.SHA1)
            with refused(ErrorCode.NOT_DIRECTORY):
                await confined.list(path_of(name), long=False)
            with refused(ErrorCode.NOT_DIRECTORY):
                await confined.make_folder(path_of(name))
            with refused(ErrorCode.NOT_DIRECTORY):
                await confined.begin(plan_for(f"{name}/a.txt", 3))
            with refused(ErrorCode.NOT_REGULAR):
                await confined.begin(plan_for(name, 3))
    assert before == open_descriptors()


async def test_what_is_no_regular_file_is_told_of(confined: LocalStore, oddities: list[str]) -> None:
    """`stat` and both listings call a FIFO, socket or device `other`."""
    for name in oddities:
        assert EntryType.OTHER is (await confined.stat(path_of(name)))[0].type
    for long in (True, False):
        found = {entry.name: entry.type for page in await pages(confined, ROOT, long=long) for entry in page}
        assert dict.fromkeys(oddities, EntryType.OTHER) == found


async def test_a_fifo_that_appears_during_an_upload_stays(confined: LocalStore, root: Path) -> None:
    """An upload does not replace what is not a regular file, even if that came after `begin`."""
    upload = await begun(confined, plan_for("a", 3), b"abc")
    os.mkfifo(root / "a")
    with refused(ErrorCode.NOT_REGULAR):
        await upload.publish(tree_of(b"abc"))
    assert (root / "a").is_fifo()


TRICKY = [
    " leading and trailing ",
    "-rf",
    "--help",
    ".hidden",
    "..two dots",
    "...",
    'quote\'s "and" `more`',
    "$(touch pwned);*?[a-z]{b}",
    "back\\slash",
    "Grüße 東京 🎉",
    "e\u0301 is not \u00e9",
    "right\u202eto left",
    "x" * 255,
    "é" * 127,
    "🎉" * 63,
    "a/" + "b" * 255 + "/" + "c" * 255,
    "/".join("d" * 200 for _ in range(18)),
    ".ftpd2",
    "folder/.ftpd",
]


@pytest.mark.parametrize("name", TRICKY)
async def test_names_are_only_names(confined: LocalStore, root: Path, name: str) -> None:
    """Every name that the parser lets through is put, listed, told of, hashed and read under just that name."""
    path = path_of(name)
    assert path == await put(confined, name, b"abc")
    assert b"abc" == (root / name).read_bytes()
    assert [path.name] == await names(confined, str(path.parent))
    assert 3 == (await confined.stat(path))[0].size
    assert "900150983cd24fb0d6963f7d28e17f72" == await confined.checksum(path, Algorithm.MD5)
    assert b"abc" == await get(confined, name)


async def test_names_that_nobody_can_ask_for_are_counted(confined: LocalStore, root: Path) -> None:
    """Names on the disk that are not UTF-8 or have control characters are left out of the pages and counted."""
    folder = os.fsencode(root)
    for name in (b"\xff\xfe", b"half \xc3", b"new\nline", b"escape\x1b[31m"):
        os.close(os.open(folder + b"/" + name, os.O_CREAT, 0o600))
    await put(confined, "good.txt")
    for long in (True, False):
        listing = await confined.list(RemotePath(()), long=long)
        found = [entry.name for entry in await listing.next(10)]
        assert ([], ["good.txt"], 4) == (await listing.next(10), found, listing.unnameable)
        await listing.close()


async def test_times_before_1970_count_as_1970(confined: LocalStore, root: Path) -> None:
    """A time that the protocol can not say is told as the earliest it can."""
    (root / "old").write_bytes(b"")
    os.utime(root / "old", ns=(-1_500_000_000, -1_500_000_000))
    details, _ = await confined.stat(path_of("old"))
    assert (0, 0) == (details.mtime, details.mtime_ns)


async def test_special_permission_bits_are_not_told(confined: LocalStore, root: Path) -> None:
    """A mode has permission bits only."""
    (root / "tool").write_bytes(b"")
    (root / "tool").chmod(0o4755)
    assert 0o755 == (await confined.stat(path_of("tool")))[0].mode
