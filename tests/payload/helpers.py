"""What the tests of the payload path share."""

import asyncio
import functools
import hashlib
import time
from collections.abc import Callable

from ftpd.payload.channel import Channel
from ftpd.payload.receive import PayloadReader
from tests.payload.conftest import PATIENCE_S


@functools.lru_cache(64)
def some_bytes(size: int, seed: bytes = b"payload") -> bytes:
    """Give bytes in which every misplaced block shows."""
    return hashlib.shake_128(seed).digest(size)


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait for something that nobody announces."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s in vain: {what}"
        await asyncio.sleep(0)


async def all_of(payload: PayloadReader) -> bytes:
    """Read a payload to its end, and close it."""
    data = bytearray()
    while (piece := await payload.next()) is not None:
        assert len(piece) > 0
        data += piece
    payload.close()
    return bytes(data)


async def next_frame(channel: Channel, size: int) -> tuple[bytes, bytes]:
    """Read a header and its payload, as a session does."""
    length = await channel.read_length()
    assert length is not None
    header = await channel.read_exactly(length)
    return header, await all_of(await channel.receive(size))
