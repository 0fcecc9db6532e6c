"""What `docs/protocol.md` promises of a conversation, where only a real server can show it."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from blake3 import blake3

from ftpd.wire.limits import MAX_HEADER, MIN_CHUNK

NOTHING = blake3(b"")


def frame(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Encode a request."""
    raw = json.dumps(header).encode()
    return struct.pack("<i", len(raw)) + raw + payload


def filled(header: dict[str, Any], key: str) -> dict[str, Any]:
    """Make the value of a key as long as the largest header allows."""
    room = MAX_HEADER - len(frame({**header, key: ""})) + 4
    return {**header, key: "x" * room}


class Peer:
    """A client that knows nothing but frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read(self) -> dict[str, Any]:
        """Read one reply."""
        (length,) = struct.unpack("<i", await self.reader.readexactly(4))
        reply: dict[str, Any] = json.loads(await self.reader.readexactly(length))
        return reply

    async def ask(self, header: dict[str, Any], payload: bytes = b"") -> dict[str, Any]:
        """Send a request and read its reply."""
        self.writer.write(frame({"id": 7, **header}, payload))
        reply = await self.read()
        assert reply.pop("id") == 7
        return reply

    async def refusal(self, header: dict[str, Any], payload: bytes = b"") -> str:
        """Send a request that has to be refused, and give the code."""
        reply = await self.ask(header, payload)
        assert not reply["ok"]
        return str(reply["error"]["code"])

    async def begin(self, **header: object) -> str:
        """Open an upload."""
        return str((await self.ask({"cmd": "begin", "filename": "a", **header}))["upload"])

    async def send_chunk(self, upload: str, index: int, data: bytes) -> None:
        """Send a chunk and see it confirmed."""
        header = {
            "cmd": "chunk",
            "upload": upload,
            "index": index,
            "size": len(data),
            "digest": blake3(data).hexdigest(),
        }
        assert {"ok": True, "index": index} == await self.ask(header, data)


@pytest.fixture
async def peer(port: int) -> AsyncIterator[Peer]:
    """Connect to the server."""
    peer = Peer(*await asyncio.open_connection("127.0.0.1", port))
    async with asyncio.timeout(60):
        yield peer
    peer.writer.close()
    await peer.writer.wait_closed()


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ({"cmd": "put", "filename": "a", "filesize": 0}, "if_exists"),
        ({"cmd": "sum", "filename": "a"}, "algo"),
        ({"cmd": "put", "filename": "a", "filesize": 0}, "md5"),
        ({"cmd": "chunk", "upload": "u", "index": 0, "size": 0}, "digest"),
        ({"cmd": "abort"}, "upload"),
        ({"cmd": "ls"}, "cursor"),
        ({"cmd": "mkdir"}, "path"),
        ({"cmd": "stat"}, "filename"),
        ({"cmd": "ping"}, "unknown"),
        ({}, "cmd"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.get("cmd", "none"),
)
async def test_nonsense_in_the_largest_header_is_answered(peer: Peer, header: dict[str, Any], key: str) -> None:
    """A header of the largest size whose value is nonsense gets a reply that fits, and the conversation goes on."""
    await peer.ask(filled({"id": 7, **header}, key))
    assert (await peer.ask({"cmd": "ping"}))["ok"]


async def test_nonsense_as_root_is_answered(peer: Peer) -> None:
    """A commit whose root is no digest is refused with a reply that fits, and the upload is still open."""
    upload = await peer.begin(filesize=0)
    await peer.send_chunk(upload, 0, b"")
    code = await peer.refusal(filled({"id": 7, "cmd": "commit", "upload": upload, "chunks": 1}, "root"))
    assert code in {"bad_request", "integrity"}
    assert (await peer.ask({"cmd": "abort", "upload": upload}))["ok"]


async def test_empty_chunk_behind_a_full_one_is_refused(peer: Peer) -> None:
    """An upload of unknown size is cut as every file: no chunk is empty but the only one of an empty file."""
    upload = await peer.begin()
    data = bytes(MIN_CHUNK)
    await peer.send_chunk(upload, 0, data)
    await peer.send_chunk(upload, 1, b"")
    leaves = blake3(data).digest() + NOTHING.digest()
    root = blake3(b"ftpd root 1\n" + struct.pack("<QQ", MIN_CHUNK, MIN_CHUNK) + leaves).hexdigest()
    commit = {"cmd": "commit", "upload": upload, "chunks": 2, "root": root}
    assert await peer.refusal(commit) == "bad_request"


async def test_upload_of_nothing_has_one_chunk(peer: Peer) -> None:
    """An upload of unknown size that turns out empty has one chunk of no bytes, and the root of an empty file."""
    upload = await peer.begin()
    await peer.send_chunk(upload, 0, b"")
    root = blake3(b"ftpd root 1\n" + struct.pack("<QQ", 0, MIN_CHUNK) + NOTHING.digest()).hexdigest()
    stored = await peer.ask({"cmd": "commit", "upload": upload, "chunks": 1, "root": root})
    assert {"ok": True, "filename": "a", "filesize": 0, "root": root} == stored


@pytest.mark.parametrize("mtime", [0, 2**31, 2**33, 2**34, 2**40, 2**53 - 1])
async def test_any_time_is_stored_or_refused(peer: Peer, mtime: int) -> None:
    """A modification time beyond what a disk or a database holds does not end the conversation."""
    await peer.ask({"cmd": "put", "filename": "a", "filesize": 0, "mtime": mtime})
    for command in ("stat", "md5"):
        await peer.ask({"cmd": command, "filename": "a"})
    found = await peer.ask({"cmd": "get", "filename": "a"})
    await peer.reader.readexactly(32 * found.get("leaves", 0))
    if found.get("trailer"):
        await peer.read()
    assert (await peer.ask({"cmd": "put", "filename": "b", "filesize": 0}))["ok"]


@pytest.mark.parametrize(
    "spoiled",
    [struct.pack("<i", 0), struct.pack("<i", 2) + b"[]"],
    ids=["length", "header"],
)
async def test_farewell_is_not_a_reply(peer: Peer, spoiled: bytes) -> None:
    """The refusal that ends a connection does not carry the id of a request that has its reply already."""
    await peer.ask({"cmd": "ping"})
    peer.writer.write(spoiled)
    farewell = await peer.read()
    assert not farewell["ok"]
    assert "id" not in farewell
    assert await peer.reader.read() == b""
