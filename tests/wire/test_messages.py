"""Requests and replies: what is required, what is refused, and what goes over the wire."""

import json
from typing import get_args

import msgspec
import pytest

from ftpd.wire import messages, replies, requests, terms
from ftpd.wire.errors import BadFrameError, BadRequestError, ErrorCode
from ftpd.wire.frames import Header, Json, decode_header, decode_length
from ftpd.wire.limits import MAX_HEADER, MAX_ID, MAX_INTEGER
from ftpd.wire.messages import parse
from ftpd.wire.requests import Request

FULL: dict[str, tuple[type[Request], Header]] = {
    "hello": (requests.Hello, {"version": 2, "client": "x/1"}),
    "ping": (requests.Ping, {}),
    "auth": (requests.Auth, {"method": "password", "token": "t", "user": "u", "password": "p", "session": "s",
              "key": "k", "nonce": "n", "signature": "s"}),
    "whoami": (requests.Whoami, {}),
    "share": (requests.Share, {"path": "a", "upload": True, "expires": 60, "count": 2, "label": "l"}),
    "shares": (requests.ListShares, {"after": "s"}),
    "unshare": (requests.Unshare, {"share": "s"}),
    "check": (requests.Check, {"files": [["a", 3], ["b", None]], "if_exists": "fail"}),
    "same": (requests.Same, {"files": [["a", 3, "r"]], "details": [[1, 999_999_999, 0o777]]}),
    "put": (
        requests.Put,
        {"filename": "a", "filesize": 3, "blake3": "b", "md5": "m", "sha256": "s", "if_exists": "rename",
         "mtime": 1, "mtime_ns": 999_999_999, "mode": 0o777},
    ),
    "begin": (
        requests.Begin,
        {"filename": "a", "filesize": 3, "upload": "u", "if_exists": "skip", "mtime": 1, "mtime_ns": 2, "mode": 0},
    ),
    "join": (requests.Join, {"upload": "u", "lease": "l"}),
    "chunk": (requests.Chunk, {"upload": "u", "index": 0, "size": 3, "digest": "d"}),
    "commit": (requests.Commit, {"upload": "u", "chunks": 1, "root": "r", "wait": True}),
    "abort": (requests.Abort, {"upload": "u"}),
    "mkdir": (requests.Mkdir, {"path": "a"}),
    "df": (requests.Df, {}),
    "get": (requests.Get, {"filename": "a", "offset": 1, "length": 2, "resume": True, "if_root": "r"}),
    "ls": (requests.Ls, {"path": "a", "long": True, "cursor": "c"}),
    "stat": (requests.Stat, {"filename": "a", "leaves": True}),
    "md5": (requests.Md5, {"filename": "a"}),
    "sum": (requests.Sum, {"filename": "a", "algo": "sha1"}),
}  # fmt: skip
"""Every request with every key."""

EVERY_KEY = [(command, key) for command, (_, header) in FULL.items() for key in header]
WRONG: list[Json] = [[], {}, 1.5, 1.0, -1.0, 1e300]
"""What no key of any request takes."""


def refuse(header: Header, kind: type[msgspec.Struct]) -> str:
    """Parse a header that has to be refused, and give the sentence that says why."""
    with pytest.raises(BadRequestError) as refused:
        parse(header, kind)
    assert refused.value.code is ErrorCode.BAD_REQUEST
    assert len(refused.value.message) < 4096, "the reason has to fit in a reply, whatever was sent"
    return refused.value.message


def header_of(frame: bytes) -> Header:
    """Decode a whole frame without payload."""
    assert decode_length(frame[:4]) == len(frame) - 4
    return decode_header(frame[4:])


@pytest.mark.parametrize("command", FULL)
def test_request_survives_the_wire(command: str) -> None:
    """A request with all keys, or with the least of them, is the same after encoding and parsing."""
    kind, full = FULL[command]
    least = {key: full[key] for key in kind.__struct_fields__ if key in required(kind)}
    for fields in (full, least):
        request = parse({"cmd": command, **fields}, kind)
        assert {"cmd": command, **fields} == header_of(messages.encode_request(request))
        assert request == parse(header_of(messages.encode_request(request)), kind)


def required(kind: type[msgspec.Struct]) -> set[str]:
    """Give the keys a message can not do without."""
    return {field.encode_name for field in msgspec.structs.fields(kind) if field.required}


def test_every_request_is_in_the_table() -> None:
    """The table of these tests has every request there is, with every key but `id`."""
    assert {kind for kind, _ in FULL.values()} == set(Request.__subclasses__())
    assert all({"id", *fields} == set(kind.__struct_fields__) for kind, fields in FULL.values())


@pytest.mark.parametrize(("command", "key"), EVERY_KEY)
def test_key_of_the_wrong_type_is_refused_and_named(command: str, key: str) -> None:
    """No key takes a list, an object or a float for what it wants, and the refusal says which key it was."""
    kind, full = FULL[command]
    right = full[key]
    others: list[Json] = [True, "1"] if isinstance(right, int) and not isinstance(right, bool) else [0, 1]
    for value in [*WRONG, *others]:
        reason = refuse({"cmd": command, **full, key: value}, kind)
        assert reason.startswith(f"{command}: ")
        assert reason.endswith(f"`$.{key}`")


@pytest.mark.parametrize(("command", "key"), EVERY_KEY)
def test_missing_key_is_refused_or_has_a_default(command: str, key: str) -> None:
    """A request without a required key is refused, and the key is named."""
    kind, full = FULL[command]
    header = {"cmd": command, **{name: value for name, value in full.items() if name != key}}
    if key in required(kind):
        assert f"missing required field `{key}`" in refuse(header, kind)
    else:
        parse(header, kind)


@pytest.mark.parametrize("command", FULL)
def test_unknown_keys_are_ignored(command: str) -> None:
    """Keys that a later version may have do not disturb this one."""
    kind, full = FULL[command]
    assert parse({"cmd": command, **full}, kind) == parse({"cmd": command, **full, "x": [1], "CMD": 3}, kind)


@pytest.mark.parametrize(
    ("command", "key", "value"),
    [("put", "mode", 0o1000), ("begin", "mode", 0o4755), ("put", "mtime_ns", 1_000_000_000),
     ("put", "if_exists", "Fail"), ("begin", "if_exists", ""),
     ("sum", "algo", "crc32"), ("sum", "algo", "MD5"), ("put", "id", "x" * (MAX_ID + 1))],
)  # fmt: skip
def test_value_out_of_bounds_is_refused(command: str, key: str, value: Json) -> None:
    """Permission bits beyond 0o777, a second in nanoseconds, unknown words and long ids are refused."""
    kind, full = FULL[command]
    assert f"`$.{key}`" in refuse({"cmd": command, **full, key: value}, kind)


@pytest.mark.parametrize(
    ("command", "key"), [("put", "if_exists"), ("begin", "if_exists"), ("sum", "algo"), ("put", "cmd")]
)
def test_reason_does_not_repeat_a_huge_value(command: str, key: str) -> None:
    """A refusal of a header of the largest size is a frame that can be sent."""
    kind, full = FULL[command]
    header: Header = {"cmd": command, **full, "id": "\x01" * MAX_ID, key: "x" * (MAX_HEADER - 500)}
    with pytest.raises(BadRequestError) as refused:
        parse(header, kind)
    messages.encode_refusal(refused.value.code, refused.value.message + "x" * 500, {}, "\x01" * MAX_ID)


@pytest.mark.parametrize(
    ("request_id", "expected"), [("", ""), ("x" * MAX_ID, "x" * MAX_ID), (0, 0), (MAX_INTEGER, MAX_INTEGER)]
)
def test_id_is_found_and_echoed(request_id: str | int, expected: str | int) -> None:
    """A short string or an integer is an id, and comes back in the reply and in the refusal."""
    assert expected == messages.request_id_of({"cmd": 3, "id": request_id})
    assert expected == header_of(messages.encode_reply(replies.Done(), request_id))["id"]
    assert expected == header_of(messages.encode_refusal(ErrorCode.BUSY, "busy", None, request_id))["id"]


@pytest.mark.parametrize("header", [{}, {"id": None}])
def test_id_may_be_absent(header: Header) -> None:
    """A request without an id, or with null, has none, and its reply neither."""
    assert messages.request_id_of(header) is None
    assert header_of(messages.encode_reply(replies.Done(), None)) == {"ok": True}


@pytest.mark.parametrize("request_id", [True, False, 1.5, 1.0, [], {}, "x" * (MAX_ID + 1), "x" * 60_000])
def test_other_ids_are_refused(request_id: Json) -> None:
    """Anything else is no id; the refusal names the command if there is one."""
    for command in ("ping", 3, "x" * 60_000):
        with pytest.raises(BadRequestError, match=r"\$\.id") as refused:
            messages.request_id_of({"cmd": command, "id": request_id})
        assert len(refused.value.message) < 200


def test_payload_size_is_known_even_if_the_rest_is_wrong() -> None:
    """The bytes behind a header are found by one key alone; commands without payload never look."""
    assert messages.payload_size_of({"cmd": "put", "filesize": 7, "filename": []}, requests.Put) == 7
    assert messages.payload_size_of({"size": 8}, requests.Chunk) == 8
    assert messages.payload_size_of({"filesize": "x", "size": []}, requests.Begin) == 0


@pytest.mark.parametrize("kind", [requests.Put, requests.Chunk])
@pytest.mark.parametrize("value", [None, True, False, "12", 1.5, 12.0, [], {}, "x" * 60_000])
def test_unknown_payload_size_ends_the_stream(kind: type[Request], value: Json) -> None:
    """Without an integer nobody can tell where the next frame starts: the stream can not be trusted any more."""
    for header in ({}, {kind.PAYLOAD: value}):
        with pytest.raises(BadFrameError, match=f"`{kind.PAYLOAD}` must be the number of bytes") as refused:
            messages.payload_size_of(header, kind)
        assert len(refused.value.message) < 250


def test_commands_with_payload() -> None:
    """Two requests have payload, and the key that counts it is one of their own integers."""
    assert {name: kind.PAYLOAD for name, (kind, _) in FULL.items() if kind.PAYLOAD} == {
        "put": "filesize",
        "chunk": "size",
    }


def test_reply_says_ok_and_leaves_defaults_out() -> None:
    """A reply starts with `ok`, and what has its default value is not sent."""
    stored = replies.Stored(filename="a", filesize=3)
    assert messages.encode_reply(stored)[4:] == b'{"ok":true,"filename":"a","filesize":3}'
    begun = replies.Begun(skipped=True)
    assert header_of(messages.encode_reply(begun, 1)) == {"ok": True, "skipped": True, "id": 1}


REPLIES: list[replies.Reply] = [
    replies.Done(),
    replies.Greeting(version=1, server="s", features=["f"], limits={"l": 1}, durability=terms.Durability.FULL,
                      read_only=True, auth=["a"]),
    replies.Pong(time=1),
    replies.Identity(user="u", rights=["read"], nonce="n"),
    replies.Shared(share="s", token="t", rights=["read"], expires=1),  # noqa: S106 (none)
    replies.SharePage(
        shares=[replies.SharedPath(share="s", user="u", path="p", rights=["read"], expires=1, count=2, used=1)],
        more=True,
    ),
    replies.Twins(same=[(0, 3), (5, 5)], digest="d", no_folder=True),
    replies.Checked(size=1, replaced=2, new_files=3, free=4, used=5, quota=6, files=7, quota_files=8, more=9,
                     refused=[replies.Refused(index=0, code="exists", message="m")]),
    replies.Stored(filename="é/b", filesize=3, root="r", skipped=True),
    replies.Begun(upload="u", chunk_size=1, have=[(0, 3)]),
    replies.Confirmed(index=1),
    replies.Made(created=False),
    replies.Disk(total=5, free=4, used=3, quota=2, files=1, quota_files=0),
    replies.Content(filesize=3, offset=1, length=2, chunk_size=1, leaves=0, trailer=True, root="r", mtime=1,
                     mtime_ns=2, mode=3),
    replies.Trailer(root="r"),
    replies.Page(entries=[replies.Entry(name="a", type=terms.EntryType.OTHER, size=0, mtime=1, mode=2)],
                  cursor="c", unnameable=1),
    replies.Status(type=terms.EntryType.SYMLINK, filesize=1, mtime=1, mtime_ns=1, mode=1, root="r"),
    replies.Checksum(algo=terms.Algorithm.BLAKE3, digest="d"),
]  # fmt: skip


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
def test_reply_survives_the_wire(reply: replies.Reply) -> None:
    """A reply is the same after encoding and parsing."""
    assert reply == parse(header_of(messages.encode_reply(reply, 5)), type(reply))


def test_every_reply_is_in_the_list() -> None:
    """The list of these tests has every reply there is."""
    assert set(replies.Reply.__subclasses__()) == {type(reply) for reply in REPLIES}


def test_refusal_carries_code_sentence_and_facts() -> None:
    """A refusal says `ok: false`; facts stand beside code and message, and can not replace them."""
    frame = messages.encode_refusal(ErrorCode.BUSY, "later", {"code": "x", "message": "y", "limit": 3}, 7)
    error = {"code": "busy", "message": "later", "limit": 3}
    assert {"ok": False, "error": error, "id": 7} == header_of(frame) == json.loads(frame[4:])
    refusal = parse(header_of(frame), replies.Refusal)
    assert (replies.ErrorBody(code="busy", message="later"), False, 7) == (refusal.error, refusal.ok, refusal.id)


@pytest.mark.parametrize(
    "header", [{"ok": True, "error": {"code": "a", "message": "b"}}, {"ok": False}, {"ok": False, "error": {}}]
)
def test_what_is_no_refusal_is_refused(header: Header) -> None:
    """A refusal has `ok: false` and an error with code and message."""
    refuse(header, replies.Refusal)


def test_ids_are_short_strings_or_integers() -> None:
    """The type of an id has two members, and so has what a request can carry."""
    assert len(get_args(terms.RequestId)) == 2
