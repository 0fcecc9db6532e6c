"""Listing a remote folder, page by page."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Self

from ftpc.errors import RefusedError
from ftpc.pool import Pool
from ftpd.wire.replies import Entry, Page
from ftpd.wire.requests import Ls


class Listing:
    """The entries of a remote folder, in no particular order, as an asynchronous iterator.

    It holds a connection from the first entry until it has been read to its end or closed (`contextlib.aclosing`).
    """

    def __init__(self, pool: Pool, folder: str, *, long: bool) -> None:
        self.unnameable = 0
        """How many names were left out so far because no request could name them (not UTF-8, control characters)."""
        self._entries = self._read(pool, Ls(path=folder, long=long))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Entry:
        return await anext(self._entries)

    async def aclose(self) -> None:
        """Read no further."""
        await self._entries.aclose()

    async def _read(self, pool: Pool, request: Ls) -> AsyncGenerator[Entry, None]:
        asked = asyncio.get_running_loop().time()
        while True:
            try:
                async with pool.hold() as connection:
                    while True:
                        page = await connection.ask(request, Page)
                        pool.take_turn()
                        self.unnameable += page.unnameable
                        for entry in page.entries:
                            yield entry
                        if page.cursor is None:
                            return
                        request = Ls(cursor=page.cursor)
            except RefusedError as exc:
                if request.cursor is not None:  # its first names have been told
                    raise
                await pool.wait_for_turn(exc, asked)
