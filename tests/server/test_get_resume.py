"""`get` with `resume`: what is missing of a file, with proof that it is still the same one."""

import os
import time
from pathlib import Path

import pytest

from tests.peer import Peer, ServerProcess, eventually
from tests.server.tree import MIB, tree_of

CHUNK = 8 * MIB
DATA = os.urandom(1000) * (20 * MIB // 1000) + b"end"
TREE = tree_of(DATA)


@pytest.fixture(scope="module", autouse=True)
def files(server: ServerProcess) -> None:
    """One file whose digests the server knows, and one that came by other means."""
    with server.connect() as peer:
        assert peer.ask({"cmd": "put", "filename": "known", "filesize": len(DATA)}, DATA)["root"] == TREE.root
    (server.root / "foreign").write_bytes(DATA)
    with (server.root / "sparse").open("wb") as out:
        out.truncate(256 * MIB)


@pytest.mark.parametrize(
    ("offset", "length", "leaves"),
    [(0, None, 3), (CHUNK, None, 2), (2 * CHUNK, None, 1), (0, CHUNK, 1), (CHUNK, CHUNK, 1), (CHUNK, 2**53 - 1, 2)],
)
def test_chunks_of_a_known_file(peer: Peer, offset: int, length: int | None, leaves: int) -> None:
    """Chunks of a file whose digests are known come behind their leaves, with the root of the whole file."""
    request = {"cmd": "get", "filename": "known", "offset": offset, "resume": True, "if_root": TREE.root}
    header = peer.ask(request if length is None else {**request, "length": length})
    assert (leaves, False, TREE.root, CHUNK) == (
        header["leaves"], header["trailer"], header["root"], header["chunk_size"],
    )  # fmt: skip
    first = offset // CHUNK
    assert TREE.leaves[32 * first : 32 * (first + leaves)] == peer.read_bytes(32 * leaves)
    assert DATA[offset : offset + min(length or 2**53, leaves * CHUNK)] == peer.read_bytes(header["length"])
    assert peer.ask({"cmd": "ping"})["ok"]


def test_another_root(peer: Peer) -> None:
    """Whoever expects another file is told so before a byte is sent, also where the root is not known."""
    for name, root in (("known", "ab" * 32), ("foreign", TREE.root)):
        for more in ({}, {"resume": True, "offset": CHUNK}):
            assert "changed" == peer.refusal({"cmd": "get", "filename": name, "if_root": root, **more})
    assert peer.ask({"cmd": "ping"})["ok"]


@pytest.mark.parametrize(
    ("offset", "length"), [(1, None), (CHUNK - 1, None), (0, 1), (CHUNK, CHUNK + 1), (len(DATA), None), (CHUNK, 0)]
)
def test_what_is_not_made_of_chunks(peer: Peer, offset: int, length: int | None) -> None:
    """A range that begins or ends inside a chunk, or is empty, can not be gone on with."""
    request = {"cmd": "get", "filename": "known", "offset": offset, "resume": True}
    assert "bad_range" == peer.refusal(request if length is None else {**request, "length": length})


def test_small_file(peer: Peer) -> None:
    """A file of one chunk can be asked for in the same way, as a whole."""
    root = peer.ask({"cmd": "put", "filename": "small", "filesize": 5}, b"small")["root"]
    header = peer.ask({"cmd": "get", "filename": "small", "resume": True, "if_root": root})
    assert tree_of(b"small").leaves + b"small" == peer.read_bytes(32 + 5)
    assert (root, 1) == (header["root"], header["leaves"])


def test_unknown_file_from_the_middle(peer: Peer) -> None:
    """Nobody can go on with a file of which the server knows nothing, but can begin with it."""
    assert "changed" == peer.refusal({"cmd": "get", "filename": "foreign", "offset": CHUNK, "resume": True})


def _break_off(server: ServerProcess, name: str, count: int) -> None:
    """Read so many bytes of a file, and leave."""
    before = server.log.count("disconnected")
    with server.connect() as reader:
        header = reader.ask({"cmd": "get", "filename": name})
        assert header["trailer"], "the server does not know the file"
        reader.read_bytes(count)
        reader.reset()
    eventually(lambda: server.log.count("disconnected") > before, "the server lets go of it")


def test_unknown_file_after_a_break(server: ServerProcess, peer: Peer) -> None:
    """Where a `get` of an unknown file was broken off, the next one goes on; the trailer proves all of it."""
    path = server.root / "broken"
    path.write_bytes(DATA * 4)
    os.utime(path, (1, 1))
    eventually(lambda: _is_settled(path), "its time of change lies back")
    whole = tree_of(DATA * 4)
    _break_off(server, "broken", 3 * CHUNK)
    assert "changed" == peer.refusal(
        {"cmd": "get", "filename": "broken", "offset": 2 * CHUNK, "length": CHUNK, "resume": True}
    ), "there would be nothing to prove it with"
    header = peer.ask({"cmd": "get", "filename": "broken", "offset": 2 * CHUNK, "resume": True})
    assert (0, True, 4 * len(DATA) - 2 * CHUNK) == (header["leaves"], header["trailer"], header["length"])
    assert (DATA * 4)[2 * CHUNK :] == peer.read_bytes(header["length"])
    assert whole.root == peer.read()["root"]
    header = peer.ask({"cmd": "get", "filename": "broken", "offset": 9 * CHUNK, "resume": True})
    assert (1, False, whole.root) == (header["leaves"], header["trailer"], header["root"]), "now it is known"
    assert whole.leaves[-32:] + (DATA * 4)[9 * CHUNK :] == peer.read_bytes(32 + header["length"])


def _is_settled(path: Path) -> bool:
    return time.time_ns() - path.stat().st_ctime_ns > 100_000_000


def test_unknown_file_that_changed_after_a_break(server: ServerProcess, peer: Peer) -> None:
    """What is remembered of a file is void when the file changes, even if its time is set back."""
    path = server.root / "changing"
    path.write_bytes(DATA * 4)
    os.utime(path, (1, 1))
    eventually(lambda: _is_settled(path), "its time of change lies back")
    _break_off(server, "changing", 3 * CHUNK)
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, (1, 1))
    assert "changed" == peer.refusal({"cmd": "get", "filename": "changing", "offset": CHUNK, "resume": True})
