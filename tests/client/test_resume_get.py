"""Broken downloads go on: within the call, in another process, and never with bytes of two versions."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ftpc
from ftpc import Client, ConnectionLostError
from ftpc.jobs import unfinished
from tests.client.command import Ftpc, command
from tests.client.proxy import Proxy
from tests.client.support import MIB, Recorder, Service, connected, content, hidden, soon
from tests.peer import PATIENCE_S, eventually

CHUNK = 8 * MIB
SIZE = 5 * CHUNK + 1000


async def test_a_download_is_mended(service: Service, proxy: Proxy, folder: Path) -> None:
    """A download that is cut goes on behind the last chunk that was verified, and ends the same."""
    (folder / "source").write_bytes(content(SIZE))
    async with connected(service.address) as client:
        await client.put(folder / "source", "a")
    proxy.down.cut_at = 4 * CHUNK
    recorder = Recorder(lambda moment: setattr(proxy.down, "cut_at", None) if moment.phase.startswith("conn") else None)
    async with connected(proxy.address, retries=3) as client:
        result = await client.get("a", folder / "b", progress=recorder)
    assert content(SIZE) == (folder / "b").read_bytes()
    assert (True, False) == (result.resumed >= CHUNK, result.restarted)
    assert proxy.down.count <= SIZE + 3 * CHUNK


async def test_a_download_is_repaired(service: Service, proxy: Proxy, folder: Path) -> None:
    """A chunk of a download that arrives damaged is fetched again over the same connection."""
    (folder / "source").write_bytes(content(SIZE))
    async with connected(service.address) as client:
        await client.put(folder / "source", "a")
    proxy.down.flip_at = 3 * CHUNK + 1000
    async with connected(proxy.address, retries=0) as client:
        result = await client.get("a", folder / "b")
    assert content(SIZE) == (folder / "b").read_bytes()
    assert 1 == result.repaired


@pytest.mark.parametrize("known", [True, False])
async def test_a_file_that_is_replaced_while_its_download_is_broken(
    service: Service, proxy: Proxy, folder: Path, *, known: bool
) -> None:
    """Of a remote file that changed, or that nobody can prove to be the same, nothing is used again; it says so."""
    (folder / "old").write_bytes(content(SIZE))
    (folder / "new").write_bytes(bytes(SIZE - 5))
    async with connected(service.address) as direct:
        if known:
            await direct.put(folder / "old", "a")
        else:
            (service.root / "a").write_bytes(content(SIZE))
        proxy.down.hold_at = 4 * CHUNK
        async with ftpc.connect(proxy.address, retries=3, stall_timeout_s=0.2) as client:
            downloading = asyncio.create_task(client.get("a", folder / "b"))
            await proxy.down.held.wait()
            await direct.put(folder / "new", "a")
            proxy.down.hold_at = None
            result = await downloading
    assert bytes(SIZE - 5) == (folder / "b").read_bytes()
    assert result.restarted
    proxy.down.go.set()


async def _serve(service: Service, folder: Path, name: str = "a", *, known: bool = True) -> None:
    """Have a file on the server, whose digests it knows or not."""
    (folder / "source").write_bytes(content(SIZE))
    if known:
        async with connected(service.address) as client:
            await client.put(folder / "source", name)
        return
    path = service.root / name
    path.write_bytes(content(SIZE))
    await soon(lambda: _age_ns(path) > 100_000_000, "a change from now on would be seen")


def _age_ns(path: Path) -> int:
    return time.time_ns() - path.stat().st_ctime_ns


def _remembering(proxy: Proxy, folder: Path) -> Client:
    return ftpc.connect(proxy.address, retries=0, jobs=folder / "jobs")


async def _break_off(proxy: Proxy, folder: Path, at: int = 4 * CHUNK) -> Path:
    """Lose the connection, and give up. Give the hidden file that stays."""
    proxy.down.cut_at = proxy.down.count + at
    async with _remembering(proxy, folder) as client:
        with pytest.raises(ConnectionLostError):
            await client.get("a", folder / "b")
    proxy.down.cut_at = None
    [job] = unfinished(folder / "jobs")
    assert ("get", str(folder / "b"), "a", SIZE) == (job.task.verb, job.task.local, job.task.remote, job.size)
    assert [Path(job.part).name] == hidden(folder)
    return Path(job.part)


async def _go_on(proxy: Proxy, folder: Path) -> ftpc.GetResult:
    """Run the same again, and see that nothing but the file is left."""
    async with _remembering(proxy, folder) as client:
        result = await client.get("a", folder / "b")
    assert [] == unfinished(folder / "jobs")
    assert [] == hidden(folder)
    return result


@pytest.mark.parametrize("known", [True, False])
async def test_another_process_goes_on(service: Service, proxy: Proxy, folder: Path, *, known: bool) -> None:
    """The same command goes on behind what is here, also with a file whose digests the server does not know."""
    await _serve(service, folder, known=known)
    await _break_off(proxy, folder)
    before = proxy.down.count
    result = await _go_on(proxy, folder)
    assert content(SIZE) == (folder / "b").read_bytes()
    assert (True, False) == (result.resumed >= CHUNK, result.restarted)
    assert proxy.down.count - before < SIZE - result.resumed + 10_000


async def test_an_unknown_file_is_mended_within_the_call(service: Service, proxy: Proxy, folder: Path) -> None:
    """A file whose digests the server is still computing goes on after a cut as well, and is proven at its end."""
    await _serve(service, folder, known=False)
    proxy.down.cut_at = 4 * CHUNK
    recorder = Recorder(lambda moment: setattr(proxy.down, "cut_at", None) if moment.phase.startswith("conn") else None)
    async with connected(proxy.address, retries=3) as client:
        result = await client.get("a", folder / "b", progress=recorder)
    assert content(SIZE) == (folder / "b").read_bytes()
    assert (True, False) == (result.resumed >= CHUNK, result.restarted)


async def test_a_file_that_became_known_meanwhile(service: Service, proxy: Proxy, folder: Path) -> None:
    """What came while nobody knew the digests is proven by those that are known when it goes on."""
    await _serve(service, folder, known=False)
    proxy.down.flip_at = MIB
    await _break_off(proxy, folder)
    async with connected(service.address) as other:
        await other.get("a", folder / "other")
    with pytest.raises(ftpc.IntegrityError, match="do not fit together"):
        await _go_on(proxy, folder)
    assert not (folder / "b").exists()
    await _go_on(proxy, folder)
    assert content(SIZE) == (folder / "b").read_bytes()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [SIZE, SIZE - 5])
async def test_a_file_that_changed_meanwhile(
    service: Service, proxy: Proxy, folder: Path, size: int, *, known: bool
) -> None:
    """Of a remote file that has changed nothing is used again, and it says so."""
    await _serve(service, folder, known=known)
    await _break_off(proxy, folder)
    (service.root / "a").write_bytes(content(size, 1))
    result = await _go_on(proxy, folder)
    assert content(size, 1) == (folder / "b").read_bytes()
    assert (True, False, 0) == (result.restarted, result.lost, result.resumed)


async def test_a_file_that_is_gone(service: Service, proxy: Proxy, folder: Path) -> None:
    """If the remote file is gone the download fails; what is here stays until it is cancelled."""
    await _serve(service, folder)
    part = await _break_off(proxy, folder)
    (service.root / "a").unlink()
    async with _remembering(proxy, folder) as client:
        with pytest.raises(ftpc.RefusedError, match="there is no such file"):
            await client.get("a", folder / "b")
    assert part.exists()
    assert 1 == len(unfinished(folder / "jobs"))


@pytest.mark.parametrize("damage", ["deleted", "replaced", "linked"])
async def test_a_hidden_file_that_is_not_ours_any_more(
    service: Service, proxy: Proxy, folder: Path, damage: str
) -> None:
    """Where the hidden file is gone, or is another one, it begins afresh and says so; the other one is left alone."""
    await _serve(service, folder)
    part = await _break_off(proxy, folder)
    part.rename(folder / "kept")
    if damage == "replaced":
        part.write_bytes(b"other")
    elif damage == "linked":
        part.symlink_to(folder / "source")
    async with _remembering(proxy, folder) as client:
        result = await client.get("a", folder / "b")
    assert content(SIZE) == (folder / "b").read_bytes() == (folder / "source").read_bytes()
    assert (True, True) == (result.restarted, result.lost)
    assert ([] if damage == "deleted" else [part.name]) == hidden(folder)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
async def test_a_damaged_memory(service: Service, proxy: Proxy, folder: Path, damage: str) -> None:
    """A journal counts up to where it is intact; what is lost of it is fetched again."""
    await _serve(service, folder)
    await _break_off(proxy, folder)
    [journal] = (folder / "jobs").iterdir()
    data = journal.read_bytes()
    end = data.index(b"\n") + 1
    journal.write_bytes({"cut": data[: end + 50], "garbage": data[: end + 48] + bytes(100), "empty": b""}[damage])
    async with _remembering(proxy, folder) as client:
        result = await client.get("a", folder / "b")
    assert content(SIZE) == (folder / "b").read_bytes()
    assert (0 if damage == "empty" else CHUNK) == result.resumed


async def test_after_a_restart_of_the_machine(
    service: Service, proxy: Proxy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written before the machine was started again is looked at; chunks that were lost are fetched again."""
    await _serve(service, folder)
    part = await _break_off(proxy, folder)
    with part.open("r+b") as file:
        file.write(bytes(CHUNK))
    monkeypatch.setattr("ftpc.download_job.boot_id", lambda: "another")
    result = await _go_on(proxy, folder)
    assert content(SIZE) == (folder / "b").read_bytes()
    assert (True, 0) == (result.resumed >= CHUNK, result.resumed % CHUNK)


async def test_two_at_the_same_download(service: Service, proxy: Proxy, folder: Path) -> None:
    """Two processes do not write to one hidden file: the second is told, the first goes on."""
    await _serve(service, folder)
    proxy.down.hold_at = 2 * CHUNK
    async with _remembering(proxy, folder) as one, _remembering(proxy, folder) as other:
        first = asyncio.create_task(one.get("a", folder / "b"))
        await proxy.down.held.wait()
        proxy.down.hold_at = None
        with pytest.raises(ftpc.InUseError, match="another ftpc is downloading"):
            await other.get("a", folder / "b")
        proxy.down.go.set()
        await first
    assert content(SIZE) == (folder / "b").read_bytes()


async def test_small_files_are_not_remembered(service: Service, proxy: Proxy, folder: Path) -> None:
    """A file of one chunk leaves nothing behind when it fails."""
    (service.root / "a").write_bytes(content(MIB))
    proxy.down.cut_at = MIB // 2
    async with _remembering(proxy, folder) as client:
        with pytest.raises(ConnectionLostError):
            await client.get("a", folder / "b")
    assert ([], []) == (hidden(folder), unfinished(folder / "jobs"))


@pytest.fixture
def big(ftpc: Ftpc) -> Iterator[Path]:
    """A file on the server that takes a while."""
    path = ftpc.remote / "big"
    with path.open("wb") as file:
        file.truncate(2**29)
    eventually(lambda: _age_ns(path) > 100_000_000, "a change from now on would be seen")
    yield path
    path.unlink()


def _stop_in_the_middle(ftpc: Ftpc, number: signal.Signals, *options: str) -> str:
    """Begin a download, and end it by a signal after its first chunks. Give what it said."""
    process = subprocess.Popen(
        [*command("get", "big", *options)], cwd=ftpc.folder, env=ftpc.environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        while process.poll() is None:
            if any(path.stat().st_blocks > 2**17 for path in ftpc.folder.glob(".big.*.part")):
                break
        else:
            raise AssertionError(f"it ended too early: {process.returncode}")
    finally:
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE_S)
    return said


def test_killed_and_gone_on_with(ftpc: Ftpc, big: Path) -> None:
    """`kill -9` in the middle; `jobs` lists the download, `resume` ends it, and then there is nothing left of it."""
    _stop_in_the_middle(ftpc, signal.SIGKILL, "-q")
    listed = ftpc.run("jobs").out
    assert f"/big -> {ftpc.folder / 'big'}" in listed
    assert "broken off" in listed
    done = ftpc.run("resume")
    assert (0, "of it were here already" in done.err) == (done.status, True), done
    assert big.stat().st_size == (ftpc.folder / "big").stat().st_size
    assert ("", False) == (ftpc.run("jobs").out, any(ftpc.folder.glob(".big.*")))


def test_what_was_here_is_gone(ftpc: Ftpc, big: Path) -> None:
    """Where somebody has removed the hidden file, that is what is said."""
    _stop_in_the_middle(ftpc, signal.SIGKILL, "-q")
    [part] = ftpc.folder.glob(".big.*.part")
    part.unlink()
    done = ftpc.run("get", "big")
    said = "big: what was here of it after a break is gone: begun afresh\n"
    assert (0, True) == (done.status, said in done.err), done


def test_interrupted_and_cancelled(ftpc: Ftpc, big: Path) -> None:
    """Ctrl-C prints how to go on; `cancel` forgets the download and removes what is here of it."""
    said = _stop_in_the_middle(ftpc, signal.SIGINT)
    name = ftpc.run("jobs").out.split()[0]
    assert f"{ftpc.folder / 'big'} is not finished; go on with: ftpc resume {name}" in said
    assert 1 == len([*ftpc.folder.glob(".big.*.part")])
    assert 0 == ftpc.run("cancel", name).status
    assert ("", False) == (ftpc.run("jobs").out, any(ftpc.folder.glob(".big.*")))
    assert big.exists()


def test_without_resume_nothing_stays(ftpc: Ftpc, big: Path) -> None:
    """`--no-resume` leaves neither a hidden file nor a memory of it."""
    _stop_in_the_middle(ftpc, signal.SIGINT, "--no-resume")
    assert ("", False) == (ftpc.run("jobs").out, any(ftpc.folder.glob(".big.*")))
    assert big.exists()
