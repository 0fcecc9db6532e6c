"""What is here already under its name, byte by byte, is not fetched again; anything else is, and costs nothing more."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ftpc.client import Client
from ftpc.files import LocalSource
from ftpc.results import TreeFile
from ftpc.transfer import here, tree_download
from ftpc.transfer.saving import Wanted
from ftpd.wire.limits import SMALL_FILE
from tests.client.command import Ftpc
from tests.client.proxy import Proxy
from tests.client.scripted import GREETING, read_request, refusal, scripted
from tests.client.support import MIB, Recorder, Service, connected, content, hidden, soon
from tests.client.test_named import Counted, through
from tests.client.test_tree_downloads import entries, sent
from tests.client.test_trees import all_in, make, many
from tests.peer import frame

LARGE = 17 * MIB


async def serve(service: Service, folder: Path, files: dict[str, bytes]) -> None:
    """Have files on the server, which knows what they are."""
    make(folder / "source", files)
    async with connected(service.address) as client:
        await client.put_tree(folder / "source", "tree")


@pytest.fixture
def digested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the local files that are digested, small ones."""
    seen: list[str] = []
    real: Callable[..., here.Candidate | None] = here._look_into

    def look(file: Wanted) -> here.Candidate | None:
        found = real(file)
        if found is not None:
            seen.append(Path(file.local).name)
        return found

    monkeypatch.setattr(here, "_look_into", look)
    return seen


async def test_a_folder_again(service: Service, proxy: Proxy, folder: Path) -> None:
    """The second time names and digests are all that moves, of large files too; each is told as the same."""
    files = {**many(1500), "large": content(LARGE), "empty": b""}
    await serve(service, folder, files)
    told: list[TreeFile] = []
    async with connected(proxy.address) as client:
        assert len(files) == (await client.get_tree("tree", folder / "here")).files
        before = proxy.down.count
        result = await client.get_tree("tree", folder / "here", report=told.append)
    size = sum(map(len, files.values()))
    assert (0, len(files), len(files), size) == (
        result.files, result.skipped, result.identical, result.identical_size,
    )  # fmt: skip
    assert {True} == {file.identical for file in told}
    assert proxy.down.count - before < 150 * len(files)
    assert files == all_in(folder / "here")


@pytest.mark.parametrize("kind", ["tree", "named", "one"])
async def test_one_byte_is_another(service: Service, client: Client, folder: Path, kind: str) -> None:
    """A file of the same size with one other byte is replaced, whatever its times are; so is one with another size."""
    files = {"a": content(1000), "b": content(1000, 1), "c": content(2000), "large": content(LARGE), "e": b""}
    await serve(service, folder, files)
    await client.get_tree("tree", folder / "tree", preserve=True)
    for name, place in (("a", 999), ("large", LARGE - 1), ("c", None)):
        path = folder / "tree" / name
        before = path.stat()
        data = path.read_bytes()
        path.write_bytes(data[:-1] if place is None else data[:place] + bytes([data[place] ^ 1]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    pairs = [(f"tree/{name}", str(folder / "tree" / name)) for name in files]
    if kind == "one":
        assert 2 == sum([(await client.get(*pair)).identical for pair in pairs])
    else:
        getting = client.get_tree("tree", folder / "tree") if kind == "tree" else client.get_many(pairs)
        result = await getting
        assert (3, 2, []) == (result.files, result.identical, result.errors)
    assert files == all_in(folder / "tree")


async def test_a_first_download_is_asked_nothing_more(
    service: Service, proxy: Proxy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is here no file is looked for or digested, and the server hears of listings and files only."""
    looked: list[object] = []
    monkeypatch.setattr(tree_download, "find_candidates", looked.append)
    files = many(300)
    await serve(service, folder, files)
    seen = bytearray()
    proxy.up.watch = seen.extend
    async with connected(proxy.address) as client:
        await client.get_tree("tree", folder / "here")
        await client.get_many([(f"tree/{name}", str(folder / "named" / name)) for name in files])
        await client.get("tree/0/0/0", folder / "one")
    assert [] == looked
    assert b'"cmd":"get"' in seen
    assert b'"cmd":"same"' not in seen
    assert b'"cmd":"stat"' not in seen


async def test_another_size_is_not_digested(
    service: Service, client: Client, folder: Path, digested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what has the right size is read here; of files that are named one by one, what is small."""
    files = {"a": b"aa", "b": b"bb", "large": content(SMALL_FILE + 1)}
    await serve(service, folder, files)
    other = {"a": b"a", "b": b"bb", "large": content(SMALL_FILE + 2)}
    read: list[int] = []
    monkeypatch.setattr(LocalSource, "leaf", lambda *_: read.append(1))
    make(folder / "tree", other)
    await client.get_tree("tree", folder / "tree")
    assert (["b"], [], files) == (digested, read, all_in(folder / "tree"))
    make(folder / "tree", other)
    await client.get_many([(f"tree/{name}", str(folder / "tree" / name)) for name in files])
    assert (["b", "a", "b"], [], files) == (digested, read, all_in(folder / "tree"))


async def test_what_is_interrupted_goes_on(service: Service, client: Client, folder: Path) -> None:
    """After a `get_tree` that was cancelled the next one fetches what is missing, and nothing else."""
    files = many(1500)
    await serve(service, folder, files)
    begun = asyncio.Event()
    getting = asyncio.create_task(client.get_tree("tree", folder / "here", report=lambda _: begun.set()))
    await begun.wait()
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    there = len(all_in(folder / "here"))
    result = await client.get_tree("tree", folder / "here")
    assert 0 < there < 1500
    assert (1500 - there, there) == (result.files, result.identical)
    assert files == all_in(folder / "here")


async def test_time_and_mode_count_when_they_are_kept(service: Service, client: Client, folder: Path) -> None:
    """With `preserve` a file with another time or mode is fetched again, so that it gets them."""
    await serve(service, folder, {"a": b"a", "b": content(SMALL_FILE + 1)})
    await client.get_tree("tree", folder / "tree")
    for name in ("a", "b"):
        (folder / "source" / name).chmod(0o640)
        os.utime(folder / "source" / name, ns=(0, 1_600_000_000_123_456_789))
    await client.put_tree(folder / "source", "tree", preserve=True)
    assert (0, 2) == _count(await client.get_tree("tree", folder / "tree"))
    assert (2, 0) == _count(await client.get_tree("tree", folder / "tree", preserve=True))
    for name in ("a", "b"):
        found = (folder / "tree" / name).stat()
        assert (0o640, 1_600_000_000_123_456_789) == (found.st_mode & 0o777, found.st_mtime_ns)
    assert (0, 2) == _count(await client.get_tree("tree", folder / "tree", preserve=True))


def _count(result: object) -> tuple[int, int]:
    return getattr(result, "files", -1), getattr(result, "identical", -1)


@pytest.mark.parametrize("kind", ["tree", "named"])
async def test_what_a_link_leads_to_is_not_meant(service: Service, client: Client, folder: Path, kind: str) -> None:
    """A symbolic link under the name is replaced by the file, though what it leads to is the same."""
    files = {"a": b"a", "large": content(SMALL_FILE + 1)}
    await serve(service, folder, files)
    await client.get_tree("tree", folder / "real")
    (folder / "tree").mkdir()
    for name in files:
        (folder / "tree" / name).symlink_to(folder / "real" / name)
    if kind == "tree":
        result = await client.get_tree("tree", folder / "tree")
    else:
        result = await client.get_many([(f"tree/{name}", str(folder / "tree" / name)) for name in files])
    assert (2, 0) == (result.files, result.identical)
    assert [False, False] == [(folder / "tree" / name).is_symlink() for name in files]


@pytest.mark.parametrize("kind", ["tree", "named"])
async def test_what_is_no_file_is_not_replaced(service: Service, client: Client, folder: Path, kind: str) -> None:
    """A FIFO under the name of a small or a large file stays, and is the error of that file; the others come."""
    files = {"a": b"a", "b": b"b", "large": content(SMALL_FILE + 1)}
    await serve(service, folder, files)
    (folder / "tree").mkdir()
    for name in ("a", "large"):
        os.mkfifo(folder / "tree" / name)
    if kind == "tree":
        result = await client.get_tree("tree", folder / "tree")
    else:
        result = await client.get_many([(f"tree/{name}", str(folder / "tree" / name)) for name in files])
    assert (1, ["local_io"] * 2) == (result.files, [error.code for error in result.errors])
    assert [True, True] == [(folder / "tree" / name).is_fifo() for name in ("a", "large")]
    assert [] == hidden(folder / "tree")


def test_nobody_waits_for_a_fifo(folder: Path) -> None:
    """What was put in place of a file meanwhile is an error, and not waited for."""
    make(folder, {"a": b"a"})
    os.mkfifo(folder / "b")
    with ThreadPoolExecutor(1) as threads:
        errors = here.make_durable([str(folder / name) for name in "ab"], threads)
    assert [None, "local_io"] == [error and error.code for error in errors]


async def test_a_connection_that_is_lost_between(service: Service, proxy: Proxy, folder: Path) -> None:
    """Questions whose answers were lost are asked again; every file is right and told once."""
    files = many(1500)
    await serve(service, folder, files)
    async with connected(service.address) as client:
        await client.get_tree("tree", folder / "here")
    for place in (2000, 60_000, 100_000):
        make(folder / "here", dict.fromkeys(list(files)[::7], b"other"))
        proxy.down.cut_at = proxy.down.count + place
        mend = Recorder(lambda moment: setattr(proxy.down, "cut_at", None) if moment.phase.startswith("conn") else None)
        told: list[TreeFile] = []
        async with connected(proxy.address, retries=3) as client:
            result = await client.get_tree("tree", folder / "here", progress=mend, report=told.append)
        assert (1500, 1500, []) == (len(told), len({file.remote for file in told}), result.errors)
        assert 1500 == result.files + result.identical
        assert files == all_in(folder / "here")


async def test_a_server_that_says_the_wrong_thing(folder: Path) -> None:
    """Nobody believes a server that speaks of other files: nothing is skipped for it."""
    make(folder / "here", {"a": b"old"})

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = 0
        while True:
            request = await read_request(reader)
            if request["cmd"] == "hello":
                writer.write(frame({**GREETING, "features": ["same"]}))
            elif request["cmd"] == "ls":
                writer.write(entries("a", size=3))
            elif request["cmd"] == "same":
                asked += 1
                writer.write(frame({"ok": True, "same": [[0, 0]], "digest": "0" * 64}))
            else:
                writer.write(sent(b"new"))

    async with scripted(handle) as address, connected(address, retries=0) as client:
        with pytest.raises(Exception, match="other files than it was asked about"):
            await client.get_tree("tree", folder / "here")
    assert {"a": b"old"} == all_in(folder / "here")


@pytest.mark.parametrize("features", [[], ["same"]])
async def test_a_server_that_does_not_tell(folder: Path, features: list[str]) -> None:
    """All is fetched from a server that is too old to be asked, or that does not tell this user."""
    make(folder / "tree", {"a": b"new"})
    make(folder, {"a": b"new"})

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            if request["cmd"] == "hello":
                writer.write(frame({**GREETING, "features": features}))
            elif request["cmd"] == "ls":
                writer.write(entries("a", size=3))
            elif request["cmd"] == "get":
                writer.write(sent(b"new"))
            else:
                writer.write(refusal("forbidden" if features else "unknown_command"))

    async with scripted(handle) as address, connected(address) as client:
        for getting in (client.get_tree("tree", folder / "tree"), client.get_many([("a", str(folder / "a"))])):
            result = await getting
            assert (1, 0, []) == (result.files, result.identical, result.errors)


@pytest.mark.parametrize("size", [0, 1000, LARGE])
async def test_one_file_again(service: Service, proxy: Proxy, folder: Path, size: int) -> None:
    """A single file that is here is compared and not fetched, says so, and leaves nothing hidden."""
    await serve(service, folder, {"a": content(size)})
    recorder = Recorder()
    async with connected(proxy.address) as client:
        first = await client.get("tree/a", folder / "a")
        before, count = (folder / "a").stat(), proxy.down.count
        result = await client.get("tree/a", folder / "a", progress=recorder)
    assert (False, True) == (first.identical, result.identical)
    assert (first.size, first.mtime, first.mode, first.root) == (result.size, result.mtime, result.mode, result.root)
    assert proxy.down.count - count < 1000
    assert before.st_ctime_ns == (folder / "a").stat().st_ctime_ns
    assert size == recorder.moments[-1].done
    assert [] == hidden(folder)


async def test_what_is_the_same_is_made_durable(
    service: Service, client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else has put here is synced before it counts; if that fails it is an error, and the file stays."""
    await serve(service, folder, {"a": b"a", "b": b"b"})
    await client.get_tree("tree", folder / "tree")

    def sync(fds: list[int], _: object) -> list[OSError | None]:
        return [OSError(5, "Input/output error") if os.fstat(fd).st_ino == inode else None for fd in fds]

    inode = (folder / "tree" / "a").stat().st_ino
    monkeypatch.setattr(here, "sync_all", sync)
    result = await client.get_tree("tree", folder / "tree")
    assert (1, 1) == (result.identical, len(result.errors))
    assert {"a": b"a", "b": b"b"} == all_in(folder / "tree")


def test_what_the_command_says(ftpc: Ftpc) -> None:
    """The summary and JSON count what was here; it is told of each with -v, and of one alone."""
    make(ftpc.folder / "source", {"tree/a": b"aa", "tree/b": b"b", "c": b"ccc"})
    assert 0 == ftpc.run("put", "-r", "source/", "--as", ".").status
    commands = (["get", "-r", "tree"], ["get", "tree/a", "tree/b", "c", "-o", "named"], ["get", "c"])
    for arguments in commands:
        assert 0 == ftpc.run(*arguments).status
    for arguments, count, size in zip(commands, (2, 3, 1), (3, 6, 3), strict=True):
        again = ftpc.run(*arguments)
        assert (0, True) == (again.status, "0 files, 0 B in" in again.err), again.err
        assert f"{count} the same already ({size} B), verified" in again.err
        told = again.err.count("it is here already, the same to the last byte")
        assert told == (count == 1)
        assert count == ftpc.run("-v", *arguments).err.count("it is here already, the same to the last byte")
        *events, summary = ftpc.run(*arguments, "--json").objects
        done = [one for one in events if one["event"] == "done"]
        assert [True] * count == [one["identical"] for one in done]
        assert (0, count, count, size, True) == tuple(
            summary[key] for key in ("files", "skipped", "identical", "identical_bytes", "verified")
        )
        assert summary["bytes"] == summary["failed"] == 0


def test_what_was_lost_is_told(ftpc: Ftpc) -> None:
    """A `done` says whether what was here of a broken download is gone."""
    make(ftpc.folder, {"source": content(40 * MIB)})
    assert 0 == ftpc.run("put", "source", "--as", "big").status
    counted = Counted(int(ftpc.server.rpartition(":")[2].partition("/")[0]))
    with counted.running() as proxy:
        env = {"FTPC_SERVER": through(ftpc, proxy)}
        proxy.down.cut_at = 30 * MIB
        assert 5 == ftpc.run("get", "big", "--retries", "0", env=env).status
        [part] = ftpc.folder.glob(".big.*.part")
        part.unlink()
        proxy.down.cut_at = None
        for lost in (True, False):
            [done] = [one for one in ftpc.run("get", "big", "--json", env=env).objects if one["event"] == "done"]
            assert (lost, lost, not lost) == (done["lost"], done["restarted"], done["identical"])


async def test_nothing_waits_for_the_answers(service: Service, proxy: Proxy, folder: Path) -> None:
    """While the server is asked of what is here, it is asked for what is not."""
    files = {f"{number}": b"x" for number in range(200)}
    await serve(service, folder, files)
    make(folder / "here", {"0": b"x"})
    seen = bytearray()
    proxy.up.watch = seen.extend
    async with connected(proxy.address) as client:
        assert 200 == len([entry async for entry in client.ls("tree", long=True)])
        proxy.down.hold_at = 2 * proxy.down.count  # within the first answers behind another listing
        getting = asyncio.create_task(client.get_tree("tree", folder / "here"))
        await proxy.down.held.wait()
        await soon(lambda: b'"cmd":"same"' in seen and b'"cmd":"get"' in seen, "both are asked")
        proxy.down.go.set()
        assert (199, 1) == _count(await getting)
