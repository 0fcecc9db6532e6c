"""Requests and replies as frames, and back.

Both sides parse with the same types (`ftpd.wire.requests`, `ftpd.wire.replies`). Unknown keys are ignored, so that old
and new can talk; a known key of the wrong type is refused.
"""

from typing import TypeVar

import msgspec
from msgspec import Struct

from ftpd.wire.errors import BadFrameError, BadRequestError, ErrorCode, Fact
from ftpd.wire.frames import Header, encode_frame
from ftpd.wire.limits import MAX_ID
from ftpd.wire.replies import Reply
from ftpd.wire.requests import Request
from ftpd.wire.terms import RequestId

AnyStruct = TypeVar("AnyStruct", bound=Struct)


def parse(header: Header, kind: type[AnyStruct]) -> AnyStruct:
    """Turn a header into a message.

    Raises:
        BadRequestError: a key is missing or has the wrong type; the message names it.
    """
    try:
        return msgspec.convert(header, kind)
    except msgspec.ValidationError as exc:
        command = header.get("cmd")
        where = f"{command}: " if isinstance(command, str) else ""
        raise BadRequestError(f"{where[:MAX_ID]}{_shorten(str(exc))}") from exc


def _shorten(reason: str) -> str:
    # It quotes what was sent, and has to fit in a frame; its end says which key it was.
    return reason if len(reason) <= 300 else f"{reason[:150]} … {reason[-150:]}"


def encode_request(request: Request) -> bytes:
    """Turn a request into a frame, without its payload."""
    return encode_frame(msgspec.json.encode(request))


def encode_reply(reply: Reply, request_id: RequestId | None = None) -> bytes:
    """Turn a reply into a frame, without its payload."""
    # Put together as bytes: the way through a dictionary showed with thousands of small files.
    body = msgspec.json.encode(reply)
    tail = b"}" if request_id is None else b',"id":%b}' % msgspec.json.encode(request_id)
    return encode_frame(b'{"ok":true%b%b%b' % (b"," if len(body) > 2 else b"", body[1:-1], tail))


def encode_refusal(
    code: ErrorCode, message: str, facts: dict[str, Fact] | None = None, request_id: RequestId | None = None
) -> bytes:
    """Turn a refusal into a frame."""
    header: Header = {"ok": False, "error": {**(facts or {}), "code": code.value, "message": message}}
    if request_id is not None:
        header["id"] = request_id
    return encode_frame(msgspec.json.encode(header))


def request_id_of(header: Header) -> RequestId | None:
    """Give the id of a request, before anything else of it is looked at.

    Raises:
        BadRequestError: the id is neither a short string nor an integer.
    """
    return parse(header, _Identified).id


def payload_size_of(header: Header, kind: type[Request]) -> int:
    """Give the bytes of payload behind a header, even if the rest of it is wrong.

    Raises:
        BadFrameError: nobody can tell where the next frame starts.
    """
    if not kind.PAYLOAD:
        return 0
    size = header.get(kind.PAYLOAD)
    if isinstance(size, bool) or not isinstance(size, int):
        raise BadFrameError(
            f"{kind.__name__.lower()}: `{kind.PAYLOAD}` must be the number of bytes that follow, got {size!r:.80}"
        )
    return size


class _Identified(Struct):
    id: RequestId | None = None
