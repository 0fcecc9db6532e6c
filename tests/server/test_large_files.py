"""Files beyond 4 GiB: no size or offset is ever cut to 32 bits."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from tests.peer import Peer, ServerProcess
from tests.server.tree import MIB, root_of, tree_of

GIB = 1024 * MIB
MARK = b"beyond what 32 bits can count"


@pytest.fixture(scope="module", autouse=True)
def sparse(server: ServerProcess) -> Iterator[Path]:
    """A file of 5 GiB that takes no space, with a mark beyond the fourth and one at the end."""
    file = server.root / "sparse"
    with file.open("wb") as out:
        out.truncate(5 * GIB)
        out.seek(4 * GIB + 100)
        out.write(MARK)
        out.seek(5 * GIB - len(MARK))
        out.write(MARK)
    yield file
    file.unlink()


@pytest.mark.parametrize("offset", [4 * GIB + 100, 5 * GIB - len(MARK)])
def test_offset_beyond_four_gib(peer: Peer, offset: int) -> None:
    """A range beyond 4 GiB is that range, not the one at the offset's lower 32 bits."""
    reply = peer.ask({"cmd": "get", "filename": "sparse", "offset": offset, "length": len(MARK)})
    assert (5 * GIB, offset, len(MARK)) == (reply["filesize"], reply["offset"], reply["length"])
    assert peer.read_bytes(len(MARK)) == MARK
    assert tree_of(MARK).root == peer.read()["root"]


def test_end_of_a_large_file(peer: Peer) -> None:
    """What lies beyond 4 GiB is counted from there: a range without length reaches to the end, and not beyond."""
    reply = peer.ask({"cmd": "get", "filename": "sparse", "offset": 5 * GIB - 10})
    assert 10 == reply["length"]
    assert MARK[-10:] == peer.read_bytes(10)
    assert peer.read()["ok"]
    assert 0 == peer.ask({"cmd": "get", "filename": "sparse", "offset": 5 * GIB})["length"]
    assert peer.read()["ok"]
    assert "bad_range" == peer.refusal({"cmd": "get", "filename": "sparse", "offset": 5 * GIB + 1})


def test_stat_and_ls_of_a_large_file(peer: Peer) -> None:
    """Sizes beyond 4 GiB are shown whole."""
    assert 5 * GIB == peer.ask({"cmd": "stat", "filename": "sparse"})["filesize"]
    entries = {entry["name"]: entry for entry in peer.ask({"cmd": "ls", "long": True})["entries"]}
    assert 5 * GIB == entries["sparse"]["size"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_put_and_get_beyond_four_gib(server: ServerProcess, peer: Peer) -> None:
    """A file of 4 GiB and one byte arrives whole, with the right root, and comes back whole."""
    size, piece = 4 * GIB + 1, bytes(8 * MIB)
    peer.socket.settimeout(300)
    peer.send({"cmd": "put", "filename": "large", "filesize": size, "id": 7})
    for _ in range(size // len(piece)):
        peer.send_raw(piece)
    peer.send_raw(b"\0")
    leaves = blake3(piece).digest() * (size // len(piece)) + blake3(b"\0").digest()
    root = root_of(size, leaves)
    assert {"ok": True, "id": 7, "filename": "large", "filesize": size, "root": root} == peer.read()
    assert size == (server.root / "large").stat().st_size
    reply = peer.ask({"cmd": "get", "filename": "large"})
    assert (root, leaves) == (reply["root"], peer.read_bytes(32 * reply["leaves"]))
    for _ in range(size // len(piece)):
        assert piece == peer.read_bytes(len(piece))
    assert b"\0" == peer.read_bytes(1)
    assert peer.ask({"cmd": "ping"})["ok"]
    (server.root / "large").unlink()
