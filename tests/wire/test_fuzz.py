"""Headers that nobody would think of: whatever comes, the answer is a message or an `FtpdError` that can be sent."""

import contextlib
import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftpd.wire import messages, replies
from ftpd.wire.errors import FtpdError
from ftpd.wire.frames import Header, decode_header, decode_strictly
from ftpd.wire.paths import RemotePath, is_nameable
from ftpd.wire.replies import Reply
from ftpd.wire.requests import Request

KINDS: list[type[msgspec.Struct]] = [*Request.__subclasses__(), *Reply.__subclasses__(), replies.Refusal]
KEYS = sorted({"cmd", "ok", "error", *(key for kind in KINDS for key in kind.__struct_fields__)})
WORDS = ["put", "get", "chunk", "overwrite", "fail", "md5", "file", "dir", ".ftpd", "..", "a/b", "\0", "é", "\u200c"]

SEEDS = [
    b'{"cmd":"put","filename":"a/b.txt","filesize":12,"md5":"900150983cd24fb0d6963f7d28e17f72","if_exists":"rename","id":7}',
    b'{"cmd":"chunk","upload":"00ff","index":3,"size":8388608,"digest":"af1349b9f5f9a1a6a0404dea36dcc949"}',
    b'{"cmd":"ls","path":"\xc3\xa9 \\u20ac \\ud83d\\ude00","long":true,"cursor":null,"x":[[{"y":[1.5e3,-0,false]}]]}',
    b'{"ok":true,"entries":[{"name":"a","type":"file","size":0,"mtime":1,"mode":420}],"unnameable":2,"id":"i"}',
    b'{"ok":true,"upload":"u","chunk_size":8388608,"have":[[0,3],[5,9]]}',
    b'{"ok":false,"error":{"code":"busy","message":"later","limit":9007199254740991},"id":"x"}',
    b"[[[[[[[[[[[[",
    b'{"a":{"a":{"a":{"a":{"a":{"a":{"a":{}}}}}}}}',
]
TOKENS = [
    b'"', b"\\", b"\\u", b"\\ud800", b"\xed\xa0\x80", b"\xff", b"\0", b"{", b"}", b"[", b"]", b"[" * 9, b":", b",",
    b"-", b"1e999", b"NaN", b"Infinity", b"null", b"true", b"9" * 17, b"0.1", b'"id":', b'"cmd":"put",',
    b"\xef\xbb\xbf",
]  # fmt: skip

quick = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def handle(raw: bytes) -> None:
    """Do all that is done with a header, as every kind of message; only an `FtpdError` that can be sent is allowed."""
    for kind in KINDS:
        try:
            header = decode_header(raw)
            messages.request_id_of(header)
            if issubclass(kind, Request):
                assert messages.payload_size_of(header, kind) >= 0
            message = messages.parse(header, kind)
            if isinstance(message, Request):
                messages.encode_request(message)
        except FtpdError as exc:
            messages.encode_refusal(exc.code, exc.message, exc.facts, "x" * 64)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Take a good header and spoil it in up to eight places."""
    raw = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.integers(0, 12)))
        new = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4), st.just(bytes(raw[start:end]) * 2)))
        raw[start : draw(st.sampled_from([start, end]))] = new
    return bytes(raw)


@quick
@given(mutated())
def test_spoiled_headers_are_read_or_refused(raw: bytes) -> None:
    """A good header with bytes changed, removed, doubled or put in never raises anything but `FtpdError`."""
    handle(raw)


@quick
@given(st.binary(max_size=64))
def test_random_bytes_are_read_or_refused(raw: bytes) -> None:
    """Random bytes, bare or inside a string of a header, never raise anything but `FtpdError`."""
    handle(raw)
    handle(b'{"cmd":"put","filesize":1,"filename":"' + raw + b'"}')


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 2**64), st.floats(), st.sampled_from(WORDS), st.text(max_size=8)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=5,
)


@quick
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8), st.booleans())
def test_known_keys_with_any_values_are_read_or_refused(header: dict[str, object], ascii_only: bool) -> None:  # noqa: FBT001
    """Known keys with values of any type never raise anything but `FtpdError`."""
    handle(json.dumps(header, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@quick
@given(st.text(st.characters() | st.sampled_from("/.\0\\ ~:\u200c\udc80ftpdFTPD"), max_size=300))
def test_any_name_is_parsed_or_refused(text: str) -> None:
    """A name gives parts that spell it, or a refusal that can be sent; the disk's view of names agrees."""
    try:
        path = RemotePath.parse(text)
    except FtpdError as exc:
        messages.encode_refusal(exc.code, exc.message, exc.facts)
        return
    assert text.removeprefix("/") == str(path)
    assert path == RemotePath.parse(str(path))
    assert all(is_nameable(part, at_root=place == 0) for place, part in enumerate(path.parts))
    with contextlib.suppress(FtpdError):
        assert path.with_name(text).parent.parts[: len(path.parts) - 1] == path.parent.parts


def outcome(decode: Callable[[bytes], Header], raw: bytes) -> str:
    """Decode a header; give what it is, down to the types, or why it is none."""
    try:
        return repr(decode(raw))
    except FtpdError as exc:
        return exc.message


PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 2**54), st.text(max_size=8), st.floats()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@quick
@given(
    st.one_of(mutated(), st.binary(max_size=32), st.dictionaries(st.text(max_size=3), PLAIN).map(msgspec.json.encode))
)
def test_the_short_way_leads_to_the_same(raw: bytes) -> None:
    """A header is read, or refused for the same reason, as it would be without the short way for plain ones."""
    assert outcome(decode_strictly, raw) == outcome(decode_header, raw)


@pytest.mark.parametrize(
    "value",
    [b'1,"a":1', b'"x","a":"x"', b"9007199254740991", b"9007199254740992", b"-1", b"-0", b"1.0", b"1e2", b"true",
     b'"\\ud800"', b'"\\n\\u0001\x7f"', b'"\\/"', b'"\\u00e9"', b'"\xed\xa0\x80"', b'"\xff"', b"[]", b'{"b":1}',
     b"18446744073709551616"],
)  # fmt: skip
def test_the_short_way_skips_no_check(value: bytes) -> None:
    """What only the strict parser would notice is noticed in a compact header as well."""
    for before, behind in ((b"", b""), (b'{"a":', b"}"), (b"[", b"]"), (b'[1,{"a":', b"}]"), (b"[[", b"]]")):
        raw = b'{"cmd":"put","a":' + before + value + behind + b"}"
        assert outcome(decode_strictly, raw) == outcome(decode_header, raw)
