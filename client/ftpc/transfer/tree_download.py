"""Downloading many files, of a folder or by their names: small ones without waiting for each other, stored many at a
time; large ones by themselves.

Requests for files and for the next page of a listing are under way all the time, also while files are stored, so that
no round trip is waited for. What is known ahead is a page, and what is in memory is bounded, however many files there
are. Receiving and storing take turns: two threads of Python would only get into each other's way, and meanwhile the
kernel receives.

What is here already under its name is digested, and the server asked whether it has the same: hundreds of small files
at a time, and of none for whose name there is nothing here. Of a folder only what has the size that was listed; of what
was named no size is known, and to ask for that would take longer than to read a small file.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from ftpc.connection import Connection, reply_of
from ftpc.errors import FtpcError, IntegrityError, LocalFileError, RefusedError
from ftpc.pool import Pool
from ftpc.progress import Contents
from ftpc.results import GetResult, TreeFile, TreeResult
from ftpc.transfer.download import check_content
from ftpc.transfer.here import Candidate, Question, find_candidates, look_at, make_durable, questions
from ftpc.transfer.listings import Listing, Listings, inside, is_harmless
from ftpc.transfer.retry import go_on, is_temporary, persist
from ftpc.transfer.saving import Arrived, Saver, Wanted, make_folders
from ftpc.transfer.tasks import Tally, errors_of_a_group
from ftpd.wire.digests import tree_of
from ftpd.wire.errors import ErrorCode
from ftpd.wire.frames import find_frame
from ftpd.wire.limits import DIGEST_SIZE, KIB, MIB, PAGE_ENTRIES, SMALL_FILE
from ftpd.wire.messages import encode_request
from ftpd.wire.replies import Content, Entry, Page, Trailer, Twins
from ftpd.wire.requests import Get
from ftpd.wire.terms import EntryType

MOST_PENDING = 512
PENDING_BYTES = 4 * MIB
"""Files that are asked for and not stored yet, and their bytes: enough for a long way, and they are in memory."""

UNKNOWN = 8 * KIB
"""What counts as the size of a named file that nobody has asked about. It is cut off where it would not be small."""

BATCH_FILES = 64
BATCH_BYTES = MIB
"""What is stored together; the files are open at the same time."""

MOST_DOUBTED = 2 * PAGE_ENTRIES
"""Files that are here, and which the server is asked about."""

MOST_LARGE = 8
"""Large files that are waiting for a connection while small ones go on."""

MOST_ASIDE = 8
"""Small files that the server is too busy for, each of which is tried by itself. If there are more it is so for all."""

_FOR_NOW = {ErrorCode.BUSY, ErrorCode.TIMEOUT}
"""What may be about one file only, again and again."""


class TreeDownload:
    """Many files on their way from a server."""

    def __init__(
        self,
        source: Wanted | Iterable[Wanted],
        pool: Pool,
        get_large: Callable[[str, str], Awaitable[GetResult]],
        tally: Tally,
        *,
        preserve: bool,
    ) -> None:
        """Fetch a folder, or files by their names."""
        self._pool = pool
        self._get_large = get_large
        self._tally = tally
        self._contents = tally.item.contents or Contents()
        self._preserve = preserve
        self._base = source if isinstance(source, Wanted) else None
        self._listings = Listings([self._base] if self._base is not None else [])
        self._named = iter(()) if isinstance(source, Wanted) else iter(source)
        self._made: set[str] = set()
        """Folders in which there was nothing before."""
        self._wanted: deque[Wanted] = deque()
        self._asked: deque[Wanted | Listing | Question] = deque()
        """What replies are to come for, in their order."""
        self._doubts: deque[Question] = deque()
        """Of what is here, before it is known what is wanted."""
        self._doubted = 0
        """Files in these, and in those that were asked."""
        self._is_told = True
        """Whether the server answers these."""
        self._arrived: list[Arrived] = []
        self._arrived_bytes = 0
        self._pending = 0
        self._pending_bytes = 0
        self._large: deque[Wanted] = deque()
        self._aside: set[Wanted] = set()
        """Small files that are tried by themselves because the server was too busy for them."""
        self._room = MOST_LARGE
        self._room_again = asyncio.Event()

    async def run(self) -> TreeResult:
        """Fetch all; go on over another connection if one is lost.

        Raises:
            FtpcError: there is no such folder; the connection is lost for good.
        """

        async def attempt() -> None:
            async with self._pool.lend() as connection:
                if self._base is not None:
                    (error,) = await self._make_folders([self._base])
                    if error is not None:
                        raise error
                await self._fetch(connection, large)
            self._tally.item.is_idle = self._base is None
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
            self._listings.close()
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
        self._listings.give_back([one for one in self._asked if isinstance(one, Listing)])
        self._doubts.extendleft(reversed([one for one in self._asked if isinstance(one, Question)]))
        self._wanted.extendleft(reversed(again))
        self._pending -= len(again)
        self._pending_bytes -= sum(wanted.size for wanted in again)
        self._asked.clear()

    async def _converse(self, connection: Connection, large: asyncio.TaskGroup) -> None:
        while await self._is_anything_left():
            while self._large and self._room:
                self._room -= 1
                large.create_task(self._get_one(self._large.popleft()))
            self._ask(connection)
            self._tally.item.is_idle = self._base is None and not self._asked
            while self._asked and not self._is_batch():
                await self._read(connection)
                go_on(self._tally.item, self._tally.progress)
            if self._arrived:
                await self._save()
            elif self._large and not self._room:
                self._room_again.clear()
                go_on(self._tally.item, self._tally.progress)  # what is waited for are others
                if not self._pool.is_crowded:
                    await self._room_again.wait()
                # Perhaps this is the only connection that there is for them, or the server has waited long enough.
                if self._pool.is_crowded or connection.channel.ended.is_set():
                    break

    async def _is_anything_left(self) -> bool:
        while not self._large and self._has_room and (named := list(itertools.islice(self._named, PAGE_ENTRIES))):
            await self._look_at(named)  # of which none may be left
        return bool(self._asked or self._wanted or self._doubts or self._listings.are_left or self._large)

    @property
    def _has_room(self) -> bool:
        """Whether more should be found that is to be fetched."""
        return len(self._wanted) < PAGE_ENTRIES and self._doubted < MOST_DOUBTED

    async def _look_at(self, named: Sequence[Wanted]) -> None:
        """Look at the places of files that are named, of which some may be here."""
        new, small, large, bad = await self._pool.workers.disk(look_at, named)
        self._wanted += new
        self._large += large
        await self._doubt(small)
        for wanted, error in bad:
            self._fail(wanted, error)

    async def _read(self, connection: Connection) -> None:
        first = self._asked[0]
        if isinstance(first, Listing):
            await self._read_page(connection, first.folder)
        elif isinstance(first, Question):
            await self._read_answer(connection, first)
        else:
            await connection.greet()
            await connection.read_arrived(self._take_file)
            if self._asked and self._asked[0] is first:  # not all of it is there
                await self._read_file(connection, first)
            return
        self._ask(connection)

    def _is_batch(self) -> bool:
        return len(self._arrived) >= BATCH_FILES or self._arrived_bytes >= BATCH_BYTES

    def _ask(self, connection: Connection) -> None:
        """Ask for what there is room for, the next pages first: they are to be here before their files are needed."""
        requests = bytearray()
        while not self._large and self._has_room and (listing := self._listings.next()) is not None:
            self._asked.append(listing)
            requests += listing.frame
        while self._doubts:
            self._asked.append(self._doubts[0])
            requests += self._doubts.popleft().frame
        while self._wanted and (not self._pending or self._has_room_for(self._wanted[0])):
            wanted = self._wanted.popleft()
            self._asked.append(wanted)
            self._pending += 1
            self._pending_bytes += wanted.size
            requests += encode_request(_request_for(wanted))
        if requests:
            with connection.errors():
                # Not drained: a server that waits for us to read would have us wait for it. They are few bytes.
                connection.channel.write(bytes(requests))

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
        new = self._listings.take(folder, page)
        folders: list[Wanted] = []
        files: list[Wanted] = []
        for entry in new.values():
            self._sort(inside(folder, entry), entry, folders, files)
        if folder.local in self._made:
            self._wanted += files
        else:
            await self._doubt(files)
        if page.cursor is None:
            self._made.discard(folder.local)
        for inner, error in zip(folders, await self._make_folders(folders), strict=True):
            if error is None:
                self._listings.add(inner)
            else:
                self._fail(inner, error, is_folder=True)
        if self._listings.are_over:
            self._contents.is_whole = True

    async def _make_folders(self, folders: Sequence[Wanted]) -> list[FtpcError | None]:
        if not folders:
            return []
        return await self._pool.workers.disk(make_folders, [folder.local for folder in folders], self._made)

    def _sort(self, wanted: Wanted, entry: Entry, folders: list[Wanted], files: list[Wanted]) -> None:
        """Put an entry where it belongs."""
        if entry.type is EntryType.FILE:
            self._contents.files += 1
            self._contents.size += wanted.size
        if not is_harmless(entry.name):
            error = LocalFileError(f"{wanted.remote}: that name is not possible here")
            self._fail(wanted, error, is_folder=entry.type is not EntryType.FILE)
        elif entry.type is EntryType.DIRECTORY:
            folders.append(wanted)
        elif entry.type is not EntryType.FILE:
            self._tally.take(TreeFile(wanted.local, wanted.remote, 0, left_out=f"a {entry.type.value}"))
        else:
            (self._large if wanted.size > SMALL_FILE else files).append(wanted)

    async def _doubt(self, files: Sequence[Wanted]) -> None:
        """Have the server asked of those files that are here whether they are the same."""
        if files and self._is_told:
            found, files = await self._pool.workers.disk(find_candidates, files)
            self._doubts += questions(found, preserve=self._preserve)
            self._doubted += len(found)
        self._wanted += files

    async def _read_answer(self, connection: Connection, question: Question) -> None:
        """Take what is said of files that are here."""
        async with connection.patience():
            try:
                here, others = question.judge(await connection.read_reply(Twins))
            except RefusedError as exc:
                if is_temporary(exc):
                    raise
                self._is_told = False  # it is too old, or this is nobody it would tell
                here, others = [], [file.wanted for file in question.files]
        self._asked.popleft()
        self._doubted -= len(question.files)
        self._wanted += others
        paths = [file.wanted.local for file in here]
        errors = await self._pool.workers.batch(lambda threads: make_durable(paths, threads))
        self._tally.take_small(_already_here(file, error) for file, error in zip(here, errors, strict=True))

    async def _read_file(self, connection: Connection, wanted: Wanted) -> None:
        """Wait for the next file."""
        async with connection.patience():
            try:
                content = await connection.read_reply(Content)
            except RefusedError as exc:
                self._refuse(wanted, exc)
                return
            check_content(content, _request_for(wanted))
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
        check_content(content, _request_for(wanted))
        start += content.leaves * DIGEST_SIZE
        end = start + content.length
        if content.trailer or end > len(data):
            return None
        self._arrive(wanted, content, data[start:end], content.root)
        return end

    def _refuse(self, wanted: Wanted, error: FtpcError) -> None:
        is_aside = error.code in _FOR_NOW and len(self._aside) < MOST_ASIDE
        if is_temporary(error) and not is_aside:
            raise error
        self._let_go(wanted)
        if not is_aside:
            self._fail(wanted, error, is_folder=self._means_folder(error))
            return
        self._aside.add(wanted)
        self._large.append(wanted)  # which tries again, by itself
        if error.code == ErrorCode.TIMEOUT:
            raise error  # the server has closed the connection

    def _means_folder(self, error: FtpcError) -> bool:
        """Tell whether what was named turns out to be a folder."""
        return self._base is None and isinstance(error, RefusedError) and error.code == ErrorCode.IS_DIRECTORY

    def _arrive(self, wanted: Wanted, content: Content, data: bytes, root: str | None) -> None:
        is_right = tree_of(data).root == root
        if (is_right and content.length < content.filesize) or (not is_right and self._pool.retries):
            self._let_go(wanted)
            self._large.append(wanted)  # which tries again, by itself
        elif is_right:
            self._asked.popleft()
            self._pending_bytes += len(data) - wanted.size
            self._arrived_bytes += len(data)
            self._arrived.append(Arrived(wanted, data, content))
        else:
            self._let_go(wanted)
            message = f"{wanted.remote}: it arrived damaged or is damaged on the server; nothing was kept"
            self._fail(wanted, IntegrityError(message))

    def _let_go(self, wanted: Wanted) -> None:
        """Take note that the answer to the oldest request has come, and nothing is to be stored of it."""
        self._asked.popleft()
        self._pending -= 1
        self._pending_bytes -= wanted.size

    async def _save(self) -> None:
        """Store what has arrived."""
        if self._arrived:
            done = await self._pool.workers.batch(Saver(self._arrived, preserve=self._preserve).save)
            self._pending -= len(self._arrived)
            self._pending_bytes -= self._arrived_bytes
            self._arrived, self._arrived_bytes = [], 0
            self._tally.take_small(done)

    def _fail(self, wanted: Wanted, error: FtpcError, *, is_folder: bool = False) -> None:
        self._tally.take_small([TreeFile(wanted.local, wanted.remote, 0, error=error, is_folder=is_folder)])

    async def _get_one(self, wanted: Wanted) -> None:
        try:
            got = await self._get_large(wanted.remote, wanted.local)
        except FtpcError as exc:
            is_folder = self._means_folder(exc)
            self._tally.take(TreeFile(wanted.local, wanted.remote, 0, error=exc, is_folder=is_folder))
        else:
            told = {key: getattr(got, key) for key in ("resumed", "mtime", "restarted", "repaired", "lost")}
            self._tally.take(TreeFile(wanted.local, wanted.remote, got.size, got.root, got.identical, **told))
        finally:
            self._aside.discard(wanted)
            self._room += 1
            self._room_again.set()


def _request_for(wanted: Wanted) -> Get:
    """Ask for a small file; of one that has grown only its beginning comes."""
    return Get(filename=wanted.remote, length=SMALL_FILE)


def _already_here(file: Candidate, error: FtpcError | None) -> TreeFile:
    local, size = file.wanted.local, file.wanted.size if error is None else 0
    return TreeFile(local, file.wanted.remote, size, file.root, skipped=True, error=error)
