"""A network that misbehaves: a TCP proxy that can flip a bit, wait, or cut the line at a given byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

PIECE = 2**20
"""Bytes that are passed on at once."""


class Line:
    """One direction. Positions count the bytes of all connections together, from 0."""

    def __init__(self) -> None:
        self.count = 0
        """Bytes that have been passed on."""
        self.shares: list[int] = []
        """How many of them over each connection, in the order in which the first bytes came."""
        self.flip_at: int | None = None
        self.flip_mask = 0x10
        self.flip_every: int | None = None
        self.cut_at: int | None = None
        self.hold_at: int | None = None
        self.held = asyncio.Event()
        """Set when a connection waits at `hold_at`."""
        self.holds_one = False
        """Whether it is the only one that waits; if not, all do that have something to pass on."""
        self.moved = asyncio.Event()
        """Set with all that is passed on."""
        self.go = asyncio.Event()
        """Set it to let the line go on."""
        self.turns = 0
        """How often something was passed on after something had come the other way: no more round trips than that."""
        self.watch: Callable[[bytes], object] = lambda _: None
        """Is given all that is passed on."""
        self.other = self
        """The other direction."""
        self._is_turned = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, until the line ends or is cut."""
        place = None
        while data := await reader.read(PIECE):
            if place is None:
                place = len(self.shares)
                self.shares.append(0)
            if self.flip_every is not None and self.flip_at is not None and self.flip_at < self.count:
                self.flip_at += self.flip_every
            for start, end in self._cuts(len(data)):
                piece = bytearray(data[start:end])
                if self.cut_at == self.count:
                    raise ConnectionAbortedError
                if self._is_to_wait():
                    self.held.set()
                    await self.go.wait()
                if self.flip_at == self.count:
                    piece[0] ^= self.flip_mask
                writer.write(piece)
                await writer.drain()
                self.watch(bytes(piece))
                self.count += len(piece)
                self.shares[place] += len(piece)
                self.moved.set()
                self.turns += self._is_turned
                self._is_turned, self.other._is_turned = False, True
        writer.write_eof()

    def _is_to_wait(self) -> bool:
        if self.hold_at is None or not self.holds_one:
            return self.hold_at == self.count
        return self.hold_at <= self.count and not self.held.is_set()

    def _cuts(self, size: int) -> list[tuple[int, int]]:
        """Cut what has come where something is to happen."""
        places = {at - self.count for at in (self.flip_at, self.cut_at, self.hold_at) if at is not None}
        inner = sorted(at for at in places if 0 < at < size)
        return [*zip([0, *inner], [*inner, size], strict=True)]


class Proxy:
    """Both directions of all connections to one server."""

    def __init__(self, target: int) -> None:
        self.up, self.down = Line(), Line()
        self.up.other, self.down.other = self.down, self.up
        self.port = 0
        self.target = target
        """The port of the server; another one counts for connections to come."""
        self.accepted = 0
        """How many connections there have been."""
        self._running: dict[asyncio.Task[None], None] = {}

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = None
        task.add_done_callback(self._running.pop)
        self.accepted += 1
        # Cancelled a second time by `settle`, it ends as quietly as the first.
        with contextlib.suppress(OSError, asyncio.CancelledError, ExceptionGroup):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target, limit=PIECE)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.up.carry(reader, far_writer))
                    group.create_task(self.down.carry(far_reader, writer))
            finally:
                far_writer.transport.abort()
        writer.transport.abort()

    def cut(self) -> None:
        """Cut all connections."""
        for task in self._running:
            task.cancel()

    def cut_one(self, place: int) -> None:
        """Cut one of the connections, counted from the oldest, or with -1 from the newest."""
        [*self._running][place].cancel()

    async def settle(self) -> None:
        """Cut all connections and wait until they are gone."""
        self.cut()
        await asyncio.gather(*self._running, return_exceptions=True)  # one that was ending already ends as cancelled


@contextlib.asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """Put a proxy before the server on a port."""
    proxy = Proxy(target)
    listener = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, limit=PIECE)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.settle()
        await listener.wait_closed()
