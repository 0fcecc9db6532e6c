"""What a conversation says: replies that go out at once, and those that are held back for a client that never reads.

The classic client sends file after file, never reads, and closes. TCP answers a close with unread data in it by a
reset, which destroys what is still on its way here: files would be lost. So a client that has sent nothing but puts
without `id` gets its replies when it is quiet for a moment, or has ended its side.
"""

import asyncio
import contextlib
from typing import ClassVar

from ftpd.payload.channel import Channel
from ftpd.payload.receive import Socket
from ftpd.requests import STALL_S
from ftpd.wire.digests import Buffer
from ftpd.wire.limits import MIB

HELD_BYTES = 16 * MIB
"""How much of its replies is kept back for one client: those of some 100,000 files."""

ALL_HELD_BYTES = 128 * MIB
"""How much of them is kept back for all clients together."""


class Replies:
    """The replies of one conversation."""

    _all_held: ClassVar[int] = 0

    def __init__(self, channel: Channel) -> None:
        self.is_classic = True
        """Whether the client may be one that never reads."""
        self._channel = channel
        self._held = bytearray()
        self._is_posting = False
        self._loop = asyncio.get_running_loop()

    @property
    def has_held(self) -> bool:
        """Whether some are held back."""
        return bool(self._held)

    async def reply(self, frame: bytes) -> None:
        """Send a reply, or hold it back as long as a classic client goes on sending.

        Raises:
            ConnectionError: nobody reads it.
        """
        self.hold(frame)
        await self.release_some()

    async def release_some(self) -> None:
        """Send what was held back, unless it is little and of a classic client. Raises as `reply` does."""
        if not self.is_classic or len(self._held) > HELD_BYTES or Replies._all_held > ALL_HELD_BYTES:
            await self.release()

    def hold(self, frames: Buffer) -> None:
        """Keep replies back, to be taken with the next that is said."""
        self._held += frames
        Replies._all_held += len(frames)

    async def release(self) -> None:
        """Send what was held back. Raises as `reply` does."""
        if self._held:
            await self.write(self.take_held())

    def take_held(self) -> bytes:
        """Give what was held back, to send it in another way or not at all."""
        frames, self._held = bytes(self._held), bytearray()
        Replies._all_held -= len(frames)
        return frames

    async def write(self, data: bytes) -> None:
        """Send bytes. Raises as `reply` does."""
        self._channel.write(data)
        del data  # the channel has what is not sent: while it is waited for, once is enough
        await self._drain()

    def post(self, frame: bytes, sock: Socket | None) -> bool:
        """Send a reply from a thread, over the socket that the thread reads from, if it has one.

        Returns whether the peer's side has taken it. If not, it is sent later: `end_posts`.
        """
        if sock is not None and not self._is_posting:
            with contextlib.suppress(OSError):
                frame = frame[sock.send(frame) :]
        if frame:
            self._is_posting = True
            self._loop.call_soon_threadsafe(self._channel.write, frame)
        return not frame

    async def end_posts(self) -> None:
        """Wait until what threads have posted is sent. Raises as `reply` does."""
        if self._is_posting:
            await asyncio.sleep(0)  # let the last one be queued
            await self._drain()
            self._is_posting = False

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(STALL_S):
                await self._channel.drain()
        except TimeoutError:
            raise ConnectionAbortedError(f"the peer read nothing for {STALL_S:.0f} s") from None
