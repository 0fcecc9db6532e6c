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
from ftpc.transfer.plan import Streams
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

    async def run(self, connection: Connection, streams: Streams) -> None:
        """Fetch all over this connection and some more. Cancelling is safe: what `take` has not taken is not there.

        Raises:
            FtpcError: what this connection could not get; or something that is not about a connection.
        """
        with errors_of_a_group():
            async with asyncio.TaskGroup() as group:
                self._expected = min(streams.most, len(self._left)) - 1
                for _ in range(self._expected):
                    group.create_task(self._bring_beside(streams))
                await self._bring(connection)
            await self._bring(connection)  # what others have given back since

    async def _bring_beside(self, streams: Streams) -> None:
        try:
            async with streams.lend() as connection:
                self._expected -= 1
                await self._bring(connection)
        except FtpcError as exc:
            # What was refused here is asked for again over the connection that stays, which can go on after a refusal.
            # If this one ended the group, that one would be cut in the middle of a reply.
            if not isinstance(exc, RefusedError) and not is_temporary(exc):
                raise

    async def _bring(self, connection: Connection) -> None:
        asked: deque[int] = deque()
        try:
            while self._left or asked:
                while self._left and (not asked or (len(asked) < AHEAD and len(self._left) > self._expected)):
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
