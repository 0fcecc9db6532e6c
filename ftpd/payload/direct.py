"""Reading payload in the thread that uses it, as long as its peer is quick.

What a thread has just received is still in its processor's cache when it hashes and writes it, and no other thread has
to be woken for it, which on a busy machine takes longer than receiving a megabyte. As soon as the thread would have to
wait for long, the event loop takes over again (`PayloadReader`).
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator

from ftpd.payload.buffers import buffers
from ftpd.payload.receive import PayloadReader, Socket, is_crowded, running, share_of_all
from ftpd.wire.errors import BadFrameError
from ftpd.wire.frames import decode_length
from ftpd.wire.limits import KIB, LENGTH_SIZE, MIB

DIRECT_SIZE = 256 * KIB
"""Of smaller payloads most has arrived with the header."""

READ_SIZE = 4 * MIB
"""What a thread receives at most before it uses it: each time it catches up with the sender costs both a wake-up."""

MOST_DIRECT = 16
"""Connections that are read directly at a time: as many as there are threads, and each costs a descriptor."""

TURN_BYTES = 256 * MIB
"""What all transfers together receive before it is the turn of other work for the threads;"""

TURN_S = 0.25
"""and for how long one thread does: whoever ends a transfer, or takes it over, has to wait for that;"""

TURN_WAIT_MS = 2.0
"""and how long a thread waits in its turn for a peer who is not quite as quick: threads are few, peers may be many."""

PEEK_SIZE = KIB
"""Where the header of a chunk fits in."""


class Stretch:
    """Bytes of a payload, and those that arrive while they are being used.

    To be iterated over by the thread that uses them; or not at all, by whoever takes only what is there.
    """

    def __init__(self, first: memoryview, payload: PayloadReader) -> None:
        self.first = first
        """What is there."""
        self._payload = payload
        self._left = max(TURN_BYTES // max(running(), 1), KIB)
        self._deadline: float | None = None
        self._patience = Patience(select.POLLIN)

    def __iter__(self) -> Iterator[memoryview]:
        """Give pieces, each valid until the next, as long as there are more, they come quickly, and time is left."""
        if self.first:
            first, self.first = self.first, self.first[:0]
            yield first
        self._deadline = self._deadline or time.monotonic() + TURN_S
        if self._payload.sock is not None and self._payload.missing:
            with buffers.lent(min(READ_SIZE, share_of_all(1), 2 * self._payload.missing)) as buffer:
                yield from self._receive_into(buffer)

    def _receive_into(self, buffer: memoryview) -> Iterator[memoryview]:
        payload = self._payload
        while payload.sock is not None and payload.missing and self._is_our_turn():
            room = buffer[: min(payload.missing, self._left)]
            filled = self._fill(payload.sock, room)
            if filled:
                yield room[:filled]
            if filled < len(room):
                return

    def follow(self, accept: Callable[[bytes], int | None]) -> bool:
        """Go on with the next frame, if it is here: what is iterated over next is its payload.

        `accept` is given its header, and returns the size of its payload; or None to leave the frame where it is.
        """
        payload = self._payload
        if payload.sock is None or payload.missing or not self._is_our_turn():
            return False
        with contextlib.suppress(OSError, BadFrameError):  # who waits for the next frame will find the same
            start = self._peek(payload.sock)
            end = LENGTH_SIZE + decode_length(start[:LENGTH_SIZE])
            size = accept(start[LENGTH_SIZE:end]) if end <= len(start) else None
            if size is not None:
                payload.sock.recv(end)
                self._left -= end
                payload.missing = size
                return True
        return False

    def _is_our_turn(self) -> bool:
        return self._left > 0 and (self._deadline is None or time.monotonic() < self._deadline)

    def _fill(self, sock: Socket, room: memoryview) -> int:
        """Fill a buffer. It stays partly empty if the peer is not quick, or gone."""
        filled = 0
        try:
            while filled < len(room) and self._is_our_turn():
                try:
                    count = sock.recv_into(room[filled:])
                except BlockingIOError:
                    if self._patience.wait(sock):
                        continue
                    break
                if not count:
                    missing = self._payload.missing - filled
                    msg = f"the connection ended {missing} bytes before the end of the payload"
                    raise ConnectionResetError(msg)
                filled += count
        except OSError as exc:
            self._payload.fail(exc)
        self._payload.missing -= filled
        self._left -= filled
        return filled

    def _peek(self, sock: Socket) -> bytes:
        try:
            return sock.recv(PEEK_SIZE, socket.MSG_PEEK)
        except BlockingIOError:
            return sock.recv(PEEK_SIZE, socket.MSG_PEEK) if self._patience.wait(sock) else b""


class Patience:
    """How long a thread still waits in its turn."""

    def __init__(self, event: int) -> None:
        """Begin a turn in which a poll(2) `event` may be waited for."""
        self.left_ms = 0.0 if is_crowded() else TURN_WAIT_MS
        self._event = event

    def wait(self, sock: Socket) -> bool:
        """Wait, but not for long. Returns whether it has happened."""
        if self.left_ms <= 0:
            return False
        ready = select.poll()
        ready.register(sock, self._event)
        started = time.monotonic()
        is_ready = bool(ready.poll(self.left_ms))
        self.left_ms -= (time.monotonic() - started) * 1000
        return is_ready
