"""Small files asked for without waiting: each is sent in its turn, whatever stands between them."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ftpd.requests import is_whole_get
from tests.peer import Peer, ServerProcess, eventually, frame, raw_frame
from tests.server.test_pipelined_chunks import sending
from tests.server.tree import tree_of

SMALL = 65_536
"""The largest file that is sent together with others."""


class Received(NamedTuple):
    """A reply to a `get`, and what came with it."""

    header: dict[str, Any]
    data: bytes = b""


def some(number: int) -> bytes:
    """Give the content of a file."""
    return b"%d," % number * (number * 37 % 3000)


def ask(name: str, number: int | None = None, **keys: object) -> bytes:
    """Write a request as it goes over the wire."""
    header = {"cmd": "get", "filename": name, **keys}
    return frame(header if number is None else {**header, "id": number})


def read(peer: Peer, count: int) -> list[Received]:
    """Read replies, and check the bytes behind them against their digests."""
    received = []
    for _ in range(count):
        header = peer.read()
        if not header["ok"] or "leaves" not in header:
            received.append(Received(header))
            continue
        leaves = peer.read_bytes(32 * header["leaves"])
        data = peer.read_bytes(header["length"])
        tree = tree_of(data)
        root = peer.read()["root"] if header["trailer"] else header["root"]
        assert root == tree.root
        assert leaves in {tree.leaves, b""}
        received.append(Received(header, data))
    return received


def fill(folder: Path, files: dict[str, bytes]) -> None:
    """Put files into a folder behind the server's back."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def codes(replies: list[Received]) -> list[str]:
    """Give the error codes of replies, or what was received."""
    return ["ok" if reply.header["ok"] else str(reply.header["error"]["code"]) for reply in replies]


def test_a_thousand_at_once(server: ServerProcess, peer: Peer) -> None:
    """Files that are asked for in one stream come in their order, whole, with their digests, each logged once."""
    fill(server.root, {f"many/{n % 10}/{n}": some(n) for n in range(1000)})
    for _ in range(2):  # the digests are not known at first
        with sending(peer, *(ask(f"many/{n % 10}/{n}", n) for n in range(1000))):
            replies = read(peer, 1000)
        assert [(n, some(n)) for n in range(1000)] == [(reply.header["id"], reply.data) for reply in replies]
    for n in (1, 998):
        line = f"command=get path=many/{n % 10}/{n} bytes={len(some(n))} "
        eventually(lambda line=line: 2 == server.log.count(line), "every file is logged")  # type: ignore[misc]


def test_digests_are_kept(server: ServerProcess, peer: Peer) -> None:
    """What was hashed for many at once is known afterwards, beside what was known before."""
    fill(server.root, {f"kept/{n}": some(n) for n in range(5)})

    def are_known() -> bool:
        with sending(peer, *(ask(f"kept/{n}") for n in range(5))):
            read(peer, 5)
        return all("root" in peer.ask({"cmd": "stat", "filename": f"kept/{n}"}) for n in range(5))

    eventually(are_known, "the digests of files that are not written to any more are kept")
    (server.root / "kept/3").write_bytes(b"another")
    with sending(peer, *(ask(f"kept/{n}") for n in range(5))):
        assert [some(0), some(1), some(2), b"another", some(4)] == [reply.data for reply in read(peer, 5)]


def test_all_kinds_of_refusals(server: ServerProcess, peer: Peer) -> None:
    """What can not be sent is refused alone, under its own id; files before and behind it are sent."""
    fill(server.root, {"kinds/a": b"a", "kinds/folder/b": b"b", "kinds/large": b"l" * (SMALL + 1), "kinds/z": b"z"})
    (server.root / "kinds/link").symlink_to("a")
    (server.root / "kinds/around").symlink_to("folder")
    os.mkfifo(server.root / "kinds/fifo")
    parts = {
        ask("kinds/a", 0): "ok",
        ask("kinds/nothing", 1): "not_found",
        ask("nothing/at/all", 2): "not_found",
        ask("kinds/folder", 3): "is_directory",
        ask("kinds/link", 4): "symlink",
        ask("kinds/around/b", 5): "symlink",
        ask("kinds/fifo", 6): "not_regular",
        ask("kinds/a/b", 7): "not_directory",
        ask("kinds/../kinds/a", 8): "bad_path",
        ask(".ftpd/lock", 9): "bad_path",
        frame({"cmd": "get", "filename": 5, "id": 10}): "bad_request",
        frame({"cmd": "get", "id": 11}): "bad_request",
        ask("kinds/folder/b", 12): "ok",
        frame({"cmd": "stat", "filename": "kinds/a", "id": 13}): "ok",
        ask("kinds/a", 14, offset=1): "ok",
        ask("kinds/a", 15, offset=2): "bad_range",
        ask("kinds/large", 16): "ok",
        ask("kinds/nothing", 17): "not_found",
        ask("kinds/z", 18): "ok",
    }
    with sending(peer, *parts):
        replies = read(peer, len(parts))
    assert [*range(19)] == [reply.header["id"] for reply in replies]
    assert [*parts.values()] == codes(replies)
    assert (b"a", b"b", b"", b"l" * (SMALL + 1), b"z") == tuple(replies[n].data for n in (0, 12, 14, 16, 18))


def test_a_length_that_no_small_file_exceeds(server: ServerProcess, peer: Peer) -> None:
    """Small files come together also if their beginning was asked for, and of a large one nothing but that comes."""
    files = {"a": b"a", "full": b"f" * SMALL, "large": b"l" * (SMALL + 1), "z": b""}
    fill(server.root / "length", files)
    wrong = [ask("length/a", length=length) for length in (True, "1", 65536.0)]
    with sending(peer, *(ask(f"length/{name}", length=SMALL + n) for name in files for n in (0, 1)), *wrong):
        replies = read(peer, 11)
    assert [data[: SMALL + n] for data in files.values() for n in (0, 1)] == [reply.data for reply in replies[:8]]
    assert [False] * 4 + [True] * 2 + [False] * 2 == [reply.header["trailer"] for reply in replies[:8]]
    assert ["bad_request"] * 3 == codes(replies[8:])


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, True),
        ({"length": SMALL}, True),
        ({"length": 2**40}, True),
        ({"length": SMALL - 1}, False),
        ({"length": True}, False),
        ({"length": "65536"}, False),
        ({"offset": 0, "length": SMALL}, False),
        ({"resume": True}, False),
        ({"if_root": "0" * 64}, False),
    ],
)
def test_what_is_taken_together(keys: dict[str, object], *, expected: bool) -> None:
    """Requests that want all of any small file are taken together; others one by one."""
    assert expected == is_whole_get({"cmd": "get", "filename": "a", **keys})  # type: ignore[dict-item]


def test_an_id_that_is_none(server: ServerProcess, peer: Peer) -> None:
    """A request whose id can not be echoed is refused without one, between others that are answered."""
    fill(server.root, {"id": b"id"})
    with sending(peer, ask("id", 1), frame({"cmd": "get", "filename": "id", "id": [2]}), ask("id"), ask("id", 4)):
        replies = read(peer, 4)
    assert [1, None, None, 4] == [reply.header.get("id") for reply in replies]
    assert ["ok", "bad_request", "ok", "ok"] == codes(replies)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", raw_frame(b"{"), raw_frame(b'{"cmd":"get","cmd":"get"}')])
def test_garbage_behind_files(server: ServerProcess, peer: Peer, garbage: bytes) -> None:
    """Files that were asked for before the stream made no sense any more are sent, and then the reason."""
    fill(server.root, {f"garbage/{n}": some(n) for n in range(5)})
    with sending(peer, *(ask(f"garbage/{n}", n) for n in range(5)), garbage):
        assert [some(n) for n in range(5)] == [reply.data for reply in read(peer, 5)]
        assert "bad_frame" == peer.read()["error"]["code"]
    assert peer.is_ended()


@pytest.mark.parametrize("sizes", [(10, 3_000_000, 10), (70_000, 5, 70_000, 5), (SMALL, SMALL + 1, 0, SMALL - 1) * 9])
def test_small_and_large(server: ServerProcess, peer: Peer, sizes: tuple[int, ...]) -> None:
    """Files of all sizes between each other come in their order and lose no byte."""
    files = {f"mixed/{number}": some(number + 1)[:1] * size for number, size in enumerate(sizes)}
    fill(server.root, files)
    with sending(peer, *(ask(name, number) for number, name in enumerate(files))):
        replies = read(peer, len(files))
    assert [*enumerate(files.values())] == [(reply.header["id"], reply.data) for reply in replies]


@pytest.mark.parametrize("place", [1, 3, 4, 5, 30, 60])
def test_a_pause_anywhere(server: ServerProcess, peer: Peer, place: int) -> None:
    """A stream that stops in a length or a header is gone on with as if it had not."""
    fill(server.root, {f"pause/{n}": some(n) for n in range(4)})
    rest = ask("pause/2", 2) + ask("pause/3", 3)
    peer.send_raw(ask("pause/0", 0) + ask("pause/1", 1) + rest[:place])
    replies = read(peer, 2)
    peer.send_raw(rest[place:])
    replies += read(peer, 2)
    assert [(n, some(n)) for n in range(4)] == [(reply.header["id"], reply.data) for reply in replies]


def test_puts_and_gets_in_turn(server: ServerProcess, peer: Peer) -> None:
    """A file that is put is there for the get behind it, and one that is asked for is as it was before the put."""
    parts = []
    for n in range(30):
        data = b"%d" % n
        parts += [frame({"cmd": "put", "filename": "turn", "filesize": len(data), "id": n}, data), ask("turn", n)]
        parts += [ask("turn", n)] * (n % 4)
    with sending(peer, *parts):
        for n in range(30):
            assert peer.read()["ok"]
            assert {(n, b"%d" % n)} == {(got.header["id"], got.data) for got in read(peer, 1 + n % 4)}


def test_a_peer_that_does_not_read(server: ServerProcess, peer: Peer) -> None:
    """What is ready for a client that does not read is bounded; when it reads at last, nothing is missing."""
    fill(server.root, {"much": b"x" * SMALL})
    before = memory_of(server)
    with sending(peer, *[ask("much")] * 3000):  # 190 MB
        assert [SMALL] * 100 == [len(reply.data) for reply in read(peer, 100)]
        with server.connect() as other:  # so that the server has time for as much as it likes
            for _ in range(200):
                assert other.ask({"cmd": "ping"})["ok"]
        assert memory_of(server) - before < 20_000
        assert [SMALL] * 2900 == [len(reply.data) for reply in read(peer, 2900)]


def memory_of(server: ServerProcess) -> int:
    """Tell the server's memory in KiB."""
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


def test_a_peer_that_leaves(server: ServerProcess, peer: Peer) -> None:
    """Clients that leave before they have read what they asked for are no bug, and their files are logged as lost."""
    fill(server.root, {"leaving": b"x" * SMALL})
    with server.connect() as other:
        other.send_raw(ask("leaving") * 500)
        read(other, 1)
        other.reset()
    eventually(lambda: "path=leaving bytes=0" in server.log, "what is lost is logged")
    assert "outcome=bug" not in server.log


def test_the_end_of_the_requests(server: ServerProcess, peer: Peer) -> None:
    """A client that has ended its side still gets all it asked for, and then the end."""
    fill(server.root, {f"end/{n}": some(n) for n in range(100)})
    peer.send_raw(b"".join(ask(f"end/{n}", n) for n in range(100)))
    peer.shutdown_write()
    assert [some(n) for n in range(100)] == [reply.data for reply in read(peer, 100)]
    assert peer.is_ended()
