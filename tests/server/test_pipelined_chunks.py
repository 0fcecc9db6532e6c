"""Chunks sent without waiting: each is answered in its turn, whatever stands between them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.peer import Peer, ServerProcess, frame, raw_frame
from tests.server.test_chunks import CHUNK, DATA, PIECES, begin, code, commit
from tests.server.tree import leaf_of


def chunk(upload: str, index: int, number: int, changes: dict[str, object] | None = None) -> bytes:
    """Write a chunk as it goes over the wire."""
    data = PIECES[index]
    header = {"cmd": "chunk", "upload": upload, "index": index, "size": len(data), "digest": leaf_of(data)}
    return frame({**header, "id": number, **(changes or {})}, data)


@contextmanager
def sending(peer: Peer, *parts: bytes) -> Iterator[None]:
    """Send in the background, so that nothing depends on what the kernel has room for."""
    thread = threading.Thread(target=peer.send_raw, args=(b"".join(parts),))
    thread.start()
    yield
    thread.join()


def confirmed(index: int, number: int) -> dict[str, Any]:
    """Write down the confirmation of a chunk."""
    return {"ok": True, "id": number, "index": index}


@pytest.mark.parametrize("times", [1, 4])
def test_all_at_once(server: ServerProcess, peer: Peer, times: int) -> None:
    """Chunks in one stream are confirmed one by one, in their order; those sent again too."""
    upload = begin(peer, "stream")
    numbers = range(3 * times)
    with sending(peer, *(chunk(upload, number % 3, number) for number in numbers)):
        assert [confirmed(number % 3, number) for number in numbers] == [peer.read() for _ in numbers]
    assert commit(peer, upload)["ok"]
    assert DATA == (server.root / "stream").read_bytes()


def test_something_else_between(server: ServerProcess, peer: Peer) -> None:
    """Other requests between two chunks, and chunks of another upload, are answered in their turn."""
    upload, other = begin(peer, "one"), begin(peer, "other")
    parts = [
        chunk(upload, 0, 1),
        frame({"cmd": "ping", "id": 2}),
        chunk(upload, 1, 3, {"note": "x" * 5000}),  # an unknown key is ignored, however long
        chunk(other, 0, 4),
        chunk(upload, 2, 5),
        chunk(other, 2, 6),
        frame({"cmd": "stat", "filename": "one", "id": 7}),
        chunk(other, 1, 8),
    ]
    with sending(peer, *parts):
        replies = [peer.read() for _ in parts]
    assert [1, 2, 3, 4, 5, 6, 7, 8] == [reply["id"] for reply in replies]
    assert [True] * 6 + [False, True] == [reply["ok"] for reply in replies]
    assert commit(peer, upload)["ok"]
    assert commit(peer, other)["ok"]
    assert DATA == (server.root / "one").read_bytes() == (server.root / "other").read_bytes()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"digest": "0" * 64}, "integrity"),
        ({"digest": "none"}, "bad_request"),
        ({"index": 77}, "bad_range"),
        ({"upload": "f" * 32}, "unknown_upload"),
        ({"cmd": "chank"}, "unknown_command"),
    ],
)
def test_one_that_is_wrong(server: ServerProcess, peer: Peer, changes: dict[str, object], expected: str) -> None:
    """A chunk that is refused between others is refused under its own id, and costs none of them."""
    upload = begin(peer, "wrong")
    bad = chunk(upload, 1, 2, changes)
    if expected == "unknown_command":  # which has no payload that anybody could know of
        bad = bad[: -len(PIECES[1])]
    with sending(peer, chunk(upload, 0, 1), bad, chunk(upload, 2, 3), chunk(upload, 1, 4)):
        replies = [peer.read() for _ in range(4)]
    assert [confirmed(0, 1), confirmed(2, 3), confirmed(1, 4)] == [replies[0], *replies[2:]]
    assert (2, expected) == (replies[1]["id"], code(replies[1]))
    assert commit(peer, upload)["ok"]
    assert DATA == (server.root / "wrong").read_bytes()


@pytest.mark.parametrize(
    "garbage",
    [raw_frame(b"{]"), raw_frame(b"[]"), b"\0\0\0\0", b"\xff" * 4, raw_frame(b'{"cmd":"chunk","cmd":"chunk"}')],
    ids=["no JSON", "no object", "no length", "negative", "twice"],
)
def test_garbage_behind_a_chunk(peer: Peer, garbage: bytes) -> None:
    """What came before garbage is confirmed; the garbage is a `bad_frame`, and the end."""
    upload = begin(peer, "garbage")
    with sending(peer, chunk(upload, 0, 1), chunk(upload, 1, 2), garbage):
        assert [confirmed(0, 1), confirmed(1, 2)] == [peer.read(), peer.read()]
        assert "bad_frame" == code(peer.read())
    assert peer.is_ended()


@pytest.mark.parametrize("place", [1, 4, 40, 400, CHUNK // 2])
def test_a_pause_anywhere(server: ServerProcess, peer: Peer, place: int) -> None:
    """A stream that stops in a length, a header or a payload is gone on with as if it had not."""
    upload = begin(peer, "pause")
    second = chunk(upload, 1, 2) + chunk(upload, 2, 3)
    peer.send_raw(chunk(upload, 0, 1) + second[:place])
    assert confirmed(0, 1) == peer.read()
    with sending(peer, second[place:]):
        assert [confirmed(1, 2), confirmed(2, 3)] == [peer.read(), peer.read()]
    assert commit(peer, upload)["ok"]
    assert DATA == (server.root / "pause").read_bytes()


def test_a_peer_that_does_not_read(server: ServerProcess, peer: Peer) -> None:
    """Confirmations that nobody reads for a while are neither lost nor out of order."""
    data = b"x" * 100
    tiny = {"cmd": "chunk", "size": 100, "digest": leaf_of(data)}
    upload = peer.ask({"cmd": "begin", "filename": "tiny"})["upload"]
    parts = [frame({**tiny, "upload": upload, "index": number, "id": number}, data) for number in range(20_000)]
    with sending(peer, *parts):
        assert [confirmed(number, number) for number in range(20_000)] == [peer.read() for _ in parts]
