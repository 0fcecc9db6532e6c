"""TLS for the event loop: a transport on a socket, whose `Cipher` threads may use as well."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

from ftpd.payload.tls import RECORD, Cipher, TlsSocket, scratch, step


async def negotiate(sock: socket.socket, context: ssl.SSLContext, server: str | None = None) -> Cipher:
    """Shake hands on a connected socket, as client with the `server`'s name, or as server without one.

    Cancelling leaves nothing but to close the socket, which stays the caller's.

    Raises:
        ssl.SSLError: they do not come to terms, which the peer has been told.
        OSError: the connection is lost.
    """
    loop, cipher = asyncio.get_running_loop(), Cipher(context, server)
    try:
        while not cipher.shake_hands():
            await _flush(cipher, sock)
            received = await loop.sock_recv(sock, RECORD)
            if not received:
                msg = "the connection ended inside the handshake"
                raise ConnectionResetError(msg)
            cipher.feed(memoryview(received))
    except ssl.SSLError:
        with contextlib.suppress(OSError):
            cipher.flush(sock)
        raise
    await _flush(cipher, sock)
    return cipher


async def _flush(cipher: Cipher, sock: socket.socket) -> None:
    loop, writable = asyncio.get_running_loop(), asyncio.Event()
    while not cipher.flush(sock):
        loop.add_writer(sock, writable.set)
        try:
            await writable.wait()
        finally:
            loop.remove_writer(sock)
        writable.clear()


class TlsTransport(asyncio.Transport):
    """A connection after its handshake, as `asyncio.Transport` describes it.

    The socket is read and written past asyncio's own transports, which would keep a second queue.
    """

    def __init__(self, sock: socket.socket, cipher: Cipher, protocol: asyncio.BufferedProtocol) -> None:
        """Take the socket's descriptor, and tell the protocol."""
        self._sock = socket.socket(fileno=sock.detach())
        self._sock.setblocking(False)
        extra: dict[str, object] = {"socket": self._sock, "sslcontext": cipher.context, "ssl_object": cipher.object}
        with contextlib.suppress(OSError):  # it may be gone again
            extra["peername"] = self._sock.getpeername()
        super().__init__(extra)
        self._loop = asyncio.get_running_loop()
        self._cipher = cipher
        self._protocol = protocol
        self._is_paused = self._is_closing = self._is_lost = False
        self._high = self._low = 0
        self._is_full = False
        self._loop.add_reader(self._sock, self._on_readable)
        try:
            protocol.connection_made(self)
        except BaseException:
            self._lose(None)
            raise
        self._loop.call_soon(self._on_arrived)  # what came with the last of the handshake

    def __repr__(self) -> str:
        return f"<TlsTransport {self.get_extra_info('peername')}{' closing' if self._is_closing else ''}>"

    def dup(self) -> TlsSocket:
        """Give a thread a way to this connection, which outlives it.

        Raises:
            OSError: no descriptor is left.
        """
        return TlsSocket(self._sock.dup(), self._cipher, lambda: self._loop.call_soon_threadsafe(self.flush))

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.BaseTransport`."""
        return self._protocol

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._is_closing

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return not self._is_paused and not self._is_closing

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`. What has arrived stays encrypted."""
        if self.is_reading():
            self._is_paused = True
            self._loop.remove_reader(self._sock)

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        if self._is_paused and not self._is_closing:
            self._is_paused = False
            self._loop.add_reader(self._sock, self._on_readable)
            self._loop.call_soon(self._on_arrived)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        self._high = high or 0
        self._low = low or 0

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return self._cipher.queued

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`. Who has ended one direction of TLS closes the other soon."""
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.WriteTransport`."""
        view = memoryview(data)
        try:
            while view and not self._is_closing:
                size = step()
                self._cipher.encrypt(view[:size])
                self._cipher.flush(self._sock)
                view = view[size:]
        except OSError as exc:
            self._lose(exc)
        self.flush()

    def flush(self) -> None:
        """Send what is queued, by whomever, and go on with that as soon as the kernel takes more."""
        if self._is_lost:
            return
        try:
            is_sent = self._cipher.flush(self._sock)
        except OSError as exc:
            self._lose(exc)
            return
        if not is_sent:
            self._loop.add_writer(self._sock, self.flush)
        else:
            self._loop.remove_writer(self._sock)
            if self._is_closing:
                self._lose(None)
        self._hold_up(0 if is_sent else self._cipher.queued)

    def close(self) -> None:
        """See `asyncio.BaseTransport`."""
        if not self._is_closing:
            self._is_closing = True
            self._loop.remove_reader(self._sock)
            self._cipher.end()
            self.flush()

    def abort(self) -> None:
        """See `asyncio.WriteTransport`."""
        self._lose(None)

    def _on_readable(self) -> None:
        # Not much more than the protocol takes: the rest would lie here, encrypted.
        room = scratch()[: max(len(memoryview(self._protocol.get_buffer(-1))), RECORD)]
        try:
            received = self._sock.recv_into(room)
        except BlockingIOError:
            return
        except OSError as exc:
            self._lose(exc)
            return
        if received:
            try:
                self._cipher.feed(room[:received])
            except ConnectionAbortedError as exc:
                self._lose(exc)
                return
            self._on_arrived()
        else:
            self._end()

    def _on_arrived(self) -> None:
        try:
            self._deliver()
        except Exception as exc:  # noqa: BLE001 (as asyncio's own transports: the protocol has failed, or memory is short)
            self._loop.call_exception_handler({
                "message": "a protocol failed when bytes arrived", "exception": exc,
                "transport": self, "protocol": self._protocol,
            })  # fmt: skip
            self._lose(exc)

    def _deliver(self) -> None:
        """Give the protocol what has arrived, until it has enough."""
        while self.is_reading():
            try:
                count = self._cipher.decrypt_into(memoryview(self._protocol.get_buffer(-1)))
            except BlockingIOError:
                break
            except ssl.SSLError as exc:
                self.flush()  # the peer is told what was wrong
                self._lose(exc)
                return
            if not count:
                self._end()
                return
            self._protocol.buffer_updated(count)
        if self._cipher.queued and not self._is_full:  # new keys were asked for
            self.flush()

    def _end(self) -> None:
        self._protocol.eof_received()
        self.close()

    def _hold_up(self, queued: int) -> None:
        """Tell the protocol when too much is queued, and when that is over.

        What a thread has queued since is its own: it might be sent without any word of it here.
        """
        tell: Callable[[], Any] | None = None
        if queued > self._high and not self._is_full:
            self._is_full, tell = True, self._protocol.pause_writing
        elif queued <= self._low and self._is_full:
            self._is_full, tell = False, self._protocol.resume_writing
        if tell is not None:
            tell()

    def _lose(self, exc: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = self._is_closing = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._loop.call_soon(self._finish, exc)

    def _finish(self, exc: Exception | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._sock.close()
