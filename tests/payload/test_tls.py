"""TLS whose state belongs to no thread: bytes stay whole and in order, whoever encrypts and decrypts them."""

import asyncio
import hashlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator

import pytest

from ftpd.payload.buffers import buffers
from ftpd.payload.direct import Stretch
from ftpd.payload.send import open_outlet
from ftpd.payload.tls import (
    KEPT_SHARE,
    MOST_FRUITLESS,
    MOST_RECORDS,
    RECORD,
    STEP,
    Cipher,
    FairLock,
    TlsSocket,
    scratch,
    step,
)
from ftpd.payload.tls_transport import TlsTransport
from ftpd.payload.workers import Workers
from ftpd.wire.limits import KIB, MIB
from tests.payload.conftest import PATIENCE_S, Contexts, Ends, frame
from tests.payload.helpers import eventually, next_frame, some_bytes

encrypted = pytest.mark.parametrize("ends", ["tls"], indirect=True)


@pytest.fixture(autouse=True)
async def _limit() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE_S):
        yield


def pair(contexts: Contexts) -> tuple[Cipher, Cipher, socket.socket, socket.socket]:
    """Shake hands over a pair of sockets; give both sides."""
    ours, theirs = socket.socketpair()
    server, client = Cipher(contexts.server), Cipher(contexts.client, "127.0.0.1")
    is_done = [False, False]
    while not all(is_done):
        for side, (cipher, sock, other, peer) in enumerate(
            ((client, theirs, server, ours), (server, ours, client, theirs))
        ):
            is_done[side] = cipher.shake_hands()
            cipher.flush(sock)
            peer.setblocking(False)
            try:
                other.feed(memoryview(peer.recv(MIB)))
            except BlockingIOError:
                continue
    ours.setblocking(False)
    return server, client, ours, theirs


def test_a_record_may_come_in_two_pieces(contexts: Contexts) -> None:
    """Wherever a record is cut, there is nothing before its last byte, and then all of it."""
    server, client, ours, theirs = pair(contexts)
    room = memoryview(bytearray(KIB))
    with ours, theirs:
        for cut in range(1, 34):
            client.encrypt(b"hello, world")
            client.flush(theirs)
            record = memoryview(ours.recv(KIB))
            assert 12 + 22 == len(record)  # header, type and tag (RFC 8446 section 5.2)
            server.feed(record[:cut])
            with pytest.raises(BlockingIOError):
                server.decrypt_into(room)
            server.feed(record[cut:])
            assert b"hello, world" == bytes(room[: server.decrypt_into(room)])


def test_what_is_looked_at_is_not_taken(contexts: Contexts) -> None:
    """A look gives what there is, across records; reading gives it again, and what is behind it."""
    server, client, ours, theirs = pair(contexts)
    room = memoryview(bytearray(KIB))
    with ours, theirs:
        sock = TlsSocket(ours, server, lambda: None)
        for piece in (b"abc", b"def"):
            client.encrypt(piece)
        client.flush(theirs)
        assert b"ab" == sock.recv(2, socket.MSG_PEEK)
        assert b"abcde" == sock.recv(5, socket.MSG_PEEK)
        assert b"ab" == sock.recv(2)
        assert 3 == sock.recv_into(room)
        assert b"cde" == bytes(room[:3])
        assert b"f" == bytes(room[: sock.recv_into(room)])
        with pytest.raises(BlockingIOError):
            sock.recv_into(room)


@pytest.mark.parametrize("place", [0, 100, 16_000])
def test_damage_is_an_error_and_stays_one(contexts: Contexts, place: int) -> None:
    """A bit that is changed under way is a `ConnectionError` for a thread, this time and the next."""
    server, client, ours, theirs = pair(contexts)
    with ours, theirs:
        client.encrypt(bytes(16_000))
        wire, other = socket.socketpair()
        with wire, other:
            client.flush(other)
            record = bytearray(wire.recv(MIB))
        record[place] ^= 1
        theirs.sendall(record)
        theirs.close()
        sock = TlsSocket(ours, server, lambda: None)
        for _ in range(2):
            with pytest.raises(ConnectionError):
                sock.recv_into(memoryview(bytearray(MIB)))


async def test_whoever_waits_for_a_lock_is_next() -> None:
    """Who lets go of the lock and wants it again at once does not get it before who has been waiting."""
    lock, order = FairLock(), list[str]()

    def wait() -> None:
        with lock:
            order.append("waited")

    for _ in range(50):
        with lock:
            waiting = threading.Thread(target=wait)
            waiting.start()
            await eventually(lock._next.locked, "it waits")
        with lock:
            order.append("again")
        waiting.join()
    assert ["waited", "again"] * 50 == order


def test_what_has_arrived_counts_though_nothing_can_be_sent(contexts: Contexts) -> None:
    """When the peer is gone and something is still queued for it, what it sent before is read, and then the end."""
    server, client, ours, theirs = pair(contexts)
    room = memoryview(bytearray(KIB))
    with ours:
        sock = TlsSocket(ours, server, lambda: None)
        for piece in (b"first", b"last"):
            client.encrypt(piece)
            client.flush(theirs)
        theirs.close()
        server.encrypt(b"nobody reads this")
        with pytest.raises(OSError, match="Broken pipe"):
            sock.flush()
        assert b"firstlast" == bytes(room[: sock.recv_into(room)])
        assert 0 == sock.recv_into(room)


def test_nothing_but_noise_is_cut(contexts: Contexts) -> None:
    """Who sends more than a mebibyte without a byte for us in it, as with requests for new keys, is not listened to."""
    server, client, ours, theirs = pair(contexts)
    with ours, theirs:
        for _ in range(3):  # what has something in it does not count
            client.encrypt(b"x")
            client.flush(theirs)
            server.feed(memoryview(ours.recv(KIB)))
            assert 1 == server.decrypt_into(memoryview(bytearray(KIB)))
        for _ in range(MOST_FRUITLESS // (64 * KIB)):
            server.feed(memoryview(bytes(64 * KIB)))
        with pytest.raises(ConnectionAbortedError, match="without anything"):
            server.feed(memoryview(bytes(1)))


def test_small_records_end_a_call(contexts: Contexts) -> None:
    """One call decrypts so many records at the most: a byte in each does not keep a thread for long."""
    server, client, ours, theirs = pair(contexts)
    with ours, theirs:
        for _ in range(MOST_RECORDS + 1):
            client.encrypt(b"x")
        client.flush(theirs)
        server.feed(memoryview(ours.recv(MIB)))
        room = memoryview(bytearray(MIB))
        assert [MOST_RECORDS, 1] == [server.decrypt_into(room), server.decrypt_into(room)]


async def test_a_protocol_that_fails_ends_the_connection(contexts: Contexts) -> None:
    """When there is no room for what arrives, as without memory, the connection ends, and nothing piles up."""

    class Failing(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.lost = asyncio.Event()

        def get_buffer(self, sizehint: int) -> memoryview:
            del sizehint
            raise MemoryError

        def connection_lost(self, exc: Exception | None) -> None:
            del exc
            self.lost.set()

    server, client, ours, theirs = pair(contexts)
    told, protocol = list[object](), Failing()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    with theirs:
        transport = TlsTransport(ours, server, protocol)
        client.encrypt(b"x")
        client.flush(theirs)
        await protocol.lost.wait()
    assert (True, [MemoryError]) == (transport.is_closing(), [type(exc) for exc in told])


@encrypted
async def test_pausing_leaves_it_encrypted(ends: Ends) -> None:
    """While reading is paused nothing is decrypted, though it may have arrived; on resuming all of it comes."""
    transport = ends.channel.writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    data = some_bytes(40 * KIB)
    ends.writer.write(frame(b"header", data))
    sock = ends.channel.writer.get_extra_info("socket")
    await eventually(lambda: len(sock.recv(MIB, socket.MSG_PEEK | socket.MSG_DONTWAIT)) > 40 * KIB, "it has arrived")
    assert b"" == await ends.channel.read_arrived()
    transport.resume_reading()
    assert (b"header", data) == await next_frame(ends.channel, len(data))


@encrypted
async def test_a_thread_and_the_loop_send_at_once(ends: Ends, workers: Workers) -> None:
    """What the event loop sends while a thread sends stands between the thread's pieces, none of which is torn."""
    pieces, replies = 24, 200
    outlet = open_outlet(ends.channel)
    size = 300 * KIB

    def send() -> None:
        for number in range(pieces):
            outlet.send(number.to_bytes(1, "little") * 16)
            outlet.send(some_bytes(size))

    sending = asyncio.create_task(workers.send(send, threading.Event()))
    for _ in range(replies):
        ends.channel.write(b"reply")
        await asyncio.sleep(0)
    ends.writer.transport.resume_reading()  # type: ignore[attr-defined] # typed as one that only writes
    received = bytearray(await ends.reader.readexactly(pieces * (size + 16) + replies * 5))
    await sending
    outlet.close()
    assert replies == received.count(b"reply")
    expected = b"".join(number.to_bytes(1, "little") * 16 + some_bytes(size) for number in range(pieces))
    assert hashlib.sha256(expected).digest() == hashlib.sha256(received.replace(b"reply", b"")).digest()


@encrypted
async def test_a_thread_reads_while_the_loop_sends(ends: Ends, workers: Workers) -> None:
    """Decrypting in a thread and encrypting in the event loop do not disturb each other."""
    data, replies = some_bytes(8 * MIB), 2000
    ends.writer.write(frame(b"header", data))
    assert await ends.channel.read_length() == 6
    await ends.channel.read_exactly(6)
    payload = await ends.channel.receive(len(data), directly=True)
    received = bytearray()

    async def receive() -> None:
        while (first := await payload.next()) is not None:
            stretch = Stretch(first, payload)
            received.extend(await workers.disk(lambda stretch=stretch: b"".join(bytes(piece) for piece in stretch)))  # type: ignore[misc] # a lambda has no types

    receiving = asyncio.create_task(receive())
    for _ in range(replies):
        ends.channel.write(b"reply")
        await asyncio.sleep(0)
    assert b"reply" * replies == await ends.reader.readexactly(5 * replies)
    await receiving
    payload.close()
    assert data == received


@encrypted
async def test_the_end_is_said(ends: Ends) -> None:
    """Closing says so (close_notify), and the peer's word is the end of what is read."""
    ends.writer.close()
    assert await ends.channel.read_length() is None
    await ends.channel.close()
    assert ends.channel.writer.is_closing()


@encrypted
async def test_damage_is_a_lost_connection(ends: Ends) -> None:
    """What the event loop can not decrypt ends the connection with an `ssl.SSLError`, and the peer is told."""
    ends.writer.write(frame(b"header"))
    assert (b"header", b"") == await next_frame(ends.channel, 0)
    beneath = socket.socket(fileno=ends.writer.get_extra_info("socket").dup().detach())
    with beneath:
        beneath.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(ssl.SSLError):
        await ends.channel.read_length()
    with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac"):
        await ends.reader.read()


def test_many_connections_take_smaller_steps(contexts: Contexts) -> None:
    """What OpenSSL keeps for all connections is bounded: the more there are, the less of each is taken at once."""
    alone = step()
    crowd = [Cipher(contexts.server) for _ in range(buffers.budget // KEPT_SHARE // RECORD + 1)]
    assert (STEP, RECORD) == (alone, step())
    assert RECORD == len(scratch())
    crowd.clear()
    assert STEP == step()
