"""Logging in with a key of SSH: only whoever has it, on this connection, to this server."""

import base64
import hashlib
import secrets
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.peer import Peer, ServerProcess, code_of, manage, served

ED = ed25519.Ed25519PrivateKey.generate()
EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
STRANGER = ed25519.Ed25519PrivateKey.generate()

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def public(key: Private) -> str:
    """Give the line of a public key."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def sign(key: Private, data: bytes) -> bytes:
    """Sign as the protocol says."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA512())
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user who has three keys, and one who has none."""
    root = tmp_path_factory.mktemp("root")
    manage(root, "user", "add", "alice")
    manage(root, "user", "add", "bob")
    for key in (ED, EC, RSA):
        manage(root, "user", "key", "add", "alice", given=f"{public(key)} alice@laptop\n")
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[ServerProcess]:
    """An encrypted server of that folder."""
    with served(root, "--tls") as server:
        yield server


@pytest.fixture
def certificate(root: Path) -> bytes:
    """The SHA-256 of its certificate."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert((root / ".ftpd/access/cert.pem").read_text())).digest()


def connect(server: ServerProcess) -> Peer:
    """Open an encrypted connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    peer = server.connect()
    peer.socket = context.wrap_socket(peer.socket)
    return peer


@pytest.fixture
def peer(server: ServerProcess) -> Iterator[Peer]:
    """A connection that nobody has logged in on."""
    with connect(server) as peer:
        yield peer


def begin(peer: Peer, key: str, user: str = "alice") -> tuple[bytes, bytes]:
    """Ask for a nonce; give ours and theirs."""
    ours = secrets.token_bytes(32)
    reply = peer.ask({"cmd": "auth", "method": "key", "user": user, "key": key, "nonce": ours.hex()})
    assert (True, "nobody") == (reply["ok"], reply["user"])
    return ours, bytes.fromhex(reply["nonce"])


def finish(peer: Peer, signature: bytes) -> dict[str, Any]:
    """Show a signature; give the answer."""
    return peer.ask({"cmd": "auth", "method": "key", "signature": signature.hex()})


def proof(ours: bytes, theirs: bytes, certificate: bytes, user: str = "alice") -> bytes:
    """Put together what has to be signed, as the protocol says."""
    return b"ftpd log-in 1\n" + ours + theirs + certificate + user.encode()


@pytest.mark.parametrize("key", [ED, EC, RSA], ids=["ed25519", "p256", "rsa"])
def test_right_key(peer: Peer, certificate: bytes, key: Private) -> None:
    """Who has the key is let in."""
    assert ["token", "password", "key"] == peer.ask({"cmd": "hello"})["auth"]
    nonces = begin(peer, public(key))
    reply = finish(peer, sign(key, proof(*nonces, certificate)))
    assert (True, "alice") == (reply["ok"], reply.get("user")), reply
    assert "nonce" not in reply
    assert peer.ask({"cmd": "ls"})["ok"]


Spoil = Callable[[bytes, bytes, bytes], bytes]

WRONG: dict[str, Spoil] = {
    "another certificate": lambda ours, theirs, _: proof(ours, theirs, bytes(32)),
    "another user": lambda ours, theirs, cert: proof(ours, theirs, cert, "bob"),
    "no purpose": lambda ours, theirs, cert: proof(ours, theirs, cert)[14:],
    "nonces exchanged": lambda ours, theirs, cert: proof(theirs, ours, cert),
    "own nonce alone": lambda ours, _, cert: proof(ours, bytes(32), cert),
}


@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG)
def test_signature_of_something_else(peer: Peer, certificate: bytes, spoil: Spoil) -> None:
    """The right key under anything but exactly this log-in lets nobody in, after a second."""
    nonces = begin(peer, public(ED))
    started = time.monotonic()
    assert "unauthorized" == code_of(finish(peer, sign(ED, spoil(*nonces, certificate))))
    assert time.monotonic() - started > 0.9
    assert "unauthorized" == peer.refusal({"cmd": "ls"})


@pytest.mark.parametrize(
    ("user", "key", "signer"),
    [
        ("alice", public(STRANGER), STRANGER),
        ("alice", public(ED), STRANGER),
        ("bob", public(ED), ED),
        ("nobody.here", public(ED), ED),
        ("anonymous", public(ED), ED),
        ("", "", ED),
        ("alice", "ssh-ed25519 AAAA", ED),
        ("alice", "ssh-rsa " + public(ED).split()[1], ED),
        ("alice", "x" * 3_000, ED),
    ],
    ids=["stranger", "other signer", "other user", "no user", "anonymous", "nothing", "cut", "other kind", "long"],
)
def test_wrong_key(peer: Peer, certificate: bytes, user: str, key: str, signer: Private) -> None:
    """Unknown users, unknown keys and wrong signatures look all the same."""
    nonces = begin(peer, key, user)
    refused = finish(peer, sign(signer, proof(*nonces, certificate, user)))
    assert ("unauthorized", "these credentials are wrong, expired or revoked") == (
        code_of(refused),
        refused["error"]["message"],
    )


@pytest.mark.parametrize("signature", ["zz", "00", "00" * 64, "00" * 1000])
def test_malformed_signature(peer: Peer, signature: str) -> None:
    """What is no signature is a wrong one."""
    begin(peer, public(ED))
    assert "unauthorized" == peer.refusal({"cmd": "auth", "method": "key", "signature": signature})


@pytest.mark.parametrize("nonce", ["", "00", "zz" * 32, "00" * 33])
def test_malformed_nonce(peer: Peer, nonce: str) -> None:
    """A nonce has 64 hex digits."""
    request = {"cmd": "auth", "method": "key", "user": "alice", "key": public(ED), "nonce": nonce}
    assert "bad_request" == peer.refusal(request)


def test_replayed(peer: Peer, server: ServerProcess, certificate: bytes) -> None:
    """A signature is good once: neither again on its connection, nor on another, with the same nonce of the client."""
    ours, theirs = begin(peer, public(ED))
    signature = sign(ED, proof(ours, theirs, certificate))
    assert finish(peer, signature)["ok"]
    assert "unauthorized" == code_of(finish(peer, signature))
    with connect(server) as other:
        request = {"cmd": "auth", "method": "key", "user": "alice", "key": public(ED), "nonce": ours.hex()}
        assert other.ask(request)["nonce"] != theirs.hex()
        assert "unauthorized" == code_of(finish(other, signature))


def test_second_try_needs_another_nonce(peer: Peer, certificate: bytes) -> None:
    """After a wrong signature, or a log-in of another kind, the right one to the same nonce is too late."""
    nonces = begin(peer, public(ED))
    assert "unauthorized" == code_of(finish(peer, bytes(64)))
    assert "unauthorized" == code_of(finish(peer, sign(ED, proof(*nonces, certificate))))
    nonces = begin(peer, public(ED))
    assert "unauthorized" == peer.refusal({"cmd": "auth", "token": "x"})
    assert peer.is_ended(), "that was the third"


def test_key_is_removed(peer: Peer, root: Path, certificate: bytes) -> None:
    """A key that is removed ends what was begun with it; another one of the same user goes on."""
    key = ed25519.Ed25519PrivateKey.generate()
    manage(root, "user", "key", "add", "alice", given=public(key))
    nonces = begin(peer, public(key))
    assert finish(peer, sign(key, proof(*nonces, certificate)))["ok"]
    digest = hashlib.sha256(base64.b64decode(public(key).split()[1])).digest()
    fingerprint = "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
    assert fingerprint in manage(root, "user", "key", "list", "alice")
    manage(root, "user", "key", "rm", "alice", fingerprint)
    assert "unauthorized" == peer.farewell()
    assert "alice@laptop" in manage(root, "user", "key", "list", "alice")


def test_not_in_the_clear(root: Path, tmp_path: Path) -> None:
    """Without TLS there is no certificate to be named, and nobody logs in with a key."""
    (tmp_path / ".ftpd/access").mkdir(parents=True)
    users = tmp_path / ".ftpd/access/users.toml"
    users.write_text((root / ".ftpd/access/users.toml").read_text())
    users.chmod(0o600)
    with ServerProcess(tmp_path) as server, server.connect() as peer:
        assert ["token", "password"] == peer.ask({"cmd": "hello"})["auth"]
        request = {"cmd": "auth", "method": "key", "user": "alice", "key": public(ED), "nonce": "00" * 32}
        assert "unauthorized" == peer.refusal(request)


@pytest.mark.parametrize(
    "line",
    ["", "x", "ssh-dss AAAA", "ssh-ed25519 AAAA", "ssh-ed25519 " + "A" * 68, 'from="x" ' + public(ED),
     public(rsa.generate_private_key(65537, 1024)),  # noqa: S505 (it is to be refused)
     "-----BEGIN OPENSSH PRIVATE KEY-----"],
    ids=["empty", "no key", "dss", "cut", "zeros", "options", "short rsa", "private"],
)  # fmt: skip
def test_key_that_can_not_be_used(root: Path, line: str) -> None:
    """What is no public key, or a weak one, is not added, and said in one line."""
    done = subprocess.run(
        [sys.executable, "-m", "ftpd", "user", "key", "add", "bob", "--root", str(root)],
        input=line + "\n", capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines())), done.stderr
    assert "" == manage(root, "user", "key", "list", "bob")
