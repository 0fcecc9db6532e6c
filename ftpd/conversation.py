"""What a conversation moves: payload in and out, at the rates that hold for whoever is asking."""

import asyncio

from ftpd.access.penalties import Caller
from ftpd.access.rates import SMALL, Pace
from ftpd.commands.exchange import Common, Exchange
from ftpd.payload.channel import Channel
from ftpd.payload.direct import Stretch
from ftpd.payload.files import Source
from ftpd.payload.receive import PIECE, PayloadReader
from ftpd.payload.send import send_payload
from ftpd.replies import Replies
from ftpd.requests import STALL_S, silence
from ftpd.wire.digests import Digest
from ftpd.wire.messages import encode_reply
from ftpd.wire.replies import Reply


class Conversation(Exchange):
    """An exchange over a channel."""

    def __init__(self, channel: Channel, common: Common, caller: Caller) -> None:
        super().__init__(common, caller)
        self.peer = channel.peer
        self._channel = channel
        self.replies = Replies(channel)
        self.pace = Pace()
        self._payload: PayloadReader | None = None
        """That of the current request, as far as it is still to be read."""
        self._unsent = 0
        """Bytes that were promised and are not sent: nothing else can be said before that."""

    async def receive(self) -> Stretch | None:
        """See `Exchange.receive`."""
        payload = self._payload
        if payload is None:
            return None
        while True:
            missing = payload.missing
            try:
                async with asyncio.timeout(STALL_S):
                    data = await payload.next()
            except TimeoutError:
                # A full buffer can take long from a slow peer; what counts is whether anything arrives.
                if payload.missing == missing:
                    raise silence(STALL_S) from None
                continue
            if data is None:
                return None
            await self.pace.came(len(data), is_small=payload.size <= SMALL)
            return Stretch(data, payload)

    async def send(self, reply: Reply, payload: bytes = b"") -> None:
        """See `Exchange.send`."""
        self._unsent = 1  # from here on a refusal would be taken for payload
        await self.replies.write(encode_reply(reply, self.request_id) + payload)

    async def send_all(self, reply: Reply, payload: bytes) -> None:
        """See `Exchange.send_all`."""
        await self.replies.write(encode_reply(reply, self.request_id) + payload)
        await self.pace.went(len(payload), is_small=True)

    def post(self, reply: Reply) -> bool:
        """See `Exchange.post`."""
        sock = self._payload.sock if self._payload is not None else None
        return self.replies.post(encode_reply(reply, self.request_id), sock)

    async def send_payload(self, source: Source, offset: int, size: int, digest: Digest | None) -> None:
        """See `Exchange.send_payload`."""
        self._unsent = size
        end = offset + size
        piece = PIECE if self.pace.is_limited else size
        while offset < end:
            count = min(piece, end - offset)
            await send_payload(self._channel, source, offset, count, digest)
            await self.pace.went(count, is_small=size <= SMALL)
            offset += count
        self._unsent = 0

    async def _skip_payload(self) -> None:
        """Throw away what a command has left of its payload, so that the next frame is found."""
        if self._payload is not None:
            while await self.receive() is not None:
                pass
            self._payload.close()
            self._payload = None
