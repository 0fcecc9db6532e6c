"""Many slow transfers, all of which run at the same time: what a server's memory is measured with.

    python crowd.py up HOST PORT COUNT FILE     so many upload a file, each to a name of its own below `up`
    python crowd.py down HOST PORT COUNT FILE   so many download it; its name is `down`

Nobody finishes before everybody is half way. Requests are written as the protocol has them, without the client, which
would be too many threads; uploads go in chunks, as those of the client do.
"""

import asyncio
import json
import resource
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

PIECE = 256 * 1024
PAUSE_S = 0.03
"""Between pieces: 200 of these would like 1.7 GB/s together, and the server decides how much they get."""

CHUNK = 8 * 2**20


async def main(way: str, host: str, port: int, count: int, data: bytes) -> None:
    """Run all of them."""
    half = asyncio.Barrier(count)
    transfer = upload if way == "up" else download
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(transfer(host, port, number, data, half))


async def upload(host: str, port: int, number: int, data: bytes, half: asyncio.Barrier) -> None:
    """Send a file of one chunk, slowly."""
    reader, writer = await asyncio.open_connection(host, port)
    leaf = blake3(data)
    writer.write(frame({"cmd": "begin", "filename": f"up/{number}", "filesize": len(data), "id": 1}))
    begun = await reply(reader)
    head = {
        "cmd": "chunk",
        "upload": begun["upload"],
        "index": 0,
        "size": len(data),
        "digest": leaf.hexdigest(),
        "id": 2,
    }
    writer.write(frame(head))
    for offset in range(0, len(data), PIECE):
        writer.write(data[offset : offset + PIECE])
        await writer.drain()
        await asyncio.sleep(PAUSE_S)
        if offset <= len(data) // 2 < offset + PIECE:
            await half.wait()
    await reply(reader)
    root = blake3(b"ftpd root 1\n" + struct.pack("<QQ", len(data), begun["chunk_size"]) + leaf.digest())
    writer.write(frame({"cmd": "commit", "upload": begun["upload"], "chunks": 1, "root": root.hexdigest(), "id": 3}))
    await reply(reader)
    writer.close()


async def download(host: str, port: int, _: int, data: bytes, half: asyncio.Barrier) -> None:
    """Read a file slowly."""
    reader, writer = await asyncio.open_connection(host, port, limit=PIECE)
    writer.write(frame({"cmd": "get", "filename": "down", "id": 1}))
    found = await reply(reader)
    await reader.readexactly(32 * found["leaves"])
    whole = blake3()
    for offset in range(0, len(data), PIECE):
        whole.update(await reader.readexactly(min(PIECE, len(data) - offset)))
        await asyncio.sleep(PAUSE_S)
        if offset <= len(data) // 2 < offset + PIECE:
            await half.wait()
    assert whole.digest() == blake3(data).digest(), "what arrived is not what is there"
    writer.close()


def frame(header: Mapping[str, object]) -> bytes:
    """Write a request."""
    raw = json.dumps(header).encode()
    return struct.pack("<i", len(raw)) + raw


async def reply(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Read a reply, which must not be a refusal."""
    (length,) = struct.unpack("<i", await reader.readexactly(4))
    header: dict[str, Any] = json.loads(await reader.readexactly(length))
    if not header["ok"]:
        raise ConnectionError(str(header["error"]))
    return header


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    way, host, port, count, path = sys.argv[1:]
    data = Path(path).read_bytes()
    assert len(data) <= CHUNK
    asyncio.run(main(way, host, int(port), int(count), data))
