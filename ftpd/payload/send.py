"""Sending payload: the kernel's `sendfile` where it can see the bytes, large writes where it can not."""

import asyncio
import contextlib

from ftpd.payload.channel import Channel
from ftpd.payload.files import Source
from ftpd.wire.digests import Buffer, Digest
from ftpd.wire.limits import MIB

WINDOW = 8 * MIB
"""What is sent at once. While it goes out, a thread makes the next one ready: hashed, or read into the page cache.

One `sendfile` call takes no more than the socket's buffer (4 MiB as Linux comes), so others wait for a millisecond.
"""


async def send_payload(channel: Channel, source: Source, offset: int, size: int, digest: Digest | None = None) -> None:
    """Send a range of a file, feeding it to `digest` on the way.

    Cancelling leaves the frame incomplete: only close the connection after it.

    Raises:
        FtpdError: the file became shorter or could not be read; the frame is incomplete.
        ConnectionError: the connection is lost.
    """
    file = None if channel.is_encrypted else source.file()
    end = offset + size

    def load(start: int) -> asyncio.Task[Buffer | None]:
        count = min(WINDOW, end - start)
        return asyncio.create_task(source.load(start, count, digest, copy=file is None))

    loading = load(offset) if size else None
    try:
        while loading is not None:
            data = await loading
            start, offset = offset, min(offset + WINDOW, end)
            loading = load(offset) if offset < end else None
            if data is not None:
                channel.write(memoryview(data))
                await channel.drain()
            elif file is not None:
                await channel.sendfile(file, start, offset - start)
    finally:
        if loading is not None:
            # The thread still uses the file and the digest, which are the caller's again after this.
            loading.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await loading
