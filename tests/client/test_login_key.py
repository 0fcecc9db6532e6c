"""`ftpc login --key`, with keys that ssh-keygen has made."""

import asyncio
import itertools
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ftpc
from ftpc.credentials import Credentials
from ftpc.errors import RefusedError, TrustError
from ftpc.keys import Key
from ftpd.certificate import make
from ftpd.tls import pin_of
from tests.client.command import Ftpc
from tests.peer import ServerProcess, manage, served
from tests.server.crowd import flood, place, quick_and_long

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")

KINDS = {"ed25519": ["-t", "ed25519"], "p256": ["-t", "ecdsa", "-b", "256"], "rsa": ["-t", "rsa", "-b", "2048"]}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with keys: one of each kind, and one with a passphrase."""
    folder = tmp_path_factory.mktemp("keys")
    for name, options in {**KINDS, "locked": KINDS["ed25519"]}.items():
        words = "open sesame" if name == "locked" else ""
        subprocess.run(["ssh-keygen", "-q", *options, "-N", words, "-f", str(folder / name)], check=True)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """A folder with a user who has these keys."""
    root = tmp_path_factory.mktemp("root")
    manage(root, "user", "add", "alice")
    for key in keys.glob("*.pub"):
        manage(root, "user", "key", "add", "alice", given=key.read_text())
    (root / "a").write_bytes(b"a")
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[ServerProcess]:
    """An encrypted server of that folder."""
    with served(root, "--tls") as server:
        yield server


@pytest.fixture
def url(server: ServerProcess, root: Path) -> str:
    """Its address with its pin."""
    return f"ftpds://127.0.0.1:{server.port}#sha256:{pin_of(root / '.ftpd/access/cert.pem')}"


@pytest.fixture
def alice(root: Path, tmp_path: Path) -> Ftpc:
    """Somebody with a home of her own."""
    alice = Ftpc("", tmp_path / "alice", root)
    alice.folder.mkdir()
    return alice


@pytest.mark.parametrize("kind", KINDS)
def test_login(alice: Ftpc, url: str, keys: Path, kind: str) -> None:
    """A key logs in, and again with the next command; what is kept is where it is."""
    done = alice.run("login", url, "--user", "alice", "--key", str(keys / kind))
    assert 0 == done.status, done.err
    assert "alice at" in alice.run("whoami").out
    assert 0 == alice.run("get", "a").status
    alice.write("many/x", b"x")
    alice.write("many/big", bytes(9_000_000))
    assert 0 == alice.run("put", "-r", "many").status
    kept = (alice.folder / ".config/ftpc/credentials.json").read_text()
    assert str(keys / kind) in kept
    assert "PRIVATE" not in kept


@pytest.mark.parametrize("kind", ["stranger", "locked", "missing", "readable", "a.pub"])
def test_no_login(alice: Ftpc, url: str, keys: Path, kind: str) -> None:
    """A key that the server does not know, that is encrypted, or that can not be read, is one line and no log-in."""
    file = alice.folder / kind
    if kind == "stranger":
        subprocess.run(["ssh-keygen", "-q", *KINDS["ed25519"], "-N", "", "-f", str(file)], check=True)
    elif kind != "missing":
        shutil.copy(keys / {"locked": "locked", "readable": "rsa", "a.pub": "rsa.pub"}[kind], file)
        file.chmod(0o644 if kind == "readable" else 0o600)
    done = alice.run("login", url, "--user", "alice", "--key", str(file))
    assert ({"stranger": 6, "missing": 3}.get(kind, 4), 1) == (done.status, len(done.err.splitlines())), done.err
    assert not (alice.folder / ".config/ftpc/credentials.json").exists()


async def test_passphrase(url: str, keys: Path) -> None:
    """An encrypted key asks for its passphrase, once for all connections."""
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "open sesame"

    credentials = Credentials("", "alice", key=Key(keys / "locked", ask))
    async with ftpc.connect(url, credentials=credentials) as client:
        found = await asyncio.gather(*(client.whoami() for _ in range(3)))
    assert ["alice"] * 3 == [identity.user for identity in found]
    assert [f"passphrase of {keys / 'locked'}: "] == asked


@quick_and_long(3, 1000)
async def test_somebody_in_between(
    url: str, server: ServerProcess, keys: Path, tmp_path: Path, tell: Callable[[str], None], count: int
) -> None:
    """Who is taken for the server, and hands everything on to it, gets in as nobody: his certificate is another one.

    He does so from as many places as there are log-ins, so that each is looked at.
    """
    places = map(place, itertools.count())
    make(tmp_path / "cert.pem", tmp_path / "key.pem", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    onward = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    onward.check_hostname, onward.verify_mode = False, ssl.CERT_NONE
    passed = bytearray()

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            passed.extend(data)
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", server.port, ssl=onward, local_addr=(next(places), 0))
        await asyncio.gather(hand_on(reader, there[1]), hand_on(there[0], writer), return_exceptions=True)

    between = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    port = between.sockets[0].getsockname()[1]
    fooled = f"ftpds://127.0.0.1:{port}#sha256:{pin_of(tmp_path / 'cert.pem')}"
    credentials = Credentials("", "alice", key=Key(keys / "ed25519"))

    async def log_in() -> str:
        async with ftpc.connect(fooled, credentials=credentials, retries=0) as client:
            try:
                return (await client.whoami()).user
            except RefusedError as exc:
                return exc.code

    outcomes = await flood([log_in] * count, at_once=20)
    signatures = passed.count(b'"signature"')
    between.close()
    tell(f"{count} log-ins by key through somebody in between, {signatures} signatures: {dict(outcomes)}")
    assert {"unauthorized": count} == outcomes
    assert count == signatures, "all were signed, and that was of no use"
    async with ftpc.connect(url, credentials=credentials) as client:
        assert "alice" == (await client.whoami()).user


async def test_not_in_the_clear(keys: Path, tmp_path: Path) -> None:
    """A key signs nothing for a server that shows no certificate."""
    with ServerProcess(tmp_path) as plain:
        credentials = Credentials("", "alice", key=Key(keys / "ed25519"))
        async with ftpc.connect(f"127.0.0.1:{plain.port}", credentials=credentials) as client:
            with pytest.raises(TrustError):
                await client.whoami()
