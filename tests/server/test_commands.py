"""Each command's happy path over the wire, and what it refuses without losing the conversation."""

import hashlib
import os
import time
from pathlib import Path

import pytest
from blake3 import blake3

from tests.peer import Peer, ServerProcess, eventually, frame
from tests.server.tree import tree_of

TEXT = b"some text\n" * 1000


@pytest.fixture(scope="module", autouse=True)
def scene(server: ServerProcess) -> Path:
    """A folder with one of everything that is no plain file, put there by other means than ours."""
    scene = server.root / "scene"
    scene.mkdir()
    (scene / "folder").mkdir()
    (scene / "file").write_bytes(TEXT)
    (scene / "link").symlink_to("file")
    (scene / "folder-link").symlink_to("folder")
    (scene / "outside").symlink_to("/etc")
    os.mkfifo(scene / "fifo")
    return scene


def test_hello_says_what_the_server_is(server: ServerProcess, peer: Peer) -> None:
    """`hello` gives version, limits and durability."""
    reply = peer.ask({"cmd": "hello", "version": 1, "client": "test"})
    expected = {"ok": True, "version": 1, "server": f"ftpd/{server.version}", "durability": "full", "read_only": False}
    assert expected.items() <= reply.items()
    assert 65536 == reply["limits"]["max_header"]
    assert {"chunks", "if_exists", "mkdir", "sum"} <= set(reply["features"])
    assert [] == reply["auth"]


def test_ping_gives_the_clock(peer: Peer) -> None:
    """`ping` gives whole seconds."""
    assert isinstance(peer.ask({"cmd": "ping"})["time"], int)


@pytest.mark.parametrize("request_id", [0, 2**53 - 1, "", "x" * 64, 'ä "quoted" \\ name'])
def test_id_comes_back(peer: Peer, request_id: int | str) -> None:
    """An id is echoed exactly, by replies and by refusals."""
    assert peer.ask({"cmd": "ping", "id": request_id})["ok"]
    assert "not_found" == peer.refusal({"cmd": "get", "filename": "nothing", "id": request_id})


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 131_073, 1_048_576, 3_000_000])
def test_put_stores_every_byte(server: ServerProcess, peer: Peer, size: int) -> None:
    """The reply to a `put` names the file, its size and its root, and the bytes are on the disk."""
    data = os.urandom(size)
    reply = peer.ask({"cmd": "put", "filename": f"a/b/{size}", "filesize": size}, data)
    assert {"ok": True, "filename": f"a/b/{size}", "filesize": size, "root": tree_of(data).root} == reply
    assert data == (server.root / "a/b" / str(size)).read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "-rf",
        ".hidden",
        "quote'\"s",
        "back\\slash",
        "ünï/cödé",
        "日本語",
        "emoji 🎉",
        "...",
        "a..b",
        "n" * 255,
    ],
)
def test_names_that_work(server: ServerProcess, peer: Peer, name: str) -> None:
    """A name that is unusual but harmless is kept to the letter."""
    assert name == peer.ask({"cmd": "put", "filename": name, "filesize": 2}, b"ok")["filename"]
    assert b"ok" == (server.root / name).read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "..", "../x", "a/../b", "a//b", "./a", "a/", "//a", "a\0b", "a\nb", "a\x1b[31m", "\x7f", "\x9b"),
        *(".ftpd", ".ftpd/tmp/x", ".FTPD/x", "\u200b.ftpd/x", "n" * 256, "/".join(["d" * 200] * 21)),
    ],
)
@pytest.mark.parametrize("cmd", ["put", "get", "begin", "md5", "sum"])
def test_names_that_are_refused(peer: Peer, cmd: str, name: str) -> None:
    """A name that could lead elsewhere, deceive a reader or not be stored is `bad_path` for every command."""
    assert "bad_path" == peer.refusal({"cmd": cmd, "filename": name, "filesize": 0})


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("scene/folder", "is_directory"),
        ("scene/file/below", "not_directory"),
        ("scene/link", "symlink"),
        ("scene/folder-link/x", "symlink"),
        ("scene/outside/passwd", "symlink"),
        ("scene/fifo", "not_regular"),
    ],
)
def test_put_onto_what_is_no_file(server: ServerProcess, peer: Peer, name: str, code: str) -> None:
    """A `put` onto anything but a file is refused, its payload skipped, and the conversation goes on."""
    before = sorted(os.listdir(server.root / "scene"))  # noqa: PTH208 (names are enough)
    assert code == peer.refusal({"cmd": "put", "filename": name, "filesize": 200_000}, b"x" * 200_000)
    assert peer.ask({"cmd": "ping"})["ok"]
    assert before == sorted(os.listdir(server.root / "scene"))  # noqa: PTH208 (names are enough)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("scene/folder", "is_directory"),
        ("scene/nothing", "not_found"),
        ("scene/no/thing", "not_found"),
        ("scene/file/below", "not_directory"),
        ("scene/link", "symlink"),
        ("scene/outside/passwd", "symlink"),
        ("scene/fifo", "not_regular"),
    ],
)
@pytest.mark.parametrize("cmd", ["get", "md5", "sum"])
def test_reading_what_is_no_file(peer: Peer, cmd: str, name: str, code: str) -> None:
    """Only regular files are read; a FIFO is refused at once instead of waited for."""
    assert code == peer.refusal({"cmd": cmd, "filename": name})


def test_existing_file(server: ServerProcess, peer: Peer) -> None:
    """`if_exists` decides: overwrite, refuse, leave alone, or find a free name; the payload is taken either way."""

    def put(data: bytes, **keys: object) -> dict[str, object]:
        return peer.ask({"cmd": "put", "filename": "taken.txt", "filesize": len(data), **keys}, data)

    taken = server.root / "taken.txt"
    assert put(b"one")["ok"]
    assert put(b"three")["ok"]
    assert b"three" == taken.read_bytes()
    assert "exists" == peer.refusal(
        {"cmd": "put", "filename": "taken.txt", "filesize": 5, "if_exists": "fail"}, b"fails"
    )
    assert {"skipped": True, "filename": "taken.txt"}.items() <= put(b"skipped", if_exists="skip").items()
    assert b"three" == taken.read_bytes()
    assert "taken (1).txt" == put(b"renamed", if_exists="rename")["filename"]
    assert b"renamed" == (server.root / "taken (1).txt").read_bytes()


def test_mode_and_time_are_kept(server: ServerProcess, peer: Peer) -> None:
    """`mode`, `mtime` and `mtime_ns` of a `put` become the file's."""
    times = {"mtime": 1_000_000_000, "mtime_ns": 123_456_789}
    assert peer.ask({"cmd": "put", "filename": "old", "filesize": 0, "mode": 0o640, **times})["ok"]
    found = (server.root / "old").stat()
    assert (0o640, 1_000_000_000_123_456_789) == (found.st_mode & 0o777, found.st_mtime_ns)


@pytest.mark.parametrize("algorithm", ["blake3", "md5", "sha256"])
def test_announced_digest(server: ServerProcess, peer: Peer, algorithm: str) -> None:
    """A digest that is right lets the file through; one that is wrong publishes nothing and says both."""
    right = blake3(TEXT).hexdigest() if algorithm == "blake3" else hashlib.new(algorithm, TEXT).hexdigest()
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    reply = peer.ask({"cmd": "put", "filename": "wrong", "filesize": len(TEXT), algorithm: wrong}, TEXT)
    facts = {"code": "integrity", "algo": algorithm, "expected": wrong, "actual": right}
    assert facts.items() <= reply["error"].items()
    assert not (server.root / "wrong").exists()
    assert peer.ask({"cmd": "put", "filename": f"right-{algorithm}", "filesize": len(TEXT), algorithm: right}, TEXT)[
        "ok"
    ]


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "blake3"])
def test_sum_is_what_others_compute(peer: Peer, algorithm: str) -> None:
    """`sum` gives the digest that any other tool gives."""
    expected = blake3(TEXT).hexdigest() if algorithm == "blake3" else hashlib.new(algorithm, TEXT).hexdigest()
    reply = peer.ask({"cmd": "sum", "filename": "scene/file", "algo": algorithm})
    assert {"ok": True, "algo": algorithm, "digest": expected} == reply


def test_md5_follows_every_change(server: ServerProcess, peer: Peer) -> None:
    """`md5` is that of what the file holds now, although it changed behind the server's back and looks the same."""
    file = server.root / "changing"
    for content in (b"first", b"other"):
        file.write_bytes(content)
        os.utime(file, ns=(0, 0))
        # Digests are kept only of files at rest: one just written could change again within a tick of the clock.
        eventually(lambda: time.time() > file.stat().st_ctime + 0.1, "the file is at rest")
        expected = hashlib.md5(content, usedforsecurity=False).hexdigest()
        assert expected == peer.ask({"cmd": "md5", "filename": "changing"})["digest"]
        assert expected == peer.ask({"cmd": "md5", "filename": "changing"})["digest"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scene/file", {"type": "file", "filesize": len(TEXT)}),
        ("scene/folder", {"type": "dir"}),
        ("scene/link", {"type": "link"}),
        ("scene/fifo", {"type": "other"}),
        ("/", {"type": "dir"}),
        ("", {"type": "dir"}),
    ],
)
def test_stat_tells_what_a_name_is(peer: Peer, name: str, expected: dict[str, object]) -> None:
    """`stat` tells type and size, and does not follow links."""
    assert {"ok": True, **expected}.items() <= peer.ask({"cmd": "stat", "filename": name}).items()


def test_stat_of_nothing(peer: Peer) -> None:
    """`stat` of nothing is `not_found`, beyond a link `symlink`."""
    assert "not_found" == peer.refusal({"cmd": "stat", "filename": "nothing"})
    assert "symlink" == peer.refusal({"cmd": "stat", "filename": "scene/outside/passwd"})


def test_stat_knows_the_root_of_what_was_put(peer: Peer) -> None:
    """The root that a `put` replied is the one that `stat` gives."""
    root = peer.ask({"cmd": "put", "filename": "rooted", "filesize": len(TEXT)}, TEXT)["root"]
    assert root == peer.ask({"cmd": "stat", "filename": "rooted"})["root"]


def test_unknown_command(peer: Peer) -> None:
    """A command that is not in the table is refused, whatever it is called, and the conversation goes on."""
    for name in ("nope", "PUT", "__init__", "run", "", "x" * 60_000, 5, None, True, ["put"], {"put": 1}):
        assert "unknown_command" == peer.refusal({"cmd": name})
    assert "unknown_command" == peer.refusal({})


def test_pipelined_requests_are_answered_in_order(peer: Peer) -> None:
    """Fifty requests of all kinds in one segment get their replies in their order, each with its id."""
    requests: list[tuple[dict[str, object], bytes, bool]] = []
    for index in range(10):
        name = f"pipelined/{index}"
        requests += [
            ({"cmd": "put", "filename": name, "filesize": 100}, b"%100d" % index, True),
            ({"cmd": "get", "filename": name}, b"", True),
            ({"cmd": "put", "filename": "scene/folder", "filesize": 10}, b"0123456789", False),
            ({"cmd": "stat", "filename": name}, b"", True),
            ({"cmd": "nope"} if index % 2 else {"cmd": "md5", "filename": name}, b"", not index % 2),
        ]
    frames = [frame({"id": number, **header}, payload) for number, (header, payload, _) in enumerate(requests)]
    peer.send_raw(b"".join(frames))
    for number, (header, _, is_done) in enumerate(requests):
        reply = peer.read()
        assert (number, is_done) == (reply["id"], reply["ok"]), reply
        if header["cmd"] == "get":
            assert 32 == len(peer.read_bytes(32 * reply["leaves"]))
            assert b"%100d" % (number // 5) == peer.read_bytes(reply["length"])
