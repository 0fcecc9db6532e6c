"""One connection to a server: requests out, replies in, and the one door through which errors become ours."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ftpc.address import Address
from ftpc.errors import (
    ConnectError,
    ConnectionLostError,
    FtpcError,
    GarbledError,
    ProtocolError,
    RefusedError,
    SecretError,
    TrustError,
)
from ftpd import __version__
from ftpd.payload.channel import Channel, connect
from ftpd.payload.receive import PayloadReader
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.frames import Header, decode_header, find_frame
from ftpd.wire.messages import encode_request, parse
from ftpd.wire.replies import Greeting, Identity, Refusal, Reply
from ftpd.wire.requests import Hello, Request
from ftpd.wire.terms import VERSION

if TYPE_CHECKING:
    from ftpc.credentials import Credentials
    from ftpc.trust import Trust

CONNECT_S = 10.0
"""How long a server may take to accept a connection: longer than any honest round trip, shorter than patience."""

STALL_S = 60.0
"""How long nothing may move before a connection counts as dead. A sleeping laptop is shorter or much longer."""

RETRIES = 10
"""How often in a row a lost connection is tried again, which takes about a minute and a half."""


STREAMS = 8
"""Connections for one file. At 100 ms a file of 64 MiB takes 3.5 s over one, 1.8 s over 4, 1.4 s over 8; others have
measured that 16 are worse again."""


_LAST = {
    ErrorCode.BAD_FRAME,
    ErrorCode.TIMEOUT,
    ErrorCode.GOING_AWAY,
    ErrorCode.UNAUTHORIZED,
    ErrorCode.INTERNAL,
    ErrorCode.TLS_REQUIRED,
}
"""Refusals after which the server may have closed the connection: whoever comes next needs another one."""


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
        self._has_shown_credentials = False
        self._has_shown_certificate = False
        self._prove: Callable[[str], Request] | None = None
        self.is_usable = True
        """Whether the next request would find the stream where it belongs."""
        self.was_turned_away = False
        """Whether the server has as many connections as it takes, and this is one too many."""

    def __repr__(self) -> str:
        return f"<Connection {self._address} {'usable' if self.is_usable else 'broken'}>"

    @classmethod
    async def open(
        cls,
        address: Address,
        patience: Patience,
        trust: "Trust | None" = None,
        credentials: "Credentials | None" = None,
    ) -> "Connection":
        """Connect. The server's greeting is asked for, but not waited for: the first request goes right behind it.

        Raises:
            ConnectError: nobody answers.
            TrustError: it is not to be trusted, or not to be trusted with credentials.
        """
        timeout_s = patience.connect_s
        if credentials is not None and not address.is_private:
            raise SecretError(address.place)
        # Put together before anything is timed: it may ask for a passphrase.
        login = credentials.request if credentials is not None else None
        try:
            async with asyncio.timeout(timeout_s):
                channel = await _connect(address, trust)
        except TimeoutError as exc:
            raise ConnectError(f"{address} does not answer within {timeout_s:g} s") from exc
        except (OSError, UnicodeError) as exc:
            raise ConnectError(f"can not connect to {address}: {_reason(exc)}{_advice(exc, address)}") from exc
        connection = cls(channel, address, patience)
        connection._has_shown_certificate = trust is not None and trust.has_certificate
        channel.write(encode_request(Hello(client=f"ftpc/{__version__}")))
        if login is not None:
            channel.write(encode_request(login))
            connection._has_shown_credentials = True
        if login is not None and credentials is not None and credentials.key is not None:
            # What is asked for next has to stand behind the signature, which needs an answer first.
            certificate = _certificate_of(channel, address)
            connection._prove = lambda nonce: credentials.prove(login, nonce, certificate)
            await connection._greet_or_close()
        return connection

    async def _greet_or_close(self) -> None:
        try:
            await self.greet()
        except BaseException:
            self.channel.abort()
            raise

    async def greet(self) -> Greeting:
        """Give what the server says of itself.

        Raises:
            FtpcError: it does not speak our language.
        """
        if self._greeting is None:
            try:
                async with asyncio.timeout(self._timeout_s):
                    self._greeting = greeting = await self._read(Greeting)
                    await self._hear_of_login(greeting)
            except TimeoutError as exc:
                raise ConnectError(
                    f"{self._address} accepts connections, but says nothing for {self._timeout_s:g} s"
                ) from exc
            except FtpcError as exc:
                self.is_usable = False  # the next reply would be taken for the greeting
                self.was_turned_away = isinstance(exc, RefusedError) and exc.code == ErrorCode.BUSY
                raise
            if greeting.version != VERSION:
                self.is_usable = False
                raise ProtocolError(f"{self._address} speaks version {greeting.version} of the protocol, not {VERSION}")
        return self._greeting

    async def _hear_of_login(self, greeting: Greeting) -> None:
        if self._has_shown_credentials:
            try:
                identity = await self._read(Identity)
                if identity.nonce and self._prove is not None:
                    self.channel.write(encode_request(await asyncio.to_thread(self._prove, identity.nonce)))
                    await self._read(Identity)
            except RefusedError:
                if greeting.auth:  # where nobody logs in it does not matter
                    raise

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

    async def read_replies(self, kinds: Sequence[type[R]]) -> list[R | RefusedError]:
        """Wait for the next reply, and take with it those that have arrived behind it, refusals included.

        `kinds` are those of the replies to come, in their order; no more than these are taken.

        Raises:
            FtpcError: as `read_reply`, but for refusals; or nothing came for too long.
        """
        replies: list[R | RefusedError] = []

        def take(data: bytes, place: int) -> int | None:
            found = find_frame(data, place) if len(replies) < len(kinds) else None
            if found is None:
                return None
            try:
                replies.append(self._understand(found[0], kinds[len(replies)]))
            except FtpdError:  # of what was understood before it nothing is lost: whoever reads on finds the same
                return None
            return found[1]

        async with self.patience():
            await self.greet()
            try:
                replies.append(await self._read(kinds[0]))
            except RefusedError as exc:
                replies.append(exc)
        await self.read_arrived(take)
        return replies

    async def read_arrived(self, take: Callable[[bytes, int], int | None]) -> None:
        """Read on without waiting: give what has arrived to `take`, which tells where what it takes of it ends.

        It is called with the next place until it gives None.
        """
        with self.errors():
            data, place = await self.channel.read_arrived(), 0
            while (end := take(data, place)) is not None:
                place = end
            self.channel.return_(data[place:])

    @contextlib.asynccontextmanager
    async def patience(self, times: int = 1) -> AsyncIterator[None]:
        """Give up if the block, in which little is waited for, takes too long: so many times what nothing may.

        As long as the server takes what we have sent before, it takes its time (it may be told to), and is not gone.

        Raises:
            ConnectionLostError: it did.
        """
        longest_s = times * self.stall_timeout_s
        try:
            async with asyncio.timeout(None) as deadline:
                watching = asyncio.create_task(self._expire(deadline, longest_s))
                try:
                    yield
                finally:
                    watching.cancel()
        except TimeoutError as exc:
            self.is_usable = False
            raise ConnectionLostError(f"nothing came from {self._address} for {longest_s:g} s") from exc

    async def _expire(self, deadline: asyncio.Timeout, longest_s: float) -> None:
        before: int | None = -1
        while before != (now := self.channel.acknowledged):
            before = now
            await asyncio.sleep(longest_s)
        deadline.reschedule(0)

    async def read_bytes(self, size: int) -> bytes:
        """Read raw bytes behind a reply into memory."""
        with self.errors():
            return await self.channel.read_exactly(size)

    async def receive(self, size: int, *, directly: bool = False) -> PayloadReader:
        """Start to receive the payload behind a reply."""
        with self.errors():
            return await self.channel.receive(size, directly=directly)

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
            if self._greeting is None:
                raise ProtocolError(f"{self._address} does not speak our protocol; is it an ftpd?") from exc
            raise GarbledError(f"{self._address} does not speak our protocol: {exc.message}") from exc
        except OSError as exc:
            self.is_usable = False
            if self._greeting is None and self._has_shown_certificate:
                # Servers look at it when the handshake is over for us, and end the connection without a word.
                raise TrustError(
                    f"{self._address} said nothing and closed the connection: the certificate that it was shown may "
                    f"have expired, or be signed by somebody it does not believe ({_reason(exc)})"
                ) from exc
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
            reply = self._understand(header, kind)
        if isinstance(reply, RefusedError):
            raise reply
        return reply

    def _understand(self, header: Header, kind: type[R]) -> R | RefusedError:
        reply = reply_of(header, kind)
        if isinstance(reply, RefusedError) and reply.code in _LAST:
            self.is_usable = False
        return reply


async def _connect(address: Address, trust: "Trust | None") -> Channel:
    if not address.is_encrypted:
        return await connect(address.host, address.port)
    from ftpc.trust import Trust

    return await (trust or Trust()).open(address)


def _certificate_of(channel: Channel, address: Address) -> bytes:
    """Give the SHA-256 of the certificate that the server has shown us.

    Raises:
        TrustError: it has shown none.
    """
    if not address.is_encrypted:
        channel.abort()
        raise TrustError(f"{address}: a key logs in to encrypted servers only; use ftpds://{address.place}")
    from ftpc.trust import pin_of

    return bytes.fromhex(pin_of(channel))


def _advice(exc: Exception, address: Address) -> str:
    if address.is_encrypted and type(exc).__module__ == "ssl":
        return "; what answers there does not speak TLS as it should; is it ftpd:// without the s?"
    # Behind a name that nobody knows there is no machine to look at.
    return "" if isinstance(exc, socket.gaierror | UnicodeError) else "; is ftpd running there?"


def reply_of(header: Header, kind: type[R]) -> R | RefusedError:
    """Understand the header of a reply.

    Raises:
        FtpdError: it makes no sense.
    """
    if header.get("ok") is True:
        return parse(header, kind)
    error = parse(header, Refusal).error
    body = header["error"]
    assert isinstance(body, dict)
    facts: dict[str, object] = {name: value for name, value in body.items() if name not in {"code", "message"}}
    return RefusedError(error.code, error.message, facts)


def _reason(exc: Exception) -> str:
    if isinstance(exc, OSError) and exc.errno is not None and exc.errno > 0:
        return os.strerror(exc.errno)  # asyncio puts addresses into its own words
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
