"""Folders: every file arrives or is accounted for, however many there are and whatever happens to the connection."""

import asyncio
import os
from pathlib import Path

import pytest

import ftpc
from ftpc import ConnectionLostError, IfExists, LocalNotFoundError, TreeFile
from ftpc.client import Client
from ftpc.transfer.trees import LOAD_FILES, MOST_PENDING, SMALL_FILE, Loader
from tests.client.command import Ftpc
from tests.client.proxy import Proxy
from tests.client.support import Recorder, Service, connected, content

SIZES = (0, 1, 1000, SMALL_FILE - 1, SMALL_FILE, SMALL_FILE + 1, 9 * 2**20)
NAMES = ("plain", "with space", "'quoted\"", "-dash", ".hidden", "ünïcode", "a/b/c/deep", "a/b/other", "z")


def make(folder: Path, files: dict[str, bytes]) -> None:
    """Fill a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def many(count: int) -> dict[str, bytes]:
    """Make up small files."""
    return {f"{n % 7}/{n % 11}/{n}": b"%d " % n * (n % 300) for n in range(count)}


def all_in(folder: Path) -> dict[str, bytes]:
    """Read a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_everything_arrives(service: Service, client: Client, folder: Path) -> None:
    """Files of all sizes and names are there as they were, each reported once with its root."""
    files = {f"{name}{size}": content(size) for size in SIZES for name in NAMES[:2]} | dict.fromkeys(NAMES, b"x")
    make(folder / "tree", files)
    reported: list[TreeFile] = []
    result = await client.put_tree(folder / "tree", report=reported.append)
    assert files == all_in(service.root / "tree")
    assert (len(files), sum(map(len, files.values())), []) == (result.files, result.size, result.errors)
    assert sorted(f"tree/{name}" for name in files) == sorted(file.remote for file in reported)
    for file in reported:
        assert (file.root, None) == ((await client.stat(file.remote)).root, file.error)


@pytest.mark.parametrize(("remote", "place"), [(None, "tree"), ("", "."), ("x/y", "x/y"), ("/x/", "x")])
async def test_where_it_goes(service: Service, client: Client, folder: Path, remote: str | None, place: str) -> None:
    """A folder keeps its name, or gets another, or goes where names are relative to; large files with it."""
    files = {"a": b"a", "b/large": content(SMALL_FILE + 1)}
    make(folder / "tree", files)
    await client.put_tree(f"{folder}/tree/", remote)
    assert files.items() <= all_in(service.root / place).items()


async def test_in_a_folder_of_the_server(service: Service, folder: Path) -> None:
    """Names are relative to the folder of the address, those of large files too."""
    files = {"a": b"a", "b/large": content(SMALL_FILE + 1)}
    make(folder / "tree", files)
    async with connected(f"ftpd://{service.address}/inner/most") as client:
        await client.put_tree(folder / "tree")
    assert files == all_in(service.root / "inner/most/tree")


async def test_what_is_no_file_is_left_out(service: Service, client: Client, folder: Path) -> None:
    """Symbolic links, FIFOs and folders without files are left out, and nothing waits for them."""
    make(folder / "tree", {"a": b"a"})
    (folder / "tree" / "empty").mkdir()
    (folder / "tree" / "link").symlink_to("a")
    (folder / "tree" / "loop").symlink_to(".")
    os.mkfifo(folder / "tree" / "fifo")
    result = await client.put_tree(folder / "tree")
    assert (1, 3, []) == (result.files, result.left_out, result.errors)
    assert {"a": b"a"} == all_in(service.root / "tree")


async def test_one_that_fails_costs_no_other(service: Service, client: Client, folder: Path) -> None:
    """A name that no server has, or that is a folder there, is one error; all others are stored."""
    make(folder / "tree", {"a": b"a", "b": content(SMALL_FILE + 1), "c": b"c", "d": content(SMALL_FILE + 1)})
    make(folder / "tree", {os.fsdecode(b"bad\xff"): b"x"})
    for name in ("a", "b"):
        (service.root / "tree" / name).mkdir(parents=True)
    result = await client.put_tree(folder / "tree")
    assert ["RefusedError", "RefusedError", "RemoteNameError"] == sorted(
        type(error).__name__ for error in result.errors
    )
    assert {"c", "d"} == all_in(service.root / "tree").keys()
    await client.ping()


@pytest.mark.parametrize("if_exists", [IfExists.SKIP, IfExists.FAIL, IfExists.RENAME])
async def test_names_that_are_taken(service: Service, client: Client, folder: Path, if_exists: IfExists) -> None:
    """Of a folder that is partly there, taken names are skipped, refused or avoided; the rest is stored."""
    make(service.root / "tree", {"a": b"old", "b": b"old"})
    make(folder / "tree", {"a": b"new", "b": content(SMALL_FILE + 1), "c": b"new"})
    result = await client.put_tree(folder / "tree", if_exists=if_exists)
    expected = {IfExists.SKIP: (1, 2, 0), IfExists.FAIL: (1, 0, 2), IfExists.RENAME: (3, 0, 0)}
    assert expected[if_exists] == (result.files, result.skipped, len(result.errors))
    there = all_in(service.root / "tree")
    assert (b"old", b"old", b"new") == (there["a"], there["b"], there["c"])


async def test_times_and_modes(service: Service, client: Client, folder: Path) -> None:
    """With `preserve` times and modes go along."""
    make(folder / "tree", {"a": b"a", "b": content(SMALL_FILE + 1)})
    for name in ("a", "b"):
        (folder / "tree" / name).chmod(0o640)
        os.utime(folder / "tree" / name, ns=(1, 1_234_567_890_123_456_789))
    await client.put_tree(folder / "tree", preserve=True)
    for name in ("a", "b"):
        found = (service.root / "tree" / name).stat()
        assert (0o640, 1_234_567_890_123_456_789) == (found.st_mode & 0o777, found.st_mtime_ns)


@pytest.mark.parametrize("place", [10_000, 500_000, 1_000_000])
async def test_a_cut_is_mended(service: Service, proxy: Proxy, folder: Path, place: int) -> None:
    """After a lost connection the rest is sent over another; every file is there, and reported once."""
    files = many(3000)
    make(folder / "tree", files)
    proxy.up.cut_at = place
    recorder = Recorder(lambda moment: setattr(proxy.up, "cut_at", None) if moment.phase.startswith("conn") else None)
    reported: list[TreeFile] = []
    async with connected(proxy.address, retries=3) as client:
        result = await client.put_tree(folder / "tree", progress=recorder, report=reported.append)
    assert files == all_in(service.root / "tree")
    assert (3000, 3000) == (result.files, len(reported))
    assert {f"tree/{name}" for name in files} == {file.remote for file in reported}
    assert [] == service.temporaries()


async def test_a_connection_that_is_lost_for_good(proxy: Proxy, folder: Path) -> None:
    """Without retries a lost connection is an error."""
    make(folder / "tree", many(3000))
    proxy.up.cut_at = 100_000
    async with connected(proxy.address, retries=0) as client:
        with pytest.raises(ConnectionLostError):
            await client.put_tree(folder / "tree")


async def test_a_server_that_stops(service: Service, proxy: Proxy, folder: Path) -> None:
    """A server that says nothing any more is given up after the stall timeout."""
    make(folder / "tree", many(50))
    proxy.down.hold_at = 0
    async with ftpc.connect(proxy.address, stall_timeout_s=0.2, retries=0) as client:
        with pytest.raises(ftpc.FtpcError):
            await client.put_tree(folder / "tree")
    proxy.down.go.set()


async def test_it_is_cancelled(service: Service, client: Client, folder: Path) -> None:
    """A folder that is cancelled leaves whole files and no hidden ones, and a client that can be used."""
    files = many(3000)
    make(folder / "tree", files)
    begun = asyncio.Event()
    uploading = asyncio.create_task(client.put_tree(folder / "tree", report=lambda _: begun.set()))
    await begun.wait()
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    await service.settles()
    there = all_in(service.root / "tree")
    assert 0 < len(there) < 3000
    assert there.items() <= files.items()
    await client.ping()


async def test_no_such_folder(client: Client, folder: Path) -> None:
    """A folder that is not there is one error."""
    result = await client.put_tree(folder / "nowhere")
    assert [LocalNotFoundError] == [type(error) for error in result.errors]


def test_the_folder_is_read_as_it_is_sent(folder: Path) -> None:
    """What is read ahead is bounded: by files, and by their bytes."""
    make(folder / "tree", {str(n): b"" for n in range(2 * LOAD_FILES)} | {f"x/{n}": b"x" * 60_000 for n in range(20)})
    loader = Loader(str(folder / "tree"), "tree", IfExists.OVERWRITE, preserve=False)
    loads = []
    while (load := loader.next()) is not None:
        assert len(load.small) <= LOAD_FILES < MOST_PENDING
        assert sum(len(sent.frame) for sent in load.small) < 400_000
        loads.append(load)
    assert 2 * LOAD_FILES + 20 == sum(len(load.small) for load in loads)


def test_on_the_command_line(ftpc: Ftpc) -> None:
    """`put -r` takes folders and files together, says what it left out, and sums up."""
    make(ftpc.folder / "tree", {"a": b"a", "b/c": b"c"})
    (ftpc.folder / "tree" / "link").symlink_to("a")
    (ftpc.folder / "file").write_bytes(b"file")
    done = ftpc.run("put", "-r", "tree", "file", "--to", "x")
    assert (0, True, True) == (done.status, "3 files" in done.err, "tree/link: left out" in done.err)
    assert {"tree/a": b"a", "tree/b/c": b"c", "file": b"file"} == all_in(ftpc.remote / "x")
    events = ftpc.run("put", "-r", "--json", ".").objects
    assert {"a", "c", "file"} <= {event["remote"].rpartition("/")[2] for event in events if event["event"] == "done"}
    assert 4 == ftpc.run("put", "tree").status
    (ftpc.remote / "y" / "tree" / "a").mkdir(parents=True)
    failed = ftpc.run("put", "-r", "tree", "--to", "y")
    assert (7, True, True) == (failed.status, "y/tree/a: it is a folder" in failed.err, "but 1 failed" in failed.err)
    assert {"b/c": b"c"} == all_in(ftpc.remote / "y" / "tree")
