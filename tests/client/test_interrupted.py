"""A command that is ended in the middle, and the same command again: it goes on with what the server has verified."""

import asyncio
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.client.command import Ftpc, Result, command
from tests.client.proxy import Proxy, proxied
from tests.client.support import MIB, content, soon
from tests.peer import PATIENCE_S, ServerProcess, eventually

CHUNK = 8 * MIB
SIZE = 5 * CHUNK + 1000


async def put_until_held(user: Ftpc, way: Proxy, *arguments: str) -> asyncio.subprocess.Process:
    """Start to put a large file, perhaps with others, and wait until two chunks and a half are on their way."""
    way.up.hold_at = way.up.count + 2 * CHUNK + CHUNK // 2
    arguments = ("put", "--progress", "none", *(arguments or ["big"]))
    process = await asyncio.create_subprocess_exec(
        *command(*arguments), cwd=user.folder, env=user.environment(), stderr=asyncio.subprocess.PIPE
    )
    await way.up.held.wait()
    return process


def sealed(root: Path) -> int:
    """Count the chunks that the journal of the one upload speaks of: 48 bytes for each."""
    [journal] = (root / ".ftpd" / "partial").glob("*.journal")
    return (journal.stat().st_size - journal.read_bytes().index(b"\n") - 1) // 48


@pytest.fixture
def server_process(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server."""
    root = tmp_path / "root"
    root.mkdir()
    with ServerProcess(root) as server:
        yield server


@pytest.fixture
async def way(server_process: ServerProcess) -> AsyncIterator[Proxy]:
    """A network before that server."""
    async with proxied(server_process.port) as proxy:
        yield proxy


async def run(user: Ftpc, *arguments: str) -> Result:
    """Run a command, while the test's own event loop goes on."""
    return await asyncio.to_thread(user.run, *arguments)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_the_same_command_goes_on(tmp_path: Path, folder: Path, number: signal.Signals) -> None:
    """After Ctrl-C, SIGTERM or `kill -9` the same command sends only what the server has not verified."""
    root = tmp_path / "root"
    root.mkdir()
    with ServerProcess(root) as server:
        async with proxied(server.port) as way:
            user = Ftpc(way.address, folder, server.root)
            source = user.write("big", content(SIZE))
            process = await put_until_held(user, way)
            await soon(lambda: sealed(server.root) == 2, "two chunks are stored")
            process.send_signal(number)
            async with asyncio.timeout(PATIENCE_S):
                status = await process.wait()
            assert {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -number) == status
            way.up.hold_at = None
            await way.settle()  # or what is on its way would count below
            before = way.up.count
            done = await run(user, "put", "big", "--progress", "none")
            assert (0, True) == (done.status, "of it were there already" in done.err), done
            assert way.up.count - before < SIZE - 2 * CHUNK + 10_000
        assert source.read_bytes() == (server.root / "big").read_bytes()
        assert [] == server.partials()


async def test_a_killed_server_and_the_same_command(tmp_path: Path, folder: Path) -> None:
    """A server that dies by `kill -9` with a client at work costs a chunk: the next one in its place has the others."""
    root = tmp_path / "root"
    root.mkdir()
    with ServerProcess(root) as server:
        async with proxied(server.port) as way:
            user = Ftpc(way.address, folder, root)
            source = user.write("big", content(SIZE))
            process = await put_until_held(user, way, "big", "--retries", "20")
            await soon(lambda: sealed(root) == 2, "two chunks are stored")
            server.kill()
            with ServerProcess(root) as successor:
                way.target = successor.port
                way.up.hold_at = None
                before = way.up.count
                way.cut()
                async with asyncio.timeout(PATIENCE_S):
                    assert 0 == await process.wait()
                assert way.up.count - before < SIZE - 2 * CHUNK + 10_000
                assert [] == successor.partials()
    assert source.read_bytes() == (root / "big").read_bytes()


async def end_of(process: asyncio.subprocess.Process) -> list[str]:
    """Interrupt a command that waits, and give the lines that it ends with."""
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(PATIENCE_S):
        _, said = await process.communicate()
    assert 130 == process.returncode
    interrupted, *rest = said.decode().splitlines()
    assert "ftpc: interrupted; nothing half done is visible on either side" == interrupted
    return rest


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        (["a", "b", "big"], "2 of 3 files are stored; give the same command again to go on"),
        (["-r", "tree"], r"\d( of 3)? files? (is|are) stored; give the same command again to go on"),
        (["-r", "a", "tree"], r"\d( of 4)? files? (is|are) stored; give the same command again to go on"),
        (["a", "big", "--if-exists", "fail"], "1 of 2 files is stored; give the same command again with "),
        (["a", "big", "--if-exists", "rename"], "1 of 2 files is stored; the same command would store them a second"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_several_files(
    server_process: ServerProcess, way: Proxy, folder: Path, arguments: list[str], end: str
) -> None:
    """Ctrl-C with more than one file says how many are stored, and what goes on with all: the small ones as well."""
    user = Ftpc(way.address, folder, server_process.root)
    for name in ("a", "b", "tree/a", "tree/b"):
        user.write(name)
    for name in ("big", "tree/big"):
        user.write(name, content(SIZE))
    process = await put_until_held(user, way, "-j", "1", *arguments)
    await soon(lambda: sealed(server_process.root) == 2, "two chunks are stored")
    [line] = await end_of(process)
    assert re.match(f"ftpc: {end}", line), line  # of a folder it is left open what is sent first
    way.up.hold_at = None
    if end.endswith("to go on"):
        await way.settle()
        done = await run(user, "put", "--progress", "none", *arguments)
        assert 0 == done.status, done
        for name in arguments:
            for path in (user.folder / name).rglob("*") if name == "tree" else [user.folder / name]:
                if path.is_file():
                    assert path.read_bytes() == (server_process.root / path.relative_to(user.folder)).read_bytes()


async def test_errors_that_are_known(server_process: ServerProcess, way: Proxy, folder: Path) -> None:
    """Ctrl-C loses no error of a folder that was found before."""
    user = Ftpc(way.address, folder, server_process.root)
    user.write("tree/bad\n")
    user.write("tree/good")
    user.write("tree/big", content(SIZE))
    process = await put_until_held(user, way, "-j", "1", "-r", "tree")
    await soon((server_process.root / "tree/good").exists, "what is small is stored")
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(PATIENCE_S):
        _, said = await process.communicate()
    assert said.decode().startswith(
        "ftpc: tree/bad\\n: the name has a control character; rename it\nftpc: interrupted;"
    )


def test_a_server_that_stays_away(tmp_path: Path, folder: Path) -> None:
    """Where there are no bars each try is one line, which says which it is; and none that it goes on before it does."""
    root = tmp_path / "root"
    root.mkdir()
    with ServerProcess(root, "--limit-rate", "4M") as server:
        user = Ftpc(f"127.0.0.1:{server.port}", folder, root)
        user.write("big", content(SIZE))
        with subprocess.Popen(
            command("put", "--progress", "plain", "--retries", "3", "big"),
            stderr=subprocess.PIPE, cwd=folder, env=user.environment(),
        ) as process:  # fmt: skip
            eventually(server.partials, "the upload has begun")
            server.kill()
            _, said = process.communicate(timeout=PATIENCE_S)
    lines = [line for line in said.decode().splitlines() if line.endswith(": big")]
    assert 5 == process.returncode
    assert ["1", "2", "3"] == [re.findall(r", connection lost, try (\d) of 3 in 1 s: ", line)[0] for line in lines]


async def test_another_command(server_process: ServerProcess, way: Proxy, folder: Path) -> None:
    """Ctrl-C names what this command was asked for, and not what another one has left meanwhile."""
    user = Ftpc(way.address, folder, server_process.root)
    for name in ("big", "other"):
        user.write(name, content(SIZE))
    process = await put_until_held(user, way)
    async with proxied(server_process.port) as second:
        other = await put_until_held(user._replace(server=second.address), second, "other")
        other.kill()
        async with asyncio.timeout(PATIENCE_S):
            await other.communicate()
    assert 2 == len((await run(user, "jobs")).out.splitlines())
    [line] = await end_of(process)
    assert line.startswith(f"ftpc: {folder / 'big'} is not finished; go on with: ftpc resume "), line


async def test_a_job_that_is_running(server_process: ServerProcess, way: Proxy, folder: Path) -> None:
    """What another ftpc is at can not be cancelled: a conflict, as for `put` and `resume`."""
    user = Ftpc(way.address, folder, server_process.root)
    user.write("big", content(SIZE))
    process = await put_until_held(user, way)
    [line] = (await run(user, "jobs")).out.splitlines()
    refused = await run(user, "cancel", line.split()[0])
    assert (7, True, True) == (refused.status, "running now" in line, "stop that one first" in refused.err), refused
    await end_of(process)


@pytest.mark.parametrize("arguments", [["jobs"], ["resume"], ["resume", "1a2b3c4d5e"], ["cancel", "1a2b3c4d5e"]])
def test_what_is_remembered_can_not_be_read(ftpc: Ftpc, arguments: list[str]) -> None:
    """A folder of unfinished transfers that can not be read is no empty one."""
    place = ftpc.folder / ".local/state/ftpc/jobs"
    place.parent.mkdir(parents=True)
    place.symlink_to("jobs")  # which holds for root as well
    done = ftpc.run(*arguments)
    said = f"ftpc: {place}: unfinished transfers are remembered there, and it can not be read: "
    assert (4, "", 1) == (done.status, done.out, done.err.count("\n"))
    assert done.err.startswith(said), done.err
