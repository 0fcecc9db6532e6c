"""Connections: shared by many transfers, replaced when they have ended, lost in the middle of one."""

import asyncio
import os
from pathlib import Path

import pytest

import ftpc
from ftpc import Client, ConnectionLostError, RefusedError
from ftpc.connection import Connection, Patience
from ftpd import requests
from ftpd.server import Server
from ftpd.store.local.partials import LocalPartial
from ftpd.wire.digests import Tree, tree_of
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Begun, Confirmed, Pong, Stored
from ftpd.wire.requests import Begin, Chunk, Commit, Ping
from tests.client.proxy import Line, Proxy
from tests.client.support import MIB, Recorder, Service, connected, content, hidden, names_in, soon
from tests.peer import ServerProcess


async def test_many_puts_share_few_connections(service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """30 puts at once on a client with 4 connections all succeed, over at most 4 connections."""
    admitted = 0
    admit = Server._admit

    def counting(self: Server, *visitor: object) -> None:
        nonlocal admitted
        admitted += 1
        admit(self, *visitor)  # type: ignore[arg-type] # passed on as it came

    monkeypatch.setattr(Server, "_admit", counting)
    for number in range(30):
        (folder / str(number)).write_bytes(content(1000 + number, number))
    (folder / "29").write_bytes(content(9 * MIB, 29))
    async with ftpc.connect(service.address, connections=4) as client:
        results = await asyncio.gather(*(client.put(folder / str(number)) for number in range(30)))
    assert [str(number) for number in range(30)] == [result.remote for result in results]
    for number in range(30):
        assert (folder / str(number)).read_bytes() == (service.root / str(number)).read_bytes()
    assert 1 <= admitted <= 4


async def test_connection_is_used_again(proxy: Proxy, far_client: Client) -> None:
    """One thing after the other goes over one connection, which is greeted once, also after a refusal."""
    for _ in range(3):
        with pytest.raises(RefusedError):
            await far_client.stat("no")
        await far_client.ping()
    assert 1 == len(proxy._running)
    assert "1 idle" in repr(far_client)


async def test_idle_connection_that_has_ended_is_replaced(service: Service, client: Client, folder: Path) -> None:
    """A server that was restarted meanwhile is not noticed."""
    (folder / "a").write_bytes(b"a")
    await client.ping()
    await service.stop()
    await service.start()
    await soon(client._pool._idle[0].channel.ended.is_set, "the end of the connection has arrived")
    await client.put(folder / "a")
    assert b"a" == (service.root / "a").read_bytes()


@pytest.mark.parametrize("size", [6 * MIB, 25 * MIB])
@pytest.mark.parametrize("direction", ["up", "down"])
async def test_line_is_cut_in_a_put(
    service: Service, proxy: Proxy, far_client: Client, folder: Path, size: int, direction: str
) -> None:
    """A connection that breaks in the middle of a put is a `ConnectionLostError`, and no part is ever visible.

    Where only the reply is lost, the file may be there: whole.
    """
    (service.root / "a").write_bytes(b"old")
    (folder / "a").write_bytes(content(size))
    if direction == "up":
        proxy.up.cut_at = size // 2
    else:
        await far_client.hello()
        proxy.down.cut_at = proxy.down.count
    with pytest.raises(ConnectionLostError, match=proxy.address):
        await far_client.put(folder / "a")
    await service.settles()
    possible = {b"old", content(size)} if direction == "down" else {b"old"}
    assert (service.root / "a").read_bytes() in possible
    proxy.up.cut_at = proxy.down.cut_at = None
    await far_client.put(folder / "a")
    assert content(size) == (service.root / "a").read_bytes()


async def test_line_is_cut_in_a_stream(service: Service, proxy: Proxy, far_client: Client) -> None:
    """A connection that breaks under a stream ends it at once, even while nothing comes from the pipe."""
    reading, writing = os.pipe()
    try:
        task = asyncio.create_task(far_client.put(reading, "a"))
        await soon(service.temporaries, "the upload has begun")
        proxy.cut()
        with pytest.raises(ConnectionLostError):
            async with asyncio.timeout(5):
                await task
    finally:
        os.close(reading)
        os.close(writing)
    assert [] == service.published()


@pytest.mark.parametrize("at", [600, 3 * MIB, 9 * MIB - 1])
async def test_line_is_cut_in_a_get(service: Service, proxy: Proxy, far_client: Client, folder: Path, at: int) -> None:
    """A connection that breaks in the middle of a get leaves the old file, and no partial."""
    (service.root / "a").write_bytes(content(9 * MIB))
    (folder / "a").write_bytes(b"old")
    proxy.down.cut_at = at
    with pytest.raises(ConnectionLostError):
        await far_client.get("a", folder)
    assert b"old" == (folder / "a").read_bytes()
    assert [] == hidden(folder)


async def test_server_is_killed(tmp_path: Path, folder: Path) -> None:
    """A server process that is killed in the middle of a put: a `ConnectionLostError`, and nothing is visible."""
    (folder / "a").write_bytes(content(25 * MIB))
    with ServerProcess(tmp_path, "--durability", "none") as server:
        async with connected(f"127.0.0.1:{server.port}") as client:
            recorder = Recorder(lambda moment: server.kill() if moment.done else None)
            with pytest.raises(ConnectionLostError):
                await client.put(folder / "a", progress=recorder)
    assert [".ftpd", "here"] == names_in(tmp_path)


async def test_server_shuts_down_in_the_middle(
    service: Service, proxy: Proxy, far_client: Client, folder: Path
) -> None:
    """A server whose grace is over cuts a put: an error that says that trying again makes sense, and no part."""
    (folder / "a").write_bytes(content(25 * MIB))
    line: Line = proxy.up
    line.hold_at = 12 * MIB
    task = asyncio.create_task(far_client.put(folder / "a"))
    await line.held.wait()
    await service.stop()
    line.go.set()
    with pytest.raises(ConnectionLostError):
        await task
    assert [] == [*(service.root / ".ftpd" / "tmp").iterdir()]
    assert [] == service.published()
    await service.start()


async def test_connection_says_what_it_is(service: Service) -> None:
    """Its `repr` names the server and whether it can be used."""
    connection = await Connection.open(ftpc.parse_address(service.address), Patience())
    assert f"<Connection {service.address} usable>" == repr(connection)
    await connection.close()
    assert f"<Connection {service.address} broken>" == repr(connection)


async def test_waiting_for_a_slow_server_is_not_silence(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that waits for a reply for longer than it may be silent counts as waiting, not as gone."""
    monkeypatch.setattr(requests, "IDLE_S", 0.05)
    publish = LocalPartial.publish

    async def slowly(upload: LocalPartial, tree: Tree) -> RemotePath | None:
        await asyncio.sleep(0.3)  # the very thing that is to be survived
        return await publish(upload, tree)

    monkeypatch.setattr(LocalPartial, "publish", slowly)
    connection = await Connection.open(ftpc.parse_address(service.address), Patience())
    tree = tree_of(b"12345")
    begun = await connection.ask(Begin(filename="a", filesize=5), Begun)
    await connection.send(Chunk(upload=begun.upload, index=0, size=5, digest=tree.leaf(0).hex()), b"12345")
    await connection.read_reply(Confirmed)
    await connection.ask(Commit(upload=begun.upload, chunks=1, root=tree.root), Stored)
    await connection.ask(Ping(), Pong)
    await connection.close()
