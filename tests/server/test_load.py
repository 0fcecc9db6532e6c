"""Many clients, slow clients, long transfers: nobody is delayed, and memory stays where it is."""

import asyncio
import contextlib
import functools
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from ftpd.descriptors import FILES_PER_CONNECTION, WORKING_SHARE
from tests.peer import Peer, ServerProcess, eventually, frame, manage, swap
from tests.server.crowd import allow_files, quick_and_long
from tests.server.test_floods import encrypted
from tests.server.tree import MIB, root_of

IDLE_KIB, IDLE_TLS_KIB = 30, 100
"""What an idle connection may cost the server."""

CONNECT_S = 0.05
"""How long a newcomer may wait among thousands."""

ACTIVE = 100
"""Connections that move something meanwhile."""

WATCH_S = 3.0
"""How long it is watched what log-ins cost that do nothing."""

TRANSFER_KIB = 32 * 1024
"""What a transfer of any size may cost the server."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


@pytest.fixture(autouse=True, scope="module")
def _enough_descriptors() -> None:
    allow_files(5000)


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


@pytest.mark.parametrize(
    ("count", "kib", "options"),
    [
        pytest.param(400, IDLE_KIB, (), id="plain"),
        pytest.param(100, IDLE_TLS_KIB, ("--tls",), id="tls"),
        pytest.param(10_000, IDLE_KIB, (), id="plain-10000", marks=pytest.mark.long),
        pytest.param(1000, IDLE_TLS_KIB, ("--tls",), id="tls-1000", marks=pytest.mark.long),
    ],
)
def test_idle_connections(
    tmp_path: Path, tell: Callable[[str], None], count: int, kib: int, options: tuple[str, ...]
) -> None:
    """So many idle connections are kept without an error, each costs little memory, and others are served meanwhile."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = most_files * WORKING_SHARE // (WORKING_SHARE + FILES_PER_CONNECTION + 1)
    count = min(count, most - 5 * ACTIVE)  # where root can not raise that
    allow_files(count + 2 * ACTIVE)
    (tmp_path / "file").write_bytes(bytes(MIB))
    limits = ("--max-connections", str(count + ACTIVE), "--max-per-source", "0")
    with ServerProcess(tmp_path, "-q", *limits, *options) as server, contextlib.ExitStack() as peers:
        connect: Callable[[], Peer] = functools.partial(encrypted, server) if options else server.connect
        active = [peers.enter_context(connect()) for _ in range(ACTIVE)]
        alone_s = cpu_of(server, active, count)  # also what the first need once and for all, which is no cost of others
        before = server.memory_kib()
        waits = sorted(time_of(lambda: peers.enter_context(connect())) for _ in range(count))
        each_kib = (server.memory_kib() - before) / count
        beside_s = cpu_of(server, active, count)
        tell(
            f"{count} idle connections ({'TLS' if options else 'plain'}): {each_kib:.1f} KiB each, opened in"
            f" {waits[count * 99 // 100] * 1000:.1f} ms (p99); {ACTIVE} active ones take {beside_s:.2f} s of a"
            f" processor, {alone_s:.2f} s without the idle ones"
        )
        assert each_kib <= kib
        assert (waits[count * 99 // 100] < CONNECT_S and 0.8 * beside_s < alone_s) or count < 1000 or options
        peers.close()
        eventually(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) < 50, "closed connections are let go")  # noqa: PTH208
        assert "" == server.log


@quick_and_long(100, 5000)
def test_idle_log_ins(tmp_path: Path, tell: Callable[[str], None], count: int) -> None:
    """Log-ins that do nothing cost next to nothing, also when the users file changes. All end when they are revoked.

    Meanwhile somebody else is served.
    """
    allow_files(count + 2 * ACTIVE)
    manage(tmp_path, "user", "add", "idle")
    manage(tmp_path, "user", "add", "other")
    idle, other = (manage(tmp_path, "token", "create", name) for name in ("idle", "other"))
    users = tmp_path / ".ftpd/access/users.toml"
    limits = ("--max-connections", str(count + ACTIVE), "--max-per-source", "0")
    with ServerProcess(tmp_path, *limits) as server, contextlib.ExitStack() as stack:
        peers = []
        for token in [*count * [idle], other]:
            peers.append(stack.enter_context(server.connect()))
            assert peers[-1].ask({"cmd": "auth", "token": token})["ok"]
        active = peers.pop()
        alone = watch(server, active)
        swap(users, users.read_text() + "# the same users\n")
        changed = watch(server, active)
        assert "the users file was read again" in server.log
        tell(
            f"{count} idle log-ins: {alone[0]:.2f} s of a processor in {WATCH_S:g} s, {changed[0]:.2f} s if the users"
            f" file changes in them; others wait at most {alone[1] * 1000:.0f} ms, then {changed[1] * 1000:.0f} ms"
        )
        manage(tmp_path, "token", "revoke", idle.split("_")[1])
        assert {"unauthorized"} == {peer.farewell() for peer in peers}
        assert active.ask({"cmd": "ls"})["ok"]


def watch(server: ServerProcess, peer: Peer) -> tuple[float, float]:
    """Ping for a while; give the processor time that the server took for all, and the longest wait for an answer."""
    before, end, longest = server.cpu_s(), time.monotonic() + WATCH_S, 0.0
    while time.monotonic() < end:
        longest = max(longest, time_of(lambda: peer))
        time.sleep(0.01)
    return server.cpu_s() - before, longest


def time_of(connect: Callable[[], Peer]) -> float:
    """Connect and hear something; tell how long that took."""
    started = time.monotonic()
    assert connect().ask({"cmd": "ping"})["ok"]
    return time.monotonic() - started


def cpu_of(server: ServerProcess, peers: list[Peer], count: int) -> float:
    """Fetch a file on each of some connections, more often in a full run; give the server's processor time."""
    before = server.cpu_s()
    for _ in range(20 if count >= 1000 else 1):
        for peer in peers:
            peer.send({"cmd": "get", "filename": "file"})
        for peer in peers:
            reply = peer.read()
            peer.read_bytes(reply["leaves"] * 32 + reply["length"])
            assert not reply["trailer"] or peer.read()["ok"]
    return server.cpu_s() - before


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
