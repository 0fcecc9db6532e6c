"""Folders without files: they arrive as well, and come back, whatever happens to the connection."""

import asyncio
import os
from pathlib import Path

import pytest

from ftpc import IfExists, LocalNotFoundError, RefusedError, RemoteNameError, TreeFile
from ftpc.client import Client
from ftpc.transfer.loader import LOAD_FILES, Loader
from ftpc.transfer.tree_upload import MOST_PENDING
from ftpc.transfer.walk import Local, walk
from ftpd.commands.table import COMMANDS
from ftpd.wire.limits import SMALL_FILE
from tests.client.command import Ftpc
from tests.client.proxy import Proxy
from tests.client.support import Recorder, Service, connected, content, soon
from tests.client.test_trees import all_in, make, many

ODD = ("with space", "'quoted\"", "-dash", ".hidden", "ünïcode", "back\\slash", "*", "a\u202eb")


def make_folders(folder: Path, *names: str) -> None:
    """Make folders, and the one they are in."""
    for name in ("", *names):
        (folder / name).mkdir(parents=True, exist_ok=True)


def folders_in(folder: Path) -> set[str]:
    """Give the names of all folders in a folder and below."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}


async def put(client: Client, folder: Path, remote: str | None = None) -> tuple[list[str], list[str], int]:
    """Upload a folder without an error. Gives which folders and files were told of, and how many were left out."""
    told: list[TreeFile] = []
    result = await client.put_tree(folder, remote, report=told.append)
    folders = sorted(file.remote for file in told if file.is_folder)
    files = sorted(file.remote for file in told if not file.is_folder and not file.left_out)
    assert (len(folders), len(files), []) == (result.folders, result.files, result.errors)
    return folders, files, result.left_out


@pytest.mark.parametrize(("remote", "place"), [(None, "tree"), ("x/y", "x/y"), ("/x/", "x")])
async def test_an_empty_folder(service: Service, client: Client, folder: Path, remote: str | None, place: str) -> None:
    """A folder with nothing in it is made by its own name or another, with those it is in; it is no file."""
    make_folders(folder / "tree")
    assert ([place], [], 0) == await put(client, folder / "tree", remote)
    assert [] == [*(service.root / place).iterdir()]


async def test_an_empty_folder_in_a_folder_of_the_server(service: Service, folder: Path) -> None:
    """The folder of the address is made; the served one is there."""
    make_folders(folder / "tree")
    async with connected(f"ftpd://{service.address}/inner/most") as client:
        assert (["inner/most"], [], 0) == await put(client, folder / "tree", "")
    assert (service.root / "inner" / "most").is_dir()
    async with connected(service.address) as client:
        assert ([], [], 0) == await put(client, folder / "tree", "")


async def test_only_what_no_file_makes(service: Service, client: Client, folder: Path) -> None:
    """Of nested folders those are made by themselves that have neither file nor folder in them; all are there."""
    make_folders(folder / "tree", "a/b/c", "a/d", "e/f", "g")
    make(folder / "tree", {"a/file": b"x", "e/f/file": b"x", "h/large": content(SMALL_FILE + 1)})
    folders, files, _ = await put(client, folder / "tree")
    assert (["tree/a/b/c", "tree/a/d", "tree/g"], ["tree/a/file", "tree/e/f/file", "tree/h/large"]) == (folders, files)
    assert folders_in(folder / "tree") == folders_in(service.root / "tree")


async def test_what_can_not_be_sent_makes_no_folder(service: Service, client: Client, folder: Path) -> None:
    """A folder with nothing but links, FIFOs and impossible names in it is made by itself, and theirs are errors."""
    make_folders(folder / "tree", "link", "fifo", "file", "folder", os.fsdecode(b"folder/\xff/inner"))
    (folder / "tree" / "link" / "link").symlink_to(folder)
    os.mkfifo(folder / "tree" / "fifo" / "fifo")
    (folder / "tree" / "file" / os.fsdecode(b"\xff")).write_bytes(b"x")
    result = await client.put_tree(folder / "tree")
    assert {"link", "fifo", "file", "folder"} == folders_in(service.root / "tree")
    assert (4, 2, 0) == (result.folders, result.left_out, result.files)
    assert {RemoteNameError} == {type(error) for error in result.errors}


def test_a_folder_that_can_not_be_read(folder: Path) -> None:
    """A folder that is gone when its turn comes is an error, and does not make the one it was in."""
    make_folders(folder / "tree", "gone")
    (folder / "tree" / "link").symlink_to("gone")
    walking = walk(str(folder / "tree"), "tree")
    assert next(walking)[0].endswith("link")
    (folder / "tree" / "gone").rmdir()
    gone, tree = walking
    assert isinstance(gone, TreeFile)
    assert (True, LocalNotFoundError) == (gone.is_folder, type(gone.error))
    assert Local(str(folder / "tree"), "tree", is_folder=True) == tree


async def test_there_and_back(service: Service, client: Client, folder: Path) -> None:
    """What is put and fetched again is the same tree: files of all sizes, empty folders, odd names."""
    make_folders(folder / "tree", *ODD, *(f"in/{name}/{name}" for name in ODD), "/".join("deep" for _ in range(200)))
    make(folder / "tree", {f"files/{name}": name.encode() for name in ODD} | {"large": content(SMALL_FILE + 1)})
    await put(client, folder / "tree")
    result = await client.get_tree("tree", folder / "back")
    assert [] == result.errors
    assert folders_in(folder / "tree") == folders_in(service.root / "tree") == folders_in(folder / "back")
    assert all_in(folder / "tree") == all_in(service.root / "tree") == all_in(folder / "back")


@pytest.mark.parametrize("if_exists", list(IfExists))
async def test_a_folder_that_is_there(service: Service, client: Client, folder: Path, if_exists: IfExists) -> None:
    """Whatever is to happen to files whose names are taken, a folder that is there is as it should be."""
    make_folders(folder / "tree", "a")
    make(service.root, {"tree/a/other": b"x"})
    result = await client.put_tree(folder / "tree", if_exists=if_exists)
    assert (1, [], {"a/other": b"x"}) == (result.folders, result.errors, all_in(service.root / "tree"))


async def test_one_that_can_not_be_made(service: Service, client: Client, folder: Path) -> None:
    """A folder in whose place there is a file or a link is an error of its own; all else arrives."""
    make_folders(folder / "tree", "a", "b", "c")
    make(folder / "tree", {"d/file": b"x"})
    make(service.root / "tree", {"a": b"file"})
    (service.root / "tree" / "b").symlink_to("/")
    told: list[TreeFile] = []
    result = await client.put_tree(folder / "tree", report=told.append)
    assert ["not_directory", "symlink"] == sorted(error.code for error in result.errors)
    assert ["tree/a", "tree/b"] == sorted(file.remote for file in told if file.is_folder and file.error)
    assert (1, 1) == (result.folders, result.files)
    assert (service.root / "tree" / "c").is_dir()
    await client.ping()


async def test_nobody_waits_for_a_folder(service: Service, proxy: Proxy, folder: Path) -> None:
    """Folders are made, between files, while not one reply has arrived."""
    names = [str(number) for number in range(MOST_PENDING // 2)]
    make_folders(folder / "tree", *names)
    make(folder / "tree", {f"files/{name}": b"x" for name in names[:100]})
    proxy.down.hold_at = 0
    async with connected(proxy.address) as client:
        here = soon(lambda: set(names) <= {path.name for path in service.root.iterdir()}, "all folders are made")
        putting = asyncio.create_task(client.put_tree(folder / "tree", ""))
        await here
        assert 0 == proxy.down.count
        proxy.down.go.set()
        assert len(names) == (await putting).folders


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("place", [1000, 10_000, 30_000])
async def test_a_cut_is_mended(service: Service, proxy: Proxy, folder: Path, place: int, way: str) -> None:
    """After a lost connection, or lost replies, what is left goes over another; each is there and told of once."""
    files = many(300)
    make_folders(folder / "tree", *(f"{n % 7}/empty/{n}" for n in range(1000)))
    make(folder / "tree", files)
    line = proxy.up if way == "up" else proxy.down
    line.cut_at = place
    cuts: list[int] = []

    def mend(phase: str) -> None:
        if phase.startswith("conn"):
            line.cut_at = None
            cuts.append(line.count)

    async with connected(proxy.address, retries=3) as client:
        told: list[TreeFile] = []
        result = await client.put_tree(
            folder / "tree", progress=Recorder(lambda moment: mend(moment.phase)), report=told.append
        )
    assert place in cuts
    assert folders_in(folder / "tree") == folders_in(service.root / "tree")
    assert files == all_in(service.root / "tree")
    assert (1000, 300, []) == (result.folders, result.files, result.errors)
    assert 1300 == len({file.remote for file in told}) == len(told)


async def test_an_older_server(service: Service, client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not know the command gets the files; the folders are left out, and that is no error."""
    older = {name: command for name, command in COMMANDS.items() if name != "mkdir"}
    monkeypatch.setattr("ftpd.requests.COMMANDS", older)
    make_folders(folder / "tree", *map(str, range(100)))
    make(folder / "tree", {"a": b"a", "b/large": content(SMALL_FILE + 1)})
    told: list[TreeFile] = []
    result = await client.put_tree(folder / "tree", report=told.append)
    assert (2, 0, 100, 0, []) == (
        result.files, result.folders, result.folders_left_out, result.left_out, result.errors
    )  # fmt: skip
    assert 100 == len([file for file in told if file.is_folder and file.left_out])
    assert {"b"} == folders_in(service.root / "tree")
    await client.ping()


async def test_a_read_only_server(service: Service, client: Client, folder: Path) -> None:
    """A read-only server refuses every folder, as it does every file."""
    await service.stop()
    await service.start(read_only=True)
    make_folders(folder / "tree", "a", "b")
    make(folder / "tree", {"file": b"x"})
    result = await client.put_tree(folder / "tree")
    assert ["read_only"] * 3 == [error.code for error in result.errors]
    assert {RefusedError} == {type(error) for error in result.errors}
    assert (0, 0) == (result.files, result.folders)
    await service.stop()
    await service.start()


def test_folders_are_read_as_they_are_sent(folder: Path) -> None:
    """What is read ahead of folders is bounded as it is of files, and is kept apart from the files."""
    make_folders(folder / "tree", *(f"{n % 5}/{n}" for n in range(2 * LOAD_FILES)))
    make(folder / "tree", {f"{n % 5}/{n}.txt": b"x" for n in range(LOAD_FILES)})
    loader = Loader(walk(str(folder / "tree"), "tree"), IfExists.OVERWRITE, preserve=False)
    loads = []
    while (load := loader.next()) is not None:
        assert len(load.small) + len(load.folders) <= LOAD_FILES
        loads.append(load)
    assert (LOAD_FILES, 2 * LOAD_FILES) == (sum(len(load.small) for load in loads), sum(len(x.folders) for x in loads))


def test_on_the_command_line(ftpc: Ftpc) -> None:
    """`put -r` tells of a folder without files with -v and in JSON, and does not count it as a file."""
    make_folders(ftpc.folder / "tree", "empty")
    make(ftpc.folder / "tree", {"a": b"a"})
    done = ftpc.run("put", "-rv", "tree")
    assert (0, True) == (done.status, "1 file, 1 B" in done.err)
    assert f"tree/empty -> {ftpc.server.removeprefix('ftpd://').partition('/')[0]}" in done.err
    assert "1 folder without files" in done.err
    assert (ftpc.remote / "tree" / "empty").is_dir()
    assert "empty ->" not in ftpc.run("put", "-r", "tree").err
    make(ftpc.folder / "tree", {"a": b"b"})
    events = ftpc.run("put", "-r", "--json", "tree").objects
    [made] = [event for event in events if event["event"] == "folder"]
    assert {"schema", "event", "local", "remote"} == made.keys()
    assert ("tree/empty", "tree/empty") == (made["local"], made["remote"].partition("/")[2])
    assert (1, 1) == (len([event for event in events if event["event"] == "done"]), events[-1]["files"])
    make_folders(ftpc.folder / "none")
    nothing = ftpc.run("put", "-r", "none", "--as", "new/one")
    assert (0, True) == (nothing.status, "0 files" in nothing.err)
    assert (ftpc.remote / "new" / "one").is_dir()
    (ftpc.remote / "taken").write_bytes(b"x")
    failed = ftpc.run("put", "-r", "none", "--as", "taken")
    assert (7, True) == (failed.status, "but 1 failed" in failed.err)
