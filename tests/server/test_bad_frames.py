"""What can not be a frame, and requests that are none: a defined error, and everybody else is served on."""

import json
import struct

import pytest

from tests.peer import Peer, ServerProcess, code_of, eventually, frame, raw_frame

BAD_LENGTHS = [0, -1, -(2**31), 65_537, 2**24, 2**31 - 1]

BAD_HEADERS = {
    "not JSON": b"put a.txt",
    "half an object": b'{"cmd": "ping"',
    "something behind": b'{"cmd": "ping"} x',
    "two objects": b'{"cmd": "ping"}{"cmd": "ping"}',
    "single quotes": b"{'cmd': 'ping'}",
    "a comma too much": b'{"cmd": "ping",}',
    "only spaces": b"     ",
    "an array": b'["ping"]',
    "a string": b'"ping"',
    "a number": b"5",
    "null": b"null",
    "NaN": b'{"cmd": "ping", "x": NaN}',
    "Infinity": b'{"cmd": "ping", "x": -Infinity}',
    "a key twice": b'{"cmd": "ping", "cmd": "ping"}',
    "a key twice inside": b'{"cmd": "ping", "x": {"a": 1, "a": 2}}',
    "nested arrays": b'{"cmd": "ping", "x": ' + b"[" * 9 + b"]" * 9 + b"}",
    "30,000 open arrays": b"[" * 30_000,
    "30,000 open objects": b'{"a":' * 12_000,
    "UTF-16": '{"cmd": "ping"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"cmd": "ping"}'.encode("utf-16-le"),
    "UTF-32": '{"cmd": "ping"}'.encode("utf-32-be"),
    "a byte order mark": b'\xef\xbb\xbf{"cmd": "ping"}',
    "Latin-1": '{"cmd": "get", "filename": "ä"}'.encode("latin-1"),
    "an overlong slash": b'{"cmd": "get", "filename": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"cmd": "get", "filename": "\xed\xa0\x80"}',
    "a lone surrogate": b'{"cmd": "get", "filename": "\\ud800"}',
    "a lone surrogate as a key": b'{"cmd": "ping", "\\udfff": 1}',
    "a negative integer": b'{"cmd": "get", "filename": "a", "offset": -1}',
    "an integer of 2**53": b'{"cmd": "get", "filename": "a", "offset": 9007199254740992}',
    "an integer of 50,000 digits": b'{"cmd": "ping", "x": ' + b"9" * 50_000 + b"}",
    "a control character in a string": b'{"cmd": "get", "filename": "a\nb"}',
    "a NUL": b'{"cmd": "ping"}\0',
}

BAD_SIZES = ['"5"', "5.0", "1e1", "true", "null", "[5]", "{}"]


def assert_ends_with_bad_frame(peer: Peer) -> None:
    """Read the last frame, and the end."""
    assert "bad_frame" == code_of(peer.read())
    assert peer.is_ended()


@pytest.mark.parametrize("length", BAD_LENGTHS)
def test_length_out_of_bounds(peer: Peer, length: int) -> None:
    """A length that no header has is `bad_frame` at once, not after so many bytes, and ends the connection."""
    peer.send_raw(struct.pack("<i", length))
    assert_ends_with_bad_frame(peer)


@pytest.mark.parametrize("header", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_header_that_is_no_strict_json(peer: Peer, header: bytes) -> None:
    """A header that is not one strict JSON object is `bad_frame` and ends the connection, whatever follows it."""
    peer.send_raw(raw_frame(header) + frame({"cmd": "put", "filename": "smuggled", "filesize": 1}, b"x"))
    assert_ends_with_bad_frame(peer)


@pytest.fixture(autouse=True)
def nothing_published(server: ServerProcess) -> None:
    """No test of this module stores anything but what it names itself."""
    assert not (server.root / "smuggled").exists()


@pytest.mark.parametrize("size", BAD_SIZES)
@pytest.mark.parametrize("key", ["filesize", "size"])
def test_size_of_the_payload_that_is_none(peer: Peer, key: str, size: str) -> None:
    """Where nobody can tell how many bytes follow, the stream has lost its meaning: `bad_frame`, and the end."""
    cmd = "put" if key == "filesize" else "chunk"
    peer.send_raw(raw_frame(f'{{"cmd": "{cmd}", "filename": "smuggled", "{key}": {size}}}'.encode()) + b"12345")
    assert_ends_with_bad_frame(peer)


@pytest.mark.parametrize("cmd", ["put", "chunk"])
def test_size_of_the_payload_that_is_missing(peer: Peer, cmd: str) -> None:
    """A payload without a size is `bad_frame`, and the end."""
    peer.send({"cmd": cmd, "filename": "smuggled"}, b"12345")
    assert_ends_with_bad_frame(peer)


def test_header_cut_at_every_byte(server: ServerProcess, peer: Peer) -> None:
    """A `put` cut anywhere before its last byte stores nothing, whether its peer leaves politely or not."""
    whole = frame({"cmd": "put", "filename": "smuggled", "filesize": 10}, b"0123456789")
    for cut in range(len(whole)):
        for leave in (Peer.close, Peer.reset):
            other = server.connect()
            other.send_raw(whole[:cut])
            leave(other)
        with server.connect() as other:
            other.send_raw(whole[:cut])
            other.shutdown_write()
            assert other.is_ended()
    assert peer.ask({"cmd": "ping"})["ok"]
    eventually(server.has_no_temporaries, "cut puts leave nothing behind")
    assert not (server.root / "smuggled").exists()


def test_every_byte_in_a_segment_of_its_own(server: ServerProcess, peer: Peer) -> None:
    """How the network cuts a frame makes no difference."""
    for byte in frame({"cmd": "put", "filename": "slowly", "filesize": 10, "id": 1}, b"0123456789"):
        peer.send_raw(bytes([byte]))
    assert {"ok": True, "id": 1}.items() <= peer.read().items()
    assert b"0123456789" == (server.root / "slowly").read_bytes()


@pytest.mark.parametrize(
    "request_",
    [
        {"cmd": "get"},
        {"cmd": "get", "filename": 5},
        {"cmd": "get", "filename": None},
        {"cmd": "get", "filename": ["a"]},
        {"cmd": "get", "filename": "a", "offset": "0"},
        {"cmd": "get", "filename": "a", "offset": True},
        {"cmd": "get", "filename": "a", "offset": 0.5},
        {"cmd": "get", "filename": "a", "length": {}},
        {"cmd": "ls", "path": 5},
        {"cmd": "ls", "long": "yes"},
        {"cmd": "ls", "cursor": 5},
        {"cmd": "stat"},
        {"cmd": "md5"},
        {"cmd": "sum", "filename": "a", "algo": "crc32"},
        {"cmd": "sum", "filename": "a", "algo": 5},
        {"cmd": "hello", "version": "1"},
        {"cmd": "begin", "filename": "a", "filesize": "5"},
        {"cmd": "begin", "filename": "a", "if_exists": "destroy"},
        {"cmd": "begin", "filename": "a", "mode": 0o1777},
        {"cmd": "begin", "filename": "a", "mtime": "now"},
        {"cmd": "begin", "filename": "a", "mtime_ns": 10**9},
        {"cmd": "commit", "upload": "x"},
        {"cmd": "commit", "upload": "x", "chunks": 1.5, "root": "0" * 64},
        {"cmd": "abort", "upload": 5},
    ],
    ids=json.dumps,
)
def test_known_key_that_is_missing_or_of_the_wrong_type(peer: Peer, request_: dict[str, object]) -> None:
    """A request that lacks a key or has one of the wrong type is `bad_request`, and the conversation goes on."""
    assert "bad_request" == peer.refusal(request_)
    assert peer.ask({"cmd": "ping"})["ok"]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"filename": 5},
        {"filename": "smuggled", "md5": 5},
        {"filename": "smuggled", "md5": "abc"},
        {"filename": "smuggled", "sha256": "0" * 63},
        {"filename": "smuggled", "blake3": "g" * 64},
        {"filename": "smuggled", "mode": 0o4755},
        {"filename": "smuggled", "mode": "rw"},
        {"filename": "smuggled", "if_exists": None},
    ],
    ids=json.dumps,
)
def test_put_with_a_wrong_key(server: ServerProcess, peer: Peer, keys: dict[str, object]) -> None:
    """A `put` with a wrong key is `bad_request`; its payload, which looks like a request, is skipped."""
    payload = frame({"cmd": "put", "filename": "smuggled", "filesize": 0}) * 3000
    assert "bad_request" == peer.refusal({"cmd": "put", "filesize": len(payload), **keys}, payload)
    assert peer.ask({"cmd": "ping"})["ok"]
    assert not (server.root / "smuggled").exists()


@pytest.mark.parametrize("request_id", [True, 1.5, [1], {"a": 1}, "x" * 65])
def test_id_that_is_none(peer: Peer, request_id: object) -> None:
    """An id that can not be echoed is `bad_request`; as after every refused request the conversation goes on."""
    peer.send({"cmd": "ping", "id": request_id})
    reply = peer.read()
    assert ("bad_request", False) == (code_of(reply), "id" in reply)
    assert peer.ask({"cmd": "ping"})["ok"]


def test_farewell_is_no_second_reply(peer: Peer) -> None:
    """The refusal of a broken frame does not carry the id of a request that has its reply already."""
    assert peer.ask({"cmd": "ping", "id": "answered"})["ok"]
    peer.send_raw(struct.pack("<i", -1))
    assert "id" not in peer.read()


def test_good_requests_before_a_bad_frame_are_answered(server: ServerProcess, peer: Peer) -> None:
    """What came before a broken frame is done and answered first."""
    good = frame({"cmd": "put", "filename": "before", "filesize": 2}, b"ok")
    peer.send_raw(good + struct.pack("<i", 0) + good)
    assert peer.read()["ok"]
    assert_ends_with_bad_frame(peer)
    assert b"ok" == (server.root / "before").read_bytes()
