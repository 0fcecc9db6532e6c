"""Sending payload: the kernel's `sendfile` where it can see the bytes, large writes where it can not.

Through TLS, a thread that reads a file also encrypts and sends it.
"""

import asyncio
import contextlib
import os
import select
import socket
import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import Future

from ftpd.payload.channel import Channel
from ftpd.payload.direct import DIRECT_SIZE, TURN_S, Patience
from ftpd.payload.files import Source, became_shorter, read_pieces
from ftpd.payload.tls import TlsSocket, step
from ftpd.wire.digests import Buffer, Digest
from ftpd.wire.limits import MIB

WINDOW = 8 * MIB
"""What is sent at once. While it goes out, a thread makes the next one ready: hashed, or read into the page cache.

One `sendfile` call takes no more than the socket's buffer (4 MiB as Linux comes), so others wait for a millisecond.
"""


STEPS = 4
"""Of how many a thread encrypts what it has read: all of that stays queued if the peer is slow."""

STOP_MS = 100
"""How long a thread may take to notice that nobody wants it to go on."""


async def send_payload(channel: Channel, source: Source, offset: int, size: int, digest: Digest | None = None) -> None:
    """Send a range of a file, feeding it to `digest` on the way.

    Cancelling leaves the frame incomplete: only close the connection after it.

    Raises:
        FtpdError: the file became shorter or could not be read; the frame is incomplete.
        ConnectionError: the connection is lost.
    """
    file = source.file()
    if channel.is_encrypted and file is not None and size >= DIRECT_SIZE:
        sock = channel.dup()
        if isinstance(sock, TlsSocket):
            with contextlib.closing(sock):
                await _send_encrypted(channel, sock, source, range(offset, offset + size), digest)
            return
    file = None if channel.is_encrypted else file
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


async def _send_encrypted(
    channel: Channel, sock: TlsSocket, source: Source, places: range, digest: Digest | None
) -> None:
    """Send a range from the thread that reads and encrypts it, as long as the peer is quick; then wait for him here."""
    offset = places.start
    while offset < places.stop:
        turn = _Turn(sock, digest)
        offset += await source.feed(offset, places.stop - offset, turn.send, STEPS * step())
        if turn.error is not None:
            raise turn.error
        await channel.drain()


class _Turn:
    """What a thread sends before it is the turn of another transfer."""

    def __init__(self, sock: TlsSocket, digest: Digest | None) -> None:
        self.error: OSError | None = None
        """How the connection was lost. Raised in the thread it would be taken for the file's."""
        self._sock = sock
        self._digest = digest
        self._patience = Patience(select.POLLOUT)
        self._deadline = time.monotonic() + TURN_S

    def send(self, piece: memoryview) -> bool:
        """Send a piece; what the peer is not quick enough for stays queued. Returns whether there may be more."""
        if self._digest is not None:
            self._digest.update(piece)
        is_sent = True
        try:
            size = step()
            for start in range(0, len(piece), size):
                self._sock.encrypt(piece[start : start + size])
                while not (is_sent := self._sock.flush()) and self._patience.wait(self._sock):
                    pass
        except OSError as exc:
            self.error = exc
            return False
        if not is_sent:
            self._sock.leave()
        return is_sent and time.monotonic() < self._deadline


class Outlet(ABC):
    """How a thread sends, as long as it is the only one that does."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        """To be set when nobody wants the rest to be sent."""

    @abstractmethod
    def send(self, data: Buffer) -> None:
        """Send bytes, waiting for the peer if need be.

        Raises:
            ConnectionError: the connection is lost, or it is to stop. How much was sent is unknown.
        """

    @abstractmethod
    def send_file(self, fd: int, offset: int, size: int) -> None:
        """Send a range of a file, likewise.

        Raises:
            FtpdError: `changed`, the file ends before the range does.
        """

    def _check(self) -> None:
        if self.stop.is_set():
            msg = "nobody wants the rest"
            raise ConnectionAbortedError(msg)

    @abstractmethod
    def close(self) -> None:
        """Give back what it has, when the thread is done."""


def open_outlet(channel: Channel) -> Outlet:
    """Give a thread the way out of a connection on which nothing is queued."""
    sock = channel.dup() if hasattr(os, "sendfile") else None
    if sock is None:
        return _LoopOutlet(channel)
    return _TlsOutlet(sock) if isinstance(sock, TlsSocket) else _SocketOutlet(sock)


class _DirectOutlet(Outlet):
    """Past the event loop: no other thread has to be woken while the kernel sends."""

    def __init__(self, sock: socket.socket | TlsSocket) -> None:
        super().__init__()
        self._writable = select.poll()
        self._writable.register(sock, select.POLLOUT)
        self._close = sock.close

    def close(self) -> None:
        """See `Outlet.close`."""
        self._close()

    def _wait(self) -> None:
        while not self._writable.poll(STOP_MS):
            self._check()


class _SocketOutlet(_DirectOutlet):
    """As the kernel likes it best."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._sock = sock

    def send(self, data: Buffer) -> None:
        """See `Outlet.send`."""
        view = memoryview(data)
        while view:
            self._check()
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                self._wait()

    def send_file(self, fd: int, offset: int, size: int) -> None:
        """See `Outlet.send_file`."""
        end = offset + size
        while offset < end:
            self._check()
            try:
                sent = os.sendfile(self._sock.fileno(), fd, offset, end - offset)
            except BlockingIOError:
                self._wait()
                continue
            if not sent:
                raise became_shorter(end - offset)
            offset += sent


class _TlsOutlet(_DirectOutlet):
    """Encrypting in the thread that sends."""

    def __init__(self, sock: TlsSocket) -> None:
        super().__init__(sock)
        self._sock = sock

    def send(self, data: Buffer) -> None:
        """See `Outlet.send`."""
        view = memoryview(data)
        size = step()
        for start in range(0, len(view), size):
            self._check()
            self._sock.encrypt(view[start : start + size])
            while not self._sock.flush():
                self._wait()

    def send_file(self, fd: int, offset: int, size: int) -> None:
        """See `Outlet.send_file`."""
        read_pieces(fd, offset, size, self.send)


class _LoopOutlet(Outlet):
    """Through the event loop, where no descriptor is left for another way."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._loop = asyncio.get_running_loop()

    def send(self, data: Buffer) -> None:
        """See `Outlet.send`."""
        self._check()
        sending: Future[None] = asyncio.run_coroutine_threadsafe(self._send(data), self._loop)
        while True:
            try:
                return sending.result(STOP_MS / 1000)
            except TimeoutError:
                if sending.done():  # the connection's own
                    raise
                if self.stop.is_set():
                    sending.cancel()
                    self._check()

    def send_file(self, fd: int, offset: int, size: int) -> None:
        """See `Outlet.send_file`."""
        read_pieces(fd, offset, size, lambda piece: self.send(bytes(piece)))

    def close(self) -> None:
        """See `Outlet.close`."""

    async def _send(self, data: Buffer) -> None:
        self._channel.write(memoryview(data))
        await self._channel.drain()
