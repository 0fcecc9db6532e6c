"""Many clients, slow clients, long transfers: nobody is delayed, and memory stays where it is."""

import asyncio
import contextlib
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from tests.peer import Peer, ServerProcess, eventually, frame
from tests.server.tree import MIB, root_of

IDLE_KIB = 30
"""What an idle connection may cost the server."""

TRANSFER_KIB = 32 * 1024
"""What a transfer of any size may cost the server."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def quick_and_long(quick: int, long: int) -> pytest.MarkDecorator:
    """Run a test in a size for every day and in its full size."""
    return pytest.mark.parametrize("count", [quick, pytest.param(long, marks=pytest.mark.long)])


@pytest.fixture(autouse=True, scope="module")
def _enough_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < min(5000, hard):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(5000, hard), hard))


async def ask(server: ServerProcess, header: dict[str, object], payload: bytes = b"") -> dict[str, Any]:
    """Open a connection, ask, and close it."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(frame(header, payload))
        reply: dict[str, Any] = json.loads(
            await reader.readexactly(int.from_bytes(await reader.readexactly(4), "little"))
        )
        return reply
    finally:
        writer.close()
        await writer.wait_closed()


@quick_and_long(40, 200)
async def test_uploads_at_once(server: ServerProcess, count: int) -> None:
    """So many uploads of 4 MiB at the same time all succeed, and every byte of each is where it belongs."""
    data = os.urandom(4 * MIB)

    async def put(index: int) -> None:
        content = b"%8d" % index + data[8:]
        reply = await ask(
            server, {"cmd": "put", "filename": f"many/{index}", "filesize": len(content), "id": 1}, content
        )
        assert reply["ok"], reply
        assert content == await asyncio.to_thread((server.root / "many" / str(index)).read_bytes)
        (server.root / "many" / str(index)).unlink()

    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        for index in range(count):
            group.create_task(put(index))


@quick_and_long(400, 2000)
def test_idle_connections(tmp_path: Path, count: int) -> None:
    """So many idle connections are kept without an error, each costs little memory, and others are served meanwhile."""
    with ServerProcess(tmp_path, "-q") as server:
        # What the first connections need once and for all is no cost of theirs.
        assert all(server.answers() for _ in range(50))
        before = server.memory_kib()
        with contextlib.ExitStack() as peers:
            for _ in range(count):
                peer = peers.enter_context(server.connect())
                assert peer.ask({"cmd": "ping"})["ok"]
            assert (server.memory_kib() - before) / count <= IDLE_KIB
            assert server.answers()
        eventually(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) < 50, "closed connections are let go")  # noqa: PTH208
        assert "" == server.log


async def test_slow_clients_delay_nobody(server: ServerProcess) -> None:
    """While some send or read a byte now and then, or nothing more, everybody else is served."""
    (server.root / "slow").write_bytes(bytes(8 * MIB))
    whole = frame({"cmd": "put", "filename": "slowly", "filesize": 100}, bytes(100))
    slow = [await asyncio.open_connection(server.host, server.port) for _ in range(60)]
    try:
        for index, (reader, writer) in enumerate(slow):
            writer.write(frame({"cmd": "get", "filename": "slow"}) if index % 2 else whole[:index])
            if index % 2:
                await reader.readexactly(1)
        for step in range(10):
            async with asyncio.timeout(10):
                await asyncio.gather(*(serve_somebody_else(server, index) for index in range(4)))
            for index, (reader, writer) in enumerate(slow):
                if index % 2:
                    await reader.readexactly(1)
                else:
                    writer.write(whole[index + step : index + step + 1])
    finally:
        for _, writer in slow:
            writer.transport.abort()
    await asyncio.to_thread(eventually, server.has_no_temporaries, "the slow ones leave nothing behind")
    assert not (server.root / "slowly").exists()


async def serve_somebody_else(server: ServerProcess, index: int) -> None:
    """Do what needs the event loop, the disk threads and the sync threads."""
    header = {"cmd": "put", "filename": f"else{index}", "filesize": MIB, "id": 1}
    assert (await ask(server, header, bytes(MIB)))["ok"]
    assert (await ask(server, {"cmd": "sum", "filename": f"else{index}"}))["ok"]


def test_client_that_never_reads(server: ServerProcess) -> None:
    """A client that asks and asks and reads nothing is not read any further, instead of filling the server's memory."""
    (server.root / "unread").write_bytes(bytes(MIB))
    with server.connect() as peer:
        assert peer.ask({"cmd": "ping"})["ok"]
        before = server.memory_kib()
        requests = frame({"cmd": "get", "filename": "unread"}) * 1000 + frame({"cmd": "ls"}) * 1000
        peer.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            peer.send_raw(requests * 500)
        assert server.memory_kib() - before < TRANSFER_KIB
        assert server.answers()


@pytest.mark.parametrize("size_mib", [96, pytest.param(512, marks=pytest.mark.long)])
def test_long_transfers_take_no_memory(tmp_path: Path, size_mib: int) -> None:
    """A transfer adds a bounded amount to the server's memory, however large the file is, in both directions."""
    size, piece = size_mib * MIB, bytes(8 * MIB)
    leaves = blake3(piece).digest() * (size // len(piece))
    with (tmp_path / "sparse").open("wb") as out:
        out.truncate(size)
    with ServerProcess(tmp_path) as server, server.connect() as peer:
        assert peer.ask({"cmd": "put", "filename": "warm", "filesize": 3}, b"up!")["ok"]
        before = server.memory_kib()
        server.forget_peak()
        peer.send({"cmd": "put", "filename": "large", "filesize": size, "id": 7})
        for _ in range(size // len(piece)):
            peer.send_raw(piece)
        assert root_of(size, leaves) == peer.read()["root"]
        assert server.memory_kib("VmHWM") - before <= TRANSFER_KIB
        server.forget_peak()
        before = server.memory_kib()
        for name in ("sparse", "large"):
            assert root_of(size, leaves) == fetch_zeros(peer, name, piece)
        assert server.memory_kib("VmHWM") - before <= TRANSFER_KIB


def fetch_zeros(peer: Peer, name: str, piece: bytes) -> str:
    """Get a file of zeros without keeping it, and give its root."""
    reply = peer.ask({"cmd": "get", "filename": name})
    assert reply["leaves"] * 32 == len(peer.read_bytes(reply["leaves"] * 32))
    for _ in range(reply["length"] // len(piece)):
        assert piece == peer.read_bytes(len(piece))
    return str(peer.read()["root"] if reply["trailer"] else reply["root"])
