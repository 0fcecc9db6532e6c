"""One connection to a server: requests out, replies in, and the one door through which errors become ours."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple, TypeVar

from ftpc.address import Address
from ftpc.errors import ConnectError, ConnectionLostError, FtpcError, ProtocolError, RefusedError
from ftpd import __version__
from ftpd.payload.channel import Channel, connect
from ftpd.payload.receive import PayloadReader
from ftpd.wire.errors import FtpdError
from ftpd.wire.frames import Header, decode_header, find_frame
from ftpd.wire.messages import VERSION, Greeting, Hello, Refusal, Reply, Request, encode_request, parse

CONNECT_S = 10.0
"""How long a server may take to accept a connection: longer than any honest round trip, shorter than patience."""

STALL_S = 60.0
"""How long nothing may move before a connection counts as dead. A sleeping laptop is shorter or much longer."""

RETRIES = 10
"""How often in a row a lost connection is tried again, which takes about a minute and a half."""


STREAMS = 8
"""Connections for one file. At 100 ms a file of 64 MiB takes 3.5 s over one, 1.8 s over 4, 1.4 s over 8; others have
measured that 16 are worse again."""


class Patience(NamedTuple):
    """How long a client waits, and how often it tries."""

    connect_s: float = CONNECT_S
    """For a server to accept a connection, and to greet."""
    stall_s: float = STALL_S
    """For anything at all to move in a transfer."""
    retries: int = RETRIES
    """How often in a row, without progress in between, a broken transfer is gone on with."""


R = TypeVar("R", bound=Reply)


class Connection:
    """A conversation with a server. One request or transfer at a time; replies come in the order of the requests."""

    def __init__(self, channel: Channel, address: Address, patience: Patience) -> None:
        self.channel = channel
        self.stall_timeout_s = patience.stall_s
        self._timeout_s = patience.connect_s
        self._address = address
        self._greeting: Greeting | None = None
        self.is_usable = True
        """Whether the next request would find the stream where it belongs."""

    def __repr__(self) -> str:
        return f"<Connection {self._address} {'usable' if self.is_usable else 'broken'}>"

    @classmethod
    async def open(cls, address: Address, patience: Patience) -> "Connection":
        """Connect. The server's greeting is asked for, but not waited for: the first request goes right behind it.

        Raises:
            ConnectError: nobody answers.
        """
        timeout_s = patience.connect_s
        try:
            async with asyncio.timeout(timeout_s):
                channel = await connect(address.host, address.port)
        except TimeoutError as exc:
            raise ConnectError(f"{address} does not answer within {timeout_s:g} s") from exc
        except (OSError, UnicodeError) as exc:
            raise ConnectError(f"can not connect to {address}: {_reason(exc)}; is ftpd running there?") from exc
        connection = cls(channel, address, patience)
        channel.write(encode_request(Hello(client=f"ftpc/{__version__}")))
        return connection

    async def greet(self) -> Greeting:
        """Give what the server says of itself.

        Raises:
            FtpcError: it does not speak our language.
        """
        if self._greeting is None:
            try:
                async with asyncio.timeout(self._timeout_s):
                    self._greeting = greeting = await self._read(Greeting)
            except TimeoutError as exc:
                raise ConnectError(
                    f"{self._address} accepts connections, but says nothing for {self._timeout_s:g} s"
                ) from exc
            except FtpcError:
                self.is_usable = False  # the next reply would be taken for the greeting
                raise
            if greeting.version != VERSION:
                self.is_usable = False
                raise ProtocolError(f"{self._address} speaks version {greeting.version} of the protocol, not {VERSION}")
        return self._greeting

    async def ask(self, request: Request, kind: type[R]) -> R:
        """Send a request without payload and wait for its reply.

        Raises:
            FtpcError: it was refused, or the connection is lost.
        """
        await self.send(request)
        return await self.read_reply(kind)

    async def send(self, request: Request, payload: bytes | memoryview = b"") -> None:
        """Send a request, and its payload if that is in memory. Its reply is read later.

        Raises:
            ConnectionLostError: there is nobody to send it to.
        """
        with self.errors():
            # One segment for both where they are small.
            frame = encode_request(request)
            self.channel.write(frame + payload if len(payload) < 2**16 else frame)
            if len(payload) >= 2**16:
                self.channel.write(payload)
            await self.channel.drain()

    async def read_reply(self, kind: type[R]) -> R:
        """Read the reply to the oldest request that has none yet.

        Raises:
            RefusedError: the server refused it.
            FtpcError: the connection is lost, or the reply makes no sense.
        """
        await self.greet()
        return await self._read(kind)

    async def read_replies(self, kind: type[R], most: int) -> list[R | RefusedError]:
        """Wait for the next reply, and take with it those that have arrived behind it, refusals included.

        Raises:
            FtpcError: as `read_reply`, but for refusals; or nothing came for too long.
        """
        replies: list[R | RefusedError] = []
        async with self.patience():
            await self.greet()
            try:
                replies.append(await self._read(kind))
            except RefusedError as exc:
                replies.append(exc)
        with self.errors():
            data, place = await self.channel.read_arrived(), 0
            while len(replies) < most and (found := find_frame(data, place)) is not None:
                header, place = found
                replies.append(parse(header, kind) if header.get("ok") is True else _refusal(header))
            self.channel.return_(data[place:])
        return replies

    @contextlib.asynccontextmanager
    async def patience(self) -> AsyncIterator[None]:
        """Give up if the block, in which little is waited for, takes too long.

        Raises:
            ConnectionLostError: it did.
        """
        try:
            async with asyncio.timeout(self.stall_timeout_s):
                yield
        except TimeoutError as exc:
            self.is_usable = False
            raise ConnectionLostError(f"nothing came from {self._address} for {self.stall_timeout_s:g} s") from exc

    async def read_bytes(self, size: int) -> bytes:
        """Read raw bytes behind a reply into memory."""
        with self.errors():
            return await self.channel.read_exactly(size)

    async def receive(self, size: int) -> PayloadReader:
        """Start to receive the payload behind a reply."""
        with self.errors():
            return await self.channel.receive(size)

    async def close(self) -> None:
        """Part in good order; at once if the conversation is broken."""
        if self.is_usable:
            self.is_usable = False
            await self.channel.close()
        self.channel.abort()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Let errors of the network and the wire out as ours. The connection is of no use after any of them."""
        try:
            yield
        except FtpdError as exc:
            self.is_usable = False
            raise ProtocolError(f"{self._address} does not speak our protocol: {exc.message}") from exc
        except OSError as exc:
            self.is_usable = False
            raise ConnectionLostError(f"the connection to {self._address} was lost: {_reason(exc)}") from exc
        except BaseException:
            self.is_usable = False  # cancelled in the middle of a frame
            raise

    async def _read(self, kind: type[R]) -> R:
        with self.errors():
            size = await self.channel.read_length()
            if size is None:
                msg = "the server closed it"
                raise ConnectionResetError(msg)
            header = decode_header(await self.channel.read_exactly(size))
            if header.get("ok") is True:
                return parse(header, kind)
            refusal = _refusal(header)
        raise refusal


def _refusal(header: Header) -> RefusedError:
    error = parse(header, Refusal).error
    body = header["error"]
    assert isinstance(body, dict)
    facts: dict[str, object] = {name: value for name, value in body.items() if name not in {"code", "message"}}
    return RefusedError(error.code, error.message, facts)


def _reason(exc: Exception) -> str:
    if isinstance(exc, OSError) and exc.errno is not None and exc.errno > 0:
        return os.strerror(exc.errno)  # asyncio puts addresses into its own words
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
