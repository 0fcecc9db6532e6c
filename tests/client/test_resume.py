"""Broken uploads go on: within the call, in another process, and never with bytes of two versions."""

import asyncio
import os
import random
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import ftpc
from ftpc import ConnectionLostError
from ftpc.jobs import JobFile, Task, unfinished
from ftpd.payload.journal import Journal
from ftpd.wire.digests import hash_leaf
from tests.client.command import Ftpc, command
from tests.client.proxy import Proxy
from tests.client.support import MIB, Recorder, Service, connected, content, soon
from tests.peer import PATIENCE_S, ServerProcess

CHUNK = 8 * MIB
SIZE = 5 * CHUNK + 1000


async def test_a_cut_is_mended(service: Service, proxy: Proxy, folder: Path) -> None:
    """A connection that is cut is opened again, and only what was not confirmed is sent again."""
    (folder / "a").write_bytes(content(SIZE))
    proxy.up.cut_at = 4 * CHUNK
    recorder = Recorder(lambda moment: setattr(proxy.up, "cut_at", None) if moment.phase.startswith("conn") else None)
    async with connected(proxy.address, retries=3) as client:
        result = await client.put(folder / "a", progress=recorder)
    assert content(SIZE) == (service.root / "a").read_bytes()
    assert result.resumed >= CHUNK
    assert proxy.up.count <= SIZE + CHUNK + 10_000
    assert [] == service.partials()


@pytest.mark.parametrize(
    ("size", "cuts"),
    [(96 * MIB, 12), pytest.param(1024 * MIB, 100, marks=[pytest.mark.long, pytest.mark.timeout(300)])],
)
async def test_many_cuts(service: Service, proxy: Proxy, folder: Path, size: int, cuts: int) -> None:
    """A transfer that is cut again and again, at random, ends whole, and a cut costs less than a chunk."""
    (folder / "a").write_bytes(content(size))
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 (shown when the test fails, to repeat it)
    part = size // cuts  # one cut in each: without progress between them the client waits longer and longer
    places = [random.Random(seed + number).randrange(part) + number * part for number in range(cuts)]  # noqa: S311 (no secret)
    rest = iter([*places, None])
    proxy.up.cut_at = next(rest)
    recorder = Recorder(
        lambda moment: (
            setattr(proxy.up, "cut_at", _later(next(rest), proxy.up.count)) if moment.phase.startswith("conn") else None
        )
    )
    async with connected(proxy.address, retries=cuts) as client:
        await client.put(folder / "a", progress=recorder)
    assert content(size) == (service.root / "a").read_bytes()
    print(f"{cuts} cuts cost {(proxy.up.count - size) / cuts / CHUNK:.2f} chunks each")  # noqa: T201 (the figure that the test is about)
    assert proxy.up.count <= size + cuts * CHUNK


def _later(place: int | None, count: int) -> int | None:
    return None if place is None else max(place, count + 1000)


async def test_a_slow_server_is_waited_for(service: Service, folder: Path) -> None:
    """A server that is told to be slow, and takes longer than nothing may move, is not taken for one that is gone."""
    (folder / "a").write_bytes(content(3_000_000))
    await service.stop()
    await service.start(limit_rate=1_000_000)
    async with ftpc.connect(service.address, stall_timeout_s=1.5, retries=0) as client:
        await client.put(folder / "a")
    assert content(3_000_000) == (service.root / "a").read_bytes()


async def test_a_stalled_line_is_given_up(service: Service, proxy: Proxy, folder: Path) -> None:
    """A connection on which nothing moves is replaced by another, which takes the upload over and goes on."""
    (folder / "a").write_bytes(content(SIZE))
    proxy.up.hold_at = 2 * CHUNK
    async with ftpc.connect(proxy.address, stall_timeout_s=0.3, retries=3) as client:
        uploading = asyncio.create_task(client.put(folder / "a"))
        await proxy.up.held.wait()
        proxy.up.hold_at = None  # for all that come later; this one stays where it is
        result = await uploading
    assert result.resumed >= CHUNK
    assert content(SIZE) == (service.root / "a").read_bytes()
    proxy.up.go.set()


async def test_a_server_that_was_away(service: Service, folder: Path) -> None:
    """An upload survives its server: it goes on with the next one at the same address."""
    (folder / "a").write_bytes(content(SIZE))
    async with connected(service.address, retries=20) as client:
        confirmed = asyncio.Event()
        recorder = Recorder(lambda moment: confirmed.set() if moment.done >= CHUNK else None)
        uploading = asyncio.create_task(client.put(folder / "a", progress=recorder))
        await confirmed.wait()
        await service.stop()
        await service.start()
        result = await uploading
    assert result.resumed >= CHUNK
    assert content(SIZE) == (service.root / "a").read_bytes()


async def _break_off(proxy: Proxy, folder: Path, at: int = 4 * CHUNK) -> None:
    """Lose the connection, and give up."""
    proxy.up.cut_at = proxy.up.count + at
    async with ftpc.connect(proxy.address, retries=0, jobs=folder / "jobs") as client:
        with pytest.raises(ConnectionLostError):
            await client.put(folder / "a")
    proxy.up.cut_at = None
    [job] = unfinished(folder / "jobs")
    assert (str(folder / "a"), "a", SIZE) == (job.task.local, job.task.remote, job.size)


async def test_another_process_goes_on(service: Service, proxy: Proxy, folder: Path) -> None:
    """What is remembered in a folder is enough to go on: no confirmed chunk is sent or hashed again."""
    (folder / "a").write_bytes(content(SIZE))
    await _break_off(proxy, folder)
    before = proxy.up.count
    async with ftpc.connect(proxy.address, jobs=folder / "jobs") as client:
        result = await client.put(folder / "a")
    assert result.resumed >= CHUNK
    assert not result.changed
    assert proxy.up.count - before < SIZE - result.resumed + 10_000
    assert content(SIZE) == (service.root / "a").read_bytes()
    assert [] == unfinished(folder / "jobs")


async def test_a_file_that_changed_meanwhile(service: Service, proxy: Proxy, folder: Path) -> None:
    """Of a file that changed between two tries, what is new is sent in place of the old; the result is the new file."""
    (folder / "a").write_bytes(content(SIZE))
    await _break_off(proxy, folder)
    with (folder / "a").open("r+b") as file:
        file.seek(10)
        file.write(b"changed")
    async with ftpc.connect(proxy.address, jobs=folder / "jobs") as client:
        result = await client.put(folder / "a")
    assert (folder / "a").read_bytes() == (service.root / "a").read_bytes()
    assert 0 < result.resumed <= SIZE - CHUNK
    assert result.changed


async def test_a_file_that_changed_and_pretends_not_to(service: Service, proxy: Proxy, folder: Path) -> None:
    """A change is seen although size, inode and modification time are what they were."""
    (folder / "a").write_bytes(content(SIZE))
    before = (folder / "a").stat()
    await _break_off(proxy, folder)
    with (folder / "a").open("r+b") as file:
        file.write(b"changed")
    os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    async with ftpc.connect(proxy.address, jobs=folder / "jobs") as client:
        result = await client.put(folder / "a")
    assert (folder / "a").read_bytes() == (service.root / "a").read_bytes()
    assert result.changed


async def test_a_file_that_grew_meanwhile(service: Service, proxy: Proxy, folder: Path) -> None:
    """A file of another size is begun afresh, and the result says so; what the server had is dropped."""
    (folder / "a").write_bytes(content(SIZE))
    await _break_off(proxy, folder)
    with (folder / "a").open("ab") as file:
        file.write(b"more")
    async with ftpc.connect(proxy.address, jobs=folder / "jobs") as client:
        result = await client.put(folder / "a")
    assert (folder / "a").read_bytes() == (service.root / "a").read_bytes()
    assert (0, True) == (result.resumed, result.restarted)
    assert [] == service.partials()


@pytest.mark.parametrize("damage", ["cut", "gone", "garbage"])
async def test_a_damaged_memory(service: Service, proxy: Proxy, folder: Path, damage: str) -> None:
    """A journal of ours that is cut, gone or garbage costs sending, never the file."""
    (folder / "a").write_bytes(content(SIZE))
    await _break_off(proxy, folder)
    [journal] = (folder / "jobs").iterdir()
    if damage == "cut":
        os.truncate(journal, journal.stat().st_size - 50)
    elif damage == "gone":
        journal.unlink()
    else:
        journal.write_bytes(os.urandom(500))
    async with ftpc.connect(proxy.address, jobs=folder / "jobs") as client:
        await client.put(folder / "a")
    assert content(SIZE) == (service.root / "a").read_bytes()


async def test_a_server_that_has_dropped_it(service: Service, proxy: Proxy, folder: Path) -> None:
    """An upload that the server does not know any more is begun afresh, and the result says so."""
    (folder / "a").write_bytes(content(SIZE))
    await _break_off(proxy, folder)
    await soon(service.partials, "the server has noticed")
    for path in (service.root / ".ftpd" / "partial").iterdir():
        path.unlink()
    async with ftpc.connect(proxy.address, jobs=folder / "jobs") as client:
        result = await client.put(folder / "a")
    assert (0, True) == (result.resumed, result.restarted)
    assert content(SIZE) == (service.root / "a").read_bytes()


async def test_only_the_reply_was_lost(service: Service, proxy: Proxy, folder: Path) -> None:
    """When the file was published and only the reply to `commit` was lost, nothing is sent again."""
    (folder / "a").write_bytes(content(SIZE))

    def stop_replies(moment: object) -> None:
        if getattr(moment, "phase", "") == "committing" and proxy.down.cut_at is None:
            proxy.down.cut_at = proxy.down.count
        elif str(getattr(moment, "phase", "")).startswith("conn"):
            proxy.down.cut_at = -1

    async with connected(proxy.address, retries=5) as client:
        result = await client.put(folder / "a", progress=Recorder(stop_replies))
    assert not result.skipped
    assert proxy.up.count < SIZE + 10_000
    assert content(SIZE) == (service.root / "a").read_bytes()


@pytest.mark.parametrize("gibibytes", [4, pytest.param(64, marks=pytest.mark.long)])
async def test_a_very_large_file_goes_on_at_once(service: Service, proxy: Proxy, folder: Path, gibibytes: int) -> None:
    """To go on with a file of which 16 MiB are missing, neither side reads what is there (64 GiB: a minute)."""
    size = gibibytes * 1024 * MIB
    if shutil.disk_usage(folder).free < size:
        pytest.skip("the disk is smaller than the (sparse) file, which the server would refuse")
    source = folder / "a"
    source.touch()
    os.truncate(source, size)
    proxy.up.cut_at = 5 * CHUNK
    async with ftpc.connect(proxy.address, retries=0, jobs=folder / "jobs") as client:
        with pytest.raises(ftpc.FtpcError):
            await client.put(source)
    proxy.up.cut_at = None
    await soon(service.partials, "the server has put the upload aside")
    # As if it had been cut much later: the rest is zeros as well, and both sides note it.
    [data] = service.partials()
    os.truncate(data, size)
    [remembered] = (folder / "jobs").iterdir()
    for path in (remembered, data.with_name(f"{data.name}.journal")):
        opened = Journal.open(os.open(path, os.O_RDWR))
        assert opened is not None
        journal, found = opened
        leaf = hash_leaf(bytes(CHUNK))
        for index in range(size // CHUNK - 2):
            if index not in found.leaves:
                journal.add(index, leaf)
        journal.close()
    before = _bytes_read()
    async with ftpc.connect(proxy.address, jobs=folder / "jobs") as client:
        result = await client.put(source)
    assert (size, size - 2 * CHUNK) == (result.size, result.resumed)
    assert _bytes_read() - before < 16 * CHUNK
    assert size == (service.root / "a").stat().st_size


def _bytes_read() -> int:
    """Give the bytes that this process, both sides of the transfer, has read by any means (proc_pid_io(5))."""
    return int(Path("/proc/self/io").read_text().split()[1])


async def test_two_at_the_same_job(service: Service, folder: Path) -> None:
    """Two processes do not work on one upload: the second is told, the first goes on."""
    (folder / "a").write_bytes(content(SIZE))
    async with (
        ftpc.connect(service.address, jobs=folder / "jobs") as one,
        ftpc.connect(service.address, jobs=folder / "jobs") as other,
    ):
        first = asyncio.create_task(one.put(folder / "a"))
        await soon(lambda: unfinished(folder / "jobs"), "the first has begun")
        with pytest.raises(ftpc.InUseError, match="another ftpc"):
            await other.put(folder / "a")
        await first


def test_killed_and_gone_on_with(ftpc: Ftpc) -> None:
    """`kill -9` in the middle; `jobs` lists the upload, `resume` ends it, and then there is nothing left of it."""
    source = ftpc.folder / "big"
    with source.open("wb") as file:
        file.truncate(2**30)
    killed = subprocess.Popen([*command("put", "big", "-q")], cwd=ftpc.folder, env=ftpc.environment())
    state = ftpc.folder / ".local" / "state" / "ftpc" / "jobs"
    try:
        _wait_for_chunks(state, killed)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait(PATIENCE_S)
    listed = ftpc.run("jobs").out
    assert str(source) in listed
    assert "broken off" in listed
    done = ftpc.run("resume")
    assert (0, "of it were there already" in done.err) == (done.status, True), done
    assert 2**30 == (ftpc.remote / "big").stat().st_size
    assert "" == ftpc.run("jobs").out


def test_the_names_of_what_can_not_go_on(ftpc: Ftpc) -> None:
    """An error of `resume` has the name of the file, as its `done` would have: the local one of what is sent."""
    sent = str(ftpc.write("sent"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = f"ftpd://127.0.0.1:{bound.getsockname()[1]}"
        for task in (Task("put", server, "x/sent", sent), Task("get", server, "x/there", str(ftpc.folder / "here"))):
            job = JobFile.open(ftpc.folder / ".local" / "state" / "ftpc" / "jobs", task)
            assert job is not None
            job.begin({"if_exists": "overwrite"})
            job.close(done=False)
        done = ftpc.run("resume", "--json")
    assert {sent, "x/there"} == {one["name"] for one in done.objects if one["event"] == "error"}, done.err
    assert 5 == done.status


def test_folder_tells_what_was_there(ftpc: Ftpc) -> None:
    """Of a folder that goes on it is said how much was there already, as of a file."""
    (ftpc.folder / "tree").mkdir()
    with (ftpc.folder / "tree" / "big").open("wb") as file:
        file.truncate(2**30)
    killed = subprocess.Popen([*command("put", "-r", "tree", "-q")], cwd=ftpc.folder, env=ftpc.environment())
    try:
        _wait_for_chunks(ftpc.folder / ".local" / "state" / "ftpc" / "jobs", killed)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait(PATIENCE_S)
    done = ftpc.run("put", "-r", "tree")
    assert done.status == 0, done
    assert re.search(r"^tree: [\d.]+ [KMG]iB of it were there already$", done.err, re.MULTILINE), done


@pytest.mark.parametrize("is_there", [True, False])
def test_cancelled(ftpc: Ftpc, tmp_path: Path, *, is_there: bool) -> None:
    """`cancel` has the server drop its part and forgets the upload; a server that is not there only gets a word."""
    with (ftpc.folder / "big").open("wb") as file:
        file.truncate(2**30)
    with ServerProcess(tmp_path) as server:
        address = f"127.0.0.1:{server.port}"
        killed = subprocess.Popen(
            [*command("put", "big", "-q", "--server", address)], cwd=ftpc.folder, env=ftpc.environment()
        )
        try:
            _wait_for_chunks(ftpc.folder / ".local" / "state" / "ftpc" / "jobs", killed)
        finally:
            killed.send_signal(signal.SIGINT)
            killed.wait(PATIENCE_S)
        name = ftpc.run("jobs").out.split()[0]
        partials = tmp_path / ".ftpd" / "partial"
        if not is_there:
            server.process.kill()
            server.process.wait(PATIENCE_S)
        done = ftpc.run("cancel", name)
        assert is_there == ([] == [*partials.iterdir()])
    assert (0, is_there) == (done.status, "--partial-ttl" not in done.err), done.err
    assert "" == ftpc.run("jobs").out
    again = ftpc.run("cancel", name)
    assert (3, True) == (again.status, "no such unfinished transfer" in again.err)


def _wait_for_chunks(state: Path, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        if any(path.stat().st_size > 600 for path in state.glob("*.put")):
            return
    raise AssertionError(f"it ended too early: {process.returncode}")
