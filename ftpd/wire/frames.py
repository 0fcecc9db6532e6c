"""Frames: a 4-byte length, a JSON header of that length, then raw payload if the header says so.

The length is what `struct.pack("<i", n)` gives. The header is strict JSON (RFC 8259) in UTF-8: see `decode_header`.
"""

import json
import math
import re
import struct
from typing import Annotated, NoReturn, cast

import msgspec

from ftpd.wire.errors import BadFrameError
from ftpd.wire.limits import LENGTH_SIZE, MAX_DEPTH, MAX_HEADER, MAX_INTEGER

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Header = dict[str, Json]

_LENGTH = struct.Struct("<i")
_STRINGS_AND_BRACKETS = re.compile(rb'(?s)"(?:[^"\\]++|\\.)*+"?|[\[\]{}]')


def encode_frame(header: bytes) -> bytes:
    """Put the length before an encoded header.

    Raises:
        ValueError: the header is empty or larger than `MAX_HEADER`; a peer would refuse it.
    """
    if not 0 < len(header) <= MAX_HEADER:
        raise ValueError(f"a header must have 1 to {MAX_HEADER} bytes, this one has {len(header)}")
    return _LENGTH.pack(len(header)) + header


def decode_length(prefix: bytes, limit: int = MAX_HEADER) -> int:
    """Read the length of a header from the `LENGTH_SIZE` bytes before it.

    Raises:
        BadFrameError: the length is not within 1 to `limit`; no memory has been taken for it.
    """
    if len(prefix) != LENGTH_SIZE:
        raise BadFrameError(f"a frame starts with {LENGTH_SIZE} bytes of length, got {len(prefix)}")
    length: int = _LENGTH.unpack(prefix)[0]
    if not 0 < length <= limit:
        raise BadFrameError(f"a header must have 1 to {limit} bytes, the frame says {length}", limit=limit)
    return length


def find_frame(data: bytes, place: int) -> tuple[Header, int] | None:
    """Read the header that starts at `place`, if all of it is there; also give where it ends.

    Raises:
        BadFrameError: the length or the header makes no sense.
    """
    start = place + LENGTH_SIZE
    if start > len(data):
        return None
    end = start + decode_length(data[place:start])
    return (decode_header(data[start:end]), end) if end <= len(data) else None


def decode_header(raw: bytes) -> Header:
    """Parse a header, more strictly than `json.loads` does.

    Refused: anything but one object in UTF-8 (no byte order mark), NaN and infinities, a key given twice,
    lone surrogates, integers outside 0 to 2**53-1, nesting deeper than `MAX_DEPTH`.

    Raises:
        BadFrameError: with a sentence that says what was wrong.
    """
    return _decode_plain(raw) or decode_strictly(raw)


def _decode_plain(raw: bytes) -> Header | None:
    """Parse a header that holds nothing the strict parser would have to look at, as nearly all do; five times as fast.

    It is shallow and without floats, and written as we would write it: what encodes to the same bytes again had no key
    twice, no lone surrogate and no second way to spell a number.
    """
    try:
        header = cast("Header", _PLAIN.decode(raw))
        return header if msgspec.json.encode(header) == raw else None
    except (msgspec.MsgspecError, UnicodeError):
        return None


def decode_strictly(raw: bytes) -> Header:
    """Parse any header, as `decode_header` says."""
    try:
        text = raw.decode("utf-8", "strict")
        _check_depth(raw)
        header = _DECODER.decode(text)
        if "\\u" in text:  # the only way for a lone surrogate to get past the UTF-8 decoder
            json.dumps(header, ensure_ascii=False).encode("utf-8", "strict")
    except UnicodeError as exc:
        raise BadFrameError("the header is not UTF-8, or holds a lone surrogate") from exc
    except json.JSONDecodeError as exc:
        raise BadFrameError(f"the header is not JSON: {exc.msg} at character {exc.pos}") from exc
    if not isinstance(header, dict):
        raise BadFrameError(f"the header must be a JSON object, got {type(header).__name__}")
    return header


def _check_depth(raw: bytes) -> None:
    if raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return
    depth = 0
    for token in _STRINGS_AND_BRACKETS.findall(raw):
        if token in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadFrameError(f"the header is nested deeper than {MAX_DEPTH}")
        elif token in b"]}":
            depth -= 1


def _unique_keys(pairs: list[tuple[str, Json]]) -> Header:
    header = dict(pairs)
    if len(header) != len(pairs):
        raise BadFrameError("the header has a key twice")
    return header


def _bounded_integer(digits: str) -> int:
    # The length is looked at first: int() of a long string takes quadratic time.
    if len(digits) > len(str(MAX_INTEGER)) or not 0 <= (value := int(digits)) <= MAX_INTEGER:
        raise BadFrameError(f"an integer must be within 0 to {MAX_INTEGER}")
    return value


def _no_constant(name: str) -> NoReturn:
    raise BadFrameError(f"{name} is not JSON")


def _finite_number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BadFrameError("a number is too large for a double")
    return value


_Plain = bool | Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] | str | None
_PLAIN = msgspec.json.Decoder(dict[str, _Plain | dict[str, _Plain] | list[_Plain | dict[str, _Plain] | list[_Plain]]])

_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_int=_bounded_integer,
    parse_float=_finite_number,
    parse_constant=_no_constant,
)
