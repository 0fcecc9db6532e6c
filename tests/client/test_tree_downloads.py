"""Downloading a folder: what is asked for ahead is bounded, and nothing that comes in between costs a file."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from ftpc import RefusedError
from ftpc.client import Client
from ftpc.results import TreeFile
from ftpc.transfer import tree_download
from ftpc.transfer.listings import PAGES_AHEAD, inside
from ftpc.transfer.saving import Arrived, Saver
from ftpc.transfer.tree_download import (
    BATCH_FILES,
    MOST_ASIDE,
    MOST_LARGE,
    MOST_PENDING,
    PENDING_BYTES,
)
from ftpd.wire.limits import MIB, PAGE_ENTRIES, SMALL_FILE
from ftpd.wire.replies import Entry
from tests.client.command import Ftpc
from tests.client.proxy import Proxy
from tests.client.scripted import CONTENT, GREETING, Handler, read_request, refusal, scripted
from tests.client.support import Service, connected, content, hidden, soon
from tests.client.test_trees import all_in, make
from tests.peer import frame
from tests.server.tree import tree_of


def entries(*names: str, kind: str = "file", size: int = 1) -> bytes:
    """Write a listing."""
    return frame({"ok": True, "entries": [{"name": name, "type": kind, "size": size} for name in names]})


def sent(data: bytes) -> bytes:
    """Write the reply to a `get`."""
    size, tree = len(data), tree_of(data)
    header = {**CONTENT, "filesize": size, "length": size, "leaves": 1, "trailer": False, "root": tree.root}
    return frame(header, blake3(data).digest() + data)


@pytest.mark.parametrize("size", [0, 1, 4096, SMALL_FILE])
async def test_what_is_asked_for_is_bounded(folder: Path, size: int) -> None:
    """No more is asked for than a bounded number of files and bytes, however many there are."""
    names = [f"{n}" for n in range(1000)]
    data, most = bytes(size), 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        asked = 0
        reading = asyncio.create_task(read_request(reader))
        while asked or not reader.at_eof():
            # Everything that the client says without hearing anything is counted before the next reply.
            while (await asyncio.wait((reading,), timeout=0.1 if asked == most else 0.001))[0]:
                request = await reading
                reading = asyncio.create_task(read_request(reader))
                asked += request["cmd"] == "get"
                if request["cmd"] != "get":
                    writer.write(frame(GREETING) if request["cmd"] == "hello" else entries(*names, size=size))
            most = max(most, asked)
            if asked:
                writer.write(sent(data))
                asked -= 1
            if reading.done():
                await reading

    async with scripted(handle) as address, connected(address) as client:
        result = await client.get_tree("tree", folder / "here")
    assert (1000, []) == (result.files, result.errors)
    assert min(MOST_PENDING, PENDING_BYTES // max(size, 1)) == most


async def test_batches_are_bounded(
    service: Service, client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of tiny files that arrive at once are not all open at once."""
    sizes = []

    class Counting(Saver):
        def __init__(self, files: list[Arrived], *, preserve: bool) -> None:
            sizes.append(len(files))
            super().__init__(files, preserve=preserve)

    monkeypatch.setattr(tree_download, "Saver", Counting)
    files = {f"{n}": b"" for n in range(2000)}
    make(service.root / "tree", files)
    await client.get_tree("tree", folder / "here")
    assert files == all_in(folder / "here")
    assert (2000, True) == (sum(sizes), max(sizes) <= BATCH_FILES)


async def test_files_that_have_grown(service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are larger than they were when they were listed come whole, however large they are by now."""
    monkeypatch.setattr(tree_download, "inside", lambda folder, entry: inside(folder, _shrunk(entry)))
    files = {f"{n}": content(n) for n in (0, 5, SMALL_FILE, 100_000, 9 * MIB, 20 * MIB)}
    files |= {f"small/{n}": content(n) for n in range(200)}
    make(service.root / "tree", files)
    async with connected(service.address, retries=3) as client:
        result = await client.get_tree("tree", folder / "here")
    assert files == all_in(folder / "here")
    assert (len(files), []) == (result.files, result.errors)


def _shrunk(entry: Entry) -> Entry:
    entry.size = 0
    return entry


async def test_many_folders(service: Service, client: Client, folder: Path) -> None:
    """Folders with a file or two each come whole, wherever they are, with those that are empty."""
    files = {f"{n % 3}/{n % 7}/{n}/{'deep/' * (n % 4)}file": content(n) for n in range(300)}
    make(service.root / "tree", files)
    for n in range(50):
        (service.root / "tree" / "empty" / f"{n}").mkdir(parents=True)
    result = await client.get_tree("tree", folder / "here")
    assert files == all_in(folder / "here")
    assert 50 == len(os.listdir(folder / "here" / "empty"))  # noqa: PTH208 (names will do)
    assert (300, []) == (result.files, result.errors)


async def test_many_large_files(service: Service, client: Client, folder: Path) -> None:
    """More large files than may wait for a connection, between small ones, are all fetched."""
    large = {f"{n % 3}/large{n}": content(SMALL_FILE + 1 + n) for n in range(5 * MOST_LARGE)}
    files = {**large, **{f"{n % 5}/small{n}": content(n) for n in range(200)}}
    make(service.root / "tree", files)
    result = await client.get_tree("tree", folder / "here")
    assert files == all_in(folder / "here")
    assert (len(files), []) == (result.files, result.errors)


async def test_a_folder_that_vanishes(folder: Path) -> None:
    """A folder that is gone when its turn comes is one error; files of others come."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = {"": entries("a", "b", kind="dir"), "b": entries("x", "y", size=3)}
        while True:
            request = await read_request(reader)
            if request["cmd"] == "hello":
                writer.write(frame(GREETING))
            elif request["cmd"] == "ls":
                writer.write(answers.get(request.get("path", "").removeprefix("tree").strip("/"), refusal("not_found")))
            else:
                writer.write(sent(request["filename"].encode()))

    async with scripted(handle) as address, connected(address) as client:
        result = await client.get_tree("tree", folder / "here")
    assert {"b/x": b"tree/b/x", "b/y": b"tree/b/y"} == all_in(folder / "here")
    assert [RefusedError] == [type(error) for error in result.errors]


def refusing(code: str, bad: Callable[[str], bool], *names: str) -> Handler:
    """Give files with their names as content, but refuse some of them each time; with `timeout` that is the end."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            if request["cmd"] == "hello":
                writer.write(frame(GREETING))
            elif request["cmd"] == "stat":
                writer.write(
                    frame({"ok": True, "type": "dir", **dict.fromkeys(("filesize", "mtime", "mtime_ns", "mode"), 0)})
                )
            elif request["cmd"] == "ls":
                writer.write(entries(*names, size=5))
            elif not bad(name := request["filename"].rpartition("/")[2]):
                writer.write(sent(name.encode()))
            else:
                writer.write(refusal(code, "not now"))
                if code == "timeout":
                    return

    return handle


@pytest.mark.parametrize(("code", "retries"), [("busy", 0), ("busy", 1), ("timeout", 1)])
async def test_a_file_that_is_refused_for_now(folder: Path, code: str, retries: int) -> None:
    """A file that the server is too busy for each time fails by itself, and all others come."""
    names = [f"{n:05}" for n in range(200)]
    handler = refusing(code, lambda name: name == "00007", *names)
    async with scripted(handler) as address, connected(address, retries=retries) as client:
        result = await client.get_tree("tree", folder / "here")
        both = [(f"tree/{name}", str(folder / "named" / name)) for name in names]
        named = await client.get_many(both)
    rest = {name: name.encode() for name in names if name != "00007"}
    for got, place in ((result, "here"), (named, "named")):
        assert (199, [code]) == (got.files, [error.code for error in got.errors])
        assert rest == all_in(folder / place)


async def test_a_server_that_is_busy_for_all(folder: Path) -> None:
    """A server that is too busy for every file is not asked for one after the other: it is the end of the whole."""
    names = [f"{n:05}" for n in range(500)]
    told: list[TreeFile] = []
    async with scripted(refusing("busy", lambda _: True, *names)) as address, connected(address, retries=1) as client:
        with pytest.raises(RefusedError, match="not now"):
            await client.get_tree("tree", folder / "here", report=told.append)
    assert len(told) <= 2 * MOST_ASIDE


async def test_which_file_is_refused_for_now(folder: Path) -> None:
    """The command names the file that was refused, counts it, and says how to go on."""
    user = Ftpc("", folder, folder)
    async with scripted(refusing("busy", lambda name: name == "bad", "a", "bad", "c")) as address:
        options = ("--retries", "0", "--server", address)
        done = await asyncio.to_thread(user.run, "get", "-r", "tree", *options)
    assert (5, {"a": b"a", "c": b"c"}) == (done.status, all_in(folder / "tree")), done.err
    assert "ftpc: tree/bad: not now\n" in done.err
    assert "but 1 failed\nftpc: 2 of 3 files are stored; give the same command again to go on\n" in done.err


async def test_what_had_come_is_kept(service: Service, proxy: Proxy, folder: Path) -> None:
    """What was received before a break that is never mended is stored, whole, and nothing else is left."""
    files = {f"{n}": content(1000, n) for n in range(300)}
    make(service.root / "tree", files)
    proxy.down.cut_at = 150_000
    async with connected(proxy.address) as client:
        with pytest.raises(Exception, match="lost"):
            await client.get_tree("tree", folder / "here")
    there = all_in(folder / "here")
    assert there.items() <= files.items()
    assert len(there) > 40
    assert [] == hidden(folder / "here")


async def test_a_disk_that_fails(
    service: Service, client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that can not be written or synced is one error of many files; nothing of it is left, and no descriptor."""
    files = {f"{n}": content(n) for n in range(100)}
    make(service.root / "tree", files)
    await client.get_tree("tree", folder / "first")  # connections and threads are there from here on
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    real_sync, real_write = os.fsync, os.write

    def sync(fd: int) -> None:
        if os.fstat(fd).st_size == 50:
            raise OSError(28, "No space left on device")
        real_sync(fd)

    def write(fd: int, data: bytes) -> int:
        if len(data) == 60:
            raise OSError(5, "Input/output error")
        return real_write(fd, data[:40])

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "write", write)
    result = await client.get_tree("tree", folder / "here")
    monkeypatch.undo()
    assert files.keys() - {"50", "60"} == all_in(folder / "here").keys()
    assert files.items() >= all_in(folder / "here").items()
    assert 2 == len(result.errors)
    assert [] == hidden(folder / "here")
    await soon(lambda: len(os.listdir("/proc/self/fd")) == before, "nothing stays open")  # noqa: PTH208


async def test_a_large_file_among_folders(service: Service, client: Client, folder: Path) -> None:
    """A page with nothing but a large file and folders keeps nobody waiting for what has not begun."""
    make(service.root / "tree", {"large": content(SMALL_FILE + 1), "a/b/larger": content(SMALL_FILE + 2)})
    (service.root / "tree" / "c" / "d").mkdir(parents=True)
    result = await client.get_tree("tree", folder / "back")
    assert ([], 2) == (result.errors, result.files)
    assert all_in(service.root / "tree") == all_in(folder / "back")


async def test_a_name_that_is_reserved_only_at_the_root(service: Service, client: Client, folder: Path) -> None:
    """What no command can name at the top of the served folder is a name like any other below."""
    make(service.root / "tree", {"sub/.ftpd": b"mine"})
    assert [] == (await client.get_tree("tree", folder / "back")).errors
    assert {"sub/.ftpd": b"mine"} == all_in(folder / "back")


async def test_listings_of_many_pages_and_many_folders(service: Service, client: Client, folder: Path) -> None:
    """Folders are listed ahead, also where several of them have more than one page; every file comes once."""
    for name in ("a", "b", "c"):
        make(service.root / "tree" / name, {f"{number}": b"" for number in range(PAGE_ENTRIES + 50)})
    make(service.root / "tree", {f"few/{number}/file": b"x" for number in range(60)})
    told: list[str] = []
    result = await client.get_tree("tree", folder / "back", report=lambda file: told.append(file.remote))
    assert ([], 3 * (PAGE_ENTRIES + 50) + 60) == (result.errors, result.files)
    assert len(told) == len(set(told))
    assert all_in(service.root / "tree") == all_in(folder / "back")


async def test_folders_of_many_pages_are_not_listed_for_nothing(proxy: Proxy, service: Service, folder: Path) -> None:
    """Where asking for one listing would end another that goes on, listings are not asked for ahead."""
    for number in range(PAGES_AHEAD):
        (service.root / "tree" / f"{number}").mkdir(parents=True)
        for link in range(PAGE_ENTRIES + 1):  # which costs no time but to list
            (service.root / "tree" / f"{number}" / f"{link}").symlink_to("nowhere")
    async with connected(proxy.address) as client:
        before = proxy.down.count
        for number in range(PAGES_AHEAD):
            assert PAGE_ENTRIES + 1 == len([entry async for entry in client.ls(f"tree/{number}", long=True)])
        once, before = proxy.down.count - before, proxy.down.count
        assert PAGES_AHEAD * (PAGE_ENTRIES + 1) == (await client.get_tree("tree", folder / "back")).left_out
        assert proxy.down.count - before < 3 * once


async def test_folders_are_listed_without_waiting(proxy: Proxy, service: Service, folder: Path) -> None:
    """Many folders are asked for before the first of them has been heard of."""
    make(service.root / "tree", {f"{number}/file": b"x" for number in range(PAGES_AHEAD)})
    async with connected(proxy.address) as client:
        assert PAGES_AHEAD == len([entry async for entry in client.ls("tree")])
        proxy.down.hold_at = proxy.down.count + 100  # within the listing of the tree itself
        before = proxy.up.count
        fetching = asyncio.create_task(client.get_tree("tree", folder / "back"))
        await proxy.down.held.wait()
        asked = proxy.up.count - before
        proxy.down.hold_at = proxy.down.count + 4000  # within the first of the others
        proxy.down.held.clear()
        proxy.down.go.set()
        proxy.down.go.clear()
        await proxy.down.held.wait()
        assert proxy.up.count - before > asked + PAGES_AHEAD * 20
        proxy.down.hold_at = None
        proxy.down.go.set()
        assert PAGES_AHEAD == (await fetching).files
