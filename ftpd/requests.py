"""Reading requests off a connection: in their order, each within its time, and some ahead of their turn.

A chunk is stored by another thread while the loop could already receive the next one. So while files are coming in,
one request is read before it is asked for. Only one payload arrives at a time: the next header stands behind it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ftpd.commands.table import COMMANDS, Command
from ftpd.payload.channel import Channel
from ftpd.payload.receive import PayloadReader, is_crowded
from ftpd.wire.errors import BadFrameError, ErrorCode, FtpdError
from ftpd.wire.frames import Header, decode_header, find_frame
from ftpd.wire.limits import MAX_HEADER, SMALL_FILE
from ftpd.wire.messages import payload_size_of
from ftpd.wire.requests import Put, Request

FIRST_FRAME_S = 30.0
"""How long a connection may say nothing at all. Honest clients speak at once."""

IDLE_S = 600.0
"""How long a connection may be silent between requests: a person may think, a forgotten one must end."""

HEADER_S = 20.0
"""How long a header may take from its length to its end: 64 KiB at the speed of a modem."""

STALL_S = 300.0
"""How long payload or a reply may make no progress at all before the peer counts as dead."""

QUIET_S = 1.0
"""How long a client without `hello` and `id` has to be quiet before it gets the replies to its puts: see `Session`."""


class Incoming(NamedTuple):
    """A request that has been read, but not been looked at."""

    header: Header
    payload: PayloadReader | None


class Requests:
    """The requests of one connection."""

    def __init__(self, channel: Channel, on_quiet: Callable[[], Awaitable[None]]) -> None:
        self.reads_ahead = False
        """Whether more requests may be read than have been asked for. Stops nothing that has begun."""
        self.watches_quiet = False
        """Whether `on_quiet` is called when nothing has come for `QUIET_S`."""
        self.is_paced = False
        """Whether payload is to come slowly, so that each of its pieces has to be small."""
        self.header_limit = MAX_HEADER
        """The largest header that is read."""
        self._channel = channel
        self._on_quiet = on_quiet
        self._ahead: asyncio.Task[Incoming | None] | None = None
        self._arriving: PayloadReader | None = None
        self._resting: asyncio.Task[Incoming | None] | None = None
        self._patience_s = FIRST_FRAME_S

    @property
    def resting(self) -> asyncio.Task[Incoming | None] | None:
        """The task that waits for the first byte of a request, if there is one."""
        return self._resting

    async def next(self) -> Incoming | None:
        """Give the next request with the first bytes of its payload, or None after the last.

        Raises:
            FtpdError: the stream makes no sense any more, or nothing arrives for too long.
            ConnectionError: the connection ended inside a request.
        """
        if self._ahead is None:
            return await self._read(self._patience_s)
        # Left in its place until it is done: if this is cancelled, `close` drops what it has read.
        while not self._ahead.done():
            await asyncio.wait((self._ahead,), timeout=self._patience_s)
            if self._resting is not None:
                raise silence(self._patience_s)
        incoming = self._ahead.result()
        self._ahead = None
        if incoming is not None:
            self.look_ahead()
        return incoming

    async def next_puts(self, limit: int) -> list[tuple[Header, memoryview]]:
        """Take the requests that are puts and have arrived whole, with their payload."""
        if self._ahead is not None:
            return []
        data = await self._channel.read_arrived()
        puts: list[tuple[Header, memoryview]] = []
        place = 0
        while len(puts) < limit and (found := _whole_put(data, place)) is not None:
            header, start, place = found
            puts.append((header, memoryview(data)[start:place]))
        self._channel.return_(data[place:])
        return puts

    async def next_gets(self, limit: int) -> list[Header]:
        """Take the requests for small files, or what may be some, that have arrived."""
        if self._ahead is not None:
            return []
        data = await self._channel.read_arrived()
        gets: list[Header] = []
        place = 0
        while len(gets) < limit and (found := _whole_get(data, place)) is not None:
            header, place = found
            gets.append(header)
        self._channel.return_(data[place:])
        return gets

    def look_ahead(self) -> None:
        """Begin to read another request, if one may be read ahead and could be there."""
        is_arriving = self._arriving is not None and self._arriving.missing
        if self.reads_ahead and self._ahead is None and not is_arriving and not is_crowded():
            # Silence does not count before it is this request's turn: the peer may be waiting for a reply.
            self._ahead = asyncio.create_task(self._read(None))

    async def close(self) -> None:
        """Stop reading ahead, and drop what has been read."""
        self.reads_ahead = False
        if self._ahead is None:
            return
        self._ahead.cancel()
        (incoming,) = await asyncio.gather(self._ahead, return_exceptions=True)
        self._ahead = None
        if isinstance(incoming, Incoming) and incoming.payload is not None:
            self._channel.drop(incoming.payload)

    async def _read(self, patience_s: float | None) -> Incoming | None:
        size = await self._rest(patience_s)
        if size is None:
            return None
        self._patience_s = IDLE_S
        try:
            async with asyncio.timeout(HEADER_S):
                header = decode_header(await self._channel.read_exactly(size))
        except TimeoutError:
            raise silence(HEADER_S) from None
        command = find_command(header)
        payload_size = payload_size_of(header, command.request) if command else 0
        if not payload_size:
            return Incoming(header, None)
        try:
            async with asyncio.timeout(STALL_S):
                payload = await self._channel.receive(
                    payload_size, self.look_ahead, directly=not self.is_paced, in_pieces=self.is_paced
                )
        except TimeoutError:
            raise silence(STALL_S) from None
        self._arriving = payload
        return Incoming(header, payload)

    async def _rest(self, patience_s: float | None) -> int | None:
        """Wait for the length of the next header, for at most `patience_s` unless that is None."""
        self._resting = asyncio.current_task()
        try:
            if self.watches_quiet:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(QUIET_S):
                        return await self._channel.read_length(self.header_limit)
                await self._on_quiet()
            try:
                async with asyncio.timeout(patience_s):
                    return await self._channel.read_length(self.header_limit)
            except TimeoutError:
                raise silence(patience_s or 0) from None
        finally:
            self._resting = None


def _whole_put(data: bytes, place: int) -> tuple[Header, int, int] | None:
    """Find a put that is complete: its header, and where its payload starts and ends."""
    try:
        found = find_frame(data, place)
        if found is None or found[0].get("cmd") != "put":
            return None
        header, start = found
        end = start + payload_size_of(header, Put)
    except BadFrameError:  # found again by whoever reads the next request, and answered
        return None
    return (header, start, end) if start <= end <= len(data) else None


def _whole_get(data: bytes, place: int) -> tuple[Header, int] | None:
    """Find a get of a whole file: its header, and where it ends."""
    try:
        found = find_frame(data, place)
    except BadFrameError:  # as above
        return None
    return found if found is not None and is_whole_get(found[0]) else None


def is_whole_get(header: Header) -> bool:
    """Tell whether a request is for a file from its beginning to its end, if that is small."""
    if header.get("cmd") != "get" or header.keys() & {"offset", "resume", "if_root"}:
        return False
    length = header.get("length", SMALL_FILE)
    return isinstance(length, int) and length >= SMALL_FILE


def find_command(header: Header) -> Command[Request] | None:
    """Look up what a request asks for."""
    name = header.get("cmd")
    return COMMANDS.get(name) if isinstance(name, str) else None


def silence(seconds: float, what: str = "nothing arrived") -> FtpdError:
    """Say that something has not come for too long."""
    return FtpdError(ErrorCode.TIMEOUT, f"{what} for {seconds:.0f} s")
