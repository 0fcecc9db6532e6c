"""Uploading many files, a folder or files that are named: small ones and empty folders without waiting for replies,
large ones by themselves.

One thread reads the folder and the files, ahead of the network by a bounded number of files; so the first bytes leave
before the folder has been read, and a million files take no more memory than a thousand.
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from ftpc.connection import Connection
from ftpc.errors import ConnectionLostError, FtpcError, IntegrityError, OthersRefusedError, RefusedError
from ftpc.pool import Pool
from ftpc.results import Objection, PutResult, TreeFile, TreeResult
from ftpc.transfer.loader import Load, Loader, Sent, failed
from ftpc.transfer.preflight import Scout
from ftpc.transfer.repeat import Probe, Question, Repeat
from ftpc.transfer.retry import go_on, is_temporary, persist
from ftpc.transfer.shipment import MISHEARD
from ftpc.transfer.tasks import Tally, errors_of_a_group
from ftpc.transfer.walk import Local, count_files
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import MIB
from ftpd.wire.replies import Made, Reply, Stored
from ftpd.wire.terms import IfExists

MOST_LARGE = 8
"""Large files that are waiting for a connection while small ones go on."""

MOST_REPLIES = 256
"""Replies that are read at once."""

MOST_PENDING = 1024
PENDING_BYTES = 8 * MIB
"""Files that are sent or asked about and not answered: they are kept in memory, to be sent again after a break. Their
bytes are twice what a connection can have on its way where the kernel is as Linux comes (a send buffer of 4 MiB), so
that a long path is as full as it can be while the server stores as much again."""

NO_FOLDERS = "a folder without files, and the server is too old to make it"


class TreeUpload:
    """Many files on their way to a server."""

    def __init__(
        self,
        loader: Loader,
        pool: Pool,
        put_large: Callable[[str, str], Awaitable[PutResult]],
        tally: Tally,
        repeat: Repeat,
        scout: Scout | None = None,
    ) -> None:
        """Send what a loader reads and the server has not; with a scout only if the server has no objections."""
        self._loader = loader
        self._pool = pool
        self._put_large = put_large
        self._tally = tally
        self._scout = scout
        self._scouting: asyncio.Task[None] | None = None
        self._objections_to_all = 0
        """Those that are about all files together."""
        self._sending: set[asyncio.Task[None]] = set()
        self._repeat = repeat
        self._pending: deque[Sent | Question | Probe] = deque()
        """What has been sent and not been answered."""
        self._pending_bytes = 0
        """Those of the files in it, as they are kept."""
        self._asked = 0
        """Files in those questions."""
        self._other: list[Sent] = []
        """Files that were asked about, and are to be sent."""
        self._again: set[str] = set()
        """Those of them that were sent before, over a connection that was lost: perhaps they are stored."""
        self._taken: list[Sent] = []
        """Those of these whose name is taken now. It may be by themselves, who were just being stored when that was
        asked, so it is asked once more."""
        self._asked_twice: set[str] = set()
        self._large: deque[Local] = deque()
        self._load: Load | None = None
        self._is_read = False
        self._has_begun = False
        """Whether anything was sent."""
        self._is_sent = False
        """Whether nothing more is sent over the connection at hand."""
        self._changed = asyncio.Event()
        self._room = MOST_LARGE
        self._room_again = asyncio.Event()

    async def run(self) -> TreeResult:
        """Send all; go on over another connection if one is lost.

        Raises:
            FtpcError: the connection is lost for good.
        """

        async def attempt() -> None:
            async with self._pool.lend() as connection:
                await self._send_small(connection, large)
            while self._large:
                await self._room_again.wait()
                async with self._pool.lend() as connection:
                    await self._send_small(connection, large)

        self._pool.alarms.add(self._room_again)
        try:
            with errors_of_a_group():
                async with asyncio.TaskGroup() as large:
                    await persist(attempt, self._pool.retries, self._tally.item, self._tally.progress)
        finally:
            self._pool.alarms.discard(self._room_again)
            if self._scouting is not None:
                self._scouting.cancel()
                await asyncio.wait([self._scouting])
        if self._tally.result.is_ended:
            await self._count_the_rest()
        return self._tally.result

    async def _send_small(self, connection: Connection, large: asyncio.TaskGroup) -> None:
        try:
            with errors_of_a_group():
                async with asyncio.TaskGroup() as group:
                    self._is_sent = False
                    if self._scout is not None:
                        await self._scout.ask(connection, self._pool.workers)
                    group.create_task(self._read_replies(connection))
                    await self._send(connection, large)
        except BaseException as exc:
            connection.is_usable = False
            if connection.was_turned_away:  # nothing that was sent was looked at
                files, self._pending = _parted(self._pending)
                self._other = files + self._other
            elif isinstance(exc, FtpcError) and not self._loader.is_repeatable:
                self._give_up(exc)
            raise

    def _give_up(self, error: FtpcError) -> None:
        """Do not send again what may be stored, and would find its name taken by itself."""
        files, self._pending = _parted(self._pending)
        self._tally.take_small([_in_doubt(file.local, error.message) for file in files])

    async def _send(self, connection: Connection, large: asyncio.TaskGroup) -> None:
        await self._begin(connection)
        while not self._tally.result.is_ended:
            self._send_all_large(large)
            if self._large:
                self._room_again.clear()
                go_on(self._tally.item, self._tally.progress)  # what is waited for are others
                if not self._pool.is_crowded:
                    await self._room_again.wait()
                # Perhaps this is the only connection that there is for them, or the server has waited long enough.
                if self._pool.is_crowded or connection.channel.ended.is_set():
                    break
            elif not await self._go_on(connection):
                break
        self._is_sent = True
        self._changed.set()

    async def _begin(self, connection: Connection) -> None:
        """Ask what is to be known first, or go on with what another connection has left."""
        if not self._pending and self._repeat.probe is not None and not self._repeat.is_heard:
            self._pending.append(self._repeat.probe)
        # Files that were sent already may be stored: that is asked, so that none finds its name taken by itself.
        files, rest = _parted(self._pending)
        questions = self._repeat.ask(files, was_sent=True)
        self._asked += len(files)
        self._pending = deque([*questions, *rest])
        self._pending_bytes = sum(map(_weight, self._pending))
        if self._pending:
            await self._write(connection, [*self._pending])
        # On a long path the answers are not waited for: what is sent before they come costs less than a round trip.
        while not connection.channel.is_far and not (self._is_cleared and self._repeat.is_heard):
            await self._change()

    @property
    def _is_cleared(self) -> bool:
        """Whether it is known what the server says of the first files, if that is asked."""
        return self._scout is None or self._scout.is_heard

    async def _go_on(self, connection: Connection) -> bool:
        """Send some small files more, or wait until that may be done. Tells whether there may be others."""
        if sent := self._other:
            self._other = []
            await self._post(connection, sent)
        elif taken := self._taken:
            self._taken = []
            self._asked += len(taken)
            await self._post(connection, self._repeat.ask(taken, was_sent=True))
        elif self._is_full or (self._has_begun and not self._repeat.is_heard):
            await self._change()
        else:
            await self._read_on()
            if self._load is None or self._tally.result.is_ended:
                if is_asking := self._asked or self._is_unsure_of_any:
                    await self._change()
                return bool(is_asking or self._other or self._taken)
            await self._send_load(connection)
        return True

    @property
    def _is_unsure_of_any(self) -> bool:
        """Whether there may be a file that has to be asked about once more."""
        return bool(self._again) and any(isinstance(one, Sent) and self._is_unsure_of(one) for one in self._pending)

    def _is_unsure_of(self, sent: Sent) -> bool:
        return sent.local.remote in self._again and sent.local.remote not in self._asked_twice

    @property
    def _is_full(self) -> bool:
        return len(self._pending) + self._asked >= MOST_PENDING or self._pending_bytes >= PENDING_BYTES

    async def _send_load(self, connection: Connection) -> None:
        assert self._load is not None
        # Nothing is lost if this ends in between: whoever goes on finds it.
        load, self._load = self._load, None
        self._has_begun = True
        questions, small = self._repeat.part(load.small)
        self._asked += sum(len(question.files) for question in questions)
        self._large += load.large
        for file in load.other:
            self._tally.take(file)
        await self._post(connection, [*questions, *small, *load.folders])

    async def _post(self, connection: Connection, sent: Sequence[Sent | Question]) -> None:
        self._pending += sent
        self._pending_bytes += sum(map(_weight, sent))
        self._changed.set()
        await self._write(connection, sent)

    def _send_all_large(self, large: asyncio.TaskGroup) -> None:
        while self._large and self._room:
            self._room -= 1
            task = large.create_task(self._send_large(self._large.popleft()))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _look_ahead(self) -> None:
        """Have the rest of a folder looked through that may be too large; most are not, and spared the work."""
        scout, result = self._scout, self._tally.result
        if scout is None or self._scouting is not None or result.is_ended:
            return
        if scout.preflight.is_large(result.size, result.files):
            self._scouting = asyncio.create_task(self._go_ahead(scout))

    async def _go_ahead(self, scout: Scout) -> None:
        with contextlib.suppress(FtpcError):  # only the warning is lost
            async with self._pool.lend_beside() as connection:
                if lack := await scout.go_on(connection, self._pool.workers):
                    self._end([Objection(None, lack)])

    def _end(self, objections: Iterable[Objection]) -> None:
        """Send nothing more."""
        assert self._scout is not None
        for local, error in objections:
            self._tally.take(TreeFile(local or self._scout.folder, "", 0, error=error))
            self._objections_to_all += local is None and not isinstance(error, OthersRefusedError)
            self._tally.result.is_ended = True
        if self._tally.result.is_ended:
            self._large.clear()
            for task in self._sending:
                task.cancel()
            self._room_again.set()
            self._changed.set()

    async def _count_the_rest(self) -> None:
        """Find out how many files were not sent because nothing more was."""
        assert self._scout is not None
        result = self._tally.result
        over = result.files + result.skipped + sum(error.count for error in result.errors) - self._objections_to_all
        with contextlib.suppress(FtpcError):  # nobody can tell
            files = await self._pool.workers.disk(count_files, self._scout.folder)
            result.not_sent = max(0, files - over)

    async def _read_on(self) -> None:
        if self._load is None and not self._is_read:
            await self._pool.workers.disk(self._read)

    def _read(self) -> None:
        self._load = self._loader.next()
        self._is_read = self._load is None

    async def _write(self, connection: Connection, sent: Sequence[Sent | Question | Probe]) -> None:
        with connection.errors():
            connection.channel.write(b"".join(one.frame for one in sent))
            await connection.channel.drain()

    async def _send_large(self, local: Local) -> None:
        try:
            stored = await self._put_large(local.path, local.remote)
        except FtpcError as exc:
            self._tally.take(failed(local, exc))
        else:
            self._tally.take(TreeFile(local.path, *stored[:4], resumed=stored.resumed))
            self._look_ahead()
        finally:
            self._room += 1
            self._room_again.set()

    async def _read_replies(self, connection: Connection) -> None:
        if self._scout is not None and not self._scout.is_heard:
            await self._scout.hear(connection)
            self._end(self._scout.preflight.told())
            self._look_ahead()
            self._changed.set()
        while self._pending or not self._is_sent:
            if not self._pending:
                await self._change()
                continue
            kinds = [sent.kind for sent in itertools.islice(self._pending, MOST_REPLIES)]
            self._tally.take_small(self._judge_all(await connection.read_replies(kinds)))
            self._look_ahead()
            self._changed.set()

    def _judge_all(self, replies: Iterable[Reply | RefusedError]) -> Iterator[TreeFile]:
        for reply in replies:
            pending = self._pending[0]
            if isinstance(reply, RefusedError) and _is_of_connection(reply, pending):
                raise reply  # the file stays pending
            if isinstance(pending, Sent):
                self._answered()
                if self._is_for_itself(pending, reply):
                    self._large.append(pending.local)  # which tries again, by itself
                    self._room_again.set()
                elif self._is_unsure_of(pending) and _is_taken(reply):
                    self._asked_twice.add(pending.local.remote)
                    self._taken.append(pending)
                else:
                    yield self._judge(pending, reply)
            elif isinstance(pending, Question):
                there = self._take_answer(pending, reply)
                self._answered()
                yield from there
            else:
                self._answered()
                self._repeat.hear(reply)

    def _answered(self) -> None:
        self._pending_bytes -= _weight(self._pending.popleft())

    def _take_answer(self, question: Question, reply: Reply | RefusedError) -> list[TreeFile]:
        there, other = self._repeat.judge(question, reply)
        self._asked -= len(question.files)
        self._other += other
        if question.was_sent:
            self._again |= {sent.local.remote for sent in other}
        skipped = not question.was_sent
        return [TreeFile(*sent.local[:2], sent.size, sent.root, skipped) for sent in there]

    def _is_for_itself(self, sent: Sent, reply: Reply | RefusedError) -> bool:
        """Tell whether a file is to be tried once more: there was no room for it, or something was damaged."""
        if sent.put is None:
            return False
        if isinstance(reply, RefusedError) and reply.code == ErrorCode.BUSY:
            return True
        if not self._loader.is_repeatable:
            return False
        if isinstance(reply, RefusedError):
            return reply.code == ErrorCode.INTEGRITY or reply.code in MISHEARD
        return not _is_right(sent, reply)

    def _judge(self, sent: Sent, reply: Reply | RefusedError) -> TreeFile:
        path, remote, is_folder = sent.local
        if isinstance(reply, RefusedError):
            if is_folder and reply.code == ErrorCode.UNKNOWN_COMMAND:
                return TreeFile(path, remote, 0, left_out=NO_FOLDERS, is_folder=True)
            if reply.code == ErrorCode.EXISTS and remote in self._again:
                return _in_doubt(sent.local, "the connection was lost, and its name is taken now")
            return failed(sent.local, reply)
        if isinstance(reply, Made):
            return TreeFile(path, remote, 0, is_folder=True)
        assert isinstance(reply, Stored)
        if not _is_right(sent, reply):
            return failed(sent.local, IntegrityError(f"{path}: the server stored something else"))
        return TreeFile(path, reply.filename, reply.filesize, reply.root, reply.skipped)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _is_taken(reply: Reply | RefusedError) -> bool:
    """Tell whether a file was not stored because something has its name."""
    if isinstance(reply, RefusedError):
        return reply.code == ErrorCode.EXISTS
    return isinstance(reply, Stored) and reply.skipped


def _weight(one: Sent | Question | Probe) -> int:
    """Give the bytes that are kept for what was sent."""
    return sum(len(file.frame) for file in one.files) if isinstance(one, Question) else len(one.frame)


def _parted(pending: Iterable[Sent | Question | Probe]) -> tuple[list[Sent], deque[Sent | Question | Probe]]:
    """Give the files, and what else was sent: only files may be taken for somebody else's when they come twice."""
    files: list[Sent] = []
    rest: deque[Sent | Question | Probe] = deque()
    for one in pending:
        if isinstance(one, Sent) and one.put is not None:
            files.append(one)
        else:
            rest.append(one)
    return files, rest


def _in_doubt(local: Local, why: str) -> TreeFile:
    return failed(local, ConnectionLostError(f"{local.path}: may be stored or not: {why}"))


def _is_of_connection(reply: RefusedError, pending: Sent | Question | Probe) -> bool:
    """Tell whether a refusal is about the connection, or what was asked is to be asked again."""
    if reply.code == ErrorCode.BUSY and isinstance(pending, Sent):
        return pending.put is None
    return is_temporary(reply) or reply.code == ErrorCode.UNAUTHORIZED


def _is_right(sent: Sent, reply: Reply) -> bool:
    """Tell whether what is stored is what was sent, where it was meant to go."""
    assert isinstance(reply, Stored)
    assert sent.put is not None
    is_there = reply.filename == sent.put.filename or sent.put.if_exists is IfExists.RENAME
    return is_there and (reply.skipped or reply.root == sent.root)
