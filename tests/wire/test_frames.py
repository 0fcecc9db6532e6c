"""Frames: the length before a header, and what a header may hold."""

import json
import struct

import pytest

from ftpd.wire.errors import BadFrameError, ErrorCode
from ftpd.wire.frames import decode_header, decode_length, encode_frame
from ftpd.wire.limits import MAX_DEPTH, MAX_HEADER, MAX_INTEGER

PUT = b'{"cmd": "put", "filename": "\xc3\xa9 \\u20ac.txt", "filesize": 12}'


def refuse(raw: bytes) -> str:
    """Decode a header that has to be refused, and give the sentence that says why."""
    with pytest.raises(BadFrameError) as refused:
        decode_header(raw)
    assert refused.value.code is ErrorCode.BAD_FRAME
    assert len(refused.value.message) < 200, "the reason has to fit in a reply, whatever was sent"
    return refused.value.message


def nested(depth: int) -> bytes:
    """Give a header of that depth, the object itself being the first level."""
    return b'{"a": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}" if depth > 1 else b"{}"


@pytest.mark.parametrize("size", [1, 2, 255, 256, 4096, MAX_HEADER])
def test_length_is_what_struct_pack_gives(size: int) -> None:
    """A frame starts with the little-endian signed 32-bit length of its header, and is read back as that."""
    header = b"x" * size
    frame = encode_frame(header)
    assert struct.pack("<i", size) + header == frame
    assert size == decode_length(frame[:4])


@pytest.mark.parametrize("size", [0, MAX_HEADER + 1])
def test_header_that_a_peer_would_refuse_is_not_encoded(size: int) -> None:
    """An empty or too large header never gets a length."""
    with pytest.raises(ValueError, match="1 to 65536 bytes"):
        encode_frame(b"x" * size)


@pytest.mark.parametrize("length", [0, -1, -(2**31), MAX_HEADER + 1, 2**24, 2**31 - 1])
def test_length_out_of_bounds_is_refused(length: int) -> None:
    """Zero, negative and huge lengths are refused before a byte of the header is looked at, and the limit is named."""
    with pytest.raises(BadFrameError) as refused:
        decode_length(struct.pack("<i", length))
    assert refused.value.facts == {"limit": MAX_HEADER}
    assert str(length) in refused.value.message


def test_length_has_a_lower_limit_where_one_is_given() -> None:
    """A caller can allow less than the protocol does."""
    assert decode_length(struct.pack("<i", 10), 10) == 10
    with pytest.raises(BadFrameError, match="1 to 10 bytes"):
        decode_length(struct.pack("<i", 11), 10)


@pytest.mark.parametrize("prefix", [b"", b"\x01", b"\x01\x00\x00", b"\x01\x00\x00\x00\x00"])
def test_length_needs_four_bytes(prefix: bytes) -> None:
    """Fewer or more than four bytes are not a length."""
    with pytest.raises(BadFrameError, match="4 bytes"):
        decode_length(prefix)


@pytest.mark.parametrize(
    ("raw", "header"),
    [
        (b"{}", {}),
        (b' \t\r\n{"a":1}\n ', {"a": 1}),
        (PUT, {"cmd": "put", "filename": "é €.txt", "filesize": 12}),
        (
            b'{"a": [null, true, false, 1.5, -2.5e3, "x", {"b": []}]}',
            {"a": [None, True, False, 1.5, -2500, "x", {"b": []}]},
        ),
        (b'{"a": 0, "b": -0, "c": 9007199254740991}', {"a": 0, "b": 0, "c": MAX_INTEGER}),
        (b'{"": "", "a": "\\u0000\\"\\\\\\/\\b\\f\\n\\r\\t"}', {"": "", "a": '\0"\\/\b\f\n\r\t'}),
        (b'{"a": "\\ud83d\\ude00", "b": "\xf0\x9f\x98\x80"}', {"a": "😀", "b": "😀"}),
        (b'{"a": {"k": 1}, "b": {"k": 1}}', {"a": {"k": 1}, "b": {"k": 1}}),
    ],
)
def test_json_objects_are_read(raw: bytes, header: dict[str, object]) -> None:
    """A strict JSON object in UTF-8 gives what it says."""
    assert header == decode_header(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"\0",
        b"x",
        b"{",
        b"}",
        b"{]",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":0x10}',
        b'{"a":1_000}',
        b'{"a":True}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u12"}',
        b'{"a":"\x00"}',
        b'{"a":"\n"}',
        b"{}{}",
        b"{}x",
        b'{"a":1}//',
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    """Text that is no JSON, or has something behind it, is refused and the place is named."""
    assert refuse(raw).startswith("the header is not JSON: ")


@pytest.mark.parametrize("size", range(len(PUT)))
def test_header_cut_anywhere_is_refused(size: int) -> None:
    """No beginning of a header passes for a header."""
    refuse(PUT[:size])


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"1", b"1.5", b"null", b"true", b'[{"cmd":"ping"}]'])
def test_what_is_not_an_object_is_refused(raw: bytes) -> None:
    """A header is an object, not any other JSON value."""
    assert "must be a JSON object" in refuse(raw)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_none_are_refused(value: str) -> None:
    """NaN and infinities are refused, also those that come from a number too large for a float."""
    refuse(f'{{"a": {value}}}'.encode())


@pytest.mark.parametrize("raw", [b'{"a":1,"a":1}', b'{"b":{"a":1,"a":2}}', b'{"a":1,"\\u0061":2}', b'{"":1,"":2}'])
def test_key_given_twice_is_refused(raw: bytes) -> None:
    """A key stands once in its object, however it is spelled: two readers could take different ones."""
    assert refuse(raw) == "the header has a key twice"


@pytest.mark.parametrize(
    "digits",
    [
        "-1",
        "-9007199254740991",
        str(MAX_INTEGER + 1),
        str(2**63),
        str(2**64),
        "9" * 16,
        "9" * 60_000,
        "-" + "9" * 60_000,
    ],
)
def test_integer_out_of_bounds_is_refused(digits: str) -> None:
    """Integers are within 0 to 2**53-1; a number of 60,000 digits costs no more than a short one."""
    assert f"an integer must be within 0 to {MAX_INTEGER}" == refuse(f'{{"a": {digits}}}'.encode())


@pytest.mark.timeout(10)
def test_integer_of_a_hundred_thousand_digits_is_refused() -> None:
    """A number whose conversion would take quadratic time is refused by its length."""
    refuse(b'{"a": ' + b"1" * 100_000 + b"}")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"])
def test_other_encodings_are_refused(encoding: str) -> None:
    """UTF-16, UTF-32 and a byte order mark are refused, although `json.loads` would take them."""
    raw = '{"cmd": "ping"}'.encode(encoding)
    assert json.loads(raw) == {"cmd": "ping"}
    refuse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"\xff"}',
        b'{"a":"\xc3"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\xe0\x80\xaf"}',
        b'{"a":"\xed\xb2\x80"}',
        b'{"a":"\xf4\x90\x80\x80"}',
        b'{"\xff":1}',
        b'{"a":"\\udc80"}',
        b'{"a":"\\uD800"}',
        b'{"a":"\\ude00\\ud83d"}',
        b'{"a":"\\ud83dx\\ude00"}',
        b'{"\\udc80":1}',
        b'{"a":[{"b":"\\udcff"}]}',
    ],
)
def test_invalid_utf8_and_lone_surrogates_are_refused(raw: bytes) -> None:
    """Bytes that are not UTF-8, overlong forms and half surrogate pairs, raw or escaped, are refused anywhere."""
    assert refuse(raw) == "the header is not UTF-8, or holds a lone surrogate"


def test_nesting_within_the_limit_is_read() -> None:
    """Nesting up to the limit is read, however often it comes."""
    decode_header(nested(MAX_DEPTH))
    inner = b"[" * (MAX_DEPTH - 2) + b"]" * (MAX_DEPTH - 2)
    decode_header(b'{"a": [' + b",".join([inner] * 100) + b"]}")


@pytest.mark.parametrize("raw", [nested(MAX_DEPTH + 1), nested(1000), nested(30_000), b'{"a":' * (MAX_DEPTH + 1)])
def test_deep_nesting_is_refused(raw: bytes) -> None:
    """Nesting beyond the limit is refused by counting brackets, not by running out of stack."""
    assert f"the header is nested deeper than {MAX_DEPTH}" == refuse(raw)


@pytest.mark.parametrize("bracket", [b"[", b"{", b'{"a":', b'["",'])
def test_sixty_thousand_brackets_are_refused(bracket: bytes) -> None:
    """A header full of opening brackets is refused."""
    assert "nested deeper" in refuse((bracket * 60_000)[:60_000])


@pytest.mark.parametrize(
    "brackets", [b"[" * 60_000, b"]" * 60_000, b"[{" * 30_000, b'\\"[' * 20_000, b"\\\\[" * 20_000]
)
def test_brackets_inside_strings_do_not_count(brackets: bytes) -> None:
    """Brackets in a string are text, also after an escaped quote or backslash."""
    raw = b'{"a": "' + brackets + b'", "b": [[[[]]]], "[[[[[[[[[": 1}'
    assert json.loads(raw) == decode_header(raw)


@pytest.mark.parametrize("closing", [b"]", b"}", b"]}"])
def test_closing_brackets_do_not_buy_depth(closing: bytes) -> None:
    """Closing what is not open first is no way to nest deeper."""
    refuse(closing * 1000 + b"[" * 1000)


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "tail", [b'\\"' * 32_000, b"a" * 64_000, b'""' * 32_000, b"\\" * 64_000, b'"\\' * 32_000, b'"\n' * 32_000]
)
def test_unfinished_strings_are_refused_in_linear_time(tail: bytes) -> None:
    """A header that is all quotes and escapes keeps the server busy for milliseconds, not for seconds."""
    refuse(b'{"a": ' + b"[" * (MAX_DEPTH + 1) + b'"' + tail)
    refuse(b"[]" * MAX_DEPTH + b'"' + tail)
    refuse(b"[]" * MAX_DEPTH + b"[" + b'"' + tail)
