"""`get`: the bytes of a file or a range, with digests that an independent computation confirms."""

import contextlib
import os
from typing import Any

import pytest

from tests.peer import Peer, ServerProcess, eventually
from tests.server.tree import MIB, Tree, tree_of

DATA = os.urandom(100_000)
BIG = os.urandom(1000) * (20 * MIB // 1000)
"""Three leaves."""


@pytest.fixture(scope="module", autouse=True)
def files(server: ServerProcess) -> None:
    """Files that came into the folder by other means, so that the server knows nothing of them."""
    for name, data in {"data": DATA, "empty": b"", "big": BIG}.items():
        (server.root / name).write_bytes(data)
    with (server.root / "sparse").open("wb") as out:
        out.truncate(64 * MIB)


def fetch(peer: Peer, **request: object) -> tuple[dict[str, Any], bytes, bytes, dict[str, Any] | None]:
    """Get a file: header, leaves, bytes, trailer."""
    header = peer.ask({"cmd": "get", **request})
    assert header["ok"], header
    leaves = peer.read_bytes(32 * header["leaves"])
    data = peer.read_bytes(header["length"])
    return header, leaves, data, peer.read() if header["trailer"] else None


@pytest.mark.parametrize(("name", "data"), [("data", DATA), ("empty", b""), ("big", BIG)])
def test_file_that_came_by_other_means(peer: Peer, name: str, data: bytes) -> None:
    """A file the server has never hashed is sent at once, and a trailer brings its root, with the request's id."""
    header, leaves, received, trailer = fetch(peer, filename=name)
    assert data == received
    assert (len(data), 0, len(data)) == (header["filesize"], header["offset"], header["length"])
    if trailer is None:  # some other test has fetched it before
        assert (tree_of(data).leaves, tree_of(data).root) == (leaves, header["root"])
    else:
        assert {"ok": True, "id": 7, "root": tree_of(data).root} == trailer


def test_second_get_brings_the_leaves_first(peer: Peer) -> None:
    """What was hashed while it was sent is known the next time: leaves and root come before the bytes."""

    def is_known() -> bool:
        return not fetch(peer, filename="big")[0]["trailer"]

    eventually(is_known, "the root of a file that is not written to any more is kept")
    header, leaves, received, trailer = fetch(peer, filename="big")
    assert tree_of(BIG) == Tree(header["chunk_size"], leaves, header["root"])
    assert (BIG, None) == (received, trailer)


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "one byte", "three leaves"])
def test_file_that_was_put(peer: Peer, data: bytes) -> None:
    """A file that was put has its leaves and root in the very first `get`."""
    name = f"put{len(data)}"
    root = peer.ask({"cmd": "put", "filename": name, "filesize": len(data)}, data)["root"]
    header, leaves, received, trailer = fetch(peer, filename=name)
    assert tree_of(data) == Tree(header["chunk_size"], leaves, header["root"])
    assert (data, None, root) == (received, trailer, header["root"])


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 0), (0, 1), (1, 5), (99_999, 1), (99_999, 100), (100_000, None), (100_000, 5), (50_000, None), (7, 2**53 - 1)],
)
def test_range(peer: Peer, offset: int, length: int | None) -> None:
    """A range is exactly those bytes, cut at the end of the file, and its trailer is the root of just them."""
    expected = DATA[offset:] if length is None else DATA[offset : offset + length]
    request = {"filename": "data", "offset": offset, **({} if length is None else {"length": length})}
    header, _, received, trailer = fetch(peer, **request)
    assert expected == received
    assert (100_000, offset, len(expected)) == (header["filesize"], header["offset"], header["length"])
    assert trailer is not None
    assert tree_of(expected).root == trailer["root"]


@pytest.mark.parametrize("offset", [100_001, 2**32, 2**53 - 1])
def test_offset_beyond_the_end(peer: Peer, offset: int) -> None:
    """An offset beyond the end is `bad_range`, says how large the file is, and the conversation goes on."""
    error = peer.ask({"cmd": "get", "filename": "data", "offset": offset})["error"]
    assert ("bad_range", 100_000) == (error["code"], error["filesize"])
    assert peer.ask({"cmd": "ping"})["ok"]


def test_time_and_mode_are_told(server: ServerProcess, peer: Peer) -> None:
    """The reply brings what a client needs to keep time and mode."""
    file = server.root / "timed"
    file.write_bytes(b"x")
    file.chmod(0o604)
    os.utime(file, ns=(0, 1_234_567_890_123_456_789))
    header, *_ = fetch(peer, filename="timed")
    assert (0o604, 1_234_567_890, 123_456_789) == (header["mode"], header["mtime"], header["mtime_ns"])


def test_old_content_is_kept_by_its_readers(server: ServerProcess, peer: Peer) -> None:
    """Whoever is reading a file while it is replaced gets the old one to its last byte, and the next one the new."""
    old, new = os.urandom(1000) * 20_000, b"new"
    assert peer.ask({"cmd": "put", "filename": "replaced", "filesize": len(old)}, old)["ok"]
    with server.connect() as reader:
        header = reader.ask({"cmd": "get", "filename": "replaced"})
        leaves = reader.read_bytes(32 * header["leaves"])
        begin = reader.read_bytes(1000)
        assert peer.ask({"cmd": "put", "filename": "replaced", "filesize": 3}, new)["ok"]
        assert old == begin + reader.read_bytes(len(old) - 1000)
        assert tree_of(old) == Tree(header["chunk_size"], leaves, header["root"])
    assert new == fetch(peer, filename="replaced")[2]


def test_file_that_shrinks_while_it_is_sent(server: ServerProcess) -> None:
    """A file cut short behind the server's back ends the connection inside the payload; nothing is made up."""
    file = server.root / "shrinking"
    with file.open("wb") as out:
        out.truncate(64 * MIB)
    with server.connect() as reader:
        header = reader.ask({"cmd": "get", "filename": "shrinking"})
        reader.read_bytes(1000)
        os.truncate(file, 2000)
        with pytest.raises(ConnectionError):
            reader.read_bytes(header["length"] - 1000)
    assert server.answers()
    file.unlink()


def test_leaving_in_the_middle(server: ServerProcess, peer: Peer) -> None:
    """Clients that leave in the middle of a `get`, politely or not and wherever they are, are no bug of the server."""
    before = server.log.count("disconnected")
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(server.connect()) for _ in range(40)]
        for number, reader in enumerate(readers):
            header = reader.ask({"cmd": "get", "filename": "sparse"})
            reader.read_bytes(32 * header["leaves"] + 100_000 * number)
        for number, reader in enumerate(readers):
            (reader.reset if number % 4 else reader.close)()
    eventually(lambda: server.log.count("disconnected") >= before + 40, "the server lets go of them")
    assert "outcome=bug" not in server.log
    assert BIG == fetch(peer, filename="big")[2]
