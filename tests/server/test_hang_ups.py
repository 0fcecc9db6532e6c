"""SIGHUP while something is going on: a handshake that began before it, and another SIGHUP."""

import datetime as dt
import hashlib
import os
import signal
import socket
import ssl
import struct
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ftpd.tls import pin_of
from tests.peer import ServerProcess, code_of, eventually, frame, manage, served
from tests.server.test_client_certificates import Authority, connect
from tests.server.test_lifecycle import ask_to_stop

READ = "the certificate was read again"


class Handshake:
    """A client's side of a handshake, taken as far as wanted and no further."""

    def __init__(self, server: ServerProcess, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(certificate)
        self._socket: socket.socket = server.connect().socket
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving)

    def compute(self) -> None:
        """Hear the server, so that all is ready to be sent that is left to say: the certificate, and the end."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._socket.sendall(self._leaving.read())
                self._arrived.write(self._socket.recv(65536))
            else:
                return

    def finish(self, request: bytes) -> bytes:
        """Say what is left, and ask for something; give all that comes until the end."""
        self.compute()
        self._tls.write(request)
        self._socket.sendall(self._leaving.read())
        answer = b""
        while True:
            try:
                answer += self._tls.read(65536)
            except ssl.SSLWantReadError:
                if not (data := self._socket.recv(65536)):
                    return answer
                self._arrived.write(data)
            except ssl.SSLZeroReturnError:
                return answer

    def close(self) -> None:
        """Leave."""
        self._socket.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a user."""
    root = tmp_path / "root"
    root.mkdir()
    manage(root, "user", "add", "alice")
    return root


@pytest.mark.parametrize("is_computed", [False, True], ids=["silent", "half"])
def test_a_handshake_that_began_before(root: Path, tmp_path: Path, *, is_computed: bool) -> None:
    """Who began a handshake under other authorities is not logged in at its end, but told to come again."""
    old, new = Authority.make(tmp_path), Authority.make(tmp_path, "new")
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(old.file.read_bytes())
    with served(root, "--tls", "--client-ca", str(authorities)) as server:
        began = Handshake(server, old.sign("alice"))
        try:
            if is_computed:
                began.compute()
            with connect(server, None) as peer:  # who came before is met by now
                assert peer.ask({"cmd": "ping"})["ok"]
            authorities.write_bytes(new.file.read_bytes())
            server.signal(signal.SIGHUP)
            eventually(lambda: READ in server.log, "the new ones are believed")
            answer = began.finish(frame({"cmd": "ls"}))
        finally:
            began.close()
        assert b'"busy"' in answer
        assert len(answer) == 4 + struct.unpack("<i", answer[:4])[0]  # and not a word more
        assert " log-in " not in server.log


def another_certificate(key: Path) -> bytes:
    """Make a certificate of a key."""
    private = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    name, now = x509.Name([]), dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(hours=1))
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM)


def shown_by(server: ServerProcess) -> str:
    """Give the pin of what a newcomer is shown."""
    with connect(server, None) as peer:
        assert peer.ask({"cmd": "ping"})["ok"]
        assert isinstance(peer.socket, ssl.SSLSocket)
        der = peer.socket.getpeercert(binary_form=True)
        assert der
        return hashlib.sha256(der).hexdigest()


def test_one_right_after_the_other(root: Path, tmp_path: Path) -> None:
    """While a first SIGHUP is still reading, newcomers are served; the files of a second one win, and sessions stay."""
    authority = Authority.make(tmp_path)
    token = manage(root, "token", "create", "alice")
    file, key = (root / ".ftpd/access" / name for name in ("cert.pem", "key.pem"))
    with served(root, "--tls", "--client-ca", str(authority.file)) as server:
        before = pin_of(file)
        with connect(server, authority.sign("alice")) as vouched, connect(server, None) as other:
            assert vouched.ask({"cmd": "ls"})["ok"]
            assert other.ask({"cmd": "auth", "token": token})["ok"]
            os.mkfifo(slow := tmp_path / "slow")
            first, second = another_certificate(key), tmp_path / "second"
            second.write_bytes(another_certificate(key))
            slow.replace(file)
            server.signal(signal.SIGHUP)
            with file.open("wb") as writing:  # the server reads it now, and waits
                newest = pin_of(second)
                second.replace(file)
                server.signal(signal.SIGHUP)
                assert {before} == {shown_by(server) for _ in range(5)}
                writing.write(first)
            eventually(lambda: server.log.count(READ) == 2, "both are read")
            assert newest == shown_by(server)
            assert vouched.ask({"cmd": "ls"})["ok"]
            assert other.ask({"cmd": "ls"})["ok"]
        assert " log-in ended " not in server.log


def test_a_stop_while_somebody_comes_in(root: Path, tmp_path: Path) -> None:
    """Who has shown a certificate, and waits for the users file to be read when the server stops, is told to go."""
    authority, users = Authority.make(tmp_path), root / ".ftpd/access/users.toml"
    with served(root, "--tls", "--client-ca", str(authority.file), "--grace", "600") as server:
        os.mkfifo(slow := tmp_path / "slow", 0o600)
        (same := tmp_path / "same").write_bytes(text := users.read_bytes())
        same.chmod(0o600)
        slow.replace(users)
        with users.open("wb") as writing:  # the server reads it now, and waits
            same.replace(users)
            with connect(server, authority.sign("alice")) as peer:
                eventually(lambda: " connected " in server.log, "the handshake is over")
                ask_to_stop(server)
                writing.write(text)
                writing.close()
                assert "going_away" == code_of(peer.read())
        assert 0 == server.wait().returncode
