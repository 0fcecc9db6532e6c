"""TLS 1.3 from the first byte: the same bytes arrive, who speaks anything else gets nowhere, who is silent is cut."""

import asyncio
import contextlib
import functools
import hashlib
import logging
import os
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from ftpc.client import Client
from ftpd import handshake, server
from ftpd.certificate import make
from ftpd.tls import IdentityError, own_identity, pin_of, server_context
from tests.client.proxy import proxied
from tests.client.support import MIB, Service, connected, content
from tests.peer import PATIENCE_S, Peer, ServerProcess, code_of, eventually, frame, served

CHUNK = 8 * MIB
SIZE = 3 * CHUNK + 1000


class Encrypted(Service):
    """A server that speaks TLS, with a certificate of its own."""

    def __init__(self, root: Path, identity: tuple[Path, Path]) -> None:
        super().__init__(root)
        self.certificate, self.key = identity
        self.context = server_context(*identity)

    @property
    def url(self) -> str:
        """What its clients use."""
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Give the address of somebody who passes everything on."""
        return f"ftpds://127.0.0.1:{port}#sha256:{pin_of(self.certificate)}"


@pytest.fixture
async def service(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Encrypted]:
    """A server. After the test it has nothing half done on disk and no bug in its log."""
    root = tmp_path / "root"
    root.mkdir()
    service = Encrypted(root, own_identity(tmp_path / "keys", "localhost"))
    await service.start(tls=service.context)
    yield service
    await service.settles()
    await service.stop()
    assert [] == [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.fixture
async def client(service: Encrypted) -> AsyncIterator[Client]:
    """A client of that server."""
    async with connected(service.url) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of the user's."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("size", [0, 1, 70_000, CHUNK, SIZE])
async def test_files_arrive(service: Encrypted, client: Client, folder: Path, size: int) -> None:
    """Files of all sizes go up and come down as they are."""
    (folder / "a").write_bytes(content(size))
    await client.put(folder / "a")
    assert content(size) == (service.root / "a").read_bytes()
    await client.get("a", folder / "b")
    assert content(size) == (folder / "b").read_bytes()
    (service.root / "unknown").write_bytes(content(size, 1))  # of which the server has no digests yet
    await client.get("unknown", folder / "c")
    assert content(size, 1) == (folder / "c").read_bytes()


async def test_trees_and_streams_arrive(service: Encrypted, client: Client, folder: Path) -> None:
    """Folders with small and large files and empty ones, and what comes through a pipe."""
    tree = folder / "tree"
    for number in range(150):
        file = tree / f"d{number % 7}" / str(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(number * 100, number))
    (tree / "empty").mkdir()
    (tree / "large").write_bytes(content(SIZE))
    await client.put_tree(tree)
    await client.get_tree("tree", folder / "copy")
    assert contents(tree) == contents(service.root / "tree") == contents(folder / "copy")
    reading, writing = os.pipe()
    os.write(writing, b"made on the fly")
    os.close(writing)
    await client.put(reading, "stream")
    os.close(reading)
    assert b"made on the fly" == (service.root / "stream").read_bytes()


def contents(folder: Path) -> dict[str, bytes | None]:
    """Give all that is in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("trouble", ["cut", "flip"])
async def test_what_breaks_goes_on(service: Encrypted, folder: Path, direction: str, trouble: str) -> None:
    """A connection that is cut, or damaged on its way, is opened again, and what was confirmed is not sent again."""
    source, target = folder / "a", service.root / "a"
    source.write_bytes(content(SIZE))
    if direction == "down":
        target = folder / "b"
        async with connected(service.url) as client:
            await client.put(source)
    async with proxied(service.port) as proxy:
        line = getattr(proxy, direction)
        setattr(line, f"{trouble}_at", 2 * CHUNK + 5_000_000)
        async with connected(service.url_at(proxy.port), retries=5) as client:
            if direction == "up":
                result = await client.put(source, "a", progress=Mending(line))
                assert result.resumed >= CHUNK
            else:
                assert (await client.get("a", target, progress=Mending(line))).resumed >= CHUNK
        assert trouble == "flip" or line.count < SIZE + 2 * CHUNK
    assert content(SIZE) == target.read_bytes()


class Mending:
    """A display that mends the line once it was cut."""

    def __init__(self, line: object) -> None:
        self._line = line

    def start(self, item: object) -> None:
        """Do nothing."""

    def update(self, item: object) -> None:
        """Mend it."""
        if getattr(item, "phase", "").startswith(("conn", "wait")):
            vars(self._line).update(cut_at=None, flip_at=None)

    def stop(self, item: object) -> None:
        """Do nothing."""


def context(maximum: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Make what a stranger's client would use."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if maximum is not None:
        made.maximum_version = maximum
    return made


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server process that speaks TLS."""
    with served(tmp_path_factory.mktemp("root"), "--tls", "-v") as server:
        yield server


def peer_of(port: int) -> Peer:
    """Open an encrypted connection."""
    peer = Peer(port)
    peer.socket = context().wrap_socket(peer.socket)
    return peer


def test_only_tls_1_3(process: ServerProcess) -> None:
    """TLS 1.2 is refused in the handshake, 1.3 is spoken, without tickets that would let somebody come back."""
    with Peer(process.port) as peer, pytest.raises((ssl.SSLError, ConnectionResetError)):
        context(ssl.TLSVersion.TLSv1_2).wrap_socket(peer.socket)
    with peer_of(process.port) as peer:
        assert peer.ask({"cmd": "ping"})["ok"]
        encrypted = peer.socket
        assert isinstance(encrypted, ssl.SSLSocket)
        assert "TLSv1.3" == encrypted.version()
        assert encrypted.session is None or not encrypted.session.has_ticket
        put = frame({"cmd": "put", "filename": "small", "filesize": 3}, b"abc")
        peer.send_raw(put * 50)  # one behind the other, as in the clear
        assert all(peer.read()["ok"] for _ in range(50))


@pytest.mark.parametrize("size", [0, 100, 3_000_000])
def test_plaintext_is_told(process: ServerProcess, size: int) -> None:
    """Who does not speak TLS is told so in a frame he understands, whatever he sends, and nothing of it is done."""
    with Peer(process.port) as peer:
        with contextlib.suppress(ConnectionError):  # cut while it sends
            peer.send({"cmd": "put", "filename": "clear", "filesize": size}, bytes(size))
        assert "tls_required" == code_of(peer.read())
        assert peer.is_ended()
    assert not (process.root / "clear").exists()


PUT = frame({"cmd": "put", "id": 1, "filename": "cut", "filesize": 40_000}, content(40_000))
STREAM = frame({"cmd": "begin", "id": 1, "filename": "cut"}) + frame({"cmd": "ping", "id": 2})


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.long)])
def test_truncation(process: ServerProcess, count: int, tell: Callable[[str], None]) -> None:
    """An end that the peer has not said itself (`close_notify`), wherever it comes, is the end of no file."""
    for number in range(count):
        with peer_of(process.port) as peer:
            peer.send_raw(STREAM if number == 0 else PUT[: number * (len(PUT) - 1) // count])
            encrypted = peer.socket
            assert isinstance(encrypted, ssl.SSLSocket)
            if number % 2:
                peer.socket = socket.socket(fileno=encrypted.detach())
                peer.socket.settimeout(PATIENCE_S)
                peer.shutdown_write()  # as somebody in between would: in good order, but without a word of TLS
                while not peer.is_ended():
                    pass
            else:
                peer.reset()
        assert not (process.root / "cut").exists()
    eventually(process.has_no_temporaries, "what was cut leaves nothing")
    tell(f"{count} encrypted uploads cut without `close_notify`: none is taken for whole")
    with peer_of(process.port) as peer:
        peer.send_raw(PUT)
        assert peer.read()["ok"]
    assert content(40_000) == (process.root / "cut").read_bytes()
    (process.root / "cut").unlink()


@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11\0\x0c" + bytes(12)]
)
@pytest.mark.parametrize("is_inside", [False, True], ids=["before TLS", "in TLS"])
def test_nobody_says_where_others_come_from(process: ServerProcess, header: bytes, *, is_inside: bool) -> None:
    """The PROXY protocol is not spoken: what begins with it, outside or inside of TLS, is refused."""
    with peer_of(process.port) if is_inside else Peer(process.port) as peer:
        peer.send_raw(header + frame({"cmd": "ping"}))
        assert ("bad_frame" if is_inside else "tls_required") == code_of(peer.read())
        assert peer.is_ended()


@pytest.mark.parametrize("rubbish", [b"", b"\x16", b"\x16\x03\x01\x02\x00" + b"A" * 600, b"GET / HTTP/1.1\r\n\r\n"])
def test_rubbish(process: ServerProcess, rubbish: bytes) -> None:
    """What is neither costs nothing: the connection ends, and others are served."""
    with Peer(process.port) as peer:
        peer.send_raw(rubbish)
        peer.shutdown_write()
        while True:
            with contextlib.suppress(ConnectionResetError):
                if peer.socket.recv(1000):
                    continue
            break
    with peer_of(process.port) as peer:
        assert peer.ask({"cmd": "ping"})["ok"]


async def test_the_silent_do_not_keep_others_waiting(service: Encrypted, monkeypatch: pytest.MonkeyPatch) -> None:
    """More silent connections than there may be handshakes: newcomers are served, the oldest of the silent are cut."""
    monkeypatch.setattr(server, "MAX_HANDSHAKES", 5)
    monkeypatch.setattr(server, "FAIR_HANDSHAKE_S", 0.05)
    silent = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(20)]
    for _ in range(3):
        async with connected(service.url) as client:
            assert await client.ping() >= 0
    assert b"" == await silent[0][0].read(1)
    for _, writer in silent:
        writer.close()


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01", b"x"])
async def test_the_silent_are_cut(service: Encrypted, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    """Who says nothing, or only the beginning of something, is cut after the time a handshake may take."""
    monkeypatch.setattr(handshake, "HANDSHAKE_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(start)
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(1000):
                pass
    writer.close()


async def test_nobody_waits_for_a_slow_handshake(service: Encrypted) -> None:
    """While many dawdle in the middle of their handshakes a transfer goes through at once."""
    async with contextlib.AsyncExitStack() as slow:
        for _ in range(50):
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
            slow.callback(writer.close)
            writer.write(b"\x16\x03\x01\x02\x00\x01\x00")
        async with connected(service.url) as client, asyncio.timeout(5):
            assert await client.ping() >= 0


def log_has(server: ServerProcess, words: str, times: int = 1) -> bool:
    """Tell whether something was logged so often."""
    return server.log.count(words) >= times


@pytest.mark.parametrize(("uploads", "reloads"), [(10, 20), pytest.param(50, 100, marks=pytest.mark.long)])
def test_a_new_certificate_while_files_are_moved(
    tmp_path: Path, tell: Callable[[str], None], uploads: int, reloads: int
) -> None:
    """SIGHUP brings a new certificate for newcomers; who is there stays; a broken file leaves the old one in use."""
    certificate, key = own_identity(tmp_path / "one", "localhost")
    other = own_identity(tmp_path / "two", "localhost")
    root = tmp_path / "root"
    root.mkdir()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(ServerProcess(root, "--tls-cert", str(certificate), "--tls-key", str(key)))
        peers = [stack.enter_context(peer_of(server.port)) for _ in range(uploads)]
        for number, peer in enumerate(peers):
            peer.send({"cmd": "put", "id": 1, "filename": str(number), "filesize": 2 * MIB}, content(MIB))
        first = shown_pin(server.port)
        assert pin_of(certificate) == first
        shutil.copy(other[0], certificate)  # which does not fit its key now
        server.signal(signal.SIGHUP)
        eventually(lambda: log_has(server, "old certificate stays"), "the mistake is found")
        assert first == shown_pin(server.port)
        shutil.copy(other[1], key)
        key.chmod(0o644)
        server.signal(signal.SIGHUP)
        eventually(lambda: log_has(server, f"chmod 600 {key}"), "others can read it")
        assert first == shown_pin(server.port)
        key.chmod(0o600)
        for times in range(1, reloads + 1):
            server.signal(signal.SIGHUP)
            eventually(functools.partial(log_has, server, "certificate was read again", times), "it is read")
        assert pin_of(other[0]) == shown_pin(server.port) != first
        for peer in peers:
            peer.send_raw(content(2 * MIB)[MIB:])
            assert peer.read()["ok"]
        assert {content(2 * MIB)} == {(root / str(number)).read_bytes() for number in range(uploads)}
        tell(f"{reloads} new certificates during {uploads} uploads: every upload is whole")
        assert 0 == server.stop().returncode


def shown_pin(port: int) -> str:
    """Give the pin of the certificate a server shows to a newcomer."""
    with peer_of(port) as peer:
        encrypted = peer.socket
        assert isinstance(encrypted, ssl.SSLSocket)
        certificate = encrypted.getpeercert(binary_form=True)
        assert certificate is not None
        return hashlib.sha256(certificate).hexdigest()


async def test_stopping_during_handshakes(tmp_path: Path) -> None:
    """A server that stops does not wait for handshakes."""
    (tmp_path / "root").mkdir()
    service = Encrypted(tmp_path / "root", own_identity(tmp_path / "keys", "x"))
    await service.start(tls=service.context)
    sock = socket.create_connection(("127.0.0.1", service.port))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await service.stop()
    sock.close()


def test_pin_of_a_file_with_more_in_it(tmp_path: Path) -> None:
    """Text before the certificate, and a chain behind it, do not change its pin; a file without one is refused."""
    one, two = own_identity(tmp_path / "one", "x")[0], own_identity(tmp_path / "two", "x")[0]
    both = tmp_path / "both.pem"
    both.write_bytes("Subject: Müller\n".encode() + one.read_bytes() + two.read_bytes())
    assert pin_of(one) == pin_of(both) != pin_of(two)
    both.write_bytes(b"nothing")
    with pytest.raises(IdentityError, match=r"both\.pem"):
        pin_of(both)


def test_own_identity(tmp_path: Path) -> None:
    """It is made once, the key for its owner alone."""
    certificate, key = own_identity(tmp_path / "keys", "0.0.0.0")  # noqa: S104 (a name)
    made = certificate.read_bytes(), key.read_bytes()
    assert [0o700, 0o600] == [path.stat().st_mode & 0o777 for path in (tmp_path / "keys", key)]
    own_identity(tmp_path / "keys", "other")
    assert made == (certificate.read_bytes(), key.read_bytes())
    assert b"BEGIN PRIVATE KEY" in key.read_bytes()


def test_key_that_can_not_be_used(tmp_path: Path) -> None:
    """A key that others can read, that does not fit, or is encrypted, is refused with what to do; nobody is asked."""
    certificate, key = own_identity(tmp_path / "one", "x")
    make(tmp_path / "c.pem", tmp_path / "k.pem", "x")
    with pytest.raises(IdentityError, match="no certificate with its key"):
        server_context(certificate, tmp_path / "k.pem")
    for mode in (0o640, 0o604):
        key.chmod(mode)
        with pytest.raises(IdentityError, match=f"chmod 600 {key}"):
            server_context(certificate, key)
    key.chmod(0o600)
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    kind, pem = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    key.write_bytes(private.private_bytes(pem, kind, serialization.BestAvailableEncryption(b"secret")))
    with pytest.raises(IdentityError, match="encrypted"):
        server_context(certificate, key)
