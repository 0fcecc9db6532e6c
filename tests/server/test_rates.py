"""Rates on a real server: no faster than told, whole, and small requests in between are answered."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftpd.access.credentials import new_token
from ftpd.access.users import Token, User, edit
from tests.peer import Peer, ServerProcess, frame, served
from tests.server.test_chunks import DATA, PIECES, commit, send

RATE, SIZE = 2_000_000, 4_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A slow server."""
    with served(tmp_path, "--limit-rate", "2M") as server:
        yield server


def test_up_and_down(server: ServerProcess, tmp_path: Path) -> None:
    """A file of two seconds takes them, up and down, arrives whole; others are answered before it is through."""
    data = bytes(range(250)) * (SIZE // 250)
    with server.connect() as peer, server.connect() as other:
        started = time.monotonic()
        peer.send({"cmd": "put", "id": 1, "filename": "x", "filesize": SIZE})
        peer.send_raw(data)
        assert other.ask({"cmd": "put", "filename": "small", "filesize": 3}, b"abc")["ok"]
        assert not (tmp_path / "x").exists()
        assert peer.read()["ok"]
        assert data == (tmp_path / "x").read_bytes()
        assert time.monotonic() - started > SIZE / RATE - 0.5
        started = time.monotonic()
        assert data == fetch(peer, "x")
        assert time.monotonic() - started > SIZE / RATE - 0.5


def test_small_ones_do_not_wait(tmp_path: Path) -> None:
    """While many fetch more than the rate allows in a minute, something small is there at once; so is an upload."""
    (tmp_path / "large").write_bytes(bytes(SIZE))
    (tmp_path / "small").write_bytes(b"abc")
    with ServerProcess(tmp_path, "--limit-rate", "64k", "--grace", "0") as server, contextlib.ExitStack() as stack:
        for _ in range(30):
            busy = stack.enter_context(server.connect())
            busy.send({"cmd": "get", "filename": "large"})
            assert busy.read()["ok"]
        with server.connect() as peer:
            assert b"abc" == fetch(peer, "small")
            assert peer.ask({"cmd": "put", "filename": "new", "filesize": 3}, b"abc")["ok"]


def test_connections_of_one_user(tmp_path: Path) -> None:
    """Several connections of one user have his rate together, also where they carry one file."""
    token = new_token()
    with edit(tmp_path / ".ftpd" / "access" / "users.toml") as users:
        users.users["team"] = User(rights=["full"], rate="8M")
        users.tokens[token.id] = Token(user="team", sha256=token.sha256)
    with ServerProcess(tmp_path) as server, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in PIECES]
        for peer in peers:
            assert peer.ask({"cmd": "auth", "token": token.text})["ok"]
        begun = peers[0].ask({"cmd": "begin", "filename": "x", "filesize": len(DATA)})
        join = {"cmd": "join", "upload": begun["upload"], "lease": begun["lease"]}
        assert all(peer.ask(join)["ok"] for peer in peers[1:])
        started = time.monotonic()
        senders = [
            threading.Thread(target=send, args=(peers[index], begun["upload"], index, PIECES[index]))
            for index in (1, 2)
        ]
        for sender in senders:
            sender.start()
        assert send(peers[0], begun["upload"], 0, PIECES[0])["ok"]
        for sender in senders:
            sender.join()
        assert commit(peers[0], begun["upload"])["ok"]
        assert time.monotonic() - started > len(DATA) / 8_000_000 - 0.5
    assert DATA == (tmp_path / "x").read_bytes()


def fetch(peer: Peer, name: str) -> bytes:
    """Get a file."""
    peer.send_raw(frame({"cmd": "get", "filename": name}))
    content = peer.read()
    peer.read_bytes(32 * content["leaves"])
    return peer.read_bytes(content["length"])
