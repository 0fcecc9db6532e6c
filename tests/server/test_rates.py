"""Rates on a real server: no faster than told, whole, and small requests in between are answered."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peer import Peer, ServerProcess, frame

RATE, SIZE = 2_000_000, 4_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A slow server."""
    with ServerProcess(tmp_path, "--limit-rate", "2M") as server:
        yield server
        ended = server.stop()
    assert (0, "") == (ended.returncode, ended.traceback)


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


def fetch(peer: Peer, name: str) -> bytes:
    """Get a file."""
    peer.send_raw(frame({"cmd": "get", "filename": name}))
    content = peer.read()
    peer.read_bytes(32 * content["leaves"])
    return peer.read_bytes(content["length"])
