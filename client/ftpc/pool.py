"""What all transfers of one client share: a few connections to a server, and threads."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from ftpc.connection import Connection
from ftpc.errors import RefusedError, TurnedAwayError
from ftpd.wire.errors import ErrorCode

if TYPE_CHECKING:
    from ftpd.payload.workers import Workers


GROW_S = 30.0
"""How long a pool goes on with the connections that the server takes, before it tries whether one more is taken."""

BUSY_S = 5.0
"""How long a question is asked again that the server was too busy for: somebody sits there and waits for the answer."""

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 1.0

T = TypeVar("T")


class Pool:
    """Connections, which are opened when they are needed and kept for whoever needs one next.

    A server may take fewer of them than there is room for (`busy`). Then whoever needs one waits for one of those that
    there are, unless there is none that could get free.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        connections: int,
        streams: int,
        retries: int,
        notice: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Make room for `connections` transfers at a time, each of which may use up to `streams` connections.

        `notice` is told, once, that a question waits because the server is too busy for it.
        """
        self._connect = connect
        self._room = asyncio.Semaphore(connections)
        self._spare = asyncio.Semaphore(streams - 1)
        self._idle: list[Connection] = []
        self._count = 0
        """Connections that are lent, idle or being opened."""
        self._held = 0
        """Those lent for listings. Whoever reads one may do so as long as he likes: nobody waits for them."""
        self._most: int | None = None
        """How many the server takes, if it has said that it takes no more."""
        self._refusal: RefusedError | None = None
        self._grows_at = 0.0
        self._changed = asyncio.Event()
        self.is_crowded = False
        """Whether the server has taken fewer connections than were wanted: nobody should hold one for nothing."""
        self.alarms: set[asyncio.Event] = set()
        """Set when it becomes so."""
        self._workers: Workers | None = None
        self.streams = streams
        self.retries = retries
        """How often in a row a transfer is tried again without any progress; if not at all, neither are questions."""
        self._notice = notice
        self._has_told = False
        self._busy = 0
        """How often in a row the server was too busy for questions."""
        self._busy_until = 0.0
        """When it was to be given up, or is: for several questions one behind the other as for one."""

    def __repr__(self) -> str:
        return f"<Pool {len(self._idle)} idle connections>"

    async def close(self) -> None:
        """Close the connections and let the threads end. Transfers must be over."""
        while self._idle:
            await self._drop(self._idle.pop())
        if self._workers is not None:
            self._workers.close()

    @property
    def workers(self) -> "Workers":
        """Threads for files."""
        if self._workers is None:
            from ftpd.payload.workers import Workers

            self._workers = Workers()
        return self._workers

    @contextlib.asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Wait until one more transfer may begin. To be done before anything is opened for it: many may wait here."""
        async with self._room:
            yield

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Wait for room, and lend a connection for a question."""
        async with self._room, self.lend_greeted() as connection:
            yield connection

    async def ask(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        """Have a question answered over a connection, and asked again for a few seconds if the server is too busy."""
        asked = asyncio.get_running_loop().time()
        while True:
            try:
                async with self.connection() as connection:
                    answer = await question(connection)
            except RefusedError as exc:
                await self.wait_for_turn(exc, asked)
            else:
                self.take_turn()
                return answer

    async def wait_for_turn(self, exc: RefusedError, asked: float) -> None:
        """Wait for a moment before a question is asked again, first asked at that time of the event loop.

        Raises:
            RefusedError: `exc`: the server is not busy, or busy for too long, or says that it is going to be.
        """
        now = asyncio.get_running_loop().time()
        if exc.code != ErrorCode.BUSY or not self.retries:
            raise exc
        if not self._busy or asked > self._busy_until + BUSY_S:
            self._busy, self._busy_until = 0, asked + BUSY_S
        wait_s = _wait_s(self._busy, exc)
        if now + wait_s > self._busy_until:
            raise exc
        self._busy += 1
        if not self._has_told:
            self._has_told = True
            self._notice(f"{exc.message}; asking again for {BUSY_S:g} s")
        await asyncio.sleep(wait_s)

    def take_turn(self) -> None:
        """Take note that a question was answered."""
        self._busy = 0

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[Connection]:
        """Wait for room, and lend a connection for a listing."""
        async with self.connection() as connection:
            self._held += 1
            try:
                yield connection
            finally:
                self._held -= 1

    @contextlib.asynccontextmanager
    async def lend(self, *, waits: bool = True) -> AsyncIterator[Connection]:
        """Lend a connection to who has room; it is kept if the conversation is intact at the end.

        Raises:
            TurnedAwayError: the server does not take this one; another one may be lent later. With `waits` it comes out
                of the block, where the connection is used first.
        """
        connection = await self._take(waits=waits)
        try:
            yield connection
        except RefusedError as exc:
            self._hear(exc, self._count - 1, was_turned_away=connection.was_turned_away)
            raise
        except BaseException:
            connection.is_usable = False  # there may be a reply or payload left in it
            raise
        finally:
            if connection.is_usable:
                self._idle.append(connection)
                self._changed.set()
            else:
                await self._drop(connection)

    @contextlib.asynccontextmanager
    async def lend_greeted(self) -> AsyncIterator[Connection]:
        """Lend a connection for what is not tried again. Of several only one that the server has taken will do."""
        while True:
            with contextlib.suppress(TurnedAwayError):
                async with self.lend() as connection:
                    if self._count > 1:
                        await connection.greet()
                    yield connection
                    return

    @contextlib.asynccontextmanager
    async def lend_beside(self) -> AsyncIterator[Connection]:
        """Lend a connection for a file that has one already. It is not waited for: who waits may be who has it."""
        async with self._spare, self.lend(waits=False) as connection:
            yield connection

    def may_lend_beside(self) -> bool:
        """Tell whether one would be lent beside at once, as far as is known."""
        return not self._spare.locked() and (self._most is None or self._count < self._most)

    def in_use(self) -> int:
        """Tell how many are lent."""
        return self._count - len(self._idle)

    async def _take(self, *, waits: bool) -> Connection:
        while True:
            while self._idle:
                connection = self._idle.pop()
                if not connection.channel.ended.is_set():
                    return connection
                await self._drop(connection)
            if self._may_open():
                return await self._open()
            if not waits and self._refusal is not None:
                raise TurnedAwayError(self._refusal.code, self._refusal.message, self._refusal.facts)
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._grows_at):
                    await self._changed.wait()

    def _may_open(self) -> bool:
        if self._most is None or self._count < self._most or self._count <= self._held:
            return True
        now = asyncio.get_running_loop().time()
        if now < self._grows_at:
            return False
        self._most, self._grows_at = self._count + 1, now + GROW_S
        return True

    async def _open(self) -> Connection:
        self._count += 1
        try:
            return await self._connect()
        except BaseException as exc:
            self._count -= 1
            self._changed.set()
            if isinstance(exc, RefusedError):
                self._hear(exc, self._count, was_turned_away=exc.code == ErrorCode.BUSY)
            raise

    def _hear(self, exc: RefusedError, others: int, *, was_turned_away: bool) -> None:
        """Take note that the server takes no more than the others, if that is what it says.

        Raises:
            TurnedAwayError: in its place, if one of the others can be waited for.
        """
        if was_turned_away:
            self._most, self._refusal = max(others, 1), exc
            self._grows_at = asyncio.get_running_loop().time() + GROW_S
            self.is_crowded = True
            for alarm in self.alarms:
                alarm.set()
            if others > self._held:
                raise TurnedAwayError(exc.code, exc.message, exc.facts) from exc

    async def _drop(self, connection: Connection) -> None:
        self._count -= 1
        self._changed.set()
        await connection.close()


def _wait_s(times: int, exc: RefusedError) -> float:
    """Say how long to wait before the next try, after so many others: not less than the server says."""
    import random

    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**times) * random.uniform(0.5, 1)  # noqa: S311 (so that not all come back at once)
    hint = exc.facts.get("retry_after")
    return max(wait_s, hint) if isinstance(hint, int) else wait_s
