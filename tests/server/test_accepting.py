"""Letting connections in: what goes wrong with one does not keep out the next."""

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ftpd import server
from ftpd.access.door import Door, Login, wrong
from ftpd.access.rights import ANONYMOUS, NOBODY, Principal
from ftpd.listening import listen
from ftpd.payload.workers import Workers
from ftpd.server import Server
from ftpd.store.local import LocalStore
from ftpd.tls import own_identity, server_context
from ftpd.wire.errors import FtpdError
from ftpd.wire.terms import Durability
from tests.peer import PATIENCE_S, frame
from tests.server.test_proxy_header import SIGNATURE, line

READ_SIZE = 2**16

PING = frame({"cmd": "ping", "id": 1})


@contextlib.asynccontextmanager
async def serving(
    root: Path, tls: Callable[[], ssl.SSLContext] | None = None, proxy: str = "", door: Door | None = None
) -> AsyncIterator[int]:
    """Serve a folder; gives the port."""
    workers = Workers()
    store = LocalStore(root, workers, durability=Durability.NONE)
    served = Server(store, tls=tls, door=door)
    proxies = [ipaddress.ip_network(proxy)] if proxy else []
    try:
        [(_, port)] = served.start(listen("127.0.0.1", 0), proxies)
        yield port
    finally:
        await served.drain(0.0)
        await store.close()
        workers.close()


@pytest.mark.parametrize("header", [b"", line("TCP4", "192.0.2.1", "192.0.2.2", "1", "2")], ids=["direct", "proxy"])
async def test_a_bug_ends_one_connection(tmp_path: Path, caplog: pytest.LogCaptureFixture, header: bytes) -> None:
    """An exception that nobody has thought of is logged and costs the connection it comes with, and no other."""
    context = server_context(*own_identity(tmp_path / "keys", "localhost"))
    bugs = [RuntimeError("first"), KeyError("second")]

    def tls() -> ssl.SSLContext:
        if bugs:
            raise bugs.pop()
        return context

    async with serving(tmp_path, tls, "127.0.0.1" if header else "") as port:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(header)
            with contextlib.suppress(ConnectionResetError):
                assert b"" == await reader.read(1)
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(header + PING)
        assert b"tls_required" in await reader.read()
        writer.close()
    assert ["KeyError", "RuntimeError"] == [
        record.exc_info[0].__name__ for record in caplog.records if record.exc_info and record.exc_info[0]
    ]


class Moody(Door):
    """Lets in whoever says his name. Later `gone` is not welcome any more, and about `odd` there is a bug."""

    later = False

    @property
    def methods(self) -> tuple[str, ...]:
        """See `Door.methods`."""
        return ("token",)

    def principal(self, login: Login | None) -> Principal:
        """See `Door.principal`."""
        return ANONYMOUS if login is not None else NOBODY

    async def by_token(self, token: str, session: str = "") -> Login:
        """See `Door.by_token`."""
        del session
        return Login(token)

    def has_changed(self) -> bool:
        """See `Door.has_changed`."""
        return self.later

    def ended(self, login: Login) -> FtpdError | None:
        """See `Door.ended`."""
        if self.later and login.user == "odd":
            raise RuntimeError("a bug")
        return wrong() if self.later and login.user == "gone" else None


async def test_a_bug_hides_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where a log-in can not be looked at its connection is ended, and all others are looked at nevertheless."""
    door = Moody()
    async with serving(tmp_path, door=door) as port:
        peers = {name: await asyncio.open_connection("127.0.0.1", port) for name in ("odd", "gone", "fine")}
        for name, (reader, writer) in peers.items():
            writer.write(frame({"cmd": "auth", "token": name}))
            assert b'"ok":true' in await reader.read(READ_SIZE)
        door.later = True
        assert b"unauthorized" in await peers["gone"][0].read()
        with contextlib.suppress(ConnectionResetError):
            assert b"" == await peers["odd"][0].read()
        peers["fine"][1].write(PING)
        assert b'"ok":true' in await peers["fine"][0].read(READ_SIZE)
        for _, writer in peers.values():
            writer.close()
    assert "RuntimeError: a bug" in caplog.text


async def test_headers_that_are_on_their_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More connections of a proxy than may begin at a time, whose headers come a little later, are all let in."""
    monkeypatch.setattr(server, "MAX_HANDSHAKES", 5)
    monkeypatch.setattr(server, "FAIR_HANDSHAKE_S", 20.0)
    async with serving(tmp_path, proxy="127.0.0.1") as port:
        crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for number, (_, writer) in enumerate(crowd):
            writer.write(line("TCP4", f"192.0.2.{number}", "192.0.2.99", "1", "2") + PING)
        for reader, writer in crowd:
            assert int.from_bytes(await reader.readexactly(4), "little")
            writer.close()


@pytest.mark.parametrize("start", [b"", b"PROXY TCP4 "], ids=["silent", "half"])
async def test_a_header_that_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    """A connection whose header does not come in its time is ended."""
    monkeypatch.setattr(server, "HEADER_S", 0.1)
    async with serving(tmp_path, proxy="127.0.0.1") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(start)
        async with asyncio.timeout(PATIENCE_S):
            assert b"" == await reader.read(1)
        writer.close()


async def test_a_header_that_trickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it help to send a byte of it now and then: the time is that of the whole header."""
    monkeypatch.setattr(server, "HEADER_S", 0.3)
    async with serving(tmp_path, proxy="127.0.0.1") as port, asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        header = SIGNATURE + b"\x21\x11\x10\x00" + bytes(4096)
        ended = asyncio.create_task(reader.read(1))
        for byte in header:
            writer.write(bytes([byte]))
            if (await asyncio.wait([ended], timeout=0.05))[0]:
                break
        with contextlib.suppress(ConnectionResetError):
            assert b"" == await ended
        writer.close()
