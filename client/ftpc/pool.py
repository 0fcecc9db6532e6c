"""What all transfers of one client share: a few connections to a server, and threads."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from ftpc.connection import Connection
from ftpc.errors import RefusedError

if TYPE_CHECKING:
    from ftpd.payload.workers import Workers


class Pool:
    """Connections, which are opened when they are needed and kept for whoever needs one next."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], connections: int, streams: int, retries: int
    ) -> None:
        """Make room for `connections` transfers at a time, each of which may use up to `streams` connections."""
        self._connect = connect
        self._room = asyncio.Semaphore(connections)
        self._spare = asyncio.Semaphore(streams - 1)
        self._idle: list[Connection] = []
        self._workers: Workers | None = None
        self.streams = streams
        self.retries = retries
        """How often in a row a transfer is tried again without any progress."""

    def __repr__(self) -> str:
        return f"<Pool {len(self._idle)} idle connections>"

    async def close(self) -> None:
        """Close the connections and let the threads end. Transfers must be over."""
        while self._idle:
            await self._idle.pop().close()
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
        """Wait for room, and lend a connection."""
        async with self._room, self.lend() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """Lend a connection to who has room; it is kept if the conversation is intact at the end."""
        connection = await self._take()
        try:
            yield connection
        except RefusedError:
            raise
        except BaseException:
            connection.is_usable = False  # there may be a reply or payload left in it
            raise
        finally:
            if connection.is_usable:
                self._idle.append(connection)
            else:
                await connection.close()

    @contextlib.asynccontextmanager
    async def lend_beside(self) -> AsyncIterator[Connection]:
        """Lend a connection for a file that has one already."""
        async with self._spare, self.lend() as connection:
            yield connection

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.channel.ended.is_set():
                return connection
            await connection.close()
        return await self._connect()
