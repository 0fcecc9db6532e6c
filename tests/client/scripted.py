"""A server that says what a test tells it to, right or wrong."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from tests.peer import frame

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

GREETING = {
    "ok": True,
    "version": 1,
    "server": "scripted/1",
    "features": [],
    "limits": {},
    "durability": "full",
    "read_only": False,
    "auth": [],
}
CONTENT = {
    "ok": True,
    "filesize": 5,
    "offset": 0,
    "length": 5,
    "chunk_size": 8 * 1024 * 1024,
    "leaves": 0,
    "trailer": True,
    "mtime": 0,
    "mtime_ns": 0,
    "mode": 0o644,
}


def refusal(code: str, message: str = "no", **facts: object) -> bytes:
    """Encode a refusal."""
    return frame({"ok": False, "error": {"code": code, "message": message, **facts}})


async def read_request(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Read a request and throw its payload away."""
    (length,) = struct.unpack("<i", await reader.readexactly(4))
    header: dict[str, Any] = json.loads(await reader.readexactly(length))
    size = header.get({"put": "filesize", "chunk": "size"}.get(header["cmd"], ""), 0)
    while size:
        size -= len(await reader.readexactly(min(size, 2**16)))
    return header


def answering(answers: Mapping[str, bytes]) -> Handler:
    """Answer every command with bytes of its own; close the connection where there are none."""
    known = {"hello": frame(GREETING), **answers}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while answer := known.get((await read_request(reader))["cmd"]):
            writer.write(answer)
            await writer.drain()

    return handle


def saying(data: bytes) -> Handler:
    """Say something whatever is asked, and close."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    return handle


@contextlib.asynccontextmanager
async def scripted(handler: Handler) -> AsyncIterator[str]:
    """Serve with a handler, and give the address."""
    running: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
                await handler(reader, writer)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()
            running.discard(task)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running)
        await listener.wait_closed()
