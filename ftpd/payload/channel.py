"""One connection, as either side sees it: frames through streams, payload through pooled buffers.

asyncio's streams are right for headers and wrong for payload: `StreamReader` copies every byte three times. So the
connection's protocol has two modes. In header mode bytes go to the `StreamReader`; while a `PayloadReader` is
attached they go straight into its buffers (`asyncio.BufferedProtocol`). Both modes work alike over TLS.
"""

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from io import FileIO
from typing import cast

from ftpd.payload import tcp
from ftpd.payload.buffers import buffers
from ftpd.payload.direct import DIRECT_SIZE, MOST_DIRECT
from ftpd.payload.receive import PayloadReader
from ftpd.payload.tls import TlsSocket
from ftpd.payload.tls_transport import TlsTransport, negotiate
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.frames import decode_length
from ftpd.wire.limits import KIB, LENGTH_SIZE, MAX_HEADER

STREAM_LIMIT = 8 * KIB
"""Bytes the `StreamReader` holds before it pauses (at twice that), but for its last read: a few headers."""

READ_SIZE = 256 * KIB
"""What is read at once where it is not known what it is: dozens of small files."""

SHORT_READ = 4 * KIB
"""What is read at once when memory is short: any header but long ones."""

ENOUGH = READ_SIZE // 2
"""With so much that has arrived there is no need to look for more."""

MOST_ARRIVED = 4 * READ_SIZE
"""More than the `StreamReader` ever holds, with its last read and what was returned."""

LINGER_S = 2.0
"""How long a connection that is being refused is still read, so that the refusal is not lost to a TCP reset."""

LINGER_BYTES = 64 * 1024 * KIB
"""How much of it, likewise."""

# One for all connections: what arrives in it is copied out before anything else can happen.
_scratch = memoryview(bytearray(READ_SIZE))


class ChannelProtocol(asyncio.StreamReaderProtocol, asyncio.BufferedProtocol):
    """Feeds what arrives to a `StreamReader`, or to a `PayloadReader` while one is attached."""

    def __init__(
        self, accepted: Callable[["Channel"], None] | None = None, origin: tuple[str, int] | None = None
    ) -> None:
        """Call `accepted` once there is a connection; `origin` is where it comes from, if not from its other end."""
        self.origin = origin
        self.reader = asyncio.StreamReader(limit=STREAM_LIMIT)
        self.payload: PayloadReader | None = None
        self.ended = asyncio.Event()
        self.fed = 0
        """Bytes that the `StreamReader` has been given so far."""
        self._used = 0
        """How many of them are counted no more (`Buffers.waiting`)."""
        self._accepted = accepted
        # It would keep what it calls for ever: with that, no connection would be freed before a collection of garbage.
        super().__init__(self.reader, client_connected_cb=None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note that the connection is there (called by the transport)."""
        super().connection_made(transport)
        if self._accepted is not None:
            assert isinstance(transport, asyncio.WriteTransport)
            accepted, self._accepted = self._accepted, None
            writer = asyncio.StreamWriter(transport, self, self.reader, asyncio.get_running_loop())
            accepted(Channel(self.reader, writer, self))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go (called by the transport)."""
        del sizehint
        if self.payload is not None and not self.payload.missing:
            self.payload = None  # the last of it was read directly
        if self.payload is None:
            return _scratch[:SHORT_READ] if buffers.are_short else _scratch
        return self.payload.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes that have arrived (called by the transport)."""
        if self.payload is None:
            self.reader.feed_data(_scratch[:nbytes])
            self.fed += nbytes
            buffers.waiting += nbytes
            return
        self.payload.buffer_updated(nbytes)
        if not self.payload.missing:
            self.payload = None

    def use_up(self, place: int) -> None:
        """Take note that all that was fed up to there has been used."""
        buffers.waiting -= max(place - self._used, 0)
        self._used = max(place, self._used)

    def eof_received(self) -> bool | None:
        """Take note that the peer sends no more (called by the transport)."""
        self.ended.set()
        self._fail_payload(None)
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the connection is gone (called by the transport)."""
        self.ended.set()
        self.use_up(self.fed)
        self._fail_payload(exc)
        # A reset would make the stream forget what has arrived before it: whole requests, or the reason for it.
        super().connection_lost(None if isinstance(exc, ConnectionError) else exc)

    def _fail_payload(self, exc: Exception | None) -> None:
        if self.payload is not None:
            payload, self.payload = self.payload, None
            error = ConnectionResetError(f"the connection ended {payload.missing} bytes before the end of the payload")
            error.__cause__ = exc
            payload.fail(error)


class Channel:
    """A connection with one reader and one writer at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: ChannelProtocol) -> None:
        self.reader = reader
        self.writer = writer
        self._protocol = protocol
        self._taken = 0
        self._returned = b""
        # `drain` then waits until the kernel has everything, after which a buffer may be used again.
        writer.transport.set_write_buffer_limits(high=0, low=0)
        tcp.tune(writer.get_extra_info("socket"))

    @property
    def peer_certificate(self) -> bytes:
        """The certificate (DER) that the other side has shown in the handshake; empty unless it has been verified."""
        encrypted: ssl.SSLObject | None = self.writer.get_extra_info("ssl_object")
        if encrypted is None or not encrypted.getpeercert():  # which is empty for one that has not
            return b""
        return encrypted.getpeercert(binary_form=True) or b""

    @property
    def peer(self) -> str:
        """The address of the other side, for logs."""
        return tcp.shown(self._protocol.origin or self.writer.get_extra_info("peername"))

    async def read_length(self, limit: int = MAX_HEADER) -> int | None:
        """Read the length of the next header, or None if the peer has ended the conversation between two frames.

        Cancelling is safe: nothing is taken from the stream before the length is complete.

        Raises:
            BadFrameError: the length is out of bounds.
            ConnectionError: the connection ended inside the length.
        """
        try:
            return decode_length(await self._read(LENGTH_SIZE), limit)
        except asyncio.IncompleteReadError as exc:
            if not exc.partial:
                return None
            raise ConnectionResetError("the connection ended inside the length of a frame") from exc

    async def read_exactly(self, size: int) -> bytes:
        """Read `size` bytes into memory: headers and leaf digests, not payload. Cancelling is safe.

        Raises:
            ConnectionError: the connection ended before that.
        """
        try:
            return await self._read(size)
        except asyncio.IncompleteReadError as exc:
            raise ConnectionResetError(
                f"the connection ended {size - len(exc.partial)} bytes before the end of a frame"
            ) from exc

    async def read_arrived(self) -> bytes:
        """Read what has arrived already, without waiting for anything. What is not used is to be given to `return_`."""
        self._use_up()
        if len(self._returned) >= ENOUGH:
            data, self._returned = self._returned, b""
            return data
        return await self._read_some(MOST_ARRIVED) if self._returned or self._protocol.fed > self._taken else b""

    def return_(self, data: bytes) -> None:
        """Let bytes be read again."""
        assert not self._returned
        self._returned = data

    def _use_up(self) -> None:
        """Whoever reads again has used what he was given before."""
        self._protocol.use_up(self._taken - len(self._returned))

    async def _read(self, size: int) -> bytes:
        self._use_up()
        data = self._returned[:size]
        if len(data) < size:
            try:
                data += await self.reader.readexactly(size - len(data))
            except asyncio.IncompleteReadError as exc:
                raise asyncio.IncompleteReadError(data + exc.partial, size) from exc
            self._taken += size - min(size, len(self._returned))
        self._returned = self._returned[size:]
        return data

    async def _read_some(self, limit: int) -> bytes:
        """Read what there is; wait for the first byte only."""
        self._use_up()
        data, self._returned = self._returned[:limit], self._returned[limit:]
        if not data or (len(data) < limit and self._protocol.fed > self._taken):
            more = await self.reader.read(limit - len(data))
            self._taken += len(more)
            data += more
        return data

    async def receive(
        self,
        size: int,
        on_complete: Callable[[], None] | None = None,
        *,
        directly: bool = False,
        in_pieces: bool = False,
    ) -> PayloadReader:
        """Start to receive `size` bytes of payload. Read them all, then `close()` it.

        `directly` lets the threads that are given many bytes read on by themselves (`Stretch`); `in_pieces` gives out
        small buffers. `on_complete` is called when the event loop has read the last of them: what comes next is a
        header.

        Raises:
            ConnectionError: the connection ended before the first byte.
        """
        # One read takes all that has arrived, or the whole payload: what comes after it comes from the socket.
        head = memoryview(await self._read_some(size) if size else b"")
        if size and not head:
            raise ConnectionResetError(f"the connection ended {size} bytes before the end of the payload")
        directly = directly and size - len(head) >= DIRECT_SIZE and PayloadReader.direct < MOST_DIRECT
        sock = self.dup() if directly else None
        payload = PayloadReader(cast("asyncio.Transport", self.writer.transport), size, on_complete, sock)
        if in_pieces:
            payload.be_small()
        while head:
            room = payload.get_buffer()
            count = min(len(room), len(head))
            room[:count] = head[:count]
            payload.buffer_updated(count)
            head = head[count:]
        self._use_up()
        if payload.missing:
            if self.reader.at_eof():
                payload.fail(
                    ConnectionResetError(f"the connection ended {payload.missing} bytes before the end of the payload")
                )
            else:
                assert self._protocol.fed == self._taken
                assert not self._returned
                self._protocol.payload = payload
                if sock is not None:
                    payload.give_out()
        return payload

    def dup(self) -> socket.socket | TlsSocket | None:
        """Give the socket under a descriptor of its own, which outlives the connection; None if there is no use for it.

        Not where there is no poll(2), nor when no descriptor is left.
        """
        if not hasattr(select, "poll") or self.writer.is_closing():
            return None
        transport = self.writer.transport
        with contextlib.suppress(OSError):
            if self.is_encrypted:
                assert isinstance(transport, TlsTransport)  # or plaintext would get out
                return transport.dup()
            sock: socket.socket = transport.get_extra_info("socket")
            return sock.dup()
        return None

    def drop(self, payload: PayloadReader) -> None:
        """Close a payload that nobody reads to its end. All that can be done then is `refuse` or `abort`."""
        if self._protocol.payload is payload:
            self._protocol.payload = None
        payload.close()

    def write(self, data: bytes | memoryview) -> None:
        """Queue bytes to be sent. A view must not change until `drain` has returned."""
        self.writer.write(data)

    async def drain(self) -> None:
        """Wait until the kernel has taken all that is queued.

        Raises:
            ConnectionError: the connection is lost.
        """
        await self.writer.drain()

    @property
    def ended(self) -> asyncio.Event:
        """Set when the peer has said its last: after what has arrived, there will be no more replies."""
        return self._protocol.ended

    @property
    def acknowledged(self) -> int | None:
        """Bytes that the peer's machine has acknowledged so far, if the kernel tells (`tcpi_bytes_acked`, tcp(7))."""
        return tcp.bytes_acked(self.writer.get_extra_info("socket"))

    @property
    def is_far(self) -> bool:
        """Whether the path is a long one, so that it pays to have more on its way, or fewer round trips."""
        return self.rtt_s is not None and self.rtt_s > tcp.LONG_S

    @property
    def rtt_s(self) -> float | None:
        """The shortest round trip that was measured, if the kernel tells. Queues of our own making do not count."""
        return tcp.rtt_of(self.writer.get_extra_info("socket"))

    @property
    def is_encrypted(self) -> bool:
        """Whether bytes have to pass through TLS, so that the kernel can not send a file by itself."""
        return self.writer.get_extra_info("sslcontext") is not None

    async def sendfile(self, file: FileIO, offset: int, size: int) -> None:
        """Let the kernel send a range of a file that is in memory, after what is queued.

        Raises:
            FtpdError: `changed`, the file ends before the range does.
            ConnectionError: the connection is lost.
        """
        loop = asyncio.get_running_loop()
        # asyncio does not read while it sends a file: let replies and the end of the connection in before.
        await asyncio.sleep(0)
        if self.writer.is_closing():
            raise ConnectionResetError("the connection was closed while a file was sent")
        try:
            sent = await loop.sendfile(self.writer.transport, file, offset, size, fallback=False)
        except (asyncio.SendfileNotAvailableError, RuntimeError) as exc:
            # What asyncio makes of any error of a first call, and of a transport that closes; regular files do work.
            raise ConnectionResetError("the connection was lost while a file was sent") from exc
        if sent != size:
            raise FtpdError(
                ErrorCode.CHANGED, f"the file became shorter while it was sent: {size - sent} bytes are missing"
            )

    async def refuse(self, farewell: bytes) -> None:
        """Send a last frame and close, reading on for a moment so that the peer gets to see it.

        A socket closed with unread bytes in it sends a reset, which destroys what the peer has not read yet.
        """
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER_S):
                self.write(farewell)
                if self.writer.can_write_eof():
                    self.writer.write_eof()
                left = LINGER_BYTES
                while left > 0 and (data := await self._read_some(READ_SIZE)):
                    left -= len(data)
        self.abort()

    async def close(self, patience_s: float = LINGER_S) -> None:
        """Close after what is queued has been sent, waiting at most `patience_s` for that."""
        self.writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.writer.wait_closed()

    def abort(self) -> None:
        """Close at once; what is queued is lost."""
        self.writer.transport.abort()


async def connect(host: str, port: int, tls: ssl.SSLContext | None = None) -> Channel:
    """Open a connection, encrypted if there is a context for that.

    Raises:
        OSError: there is nobody to talk to, or (`ssl.SSLError`) he can not be talked to in private.
    """
    loop = asyncio.get_running_loop()
    protocol = ChannelProtocol()
    transport: asyncio.WriteTransport
    if tls is None:
        transport, _ = await loop.create_connection(lambda: protocol, host, port)
    else:
        with contextlib.closing(await _connect(host, port)) as sock:
            transport = TlsTransport(sock, await negotiate(sock, tls, host), protocol)
    writer = asyncio.StreamWriter(transport, protocol, protocol.reader, loop)
    return Channel(protocol.reader, writer, protocol)


async def _connect(host: str, port: int) -> socket.socket:
    """Open a connection in the order of addresses and with the errors of asyncio, but without a transport."""
    transport, _ = await asyncio.get_running_loop().create_connection(_Unread, host, port)
    try:
        sock: socket.socket = transport.get_extra_info("socket").dup()
        return sock
    finally:
        transport.abort()  # closes its own descriptor


class _Unread(asyncio.Protocol):
    """A connection all bytes of which are read by somebody else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
