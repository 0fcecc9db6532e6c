"""Small files sent without waiting: each is stored and answered in its turn, whatever stands between them."""

import hashlib
from typing import Any

import pytest

from tests.peer import Peer, ServerProcess, frame
from tests.server.test_chunks import code
from tests.server.test_pipelined_chunks import sending


def put(name: str, data: bytes, number: int | None = None, **keys: object) -> bytes:
    """Write a put as it goes over the wire."""
    header = {"cmd": "put", "filename": name, "filesize": len(data), **keys}
    return frame(header if number is None else {**header, "id": number}, data)


def some(number: int) -> bytes:
    """Give the content of a file."""
    return b"%d," % number * (number * 37 % 3000)


def read(peer: Peer, count: int) -> list[dict[str, Any]]:
    """Read replies."""
    return [peer.read() for _ in range(count)]


def test_a_thousand_at_once(server: ServerProcess, peer: Peer) -> None:
    """Files that arrive in one stream are answered in their order, and are all there, whole."""
    numbers = range(1000)
    with sending(peer, *(put(f"many/{n % 10}/{n}", some(n), n) for n in numbers)):
        replies = read(peer, 1000)
    assert [(n, True, f"many/{n % 10}/{n}", len(some(n))) for n in numbers] == [
        (reply["id"], reply["ok"], reply["filename"], reply["filesize"]) for reply in replies
    ]
    for n in numbers:
        assert some(n) == (server.root / f"many/{n % 10}/{n}").read_bytes()


def test_all_kinds_of_refusals(server: ServerProcess, peer: Peer) -> None:
    """A put that is refused is refused alone, under its own id; others before and behind it are stored."""
    good = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    parts = [
        put("kinds/a", b"x", 1),
        put("kinds/../b", b"x", 2),
        put("kinds/c", b"x", 3, md5="0" * 32),
        put("kinds/d", b"x", 4, md5=good),
        put("kinds/e", b"x", 5, md5="none"),
        put("kinds/f", b"x", 6, mode="none"),
        put("kinds/a", b"y", 7, if_exists="fail"),
        put("kinds/a", b"y", 8, if_exists="skip"),
        frame({"cmd": "put", "filename": "kinds/g", "filesize": 1, "id": [9]}, b"x"),
        frame({"cmd": "stat", "path": "kinds/d", "id": 10}),
        put("kinds/h", b"x" * 100_000, 11),
        put("kinds/i", b"", 12),
    ]
    with sending(peer, *parts):
        replies = read(peer, len(parts))
    assert [1, 2, 3, 4, 5, 6, 7, 8, None, 10, 11, 12] == [reply.get("id") for reply in replies]
    expected = ["bad_path", "integrity", "bad_request", "bad_request", "exists", "bad_request"]
    assert expected == [code(reply) for reply in replies if not reply["ok"] and reply.get("id") != 10]
    assert replies[7]["skipped"]
    assert ["a", "d", "h", "i"] == sorted(path.name for path in (server.root / "kinds").iterdir())
    assert b"x" == (server.root / "kinds" / "a").read_bytes()


@pytest.mark.parametrize("place", [1, 3, 4, 5, 40, 90, 500, 1500])
def test_a_pause_anywhere(server: ServerProcess, peer: Peer, place: int) -> None:
    """A stream that stops in a length, a header or a payload is gone on with as if it had not."""
    first, rest = put("pause/1", b"1" * 100, 1), put("pause/2", b"2" * 1000, 2) + put("pause/3", b"3", 3)
    peer.send_raw(first + rest[:place])
    replies = read(peer, 1)
    peer.send_raw(rest[place:])
    replies += read(peer, 2)
    assert [1, 2, 3] == [reply["id"] for reply in replies]
    sizes = [(server.root / "pause" / name).stat().st_size for name in ("1", "2", "3")]
    assert [100, 1000, 1] == sizes


@pytest.mark.parametrize("sizes", [(10, 3_000_000, 10), (70_000, 5, 70_000, 5), (65_536, 65_537, 0, 65_535) * 4])
def test_small_and_large(server: ServerProcess, peer: Peer, sizes: tuple[int, ...]) -> None:
    """Files of all sizes between each other lose no byte."""
    parts = [put(f"mixed/{number}", some(number + 1)[:1] * size, number) for number, size in enumerate(sizes)]
    with sending(peer, *parts):
        assert [*range(len(sizes))] == [reply["id"] for reply in read(peer, len(sizes))]
    for number, size in enumerate(sizes):
        assert some(number + 1)[:1] * size == (server.root / f"mixed/{number}").read_bytes()


def test_a_connection_that_ends(server: ServerProcess, peer: Peer) -> None:
    """Of files whose connection ends in the middle of one, those before it are stored, and nothing of that one."""
    with sending(peer, *(put(f"end/{n}", b"x" * 100, n) for n in range(5)), put("end/5", b"x" * 1000, 5)[:-1]):
        read(peer, 5)
    peer.shutdown_write()
    assert peer.is_ended()
    assert [*"01234"] == sorted(path.name for path in (server.root / "end").iterdir())


@pytest.mark.parametrize("size", [20, 2000])
def test_a_large_file_behind_thousands_of_small_ones(server: ServerProcess, peer: Peer, size: int) -> None:
    """However much has arrived and not been looked at, a large file behind it loses no byte."""
    large = hashlib.shake_128(b"large").digest(8 * 2**20)
    parts = [
        *(put(f"tiny/{n % 9}", b"x" * size, n) for n in range(3000)),
        put("tiny/large", large, 3000),
        put("tiny/end", b"x", 3001),
    ]
    with sending(peer, *parts):
        assert [*range(3002)] == [reply["id"] for reply in read(peer, 3002) if reply["ok"]]
    assert large == (server.root / "tiny/large").read_bytes()
