"""Fetching the chunks of a file over several connections. Whoever is free asks for the next one.

Each connection has a few requests under way, so that no round trip passes between two chunks. What one has asked for
and not got when it is lost goes back to the others.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from ftpc.connection import Connection
from ftpc.errors import FtpcError, RefusedError
from ftpc.pool import Pool
from ftpc.progress import Item
from ftpc.transfer.growth import grow
from ftpc.transfer.retry import is_temporary
from ftpc.transfer.tasks import errors_of_a_group
from ftpd.wire.requests import Get

AHEAD = 2
"""Chunks that are asked for on one connection."""


class Convoy:
    """Chunks on their way to one file."""

    def __init__(
        self,
        indexes: Iterable[int],
        request: Callable[[int], Get],
        take: Callable[[Connection, int], Awaitable[bool]],
    ) -> None:
        """Say which chunks are wanted, how one is asked for, and what takes it off a connection.

        `take` returns whether it arrived as it was sent; if not, it is asked for again.
        """
        self._left = deque(indexes)
        self._request = request
        self._take = take
        self._expected = 0
        """Connections that are still being opened. A chunk is kept for each until the first chunk is here."""
        self._waiting = set[asyncio.Task[None]]()
        """What need not be waited for when the first connection has nothing left to ask for."""

    async def run(self, connection: Connection, pool: Pool, item: Item) -> None:
        """Fetch all over this connection and some more: all at once on a long path, else as many as are seen to pay.

        Cancelling is safe: what `take` has not taken is not there.

        Raises:
            FtpcError: what this connection could not get; or something that is not about a connection.
        """
        with errors_of_a_group():
            async with asyncio.TaskGroup() as group:

                def start(enough: asyncio.Event | None) -> None:
                    self._expected += 1
                    self._waiting.add(group.create_task(self._bring_beside(pool, enough)))

                if connection.channel.is_far:
                    for _ in range(1, min(pool.streams, len(self._left))):
                        start(None)
                else:
                    self._waiting.add(group.create_task(grow(item, pool, start)))
                await self._bring(connection)
                for task in self._waiting:  # for a connection that others may have for long
                    task.cancel()
            await self._bring(connection)  # what others have given back since

    async def _bring_beside(self, pool: Pool, enough: asyncio.Event | None) -> None:
        """Fetch over another connection, as long as there is something, or until it is enough: then it is a trial."""
        task, has_begun = asyncio.current_task(), False
        assert task is not None
        try:
            async with pool.lend_beside() as connection:
                self._waiting.discard(task)
                self._expected -= 1
                has_begun = True
                await self._bring(connection, enough)
        except FtpcError as exc:
            # What was refused here is asked for again over the connection that stays, which can go on after a refusal.
            # If this one ended the group, that one would be cut in the middle of a reply.
            is_harmless = isinstance(exc, RefusedError) or is_temporary(exc) or (enough is not None and not has_begun)
            if not is_harmless:
                raise

    async def _bring(self, connection: Connection, enough: asyncio.Event | None = None) -> None:
        asked: deque[int] = deque()
        try:
            while asked or self._may_ask(asked, enough):
                while self._may_ask(asked, enough):
                    asked.append(self._left.popleft())
                    await connection.send(self._request(asked[-1]))
                if not await self._take(connection, asked[0]):
                    self._left.append(asked[0])
                asked.popleft()
                self._expected = 0
        except RefusedError:
            if not connection.is_usable:  # it was refused itself, and with it all that was asked for
                self._left.extendleft(reversed(asked))
                raise
            self._left.appendleft(asked.popleft())
            for index in asked:  # what has been asked for is answered all the same
                with contextlib.suppress(RefusedError):
                    await self._take(connection, index)
            raise
        except BaseException:
            connection.is_usable = False  # replies are still to come
            self._left.extendleft(reversed(asked))
            raise

    def _may_ask(self, asked: deque[int], enough: asyncio.Event | None) -> bool:
        """Tell whether a connection on which so many are asked for may ask for one more."""
        if not self._left or (enough is not None and enough.is_set()):
            return False
        return not asked or (len(asked) < AHEAD and len(self._left) > self._expected)
