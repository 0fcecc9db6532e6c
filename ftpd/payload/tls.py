"""The encryption of one connection, for any thread.

asyncio's own TLS belongs to the event loop: every byte passes through it, and through two more copies. Here the state
of TLS (`ssl.SSLObject`, between two buffers in memory) is nobody's, so that a thread that hashes and stores what
arrives also decrypts it, and one that reads a file also encrypts it, while the event loop sees to small frames.

Two rules keep bytes in order. Only one side reads at a time: the event loop, or the thread that has been given the
bytes. And what has been encrypted stands in one queue, from which whoever holds the lock gives the kernel what it
takes.
"""

import contextlib
import socket
import ssl
import threading
import weakref
from collections.abc import Callable

from ftpd.payload.buffers import buffers
from ftpd.wire.limits import KIB, MIB

STEP = 256 * KIB
"""What is encrypted, sent or received at once at most: it stays in the processor's cache on its way. For so long, less
than a millisecond, the other threads of a connection may have to wait."""

RECORD = 17 * KIB
"""More than any record has (RFC 8446 section 5.2)."""

KEPT_SHARE = 8
"""Which part of the memory for buffers (`Buffers.budget`) what OpenSSL keeps may have, each way."""

MOST_RECORDS = 64
"""What is decrypted at once, so that whoever sends a byte in each record does not keep a thread from its other work."""

MOST_FRUITLESS = MIB
"""Bytes without any for us in them that a peer may send in a row: a record has at most 16 KiB, and asking for new keys,
which keeps us busy, takes 27 bytes (RFC 8446 section 4.6.3)."""

_local = threading.local()

_ciphers: "weakref.WeakSet[Cipher]" = weakref.WeakSet()
"""Those of all connections."""


def step() -> int:
    """Give how much is to be encrypted, sent or received at once: a `STEP`, or less where there are many connections.

    OpenSSL's buffers grow with it, and stay as large as they have been (BIO_s_mem(3)).
    """
    return min(STEP, max(RECORD, buffers.budget // KEPT_SHARE // max(len(_ciphers), 1)))


class FairLock:
    """A lock that whoever has had it last does not get again while somebody else waits."""

    def __init__(self) -> None:
        self._next, self._lock = threading.Lock(), threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Cipher:
    """The state of TLS. Every method may be called by any thread; none waits for the network."""

    def __init__(self, context: ssl.SSLContext, server: str | None = None) -> None:
        """Begin on the client's side, with the name that the `server` has to prove; or on the server's, without it."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.context = context
        self.object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server is None, server_hostname=server
        )
        _ciphers.add(self)
        self._unsent = memoryview(b"")
        self._ahead = b""
        self._error: ssl.SSLError | None = None
        self._fruitless = 0
        # OpenSSL wants one thread at a time, and before Python 3.13 nobody but us sees to that. A thread that sends
        # takes the lock again at once, and the event loop must not wait for the end of that.
        self._lock = FairLock()

    @property
    def queued(self) -> int:
        """Bytes that are encrypted, but not with the kernel yet. A look at two numbers, for which nobody waits."""
        return len(self._unsent) + self._outgoing.pending

    def shake_hands(self) -> bool:
        """Go on with the handshake. Returns whether it is complete; if not, the peer's answer has to be fed in.

        Raises:
            ssl.SSLError: they do not come to terms. What is queued tells the peer why.
        """
        with self._lock:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                return False
            return True

    def feed(self, data: memoryview) -> None:
        """Take what the peer has sent.

        Raises:
            ConnectionAbortedError: he has sent `MOST_FRUITLESS` bytes, and nothing in them.
        """
        self._fruitless += len(data)
        if self._fruitless > MOST_FRUITLESS:
            msg = f"{MOST_FRUITLESS} bytes were encrypted without anything in them"
            raise ConnectionAbortedError(msg)
        with self._lock:
            self._incoming.write(data)

    def decrypt_into(self, room: memoryview) -> int:
        """Give what has been fed in, as much as is complete and fits. Returns its size, or 0 when the peer has ended.

        Raises:
            BlockingIOError: there is nothing yet.
            ssl.SSLError: somebody has damaged it, or the peer says that something is wrong.
        """
        if self._ahead:
            filled = min(len(room), len(self._ahead))
            room[:filled], self._ahead = self._ahead[:filled], self._ahead[filled:]
            return filled
        with self._lock:  # once for many records: taking it costs as much as a tenth of a record
            return self._decrypt(room)

    def peek(self, size: int) -> bytes:
        """Give the next bytes, at most so many, without taking them. Else like `decrypt_into`."""
        if len(self._ahead) < size:
            room = memoryview(bytearray(size - len(self._ahead)))
            try:
                with self._lock:
                    self._ahead += bytes(room[: self._decrypt(room)])
            except (BlockingIOError, ssl.SSLError):
                if not self._ahead:
                    raise
        return self._ahead[:size]

    def encrypt(self, data: bytes | memoryview) -> None:
        """Queue bytes, which may change afterwards. They should be about a `step`.

        Raises:
            ssl.SSLError: the conversation is over.
        """
        with self._lock:
            self.object.write(data)

    def end(self) -> None:
        """Queue the word that nothing follows (close_notify, RFC 8446 section 6.1)."""
        with self._lock:
            try:
                self.object.unwrap()
            except ssl.SSLError:  # the peer has not said so yet, and need not; or nothing can be said any more
                return

    def flush(self, sock: socket.socket) -> bool:
        """Give the kernel of what is queued as much as it takes. Returns whether that was all.

        Raises:
            OSError: the connection is lost.
        """
        with self._lock:
            while self._unsent or self._outgoing.pending:
                if not self._unsent:
                    self._unsent = memoryview(self._outgoing.read(step()))
                try:
                    self._unsent = self._unsent[sock.send(self._unsent) :]
                except BlockingIOError:
                    return False
            return True

    def _decrypt(self, room: memoryview) -> int:
        """Decrypt records, until there are no more or no room is left; what is wrong behind the first is told later."""
        if self._error is not None:
            raise self._error
        filled = 0
        try:
            for _ in range(MOST_RECORDS):
                count: int = self.object.read(len(room), room[filled:])  # type: ignore[assignment] # a number if there is room
                filled += count
                if filled == len(room):
                    break
        except ssl.SSLWantReadError:
            if not filled:
                raise BlockingIOError from None
        except ssl.SSLZeroReturnError:
            return filled
        except ssl.SSLError as exc:
            self._error = exc
            if not filled:
                raise
        self._fruitless = 0
        return filled


class TlsSocket:
    """What a thread uses of a non-blocking socket, with TLS: as long as it has been given the bytes, it reads them."""

    def __init__(self, sock: socket.socket, cipher: Cipher, on_queued: Callable[[], object]) -> None:
        """Take a socket. `on_queued` is called in the thread when there is something to be sent by somebody else."""
        self._sock = sock
        self._cipher = cipher
        self._on_queued = on_queued

    def fileno(self) -> int:
        """Give the descriptor, to wait for it."""
        return self._sock.fileno()

    def recv_into(self, room: memoryview) -> int:
        """See `socket.socket.recv_into`."""
        return self._receive(lambda: self._cipher.decrypt_into(room))

    def recv(self, size: int, flags: int = 0) -> bytes:
        """See `socket.socket.recv`, which has more flags than `MSG_PEEK`."""
        found = self._peek(size)
        if not flags & socket.MSG_PEEK:
            self._cipher.decrypt_into(memoryview(bytearray(len(found))))
        return found

    def send(self, data: bytes | memoryview) -> int:
        """See `socket.socket.send`. Takes all or, while something else is queued, nothing."""
        if not self._cipher.flush(self._sock):
            raise BlockingIOError
        self._cipher.encrypt(data)
        self._flush_or_leave()
        return len(data)

    def encrypt(self, data: bytes | memoryview) -> None:
        """Queue bytes, about a `step`, to be sent by `flush`."""
        self._cipher.encrypt(data)

    def flush(self) -> bool:
        """Send what is queued. Returns whether that was all."""
        return self._cipher.flush(self._sock)

    def leave(self) -> None:
        """Let somebody else send what is queued."""
        self._on_queued()

    def close(self) -> None:
        """Close the descriptor."""
        self._sock.close()

    def _peek(self, size: int) -> bytes:
        found = b""

        def peek() -> int:
            nonlocal found
            found = self._cipher.peek(size)
            return len(found)

        self._receive(peek)
        return found

    def _receive(self, take: Callable[[], int]) -> int:
        try:
            while True:
                try:
                    count = take()
                except BlockingIOError:
                    room = scratch()
                    received = self._sock.recv_into(room)
                    if not received:
                        return 0
                    self._cipher.feed(room[:received])
                    continue
                if self._cipher.queued:  # new keys were asked for
                    with contextlib.suppress(OSError):  # what was decrypted counts; the next read finds the same
                        self._flush_or_leave()
                return count
        except ssl.SSLError as exc:
            msg = f"what arrived was damaged on its way: {exc.reason}"
            raise ConnectionResetError(msg) from exc

    def _flush_or_leave(self) -> None:
        if not self._cipher.flush(self._sock):
            self.leave()


def scratch() -> memoryview:
    """Give this thread's buffer for what comes from the network, to be fed to a `Cipher` at once."""
    buffer: memoryview | None = getattr(_local, "scratch", None)
    if buffer is None:
        buffer = _local.scratch = memoryview(bytearray(STEP))
    return buffer[: step()]
