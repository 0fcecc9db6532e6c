"""Downloading a folder: small files without waiting for each other, stored many at a time; large ones by themselves.

Requests for files and for the next page of a listing are under way all the time, also while files are stored, so that
no round trip is waited for. What is known ahead is a page, and what is in memory is bounded, however many files there
are. Receiving and storing take turns: two threads of Python would only get into each other's way, and meanwhile the
kernel receives.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ftpc.connection import Connection, reply_of
from ftpc.errors import ConnectionLostError, FtpcError, IntegrityError, LocalFileError, RefusedError
from ftpc.pool import Pool
from ftpc.progress import Contents
from ftpc.results import GetResult, TreeFile, TreeResult
from ftpc.transfer.download import check_content
from ftpc.transfer.retry import is_temporary, persist
from ftpc.transfer.saving import Arrived, Saver, Wanted, make_folders
from ftpc.transfer.tasks import Tally, errors_of_a_group
from ftpd.wire.digests import tree_of
from ftpd.wire.frames import find_frame
from ftpd.wire.limits import DIGEST_SIZE, MIB, PAGE_ENTRIES, SMALL_FILE
from ftpd.wire.messages import Content, Entry, EntryType, Get, Ls, Page, Trailer, encode_request
from ftpd.wire.paths import BadPathError, RemotePath

MOST_PENDING = 512
PENDING_BYTES = 4 * MIB
"""Files that are asked for and not stored yet, and their bytes: enough for a long way, and they are in memory."""

MOST_GROWN = 16 * MIB
"""Bytes of them if they have grown since they were listed."""

BATCH_FILES = 64
BATCH_BYTES = MIB
"""What is stored together; the files are open at the same time."""

PAGES_AHEAD = 16
"""Folders whose listing is asked for at the same time: on a long path each would cost a round trip."""

MOST_LARGE = 8
"""Large files that are waiting for a connection while small ones go on."""


class _Listing(NamedTuple):
    """A page of the listing of a folder."""

    folder: Wanted
    cursor: str | None


class TreeDownload:
    """A folder on its way from a server."""

    def __init__(
        self,
        base: Wanted,
        pool: Pool,
        get_large: Callable[[str, str], Awaitable[GetResult]],
        tally: Tally,
        *,
        preserve: bool,
    ) -> None:
        self._pool = pool
        self._get_large = get_large
        self._tally = tally
        self._contents = tally.item.contents or Contents()
        self._preserve = preserve
        self._base = base
        self._folders = deque([base])
        """Those that no listing has been asked of yet."""
        self._partly: Wanted | None = None
        """One that has more than one page: as far as its entries are `_seen`. Its pages come by themselves, for a
        server ends a listing when it is asked for another one."""
        self._seen: set[str] = set()
        self._cursor: str | None = None
        self._wanted: deque[Wanted] = deque()
        self._asked: deque[Wanted | _Listing] = deque()
        """What replies are to come for, in their order."""
        self._pages = 0
        """How many of them are pages of listings."""
        self._ahead = PAGES_AHEAD
        """How many they may be. Where folders have several pages the listings asked for ahead are for nothing: asking
        for one ends another."""
        self._arrived: list[Arrived] = []
        self._arrived_bytes = 0
        self._pending = 0
        self._pending_bytes = 0
        self._large: deque[Wanted] = deque()
        self._room = MOST_LARGE
        self._room_again = asyncio.Event()

    async def run(self) -> TreeResult:
        """Fetch the folder; go on over another connection if one is lost.

        Raises:
            FtpcError: there is no such folder; the connection is lost for good.
        """

        async def attempt() -> None:
            async with self._pool.lend() as connection:
                (error,) = await self._pool.workers.disk(make_folders, [self._base.local])
                if error is not None:
                    raise error
                await self._fetch(connection, large)
            while self._large:
                await self._room_again.wait()
                async with self._pool.lend() as connection:
                    await self._fetch(connection, large)

        self._pool.alarms.add(self._room_again)
        try:
            with errors_of_a_group():
                async with asyncio.TaskGroup() as large:
                    await persist(attempt, self._pool.retries, self._tally.item, self._tally.progress)
        finally:
            self._pool.alarms.discard(self._room_again)
        return self._tally.result

    async def _fetch(self, connection: Connection, large: asyncio.TaskGroup) -> None:
        """Go on where the last connection was lost: what was asked for and has not come is asked for again."""
        self._give_back()
        try:
            await self._converse(connection, large)
        except BaseException as exc:
            connection.is_usable = False  # replies may still be to come
            if isinstance(exc, FtpcError):
                await self._save()  # what had come is not asked for again
            raise

    def _give_back(self) -> None:
        again = [wanted for wanted in self._asked if isinstance(wanted, Wanted)]
        folders = [listing.folder for listing in self._asked if isinstance(listing, _Listing)]
        self._folders.extendleft(reversed([folder for folder in folders if folder is not self._partly]))
        self._pages = 0
        self._wanted.extendleft(reversed(again))
        self._pending -= len(again)
        self._pending_bytes -= sum(wanted.size for wanted in again)
        self._asked.clear()
        self._cursor = None

    async def _converse(self, connection: Connection, large: asyncio.TaskGroup) -> None:
        while self._asked or self._wanted or self._folders or self._partly or self._large:
            while self._large and self._room:
                self._room -= 1
                large.create_task(self._get_one(self._large.popleft()))
            self._ask(connection)
            while self._asked and not self._is_batch():
                await self._read(connection)
            if self._arrived:
                await self._save()
            elif self._large and not self._room:
                self._room_again.clear()
                if not self._pool.is_crowded:
                    await self._room_again.wait()
                if self._pool.is_crowded:  # perhaps this is the only connection that there is for them
                    break

    async def _read(self, connection: Connection) -> None:
        first = self._asked[0]
        if isinstance(first, _Listing):
            await self._read_page(connection, first.folder)
            self._ask(connection)
        else:
            await connection.greet()
            await connection.read_arrived(self._take_file)
            if self._asked and self._asked[0] is first:  # not all of it is there
                await self._read_file(connection, first)

    def _is_batch(self) -> bool:
        return len(self._arrived) >= BATCH_FILES or self._arrived_bytes >= BATCH_BYTES

    def _ask(self, connection: Connection) -> None:
        """Ask for what there is room for, the next pages first: they are to be here before their files are needed."""
        requests = bytearray()
        while (listing := self._next_listing()) is not None:
            folder, cursor = listing
            requests += encode_request(Ls(path=folder.remote, long=True) if cursor is None else Ls(cursor=cursor))
            self._asked.append(listing)
            self._pages += 1
        while self._wanted and (not self._pending or self._has_room_for(self._wanted[0])):
            wanted = self._wanted.popleft()
            self._asked.append(wanted)
            self._pending += 1
            self._pending_bytes += wanted.size
            requests += encode_request(Get(filename=wanted.remote))
        if requests:
            with connection.errors():
                # Not drained: a server that waits for us to read would have us wait for it. They are few bytes.
                connection.channel.write(bytes(requests))

    def _next_listing(self) -> _Listing | None:
        if len(self._wanted) >= PAGE_ENTRIES or self._large:
            return None
        if self._partly is not None:
            return None if self._pages else _Listing(self._partly, self._cursor)
        return _Listing(self._folders.popleft(), None) if self._folders and self._pages < self._ahead else None

    def _has_room_for(self, wanted: Wanted) -> bool:
        return self._pending < MOST_PENDING and self._pending_bytes + wanted.size <= PENDING_BYTES

    async def _read_page(self, connection: Connection, folder: Wanted) -> None:
        try:
            async with connection.patience():
                page = await connection.read_reply(Page)
        except RefusedError as exc:
            if folder is self._base or is_temporary(exc):
                raise
            self._fail(folder, exc, is_folder=True)
            page = Page(entries=[])
        self._asked.popleft()
        self._pages -= 1
        new = self._note_page(folder, page)
        folders = [inner for entry in new.values() if (inner := self._sort(folder, entry)) is not None]
        if folders:
            errors = await self._pool.workers.disk(make_folders, [inner.local for inner in folders])
            for inner, error in zip(folders, errors, strict=True):
                if error is None:
                    self._folders.append(inner)
                else:
                    self._fail(inner, error, is_folder=True)
        if not (self._folders or self._partly or self._pages):
            self._contents.is_whole = True

    def _note_page(self, folder: Wanted, page: Page) -> dict[str, Entry]:
        """Take note of how far a folder is listed. Gives the entries that are new."""
        if page.cursor is not None and self._partly is None:
            self._partly, self._seen = folder, set()
        if folder is not self._partly:
            if page.cursor is None:
                self._ahead = min(self._ahead + 1, PAGES_AHEAD)
                return {entry.name: entry for entry in page.entries}
            self._ahead = 1
            self._folders.appendleft(folder)  # another one with several pages: in its turn, from its beginning
            return {}
        new = {entry.name: entry for entry in page.entries if entry.name not in self._seen}
        self._seen.update(new)
        self._cursor = None if self._pages else page.cursor  # listings asked for since have ended this one
        if page.cursor is None:
            self._partly, self._seen = None, set()
        return new

    def _sort(self, folder: Wanted, entry: Entry) -> Wanted | None:
        """Put an entry where it belongs; give it back if it is a folder."""
        remote = f"{folder.remote}/{entry.name}" if folder.remote else entry.name
        local = os.path.join(folder.local, entry.name)  # noqa: PTH118 (a string is all that is needed)
        wanted = Wanted(remote, local, entry.size or 0)
        if entry.type is EntryType.FILE:
            self._contents.files += 1
            self._contents.size += wanted.size
        if not _is_harmless(entry.name):
            error = LocalFileError(f"{remote}: that name is not possible here")
            self._fail(wanted, error, is_folder=entry.type is not EntryType.FILE)
        elif entry.type is EntryType.DIRECTORY:
            return wanted
        elif entry.type is not EntryType.FILE:
            self._tally.take(TreeFile(local, remote, 0, left_out=f"a {entry.type.value}"))
        elif wanted.size > SMALL_FILE:
            self._large.append(wanted)
        else:
            self._wanted.append(wanted)
        return None

    async def _read_file(self, connection: Connection, wanted: Wanted) -> None:
        """Wait for the next file."""
        async with connection.patience():
            try:
                content = await connection.read_reply(Content)
            except RefusedError as exc:
                self._refuse(wanted, exc)
                return
            self._check(wanted, content)
            await connection.read_bytes(content.leaves * DIGEST_SIZE)
            data = await connection.read_bytes(content.length)
            root = content.root if not content.trailer else (await connection.read_reply(Trailer)).root
        self._arrive(wanted, content, data, root)

    def _take_file(self, data: bytes, place: int) -> int | None:
        """Take the next file if all of it is there. Many are: that is the way of nearly all of them."""
        wanted = self._asked[0] if self._asked and not self._is_batch() else None
        found = find_frame(data, place) if isinstance(wanted, Wanted) else None
        if not isinstance(wanted, Wanted) or found is None:
            return None
        header, start = found
        content = reply_of(header, Content)
        if isinstance(content, RefusedError):
            self._refuse(wanted, content)
            return start
        self._check(wanted, content)
        start += content.leaves * DIGEST_SIZE
        end = start + content.length
        if content.trailer or end > len(data):
            return None
        self._arrive(wanted, content, data[start:end], content.root)
        return end

    def _check(self, wanted: Wanted, content: Content) -> None:
        check_content(content, Get(filename=wanted.remote))
        if content.length - wanted.size > MOST_GROWN - self._pending_bytes:
            self._asked.popleft()
            self._pending -= 1
            self._pending_bytes -= wanted.size
            self._large.append(wanted)
            raise _GrownError(f"{wanted.remote}: it has grown to {content.length} bytes")

    def _refuse(self, wanted: Wanted, error: FtpcError) -> None:
        if is_temporary(error):
            raise error
        self._asked.popleft()
        self._pending -= 1
        self._pending_bytes -= wanted.size
        self._fail(wanted, error)

    def _arrive(self, wanted: Wanted, content: Content, data: bytes, root: str | None) -> None:
        if tree_of(data).root != root:
            message = f"{wanted.remote}: it arrived damaged or is damaged on the server; nothing was kept"
            self._refuse(wanted, IntegrityError(message))
            return
        self._asked.popleft()
        self._pending_bytes += len(data) - wanted.size
        self._arrived_bytes += len(data)
        self._arrived.append(Arrived(wanted, data, content))

    async def _save(self) -> None:
        """Store what has arrived."""
        if self._arrived:
            done = await self._pool.workers.batch(Saver(self._arrived, preserve=self._preserve).save)
            self._pending -= len(self._arrived)
            self._pending_bytes -= self._arrived_bytes
            self._arrived, self._arrived_bytes = [], 0
            self._tally.take_small(done)

    def _fail(self, wanted: Wanted, error: FtpcError, *, is_folder: bool = False) -> None:
        self._tally.take(TreeFile(wanted.local, wanted.remote, 0, error=error, is_folder=is_folder))

    async def _get_one(self, wanted: Wanted) -> None:
        try:
            got = await self._get_large(wanted.remote, wanted.local)
        except FtpcError as exc:
            self._fail(wanted, exc)
        else:
            self._tally.take(TreeFile(wanted.local, wanted.remote, got.size, resumed=got.resumed))
        finally:
            self._room += 1
            self._room_again.set()


class _GrownError(ConnectionLostError):
    """A file is not small any more. The conversation is given up for it, and it is fetched by itself."""


def _is_harmless(name: str) -> bool:
    """Tell whether a name from the wire is one name here too, and no path (`..`, or `C:x` on Windows)."""
    try:
        is_one = RemotePath.parse(f"x/{name}").parts == (
            "x",
            name,
        )  # not the first: what is reserved there is none here
    except BadPathError:
        return False
    return is_one and os.path.basename(name) == name and not os.path.splitdrive(name)[0]  # noqa: PTH119
