"""Chunks of an upload: those that are to be sent, and those that are on their way over one connection."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from ftpc.connection import Connection
from ftpc.errors import FtpcError, GarbledError, RefusedError
from ftpc.progress import Item, Phase, Progress
from ftpc.transfer.tasks import first_of
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import CHUNKS_IN_FLIGHT
from ftpd.wire.replies import Confirmed, Done
from ftpd.wire.requests import Chunk

_NOTHING = Chunk(upload="", index=0, size=0, digest="")
"""Never sent: waiting for its confirmation tells how the connection ended."""

TRIES = 4
"""How often a chunk that arrives damaged is sent before the way counts as broken."""


class Cargo:
    """What is to be sent of a file, over however many connections. Whoever is free takes the next chunk."""

    def __init__(self, item: Item, progress: Progress, tries: int = TRIES) -> None:
        self.item = item
        self.progress = progress
        self.last_phase: Phase | None = None
        """What follows when all is confirmed, if that has been asked for already."""
        self._left: deque[int] = deque()
        self._unconfirmed: set[int] = set()
        self._unannounced: set[int] = set()
        self._limit = tries
        self._count = 0
        self._tries: dict[int, int] = {}
        self._change = asyncio.Event()

    def load(self, indexes: Iterable[int], count: int) -> None:
        """Say what is to be sent, of how many chunks."""
        self._count = count
        self._left.extend(indexes)
        self._unconfirmed.update(self._left)
        self._unannounced.update(self._left)

    @property
    def has_left(self) -> bool:
        """Whether there is a chunk that nobody has taken."""
        return bool(self._left)

    @property
    def is_announced(self) -> bool:
        """Whether the digests of all chunks are known."""
        return not self._unannounced

    @property
    def is_confirmed(self) -> bool:
        """Whether the server has all of it."""
        return not self._unconfirmed

    def take(self) -> int | None:
        """Take a chunk to send it, if one is left. For any thread."""
        try:
            return self._left.popleft()
        except IndexError:
            return None

    def give_back(self, indexes: Iterable[int]) -> None:
        """Let others send what was not confirmed."""
        self._left.extend(indexes)
        self._change.set()

    def announce(self, chunk: Chunk) -> None:
        """Take note that a chunk has been announced to the server."""
        self._unannounced.discard(chunk.index)
        self._change.set()

    def confirm(self, chunk: Chunk) -> None:
        """Take note that the server has verified and stored a chunk."""
        self.item.done += chunk.size
        self.item.moved += chunk.size
        self._unconfirmed.discard(chunk.index)
        if self.last_phase is not None and self.is_confirmed:
            self.item.phase = self.last_phase
        self._change.set()
        self.progress.update(self.item)

    def damage(self, index: int) -> bool:
        """Take note that a chunk arrived damaged. Returns whether to send it again."""
        self._tries[index] = self._tries.get(index, 1) + 1
        if self._tries[index] > self._limit:
            return False
        self.item.repaired += 1
        return True

    def doubt(self, index: int) -> None:
        """Take note that the server may have taken another chunk for this one, so that it has to be sent again."""
        if index < self._count and index not in self._unconfirmed:
            self._unconfirmed.add(index)
            self.give_back([index])

    async def more(self) -> None:
        """Wait until a chunk is left for whoever is free, or all are confirmed."""
        while not self._left and self._unconfirmed:
            await self.change()

    async def change(self) -> None:
        """Wait until something of this may have changed."""
        self._change.clear()
        await self._change.wait()


class Flight:
    """Chunks that are announced on a connection but not confirmed, at most `CHUNKS_IN_FLIGHT`."""

    def __init__(
        self, connection: Connection, cargo: Cargo, enough: asyncio.Event | None = None, *, is_joining: bool = False
    ) -> None:
        """When `enough` is set no more are taken. With `is_joining` a `join` has been sent, whose reply comes first."""
        self._connection = connection
        self._cargo = cargo
        self._enough = enough
        self._is_joining = is_joining
        self._announced: asyncio.Queue[Chunk | None] = asyncio.Queue()
        self._taken: set[int] = set()
        self._loop = asyncio.get_running_loop()
        # Each is written by one thread only.
        self._sent = self._answered = 0
        self._answer = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether no more chunks are taken. For any thread."""
        return not self._cargo.has_left or (self._enough is not None and self._enough.is_set())

    @property
    def has_room(self) -> bool:
        """Whether one more may be announced."""
        return self._sent - self._answered < CHUNKS_IN_FLIGHT

    def take(self) -> int | None:
        """Take a chunk to send it, if one is left and there is room for it. For one thread at a time."""
        index = self._cargo.take() if self.has_room and not self.is_over else None
        if index is not None:
            self._taken.add(index)
        return index

    def announce(self, chunk: Chunk) -> None:
        """Take note that a chunk is going to be sent now. For one thread at a time."""
        self._sent += 1
        self._loop.call_soon_threadsafe(self._note, chunk)

    def _note(self, chunk: Chunk) -> None:
        self._announced.put_nowait(chunk)
        self._cargo.announce(chunk)

    async def room(self) -> None:
        """Wait until one more may be announced."""
        while not self.has_room:
            await self._next_answer()

    async def all_answered(self) -> None:
        """Wait until all chunks are answered, for good or bad."""
        while self._answered < self._sent:
            await self._next_answer()

    def land(self) -> None:
        """Say that no more chunks will be announced."""
        self._announced.put_nowait(None)

    def give_back(self) -> None:
        """Let others send what was not confirmed, when nobody sends here any more."""
        self._cargo.give_back(sorted(self._taken))
        self._taken.clear()

    async def confirm(self) -> None:
        """Read the confirmations as they come."""
        if self._is_joining:
            await self._connection.read_reply(Done)
        while (chunk := await self._announced.get()) is not None:
            if await self._is_confirmed(chunk):
                self._taken.discard(chunk.index)
                self._cargo.confirm(chunk)
            self._answered += 1
            self._answer.set()

    async def _next_answer(self) -> None:
        self._answer.clear()
        await self._answer.wait()

    async def _is_confirmed(self, chunk: Chunk) -> bool:
        try:
            confirmed = (await self._connection.read_reply(Confirmed)).index
        except RefusedError as exc:
            if exc.code != ErrorCode.INTEGRITY or not self._cargo.damage(chunk.index):
                raise
            return False
        if confirmed == chunk.index:
            return True
        if not self._cargo.damage(chunk.index):
            raise GarbledError(f"the server confirms chunk {confirmed}, not {chunk.index}")
        self._cargo.doubt(confirmed)
        return False

    async def watch(self) -> None:
        """Notice the end of the connection while nothing is on its way: what is to be sent may be long in coming."""
        await self._connection.channel.ended.wait()
        self._announced.put_nowait(_NOTHING)

    async def watch_for_stall(self) -> None:
        """Give up if for too long neither a chunk is answered nor a byte acknowledged."""
        patience_s = self._connection.stall_timeout_s
        before: tuple[int, int | None] = (-1, None)
        channel = self._connection.channel
        while before != (now := (self._answered, channel.acknowledged)) or self._answered == self._sent:
            before = now
            await asyncio.sleep(patience_s)
        msg = f"nothing moved for {patience_s:g} s"
        with self._connection.errors():
            raise ConnectionAbortedError(msg)


@asynccontextmanager
async def confirming(flight: Flight, connection: Connection) -> AsyncIterator[None]:
    """Read confirmations while the block sends; the first error of either side ends both."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(flight.confirm())
            watching = [group.create_task(flight.watch()), group.create_task(flight.watch_for_stall())]
            yield
            await flight.all_answered()
            for task in watching:
                task.cancel()
            flight.land()
    except BaseExceptionGroup as errors:
        connection.is_usable = False
        # The refusal is the cause; that the sending broke off as well is its consequence.
        for kind in (RefusedError, FtpcError, BaseException):
            found, _ = errors.split(kind)
            if found is not None:
                raise first_of(found) from None
        raise
    finally:
        flight.give_back()
