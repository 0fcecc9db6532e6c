"""Uploading a folder: small files and empty folders without waiting for replies, large files by themselves.

One thread reads the folder and the files, ahead of the network by a bounded number of files; so the first bytes leave
before the folder has been read, and a million files take no more memory than a thousand.
"""

import asyncio
import itertools
import os
import stat
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import NamedTuple

from ftpc.connection import Connection
from ftpc.errors import ChangedError, FtpcError, IntegrityError, LocalFileError, RefusedError
from ftpc.files import local_error
from ftpc.pool import Pool
from ftpc.results import PutResult, TreeFile, TreeResult
from ftpc.transfer.retry import is_temporary, persist
from ftpc.transfer.tasks import Tally, errors_of_a_group, first_of_events
from ftpc.transfer.walk import Local, walk
from ftpd.payload.workers import Workers
from ftpd.wire.digests import tree_of
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import KIB, SMALL_FILE
from ftpd.wire.messages import IfExists, Made, Mkdir, Put, Stored, encode_request

LOAD_BYTES = 256 * KIB
LOAD_FILES = 256
"""What is read and sent at once: a hop to a thread and a write for all of it."""

MOST_LARGE = 8
"""Large files that are waiting for a connection while small ones go on."""

MOST_REPLIES = 256
"""Replies that are read at once."""

MOST_PENDING = 1024
"""Files that have been sent and not been answered; they are in memory, to be sent again after a break."""

NO_FOLDERS = "a folder without files, and the server is too old to make it"


class Sent(NamedTuple):
    """A small file, or a folder, that is on its way."""

    local: Local
    root: str | None
    """None of a folder."""
    frame: bytes
    kind: type[Stored | Made] = Stored
    """What the reply will be."""


class Load(NamedTuple):
    """What one look at the folder has brought."""

    small: list[Sent]
    folders: list[Sent]
    """Behind the small files and not between them: the server stores files together that nothing parts."""
    large: list[Local]
    other: list[TreeFile]
    """What can not be sent."""


class Loader:
    """Reads a folder, and the small files in it. Used by one thread at a time."""

    def __init__(self, folder: str, remote: str, if_exists: IfExists, *, preserve: bool) -> None:
        self._if_exists = if_exists
        self._preserve = preserve
        self.is_repeatable = if_exists in {IfExists.OVERWRITE, IfExists.SKIP}
        """Whether a file may be sent again of which nobody knows whether it was stored."""
        self._found = walk(folder, remote)

    def next(self) -> Load | None:
        """Read on; None at the end."""
        load, size = Load([], [], [], []), 0
        for count, found in enumerate(self._found, start=1):
            if isinstance(found, TreeFile):
                load.other.append(found)
            elif found.is_folder:
                load.folders.append(Sent(found, None, encode_request(Mkdir(path=found.remote)), Made))
            else:
                size += self._take(found, load)
            if size >= LOAD_BYTES or count >= LOAD_FILES:
                return load
        return load if any(load) else None

    def _take(self, local: Local, load: Load) -> int:
        """Add a file to the load; give the bytes of it that are in memory."""
        try:
            sent = self._read(local)
        except FtpcError as exc:
            load.other.append(_failed(local, exc))
        except (OSError, ValueError) as exc:
            load.other.append(_failed(local, local_error(exc, local.path)))
        else:
            if sent is not None:
                load.small.append(sent)
                return len(sent.frame)
            load.large.append(local)
        return 0

    def _read(self, local: Local) -> Sent | None:
        """Read a file; None if it is not small."""
        fd = os.open(local.path, _READ_ONLY)
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise LocalFileError(f"{local.path}: not a regular file; only files can be sent")
            if before.st_size > SMALL_FILE:
                return None
            data = os.read(fd, before.st_size + 1)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        if (len(data), before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise ChangedError(f"{local.path}: the file changed while it was being read; nothing was sent")
        tree = tree_of(data)
        request = Put(filename=local.remote, filesize=len(data), blake3=tree.leaf(0).hex(), if_exists=self._if_exists)
        if self._preserve:
            request.mtime, request.mtime_ns = divmod(max(before.st_mtime_ns, 0), 1_000_000_000)
            request.mode = before.st_mode & 0o777
        return Sent(local, tree.root, encode_request(request) + data)


_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


def _failed(local: Local, error: FtpcError) -> TreeFile:
    return TreeFile(local.path, local.remote, 0, error=error, is_folder=local.is_folder)


class TreeUpload:
    """A folder on its way to a server."""

    def __init__(
        self,
        loader: Loader,
        workers: Workers,
        put_large: Callable[[str, str], Awaitable[PutResult]],
        tally: Tally,
    ) -> None:
        self._loader = loader
        self._workers = workers
        self._put_large = put_large
        self._tally = tally
        self._pending: deque[Sent] = deque()
        self._large: deque[Local] = deque()
        self._load: Load | None = None
        self._is_read = False
        self._is_sent = False
        """Whether nothing more is sent over the connection at hand."""
        self._changed = asyncio.Event()
        self._room = MOST_LARGE
        self._room_again = asyncio.Event()

    async def run(self, pool: Pool) -> TreeResult:
        """Send the folder; go on over another connection if one is lost.

        Raises:
            FtpcError: the connection is lost for good.
        """

        async def attempt() -> None:
            async with pool.lend() as connection:
                await self._send_small(connection, large, pool.crowded)
            while self._large:
                await self._room_again.wait()
                async with pool.lend() as connection:
                    await self._send_small(connection, large, pool.crowded)

        with errors_of_a_group():
            async with asyncio.TaskGroup() as large:
                retries = pool.retries if self._loader.is_repeatable else 0
                await persist(attempt, retries, self._tally.item, self._tally.progress)
        return self._tally.result

    async def _send_small(self, connection: Connection, large: asyncio.TaskGroup, crowded: asyncio.Event) -> None:
        try:
            with errors_of_a_group():
                async with asyncio.TaskGroup() as group:
                    self._is_sent = False
                    group.create_task(self._read_replies(connection))
                    await self._send(connection, large, crowded)
        except BaseException:
            connection.is_usable = False
            raise

    async def _send(self, connection: Connection, large: asyncio.TaskGroup, crowded: asyncio.Event) -> None:
        if self._pending:
            await self._write(connection, [*self._pending])
        while True:
            while self._large and self._room:
                self._room -= 1
                large.create_task(self._send_large(self._large.popleft()))
            if self._large:
                self._room_again.clear()
                await first_of_events(self._room_again, crowded)
                if crowded.is_set():  # perhaps this is the only connection that there is for them
                    break
                continue
            while len(self._pending) >= MOST_PENDING:
                await self._change()
            if self._load is None and not self._is_read:
                await self._workers.disk(self._read_on)
            if self._load is None:
                break
            # Nothing is lost if this ends in between: whoever goes on finds it.
            load, self._load = self._load, None
            sent = load.small + load.folders
            self._pending += sent
            self._large += load.large
            for file in load.other:
                self._tally.take(file)
            self._changed.set()
            await self._write(connection, sent)
        self._is_sent = True
        self._changed.set()

    def _read_on(self) -> None:
        self._load = self._loader.next()
        self._is_read = self._load is None

    async def _write(self, connection: Connection, sent: list[Sent]) -> None:
        with connection.errors():
            connection.channel.write(b"".join(one.frame for one in sent))
            await connection.channel.drain()

    async def _send_large(self, local: Local) -> None:
        try:
            stored = await self._put_large(local.path, local.remote)
        except FtpcError as exc:
            self._tally.take(_failed(local, exc))
        else:
            self._tally.take(TreeFile(local.path, *stored[:4], resumed=stored.resumed))
        finally:
            self._room += 1
            self._room_again.set()

    async def _read_replies(self, connection: Connection) -> None:
        while self._pending or not self._is_sent:
            if not self._pending:
                await self._change()
                continue
            kinds = [sent.kind for sent in itertools.islice(self._pending, MOST_REPLIES)]
            self._tally.take_small(self._judge_all(await connection.read_replies(kinds)))
            self._changed.set()

    def _judge_all(self, replies: Iterable[Stored | Made | RefusedError]) -> Iterator[TreeFile]:
        for reply in replies:
            if isinstance(reply, RefusedError) and is_temporary(reply):
                raise reply  # about the connection, or to be tried again: the file stays pending
            yield self._judge(self._pending.popleft(), reply)

    def _judge(self, sent: Sent, reply: Stored | Made | RefusedError) -> TreeFile:
        path, remote, is_folder = sent.local
        if isinstance(reply, RefusedError):
            if is_folder and reply.code == ErrorCode.UNKNOWN_COMMAND:
                return TreeFile(path, remote, 0, left_out=NO_FOLDERS, is_folder=True)
            return _failed(sent.local, reply)
        if isinstance(reply, Made):
            return TreeFile(path, remote, 0, is_folder=True)
        if not reply.skipped and reply.root != sent.root:
            return _failed(sent.local, IntegrityError(f"{path}: the server stored something else"))
        return TreeFile(path, reply.filename, reply.filesize, reply.root, reply.skipped)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
