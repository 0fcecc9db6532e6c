"""Log-ins that end while something is under way: that is ended too, and nothing of others."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from blake3 import blake3

from ftpd.tls import pin_of
from tests.client.command import Ftpc, command
from tests.peer import PATIENCE_S, Peer, ServerProcess, eventually, manage, served, swap
from tests.server.crowd import allow_files
from tests.server.test_client_certificates import Authority, connect

MIB = 1024 * 1024
LARGE = 64 * MIB
AHEAD = 500
"""How many small files are on their way."""

SLOW = "2M"
"""The rate of who is to be at it for some seconds."""


class Guest(NamedTuple):
    """A token, and its id."""

    token: str

    @property
    def name(self) -> str:
        """Its id."""
        return self.token.split("_")[1]


class Place(NamedTuple):
    """A server that has to be logged in to."""

    server: ServerProcess
    root: Path
    is_encrypted: bool = False

    def invite(self, user: str = "alice", *options: str) -> Guest:
        """Make a token."""
        return Guest(manage(self.root, "token", "create", user, *options))

    def come(self, guest: Guest) -> Peer:
        """Connect and log in."""
        peer = connect(self.server, None) if self.is_encrypted else self.server.connect()
        assert peer.ask({"cmd": "auth", "token": guest.token})["ok"]
        return peer

    def revoke(self, guest: Guest) -> None:
        """Take a token back."""
        manage(self.root, "token", "revoke", guest.name)

    @property
    def ended(self) -> list[str]:
        """The lines of the log about log-ins that were ended."""
        return [line for line in self.server.log.splitlines() if " log-in ended " in line]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with users, and a large file."""
    root = tmp_path / "root"
    root.mkdir()
    manage(root, "user", "add", "alice")
    manage(root, "user", "add", "slow")
    manage(root, "user", "set", "slow", "--rate", SLOW)
    with (root / "large").open("wb") as file:
        file.truncate(LARGE)
    return root


@pytest.fixture(params=["plain", "TLS"])
def place(root: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A server of it, with TLS or without."""
    is_encrypted = request.param == "TLS"
    with served(root, *(["--tls"] if is_encrypted else [])) as server:
        yield Place(server, root, is_encrypted)


def rest_of(peer: Peer) -> int:
    """Read to the end of the connection; give how many bytes that were."""
    size = 0
    with contextlib.suppress(ConnectionResetError):
        while data := peer.socket.recv(MIB):
            size += len(data)
    return size


def test_a_get_that_is_not_read(place: Place) -> None:
    """A download is cut also where nobody reads it at the moment; that is one line of the log, with the user."""
    guest = place.invite()
    with place.come(guest) as peer:
        peer.send({"cmd": "get", "filename": "large", "id": 7})
        assert peer.read()["ok"]
        place.revoke(guest)
        eventually(lambda: place.ended, "it is ended")
        assert rest_of(peer) < LARGE
    assert ["alice"] == [line.partition(" user=")[2].split()[0] for line in place.ended]


def test_an_upload_in_chunks(place: Place) -> None:
    """Of an upload that is cut in a chunk those before it are kept, for whoever goes on with it."""
    guest, heir = place.invite(), place.invite()
    begin = {"cmd": "begin", "filename": "new", "filesize": 2 * 8 * MIB}
    with place.come(guest) as peer:
        begun = peer.ask(begin)
        size = begun["chunk_size"]
        digest = blake3(bytes(size)).hexdigest()
        header = {"cmd": "chunk", "upload": begun["upload"], "size": size, "digest": digest}
        assert peer.ask({**header, "index": 0}, bytes(size))["ok"]
        peer.send({**header, "index": 1, "id": 7}, bytes(size // 2))
        place.revoke(guest)
        assert "unauthorized" == peer.farewell()
    assert not (place.root / "new").exists()
    with place.come(heir) as peer:
        again = peer.ask({**begin, "upload": begun["upload"]})
        assert [[0, 0]] == again["have"]


def test_nobody_has_to_log_in_any_more(place: Place) -> None:
    """Who may come without logging in is ended like others when he may not any more."""
    users = place.root / ".ftpd" / "access" / "users.toml"
    before = users.read_text()
    swap(users, f"{before}\n[users.anonymous]\nrights = ['read-only']\n")
    with contextlib.closing(connect(place.server, None) if place.is_encrypted else place.server.connect()) as peer:
        eventually(lambda: peer.ask({"cmd": "stat", "filename": "large"})["ok"], "he may")
        swap(users, before)
        assert "unauthorized" == peer.farewell()
    eventually(lambda: place.ended, "it is ended")
    assert " user=anonymous " in place.ended[0]


def test_small_files_under_way(place: Place) -> None:
    """Of small files that are sent without waiting those that are confirmed are stored and logged, and no others."""
    guest = place.invite()
    data = os.urandom(3000)
    with place.come(guest) as peer:
        assert peer.ask({"cmd": "mkdir", "path": "many"})["ok"]
        sent, stored, revoking = 0, 0, threading.Thread(target=place.revoke, args=(guest,))
        while True:
            while sent < stored + AHEAD:
                sent += 1
                peer.send({"cmd": "put", "filename": f"many/{sent}", "filesize": len(data), "id": sent}, data)
            if not (reply := peer.read())["ok"]:
                break
            stored += 1
            assert stored == reply["id"]
            if stored == AHEAD:
                revoking.start()
        assert "unauthorized" == reply["error"]["code"]
        revoking.join()
    eventually(lambda: " disconnected " in place.server.log, "it is over")
    names = sorted(int(file.name) for file in (place.root / "many").iterdir())
    assert names == [*range(1, stored + 1)]
    lines = [line for line in place.server.log.splitlines() if " command=put " in line and " outcome=ok" in line]
    assert [f" path=many/{name} " in line for name, line in zip(names, lines, strict=True)] == [True] * stored
    assert {data} == {file.read_bytes() for file in (place.root / "many").iterdir()}
    assert place.server.has_no_temporaries()


def test_a_thousand_others(root: Path) -> None:
    """Whose log-in still holds notices nothing: of a thousand connections one is ended, and all others answer."""
    allow_files(4000)
    with served(root) as server, contextlib.ExitStack() as stack:
        place = Place(server, root)
        guest, other = place.invite(), place.invite()
        peers = [stack.enter_context(place.come(other)) for _ in range(1000)]
        odd = stack.enter_context(place.come(guest))
        place.revoke(guest)
        assert "unauthorized" == odd.farewell()
        assert all(peer.ask({"cmd": "ls"})["ok"] for peer in peers)
        eventually(lambda: 1 == len(place.ended), "that is logged")


@pytest.mark.parametrize("what", ["get", "put"])
def test_what_a_client_says(root: Path, tmp_path: Path, what: str) -> None:
    """The client's command ends with status 6 and one line that says why; nothing that is not whole is visible."""
    with served(root, "--tls") as server:
        place = Place(server, root)
        guest = place.invite("slow")
        url = f"ftpds://127.0.0.1:{server.port}#sha256:{pin_of(root / '.ftpd/access/cert.pem')}"
        user = Ftpc(url, tmp_path, root)
        assert 0 == user.run("login", url, stdin=f"{guest.token}\n".encode()).status
        (tmp_path / "mine").write_bytes(bytes(LARGE))
        process = subprocess.Popen(
            command(*(("get", "large") if what == "get" else ("put", "mine"))),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=user.environment(), text=True,
        )  # fmt: skip
        pattern = ".large*" if what == "get" else "root/.ftpd/partial/*"
        eventually(lambda: [*tmp_path.glob(pattern)], "it is under way")
        place.revoke(guest)
        _, err = process.communicate(timeout=PATIENCE_S)
        told = [line for line in err.splitlines() if line.startswith("ftpc: ") and "ftpc resume" not in line]
        assert (6, 1) == (process.returncode, len(told)), err
        assert "expired or revoked" in told[0]
        assert not (root / "mine").exists()
        assert not (tmp_path / "large").exists()


class Vouched(NamedTuple):
    """A server that believes an authority, without any lists."""

    server: ServerProcess
    authority: Authority
    file: Path

    def believe(self, *authorities: Authority) -> None:
        """Tell it whom to believe."""
        self.file.write_bytes(b"".join(one.file.read_bytes() for one in authorities))
        before = self.server.log.count("the certificate was read again")
        self.server.signal(signal.SIGHUP)
        eventually(lambda: self.server.log.count("the certificate was read again") > before, "it is read")


@pytest.fixture
def vouched(root: Path, tmp_path: Path) -> Iterator[Vouched]:
    """One that is started with an authority."""
    authority, file = Authority.make(tmp_path), tmp_path / "authorities.pem"
    file.write_bytes(authority.file.read_bytes())
    with served(root, "--tls", "--client-ca", str(file)) as server:
        yield Vouched(server, authority, file)


def test_an_authority_is_taken_out(vouched: Vouched, tmp_path: Path) -> None:
    """Who is logged in by a certificate is told to come again, and with the authority that is gone is cut then."""
    other = Authority.make(tmp_path, "other")
    vouched.believe(vouched.authority, other)
    good, bad = other.sign("alice"), vouched.authority.sign("alice")
    with connect(vouched.server, good) as peer, connect(vouched.server, bad) as odd:
        assert peer.ask({"cmd": "ls"})["ok"]
        assert odd.ask({"cmd": "ls"})["ok"]
        vouched.believe(other)
        assert ["going_away"] * 2 == [peer.farewell(), odd.farewell()]
    with connect(vouched.server, good) as peer:
        assert peer.ask({"cmd": "ls"})["ok"]
    with pytest.raises(OSError), connect(vouched.server, bad) as odd:  # noqa: PT011 (a reset, or an alert of TLS)
        odd.ask({"cmd": "whoami"})


def test_the_same_authorities(vouched: Vouched) -> None:
    """Where the file says what it said, nobody is disturbed."""
    with connect(vouched.server, vouched.authority.sign("alice")) as peer:
        assert peer.ask({"cmd": "ls"})["ok"]
        vouched.believe(vouched.authority)
        manage(vouched.server.root, "user", "add", "bob")
        with connect(vouched.server, vouched.authority.sign("bob")) as other:
            assert other.ask({"cmd": "ls"})["ok"]
            manage(vouched.server.root, "user", "rm", "bob")
            assert "unauthorized" == other.farewell()  # all have been looked at
        assert peer.ask({"cmd": "ls"})["ok"]


@pytest.mark.parametrize("what", ["get", "put"])
def test_a_transfer_goes_on(vouched: Vouched, tmp_path: Path, what: str) -> None:
    """A transfer is broken off when other authorities are believed, and goes on: the certificate is still good."""
    size = 8 * MIB
    root = vouched.server.root
    (tmp_path / "mine").write_bytes(data := os.urandom(size))
    (root / "theirs").write_bytes(data)
    url = f"ftpds://127.0.0.1:{vouched.server.port}#sha256:{pin_of(root / '.ftpd/access/cert.pem')}"
    user = Ftpc(url, tmp_path, root)
    arguments = ("get", "theirs") if what == "get" else ("put", "mine")
    process = subprocess.Popen(
        command(*arguments, "--cert", str(vouched.authority.sign("slow"))),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=user.environment(), text=True,
    )  # fmt: skip
    eventually(lambda: " log-in " in vouched.server.log, "it is under way")
    vouched.believe(vouched.authority, Authority.make(tmp_path, "other"))
    _, err = process.communicate(timeout=PATIENCE_S)
    assert 0 == process.returncode, err
    assert data == (tmp_path / "theirs" if what == "get" else root / "mine").read_bytes()
    assert "going_away" in vouched.server.log
