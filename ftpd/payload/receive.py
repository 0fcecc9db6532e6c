"""Receiving payload: the socket's bytes go straight into pooled buffers, and a full buffer to its reader.

While one buffer is being hashed and written elsewhere, the next one fills; when none is left, reading pauses. So a
transfer holds at most `BUFFERS` buffers whatever its size. One to which nothing comes holds none, and a connection
without a transfer neither.

That is how bytes come from a slow peer. What a quick one sends is read by the thread that uses it: see `direct.py`.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Protocol

from ftpd.payload.buffers import BUFFER_SIZES, LEAST, buffers
from ftpd.wire.limits import KIB, MIB

BUFFERS = 2
"""Buffers of one transfer: one that fills, one that is being stored."""

PIECE = 64 * KIB
"""A buffer where there is a limit on the rate, so that the time between two of them is short."""

FLUSH_S = 1.0
"""How long a reader waits for a full buffer before it gets what there is: a slow download must be seen to move, and
others may need what a slow sender holds."""


def is_crowded() -> bool:
    """Tell whether so many transfers run that each is to use as little memory as it can."""
    return share_of_all(BUFFERS) < MIB


def share_of_all(count: int) -> int:
    """Give the size of which all running transfers could have so many buffers within the budget."""
    return buffers.budget // (max(len(_running), 1) * count)


def running() -> int:
    """Tell how many transfers run."""
    return len(_running)


class Socket(Protocol):
    """What a thread needs of a connection: a `socket.socket` that does not block, or a `TlsSocket`."""

    def fileno(self) -> int:
        """Give what can be waited for."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Receive into a buffer."""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive, or look at what there is to be received (`MSG_PEEK`)."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Send what can be sent at once."""

    def close(self) -> None:
        """Close the descriptor."""


class PayloadReader:
    """The payload of one frame on its way in.

    Filled by the connection's protocol (`get_buffer`, `buffer_updated`), emptied by one coroutine (`next`); and in
    between, while reading is paused, by the thread that has been given its bytes (`Stretch`).
    """

    direct: ClassVar[int] = 0
    """How many have a socket now. Each is a descriptor more."""

    def __init__(
        self,
        transport: asyncio.Transport,
        size: int,
        on_complete: Callable[[], None] | None = None,
        sock: Socket | None = None,
    ) -> None:
        """Make room for `size` bytes; `on_complete` is called when the event loop has read the last of them.

        With a `sock` the thread that is given bytes may read on from it. It is closed at the end.
        """
        self._on_complete = on_complete
        self.size = size
        self.missing = size
        """Bytes that have not arrived yet."""
        _running.add(self)
        self._most = BUFFER_SIZES[0] if sock is None else MIB
        self._transport = transport
        self._unused = BUFFERS
        self._buffer: bytearray | None = None
        self._filled = 0
        self._ready: deque[memoryview] = deque()
        self._lent: memoryview | None = None
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self.sock = sock
        PayloadReader.direct += sock is not None
        """Where the thread that has been given bytes may read on, until it is done with them."""

    def be_small(self) -> None:
        """Use buffers of `PIECE`. To be called before the first byte."""
        self._most = PIECE

    def give_out(self) -> None:
        """Let the next reader have what there is."""
        if self._filled:
            self._hand_out()

    async def next(self) -> memoryview | None:
        """Give the next bytes, or None after the last. They are valid until the next call.

        That is a full buffer, or what has come in `FLUSH_S` of waiting for one.

        Cancelling is safe: no byte is lost, the next call gives it.

        Raises:
            ConnectionError: the connection was lost before the payload was complete.
        """
        self._take_back()
        while not self._ready:
            if self._error is not None:
                raise self._error
            if not self.missing:
                return None
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            flushing = loop.call_later(FLUSH_S, self._flush)
            try:
                await self._waiter
            finally:
                flushing.cancel()
                self._waiter = None
        self._lent = self._ready.popleft()
        return self._lent

    def close(self) -> None:
        """Give the buffers back. Nothing may arrive after that (`Channel.drop`). May be called more than once."""
        _running.discard(self)
        self._take_back()
        self._resume()
        self._close_socket()
        while self._ready:
            _give_back(self._ready.popleft())
        self._filled = 0
        self._free()
        # Both lead back here: a connection that is over is to be freed without a collection of garbage.
        self._on_complete = self._error = None

    def get_buffer(self) -> memoryview:
        """Offer room for the next bytes, never more than what is left of the payload."""
        if self._buffer is None:
            # None of which it could not fill half, if there is a smaller one.
            fitting = min(self._most, share_of_all(BUFFERS), 2 * self.missing - 1)
            self._buffer = buffers.take(max(fitting, PIECE))
            self._unused -= 1
        return memoryview(self._buffer)[self._filled : self._filled + self.missing]

    def buffer_updated(self, count: int) -> None:
        """Take note that `count` bytes have been put into the room offered last."""
        self._filled += count
        self.missing -= count
        assert self._buffer is not None
        if self.missing and self._filled < len(self._buffer):
            return
        if not self.missing:
            self._close_socket()  # what follows is the loop's
        self._hand_out()
        if not self.missing and self._on_complete is not None:
            self._on_complete()

    def fail(self, error: BaseException) -> None:
        """Take note that nothing more will come. What has come can still be read."""
        if self.missing and self._error is None:
            self._error = error
            self._wake()

    def _close_socket(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None
            PayloadReader.direct -= 1

    def _flush(self) -> None:
        """Hand out what there is; if that is nothing, let others have the memory."""
        if self._filled:
            self._hand_out()
        else:
            self._free()
            self._wake()

    def _free(self) -> None:
        if self._buffer is not None and not self._filled:
            buffers.give_back(self._buffer)
            self._buffer = None
            self._unused += 1

    def _hand_out(self) -> None:
        assert self._buffer is not None
        is_last = self._unused <= 0 or self.sock is not None or len(self._buffer) == LEAST
        self._ready.append(memoryview(self._buffer)[: self._filled])
        self._buffer, self._filled = None, 0
        if self.missing and is_last:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take_back(self) -> None:
        if self._lent is None:
            return
        _give_back(self._lent)
        self._lent = None
        self._unused += 1
        self._resume()


def _give_back(view: memoryview) -> None:
    buffer = view.obj
    assert isinstance(buffer, bytearray)
    view.release()
    buffers.give_back(buffer)


_running: weakref.WeakSet[PayloadReader] = weakref.WeakSet()
"""The transfers that share the budget. Weak: one that nobody closed does not count for ever."""
