"""Folders: every file arrives or is accounted for, however many there are and whatever happens to the connection."""

import asyncio
import os
from pathlib import Path

import pytest

import ftpc
from ftpc import ConnectionLostError, IfExists, IntegrityError, LocalNotFoundError, TreeFile
from ftpc.client import Client
from ftpc.transfer.loader import LOAD_BYTES, LOAD_FILES, Loader
from ftpc.transfer.tree_upload import MOST_PENDING, PENDING_BYTES
from ftpc.transfer.walk import walk
from ftpd.wire.limits import SMALL_FILE
from tests.client.command import Ftpc
from tests.client.proxy import Proxy
from tests.client.support import Recorder, Service, connected, content, hidden

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


async def test_what_is_not_answered_is_bounded(service: Service, proxy: Proxy, folder: Path) -> None:
    """While a server does not answer no more bytes of small files are sent, and so kept, than are bounded."""
    files = {f"{n}": content(SMALL_FILE, n % 8) for n in range(400)}
    make(folder / "tree", files)
    proxy.down.hold_at = 3000
    async with connected(proxy.address) as client, connected(service.address) as other:
        sending = asyncio.create_task(client.put_tree(folder / "tree"))
        await proxy.down.held.wait()
        await other.put_tree(folder / "tree", "other")  # time enough to send all
        answered = 3000 // 100 * SMALL_FILE
        assert proxy.up.count < PENDING_BYTES + LOAD_BYTES + answered + 100_000 < 400 * SMALL_FILE
        proxy.down.go.set()
        assert 400 == (await sending).files
    assert files == all_in(service.root / "tree")


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
    """Symbolic links and FIFOs are left out, and nothing waits for them."""
    make(folder / "tree", {"a": b"a"})
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
    """A folder that is not there is the error of the whole."""
    with pytest.raises(LocalNotFoundError):
        await client.put_tree(folder / "nowhere")


def test_the_folder_is_read_as_it_is_sent(folder: Path) -> None:
    """What is read ahead is bounded: by files, and by their bytes."""
    make(folder / "tree", {str(n): b"" for n in range(2 * LOAD_FILES)} | {f"x/{n}": b"x" * 60_000 for n in range(20)})
    loader = Loader(walk(str(folder / "tree"), "tree"), IfExists.OVERWRITE, preserve=False)
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
    assert {} == all_in(ftpc.remote / "y" / "tree")


async def test_everything_comes_back(service: Service, client: Client, folder: Path) -> None:
    """Files of all sizes and names, and empty folders, are here as they are there, each reported once."""
    files = {f"{name}{size}": content(size) for size in SIZES for name in NAMES[:2]} | dict.fromkeys(NAMES, b"x")
    make(service.root / "x" / "tree", files)
    (service.root / "x" / "tree" / "empty" / "inner").mkdir(parents=True)
    reported: list[TreeFile] = []
    result = await client.get_tree("x/tree", folder / "here", report=reported.append)
    assert files == all_in(folder / "here")
    assert (folder / "here" / "empty" / "inner").is_dir()
    assert (len(files), sum(map(len, files.values())), []) == (result.files, result.size, result.errors)
    assert sorted(f"x/tree/{name}" for name in files) == sorted(file.remote for file in reported)
    assert [] == hidden(folder)


async def test_from_a_folder_of_the_server(service: Service, folder: Path) -> None:
    """Names are relative to the folder of the address; the whole of it can be fetched."""
    files = {"a": b"a", "b/large": content(SMALL_FILE + 1)}
    make(service.root / "inner" / "most", files)
    async with connected(f"ftpd://{service.address}/inner") as client:
        await client.get_tree("most", folder / "one")
        await client.get_tree("", folder / "two")
    assert files == all_in(folder / "one") == all_in(folder / "two" / "most")


async def test_what_can_not_be_fetched(service: Service, client: Client, folder: Path) -> None:
    """Links and FIFOs there are left out; a name that is a folder here is one error; the rest comes."""
    make(service.root / "tree", {"a": b"a", "b": b"b", "c/d": b"d", "large": content(SMALL_FILE + 1)})
    (service.root / "tree" / "link").symlink_to("a")
    os.mkfifo(service.root / "tree" / "fifo")
    for name in ("a", "large"):
        (folder / "here" / name).mkdir(parents=True)
    (folder / "here" / "c").write_bytes(b"not a folder")
    result = await client.get_tree("tree", folder / "here")
    assert (1, 2, 3) == (result.files, result.left_out, len(result.errors))
    assert {"b": b"b", "c": b"not a folder"} == all_in(folder / "here")
    assert [] == hidden(folder / "here")


@pytest.mark.parametrize("place", [30_000, 500_000, 1_000_000])
async def test_a_cut_download_is_mended(service: Service, proxy: Proxy, folder: Path, place: int) -> None:
    """After a lost connection the rest is fetched over another; every file is here, and reported once."""
    files = many(1500)
    make(service.root / "tree", files)
    proxy.down.cut_at = place
    recorder = Recorder(lambda moment: setattr(proxy.down, "cut_at", None) if moment.phase.startswith("conn") else None)
    reported: list[TreeFile] = []
    async with connected(proxy.address, retries=3) as client:
        result = await client.get_tree("tree", folder / "here", progress=recorder, report=reported.append)
    assert files == all_in(folder / "here")
    assert (1500, 1500) == (result.files, len(reported))
    assert [] == hidden(folder / "here")


async def test_a_damaged_file_is_not_kept(service: Service, proxy: Proxy, folder: Path) -> None:
    """A bit that flips on the way costs one file, which is an error; no wrong byte is kept."""
    files = {str(n): b"%d" % n * 20_000 for n in range(8)}
    make(service.root / "tree", files)
    async with connected(service.address) as client:  # so that the server knows what they are
        await client.get_tree("tree", folder / "first")
    proxy.down.flip_at = 70_000
    async with connected(proxy.address, retries=0) as client:
        result = await client.get_tree("tree", folder / "here")
    assert [IntegrityError] == [type(error) for error in result.errors]
    there = all_in(folder / "here")
    assert 7 == len(there)
    assert there.items() <= files.items()


async def test_a_download_is_cancelled(service: Service, client: Client, folder: Path) -> None:
    """A folder that is given up leaves whole files and no hidden ones, and a client that can be used."""
    files = many(1500)
    make(service.root / "tree", files)
    begun = asyncio.Event()
    fetching = asyncio.create_task(client.get_tree("tree", folder / "here", report=lambda _: begun.set()))
    await begun.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    there = all_in(folder / "here")
    assert 0 < len(there) < 1500
    assert there.items() <= files.items()
    await client.ping()


async def test_no_such_remote_folder(service: Service, client: Client, folder: Path) -> None:
    """A folder that is not there, or is a file, is the error of the whole."""
    make(service.root, {"file": b"x"})
    for name in ("nowhere", "file"):
        with pytest.raises(ftpc.RefusedError):
            await client.get_tree(name, folder / "here")


def test_getting_on_the_command_line(ftpc: Ftpc) -> None:
    """`get -r` takes folders and files together; the same command again has the same result."""
    make(ftpc.remote, {"tree/a": b"a", "tree/b/c": b"c", "file": b"file"})
    for where in ([], ["-o", "new"], ["-o", "in/"], ["-o", "."]) * 2:
        assert 0 == ftpc.run("get", "-r", "tree", *where).status
    done = ftpc.run("get", "-r", "tree", "file", "-o", "both")
    assert (0, True) == (done.status, "3 files" in done.err)
    expected = {"a": b"a", "b/c": b"c"}
    for name in ("tree", "new", "in/tree", "both/tree"):
        assert expected == all_in(ftpc.folder / name)
    events = ftpc.run("get", "-r", "--json", "tree").objects
    assert ["a", "c"] == sorted(Path(event["local"]).name for event in events if event["event"] == "done")
    assert 3 == ftpc.run("get", "-r", "nowhere").status
    assert 7 == ftpc.run("get", "tree", "-o", "x").status
    assert 2 == ftpc.run("get", "-r", "tree", "-o", "-").status
