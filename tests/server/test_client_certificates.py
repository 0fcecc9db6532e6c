"""Logging in with a client certificate: the name that an authority has signed, and no other."""

import contextlib
import datetime as dt
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ftpd.tls import pin_of
from tests.client.command import Ftpc
from tests.peer import Peer, ServerProcess, eventually, manage, served


class Authority(NamedTuple):
    """Somebody who signs certificates."""

    folder: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    @property
    def file(self) -> Path:
        """Its own certificate."""
        return self.folder / f"{self.name.rfc4514_string()}.pem"

    @classmethod
    def make(cls, folder: Path, name: str = "authority") -> "Authority":
        """Make one."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        authority = cls(folder, subject, ec.generate_private_key(ec.SECP256R1()))
        authority._vouch_for(authority)
        return authority

    def sign(self, *names: str, seconds: float = 3600, purpose: x509.ObjectIdentifier | None = None) -> Path:
        """Make a certificate with its key in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
        builder = self._builder(subject, key.public_key(), seconds)
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        file = self.folder / f"{'+'.join(names)}-{x509.random_serial_number():x}.pem"
        pem = builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)
        file.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return file

    def under(self, name: str) -> "Authority":
        """Make an authority that this one vouches for."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        authority = Authority(self.folder, subject, ec.generate_private_key(ec.SECP256R1()))
        self._vouch_for(authority)
        return authority

    def revoke(
        self,
        *certificates: Path,
        seconds: float = 3600,
        days_old: float = 1,
        extension: x509.ExtensionType | None = None,
    ) -> bytes:
        """Make a list (PEM) of certificates that are good no more."""
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(now - dt.timedelta(days=days_old))
            .next_update(now + dt.timedelta(seconds=seconds))
        )
        if extension is not None:
            builder = builder.add_extension(extension, critical=True)
        builder = builder.add_extension(self._key_identifier, critical=False)
        for file in certificates:
            serial = x509.load_pem_x509_certificate(file.read_bytes()).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    @property
    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())

    def _vouch_for(self, other: "Authority") -> None:
        builder = self._builder(other.name, other.key.public_key(), 3600)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(other.key.public_key()), critical=False
        )
        other.file.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, seconds: float) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(seconds=seconds))
            .add_extension(self._key_identifier, critical=False)
        )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few users."""
    root = tmp_path_factory.mktemp("root")
    for name in ("alice", "bob", "anonymous"):
        manage(root, "user", "add", name, "--rights", "read-only" if name != "alice" else "full")
    manage(root, "user", "rm", "anonymous")
    (root / "a").write_bytes(b"a")
    return root


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one that the server believes."""
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(root: Path, authority: Authority) -> Iterator[ServerProcess]:
    """A server that believes it."""
    with served(root, "--tls", "--client-ca", str(authority.file)) as server:
        yield server


def connect(server: ServerProcess, certificate: Path | None) -> Peer:
    """Open an encrypted connection, with a certificate or without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    peer = server.connect()
    peer.socket = context.wrap_socket(peer.socket)
    return peer


def test_connections_of_one_user(root: Path, server: ServerProcess, authority: Authority) -> None:
    """Who shows a certificate has no more connections than the user may have."""
    certificate = authority.sign("bob")
    manage(root, "user", "set", "bob", "--connections", "1")
    with connect(server, certificate) as peer, connect(server, certificate) as other:
        assert peer.ask({"cmd": "ls"})["ok"]
        assert "busy" == other.read()["error"]["code"]
        ended = [line.rpartition(" ")[2] for line in server.log.splitlines() if " log-in " in line]
        assert ["outcome=ok", "outcome=busy"] == ended[-2:]
        assert other.is_ended()
    manage(root, "user", "set", "bob", "--connections", "0")


def test_right_certificate(server: ServerProcess, authority: Authority) -> None:
    """Who shows a certificate is the user it names, from the first request on, with that user's rights."""
    with connect(server, authority.sign("alice")) as peer:
        assert peer.ask({"cmd": "put", "filename": "new", "filesize": 1}, b"x")["ok"]
        assert "alice" == peer.ask({"cmd": "whoami"})["user"]
    with connect(server, authority.sign("bob", purpose=ExtendedKeyUsageOID.CLIENT_AUTH)) as peer:
        assert "forbidden" == peer.refusal({"cmd": "put", "filename": "newer", "filesize": 0})
        assert "certificate" in peer.ask({"cmd": "hello"})["auth"]


@pytest.mark.parametrize("names", [(), ("mallory",), ("alice", "bob"), ("bob", "alice"), ("Alice",), ("anonymous",)])
def test_name_of_nobody(server: ServerProcess, authority: Authority, names: tuple[str, ...]) -> None:
    """A name that no user has, or several, is nobody's: there is nothing to be seen, and other ways to log in."""
    with connect(server, authority.sign(*names)) as peer:
        assert "nobody" == peer.ask({"cmd": "whoami"})["user"]
        assert "unauthorized" == peer.refusal({"cmd": "ls"})


def test_log_ins_are_logged(server: ServerProcess, authority: Authority, tmp_path: Path) -> None:
    """Each log-in by certificate has its line: who it is if it is good, and why the handshake failed if it did."""

    def said(certificate: Path) -> str:
        before = len(server.log)
        with contextlib.suppress(OSError), connect(server, certificate) as peer:
            peer.ask({"cmd": "whoami"})
        eventually(lambda: " log-in " in server.log[before:], "there is a line")
        line = next(line for line in server.log[before:].splitlines() if " log-in " in line)
        return line.rpartition(" peer=127.0.0.1:")[2].partition(" ")[2]

    assert "user=alice outcome=ok" == said(authority.sign("alice"))
    assert "outcome=unauthorized" == said(authority.sign("mallory"))
    assert 'outcome="unauthorized: certificate has expired"' == said(authority.sign("alice", seconds=-60))
    assert 'outcome="unauthorized: ' in said(Authority.make(tmp_path).sign("alice"))


def test_no_certificate(server: ServerProcess, root: Path) -> None:
    """Nobody has to show one: a token logs in as ever."""
    token = manage(root, "token", "create", "bob")
    with connect(server, None) as peer:
        assert "unauthorized" == peer.refusal({"cmd": "ls"})
        assert "bob" == peer.ask({"cmd": "auth", "token": token})["user"]


@pytest.mark.parametrize("what", ["signed by another", "of the same name", "expired", "for servers", "its own"])
def test_certificate_that_is_not_valid(
    server: ServerProcess, authority: Authority, tmp_path: Path, root: Path, what: str
) -> None:
    """A certificate that somebody else has signed, under whatever name, has expired or is for servers, is cut."""
    other = Authority.make(tmp_path)
    certificate = {
        "signed by another": lambda: other.sign("alice"),
        "of the same name": lambda: other._replace(name=authority.name).sign("alice"),
        "expired": lambda: authority.sign("alice", seconds=-60),
        "for servers": lambda: authority.sign("alice", purpose=ExtendedKeyUsageOID.SERVER_AUTH),
        "its own": lambda: other.file,
    }[what]()
    if what == "its own":
        key = other.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        certificate.write_bytes(certificate.read_bytes() + key)
    with pytest.raises(OSError), connect(server, certificate) as peer:  # noqa: PT011 (a reset, or an alert of TLS)
        peer.ask({"cmd": "whoami"})
    alice = Ftpc(f"ftpds://127.0.0.1:{server.port}#sha256:{pin_of(root / '.ftpd/access/cert.pem')}", tmp_path, root)
    refused = alice.run("ls", "--cert", str(certificate))
    assert (6, "") == (refused.status, refused.out), refused.err


def test_expires_meanwhile(server: ServerProcess, authority: Authority) -> None:
    """A certificate that ends while its connection lasts ends that."""
    with connect(server, authority.sign("alice", seconds=3)) as peer:
        assert peer.ask({"cmd": "ls"})["ok"]
        assert "unauthorized" == peer.farewell()


def test_user_is_removed(server: ServerProcess, authority: Authority, root: Path) -> None:
    """Whose user is removed is told so, at once."""
    manage(root, "user", "add", "carol")
    with connect(server, authority.sign("carol")) as peer:
        assert peer.ask({"cmd": "ls"})["ok"]
        manage(root, "user", "rm", "carol")
        assert "unauthorized" == peer.farewell()


def test_command_line(server: ServerProcess, authority: Authority, root: Path, tmp_path: Path) -> None:
    """`ftpc --cert` logs in, with nothing remembered; what can not be used is one line."""
    url = f"ftpds://127.0.0.1:{server.port}#sha256:{pin_of(root / '.ftpd/access/cert.pem')}"
    alice = Ftpc(url, tmp_path, root)
    certificate = str(authority.sign("alice"))
    assert "alice at" in alice.run("--cert", certificate, "whoami").out
    assert 0 == alice.run("get", "a", "--cert", certificate, "--cert-key", certificate).status
    assert 6 == alice.run("get", "a", "-o", "b").status
    assert 4 == alice.run("ls", "--cert", str(tmp_path / "none")).status
    assert 4 == alice.run("ls", "--cert", certificate, "--cert-key", str(authority.file)).status
    assert 2 == alice.run("ls", "--cert", certificate, "--server", "127.0.0.1:1").status


@pytest.mark.parametrize("what", ["no TLS", "no users", "no file", "no certificates"])
def test_server_that_can_not_start(tmp_path: Path, authority: Authority, what: str) -> None:
    """Authorities without TLS, without users, or that can not be read, are one line and exit status 2."""
    if what != "no users":
        manage(tmp_path, "user", "add", "alice")
    (tmp_path / "empty").touch()
    file = {"no file": tmp_path / "none", "no certificates": tmp_path / "empty"}.get(what, authority.file)
    options = ["--client-ca", str(file), *([] if what == "no TLS" else ["--tls"])]
    done = subprocess.run(
        [sys.executable, "-m", "ftpd", "--root", str(tmp_path), "--port", "0", *options],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (2, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines())), done.stderr
