"""Whom a client trusts: every server that can not prove who it is gets not a byte, and the line says why."""

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

import ftpc
from ftpc.address import parse_address
from ftpc.cli.exits import Exit, exit_of
from ftpc.credentials import Credentials
from ftpc.errors import ConnectError, FtpcError, LocalFileError, RefusedError, TrustError, UnknownServerError
from ftpc.trust import KnownServers, Trust
from ftpd.tls import own_identity, pin_of, server_context
from tests.client.support import Service

DAY = dt.timedelta(days=1)


class Listener:
    """A server that remembers whether anybody sent it anything."""

    def __init__(self) -> None:
        self.port = 0
        self.heard = b""

    async def start(self, context: ssl.SSLContext | None) -> asyncio.Server:
        """Listen."""
        listening = await asyncio.start_server(self._hear, "127.0.0.1", 0, ssl=context)
        self.port = listening.sockets[0].getsockname()[1]
        return listening

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                self.heard += data
        except OSError:
            pass
        finally:
            writer.close()


class Case(NamedTuple):
    """A server that is not to be trusted, and the words that say so."""

    context: ssl.SSLContext
    trust: Trust
    words: str
    pin: str = ""


def issued(
    authority: trustme.CA,
    name: str = "localhost",
    not_before: dt.datetime | None = None,
    not_after: dt.datetime | None = None,
) -> ssl.SSLContext:
    """Make the context of a server with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, not_before=not_before, not_after=not_after).configure_cert(context)
    return context


def case_of(name: str, folder: Path) -> Case:
    """Set one of the cases up."""
    ours, theirs = trustme.CA(), trustme.CA()
    pem = folder / "ca.pem"
    ours.cert_pem.write_to_path(str(pem))
    by_authority, by_system = Trust(pem), Trust(known=KnownServers(folder / "known"))
    now = dt.datetime.now(dt.UTC)
    identity = own_identity(folder / "keys", "localhost")
    cases = {
        "expired": Case(issued(ours, not_before=now - 9 * DAY, not_after=now - DAY), by_authority, "expired"),
        "not yet valid": Case(issued(ours, not_before=now + DAY, not_after=now + 9 * DAY), by_authority, "not yet"),
        "other host": Case(issued(ours, "elsewhere.example"), by_authority, "localhost"),
        "other authority": Case(issued(theirs), by_authority, "local issuer"),
        "self-signed": Case(server_context(*identity), by_authority, "self-signed"),
        "no pin": Case(server_context(*identity), by_system, f"#sha256:{pin_of(identity[0])}"),
        "unknown authority": Case(issued(theirs), by_system, "nobody vouches"),
        "other pin": Case(server_context(*identity), by_system, "NOT the server", "0" * 64),
        "authority before pin": Case(server_context(*identity), by_authority, "self-signed", pin_of(identity[0])),
    }
    return cases[name]


@pytest.mark.parametrize(
    "name",
    [
        "expired", "not yet valid", "other host", "other authority", "self-signed", "no pin", "unknown authority",
        "other pin", "authority before pin",
    ],
)  # fmt: skip
async def test_who_is_not_trusted_hears_nothing(name: str, tmp_path: Path) -> None:
    """Not a byte is sent, neither greeting nor secret; one line says why; the exit status is 6; nothing is retried."""
    case, listener = case_of(name, tmp_path), Listener()
    async with await listener.start(case.context):
        url = f"ftpds://localhost:{listener.port}" + (f"#sha256:{case.pin}" if case.pin else "")
        (tmp_path / "file").write_bytes(b"secret content")
        async with ftpc.connect(url, trust=case.trust, credentials=Credentials("ftk_secret")) as client:
            with pytest.raises(TrustError) as refused:
                await client.put(tmp_path / "file")
    assert b"" == listener.heard
    assert case.words in refused.value.message
    assert "othing was sent" in refused.value.message
    assert "\n" not in refused.value.message
    assert Exit.FORBIDDEN is exit_of(refused.value)


@pytest.mark.parametrize("has_pin", [False, True])
async def test_old_tls(tmp_path: Path, has_pin: bool) -> None:  # noqa: FBT001 (pytest's way)
    """A server that speaks nothing newer than TLS 1.2 is refused, whatever certificate it has."""
    certificate, key = own_identity(tmp_path / "keys", "localhost")
    context = server_context(certificate, key)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2

    def serve(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with accepted, contextlib.suppress(ssl.SSLError):
            context.wrap_socket(accepted, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        url = f"ftpds://127.0.0.1:{listener.getsockname()[1]}"
        async with ftpc.connect(f"{url}#sha256:{pin_of(certificate)}" if has_pin else url) as client:
            with pytest.raises(TrustError, match=r"does not speak TLS 1\.3"):
                await client.ping()
        await serving


async def test_both_pins_are_shown(tmp_path: Path) -> None:
    """Of a server that has changed its certificate both pins are shown, and where the old one is remembered."""
    known, listener = KnownServers(tmp_path / "known"), Listener()
    certificate, key = own_identity(tmp_path / "keys", "x")
    async with await listener.start(server_context(certificate, key)):
        known.remember(f"127.0.0.1:{listener.port}", "1" * 64)
        with pytest.raises(TrustError) as refused:
            await Trust(known=known).open(parse_address(f"ftpds://127.0.0.1:{listener.port}"))
    for words in ("1" * 64, pin_of(certificate), str(tmp_path / "known")):
        assert words in refused.value.message


async def test_who_is_trusted(tmp_path: Path) -> None:
    """A server is trusted for a certificate of the authority, for a pin in its address, and for one that is known."""
    authority, pem, certificate, key = trustme.CA(), tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(str(pem))
    made = authority.issue_cert("localhost")
    made.cert_chain_pems[0].write_to_path(str(certificate))
    key.touch(mode=0o600)
    made.private_key_pem.write_to_path(str(key))
    (tmp_path / "root").mkdir()
    service, known = Service(tmp_path / "root"), KnownServers(tmp_path / "known")
    await service.start(tls=server_context(certificate, key))
    place, pin = f"localhost:{service.port}", pin_of(certificate)
    known.remember(place, pin)
    ways = (("", Trust(pem)), (f"#sha256:{pin.upper()}", None), ("", Trust(known=known)))
    for suffix, trust in ways:
        url = f"ftpds://{place}{suffix}"
        async with ftpc.connect(url, trust=trust) as client:
            assert await client.ping() >= 0
    await service.stop()


async def test_clear_to_encrypted(tmp_path: Path) -> None:
    """Who comes in the clear to a server that speaks TLS is told so."""
    (tmp_path / "root").mkdir()
    service = Service(tmp_path / "root")
    await service.start(tls=server_context(*own_identity(tmp_path / "keys", "x")))
    async with ftpc.connect(service.address) as client:
        with pytest.raises(RefusedError, match="ftpds://") as refused:
            await client.ping()
    assert ("tls_required", Exit.FORBIDDEN) == (refused.value.code, exit_of(refused.value))
    await service.stop()


async def test_encrypted_to_clear(service: Service) -> None:
    """Who wants TLS of a server that does not speak it is told that, and sends nothing in the clear."""
    async with ftpc.connect(f"ftpds://{service.address}") as client:
        with pytest.raises(TrustError, match=r"does not speak TLS 1\.3; is it ftpd://") as refused:
            await client.ping()
    assert Exit.FORBIDDEN is exit_of(refused.value)


async def test_nobody_there(unused_tcp_port: int) -> None:
    """A server that is not there is no matter of trust: it may come back."""
    async with ftpc.connect(f"ftpds://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(ConnectError):
            await client.ping()


@pytest.mark.parametrize("server", ["192.0.2.1", "ftpd://files.example:1", "10.0.0.7:1"])
async def test_no_secret_in_the_clear(server: str) -> None:
    """Credentials are not sent to another machine without encryption: there is not even a connection."""
    async with ftpc.connect(server, credentials=Credentials("ftk_secret")) as client:
        with pytest.raises(TrustError, match="not sent in the clear") as refused:
            await client.ping()
    assert "ftk_secret" not in str(refused.value) + repr(Credentials("ftk_secret"))


@pytest.mark.parametrize(
    "text", [f"{start}jo:hunter2@{end}" for start in ("ftpds://", "", "x://") for end in ("h", "[::1")]
)
def test_a_password_in_an_address(text: str) -> None:
    """It is refused, and not repeated."""
    with pytest.raises(FtpcError, match="ftpc login") as refused:
        parse_address(text)
    assert "hunter2" not in refused.value.message


def test_known_servers(tmp_path: Path) -> None:
    """Pins are kept in a file that people can edit; what is no entry is left out."""
    known = KnownServers(tmp_path / "new" / "known")
    assert known.pin("a:1") is None
    known.remember("a:1", "A" * 64)
    known.remember("[::1]:2", "b" * 64)
    known.remember("a:1", "c" * 64)
    assert ["c" * 64, "b" * 64] == [known.pin("a:1"), known.pin("[::1]:2")]
    assert 0o700 == known.file.parent.stat().st_mode & 0o777
    known.file.write_text("# mine\nrubbish\nx:1 sha256:" + "D" * 64 + "\n")
    assert "d" * 64 == known.pin("x:1")
    known.file.write_bytes(b"\xff")
    with pytest.raises(LocalFileError, match="known"):
        known.pin("x:1")


def test_unknown_server_error() -> None:
    """The error for programs has what a person would be asked about."""
    error = UnknownServerError("host:1", "a" * 64, "self-signed certificate")
    assert ("host:1", "a" * 64, "untrusted") == (error.place, error.pin, error.code)
