"""What speaks against uploads, asked of the server before a byte of any of them is sent."""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ftpc.connection import Connection
from ftpc.errors import ConnectError, FtpcError, GarbledError, OthersRefusedError, RefusedError
from ftpc.pool import Pool
from ftpc.results import Objection
from ftpc.transfer.pages import pages
from ftpc.transfer.retry import is_temporary
from ftpc.transfer.walk import Local, walk
from ftpd.amounts import size_text
from ftpd.payload.workers import Workers
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import SMALL_PUT
from ftpd.wire.replies import Checked
from ftpd.wire.requests import Check
from ftpd.wire.terms import IfExists

MOST_TOLD = 10
"""Objections that are told one by one."""

AHEAD = 4
"""Pages that are asked about while the reply to one is waited for: few enough that all replies fit on their way."""

FIRST_FILES = 128
"""Files of a folder that are asked about before its first byte: more would be felt where there are many small ones."""

LARGE_SHARE = 16
"""A folder is looked through when it has turned out to need this part of the room, the 16th: it may need all of it."""

_FILE_BYTES = 32
"""A file in the request without its name, with the longest size."""


class Candidate(NamedTuple):
    """A file that is to be uploaded."""

    local: str
    remote: str
    size: int | None
    """None if nobody knows, or the server has set its space aside already."""


IsBegun = Callable[[str, str], bool]
"""Tells of a local file, and what it is to be called, whether it was begun and the server may still have its space."""


def _candidate(local: str, remote: str, is_begun: IsBegun) -> Candidate:
    size = os.stat(local).st_size  # noqa: PTH116 (there may be thousands)
    return Candidate(local, remote, None if size > SMALL_PUT and is_begun(local, remote) else size)


def _name_of(file: Candidate) -> str:
    return file.remote


class Preflight:
    """What the server says of a job, page by page."""

    def __init__(self, if_exists: IfExists) -> None:
        self.objections: list[Objection] = []
        self.room: Checked | None = None
        """The first reply: how much room there was when it was asked for."""
        self.size = 0
        """Bytes that the job needs, as far as it was asked about: less than none if what it replaces is larger."""
        self.files = 0
        self._if_exists = if_exists
        self._more = 0

    async def ask(self, connection: Connection, page: list[Candidate]) -> None:
        """Send a page; `hear` its reply before the next one."""
        await connection.send(Check(files=[file[1:] for file in page], if_exists=self._if_exists))

    async def ask_all(self, connection: Connection, pages: Iterable[list[Candidate]]) -> None:
        """Ask page by page, and hear the replies; once it is known that the server answers, without waiting for each.

        Raises:
            FtpcError: as `hear`.
        """
        unheard: deque[list[Candidate]] = deque()
        try:
            for page in pages:
                await self.ask(connection, page)
                unheard.append(page)
                if self.room is None or len(unheard) > AHEAD:
                    await self.hear(connection, unheard.popleft())
                if self.room is None:
                    break
            while unheard:
                await self.hear(connection, unheard.popleft())
        except RefusedError:
            connection.is_usable = False  # other replies are still to come
            raise

    async def hear(self, connection: Connection, page: list[Candidate]) -> None:
        """Read the reply to a page. A server that is too old to be asked has no objections.

        Raises:
            FtpcError: the connection is lost, or the server busy.
        """
        try:
            async with connection.patience():
                checked = await connection.read_reply(Checked)
        except RefusedError as exc:
            if is_temporary(exc):
                raise
            if exc.code != ErrorCode.UNKNOWN_COMMAND:
                self.objections.append(Objection(None, exc))
            return
        if any(not 0 <= refused.index < len(page) for refused in checked.refused):
            connection.is_usable = False
            raise GarbledError("the server refuses files that it was not asked about")
        self.room = self.room or checked
        self.size += checked.size - checked.replaced
        self.files += checked.new_files
        for index, code, message in ((one.index, one.code, one.message) for one in checked.refused):
            self.objections.append(Objection(page[index].local, RefusedError(code, message, {})))
        self._more += checked.more

    def told(self) -> list[Objection]:
        """Give what speaks against the job: the first refusals, how many more there are, and a lack of room."""
        first, rest = self.objections[:MOST_TOLD], self.objections[MOST_TOLD:]
        if count := len(rest) + self._more:
            codes = [objection.error.code for objection in (rest or first)]
            code = next((code for code in codes if code != codes[0]), codes[0])
            first.append(Objection(None, OthersRefusedError(code, count)))
        if (lack := self.lack()) is not None:
            first.append(Objection(None, lack))
        return first

    def lack(self) -> RefusedError | None:
        """Tell what there is too little room for, all files together."""
        if (room := self.room) is None:
            return None
        facts: dict[str, object] = {"needed": self.size}
        if room.quota is not None and self.size > room.quota - (room.used or 0):
            free = size_text(max(0, room.quota - (room.used or 0)))
            quota = size_text(room.quota)
            text = f"all together need {size_text(self.size)}, and of the quota of {quota} {free} are free"
        elif room.quota_files is not None and self.files > room.quota_files - (room.files or 0):
            there = f"the quota is {room.quota_files:,} files, and there are {room.files or 0:,}"
            text = f"{there}; {self.files:,} more are too many"
            facts = {"needed_files": self.files}
        elif self.size > room.free:
            text = f"all together need {size_text(self.size)}, and {size_text(room.free)} are free on the server"
        else:
            return None
        return RefusedError(ErrorCode.NO_SPACE, text, facts)

    def is_large(self, size: int, files: int) -> bool:
        """Tell whether so much, or what is known to be needed, is a good part of the room that there was."""
        if (room := self.room) is None:
            return False
        size, files = max(size, self.size) * LARGE_SHARE, max(files, self.files) * LARGE_SHARE
        return (
            size > room.free
            or (room.quota is not None and size > room.quota - (room.used or 0))
            or (room.quota_files is not None and files > room.quota_files - (room.files or 0))
        )


class Scout:
    """Looks through a folder ahead of those who send it."""

    def __init__(self, folder: str, remote: str, if_exists: IfExists, is_begun: IsBegun) -> None:
        """See what is sent of a local folder."""
        self.folder = folder
        self.preflight = Preflight(if_exists)
        self._is_begun = is_begun
        self._pages = pages(self._files(remote), _name_of, _FILE_BYTES, FIRST_FILES)
        self._page: list[Candidate] = []
        self.is_heard = False
        """Whether it is known what the server says of the first files."""

    async def ask(self, connection: Connection, workers: Workers) -> None:
        """Ask about the first files, if that has not been answered."""
        if self.is_heard:
            return
        if not self._page:
            self._page = await workers.disk(self._look)
        if self._page:
            await self.preflight.ask(connection, self._page)
        else:
            self.is_heard = True

    async def hear(self, connection: Connection) -> None:
        """Read the answer, if there is one to come."""
        if not self.is_heard:
            await self.preflight.hear(connection, self._page)
            self.is_heard = True

    async def go_on(self, connection: Connection, workers: Workers) -> RefusedError | None:
        """Add up the rest, until there is no room for it; tell so."""
        while (lack := self.preflight.lack()) is None and (page := await workers.disk(self._look)):
            await self.preflight.ask(connection, page)
            await self.preflight.hear(connection, page)
        return lack

    def _look(self) -> list[Candidate]:
        return next(self._pages, [])

    def _files(self, remote: str) -> Iterator[Candidate]:
        for found in walk(self.folder, remote):
            if isinstance(found, Local) and not found.is_folder:
                with contextlib.suppress(OSError):  # it is gone; whoever sends it will tell
                    yield _candidate(found.path, found.remote, self._is_begun)


async def preflight(
    pool: Pool, files: Iterable[tuple[str, str]], if_exists: IfExists, is_begun: IsBegun
) -> list[Objection]:
    """Ask about files, by their local and their full remote names. See `Client.check`."""
    candidates: list[Candidate] = []
    for local, remote in files:
        with contextlib.suppress(OSError, ValueError):  # what is wrong with it is told in its turn
            candidates.append(_candidate(local, remote, is_begun))
    asked = Preflight(if_exists)
    try:
        async with pool.connection() as connection:
            await asked.ask_all(connection, pages(candidates, _name_of, _FILE_BYTES))
    except FtpcError as exc:
        if isinstance(exc, ConnectError) or not is_temporary(exc):
            raise
        return []  # whatever it is, the transfers try again, and this is only a warning
    return asked.told()
