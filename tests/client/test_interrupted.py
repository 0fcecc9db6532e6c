"""A command that is ended in the middle, and the same command again: it goes on with what the server has verified."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.client.command import Ftpc, Result, command
from tests.client.proxy import Proxy, proxied
from tests.client.support import MIB, content, soon
from tests.peer import PATIENCE_S, ServerProcess

CHUNK = 8 * MIB
SIZE = 5 * CHUNK + 1000


async def put_until_held(user: Ftpc, way: Proxy, *options: str) -> asyncio.subprocess.Process:
    """Start to put a file, and wait until two chunks and a half are on their way."""
    way.up.hold_at = way.up.count + 2 * CHUNK + CHUNK // 2
    arguments = command("put", "big", "--progress", "none", *options)
    process = await asyncio.create_subprocess_exec(*arguments, cwd=user.folder, env=user.environment())
    await way.up.held.wait()
    return process


def sealed(root: Path) -> int:
    """Count the chunks that the journal of the one upload speaks of: 48 bytes for each."""
    [journal] = (root / ".ftpd" / "partial").glob("*.journal")
    return (journal.stat().st_size - journal.read_bytes().index(b"\n") - 1) // 48


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
            process = await put_until_held(user, way, "--retries", "20")
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
