"""Downloading a folder: small files are asked for many at a time, and stored many at a time; large ones by themselves.

A batch is asked for in one piece, so that its files come without a round trip between them. Listings are read page by
page between the batches: what is known ahead is a page, however many files there are.
"""

import asyncio
import contextlib
import os
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from ftpc.connection import Connection
from ftpc.errors import ConnectionLostError, FtpcError, IntegrityError, LocalFileError, RefusedError
from ftpc.files import local_errors
from ftpc.results import GetResult, TreeFile, TreeResult
from ftpc.transfer.download import check_content
from ftpc.transfer.retry import is_temporary, persist
from ftpc.transfer.tasks import Tally, errors_of_a_group
from ftpd.payload.workers import Workers
from ftpd.wire.digests import tree_of
from ftpd.wire.limits import DIGEST_SIZE, MIB, SMALL_FILE
from ftpd.wire.messages import Content, Entry, EntryType, Get, Ls, Page, Trailer, encode_request
from ftpd.wire.paths import BadPathError, RemotePath

MOST_GROWN = 16 * MIB
"""A small file may have grown since it was listed."""

BATCH_FILES = 64
BATCH_BYTES = MIB
"""Of one batch, which is in memory, and whose files are open at the same time."""

MOST_LARGE = 8
"""Large files that are waiting for a connection while small ones go on."""


class Wanted(NamedTuple):
    """A remote file, and where it is to go."""

    remote: str
    local: str
    size: int


class Arrived(NamedTuple):
    """A small file that is here and verified."""

    wanted: Wanted
    data: bytes
    content: Content


class TreeDownload:
    """A folder on its way from a server."""

    def __init__(
        self,
        base: Wanted,
        workers: Workers,
        get_large: Callable[[str, str], Awaitable[GetResult]],
        tally: Tally,
        *,
        preserve: bool,
    ) -> None:
        self._workers = workers
        self._get_large = get_large
        self._tally = tally
        self._preserve = preserve
        self._base = base
        self._folders = deque([base])
        self._seen: set[str] = set()
        self._wanted: deque[Wanted] = deque()
        self._large: deque[Wanted] = deque()
        self._room = asyncio.Semaphore(MOST_LARGE)

    async def run(self, lend: Callable[[], AbstractAsyncContextManager[Connection]], retries: int) -> TreeResult:
        """Fetch the folder; go on over another connection if one is lost.

        Raises:
            FtpcError: there is no such folder; the connection is lost for good.
        """

        async def attempt() -> None:
            async with lend() as connection:
                await self._fetch(connection, large)

        with errors_of_a_group():
            async with asyncio.TaskGroup() as large:
                await persist(attempt, retries, self._tally.item, self._tally.progress)
        return self._tally.result

    async def _fetch(self, connection: Connection, large: asyncio.TaskGroup) -> None:
        """Go on where the last connection was lost: nothing leaves a queue before it is done."""
        await self._get_wanted(connection, large)
        while self._folders:
            folder = self._folders[0]
            request: Ls | None = Ls(path=folder.remote, long=True)
            with self._failure(folder, connection):
                await self._workers.disk(_make_folder, folder.local)
                while request is not None:
                    page = await connection.ask(request, Page)
                    for entry in page.entries:
                        if entry.name not in self._seen:
                            self._seen.add(entry.name)
                            self._sort(folder, entry)
                    await self._get_wanted(connection, large)
                    request = None if page.cursor is None else Ls(cursor=page.cursor)
            self._folders.popleft()
            self._seen.clear()

    @contextlib.contextmanager
    def _failure(self, folder: Wanted, connection: Connection) -> Iterator[None]:
        """Let a folder that can not be listed or made be an error of its own, unless it is the first."""
        try:
            yield
        except (RefusedError, LocalFileError) as exc:
            if folder is self._base or is_temporary(exc):
                connection.is_usable = False
                raise
            self._tally.take(TreeFile(folder.local, folder.remote, 0, error=exc))

    def _sort(self, folder: Wanted, entry: Entry) -> None:
        remote = f"{folder.remote}/{entry.name}" if folder.remote else entry.name
        local = os.path.join(folder.local, entry.name)  # noqa: PTH118 (a string is all that is needed)
        wanted = Wanted(remote, local, entry.size or 0)
        if not _is_harmless(entry.name):
            error = LocalFileError(f"{remote}: that name is not possible here")
            self._tally.take(TreeFile(local, remote, 0, error=error))
        elif entry.type is EntryType.DIRECTORY:
            self._folders.append(wanted)
        elif entry.type is not EntryType.FILE:
            self._tally.take(TreeFile(local, remote, 0, left_out=f"a {entry.type.value}"))
        elif wanted.size > SMALL_FILE:
            self._large.append(wanted)
        else:
            self._wanted.append(wanted)

    async def _get_wanted(self, connection: Connection, large: asyncio.TaskGroup) -> None:
        while self._large:
            await self._room.acquire()
            large.create_task(self._get_one(self._large.popleft()))
        while self._wanted:
            batch = self._next_batch()
            arrived, failed = await self._receive(connection, batch)
            done = await self._workers.batch(_Saver(arrived, self._preserve).save)
            for _ in batch:
                self._wanted.popleft()
            self._tally.take_small([*failed, *done])

    def _next_batch(self) -> list[Wanted]:
        batch: list[Wanted] = []
        size = 0
        for wanted in self._wanted:
            if batch and (len(batch) == BATCH_FILES or size + wanted.size > BATCH_BYTES):
                break
            batch.append(wanted)
            size += wanted.size
        return batch

    async def _receive(self, connection: Connection, batch: list[Wanted]) -> tuple[list[Arrived], list[TreeFile]]:
        requests = b"".join(encode_request(Get(filename=wanted.remote)) for wanted in batch)
        async with connection.patience():
            with connection.errors():
                connection.channel.write(requests)
                await connection.channel.drain()
        arrived: list[Arrived] = []
        failed: list[TreeFile] = []
        room = MOST_GROWN
        for wanted in batch:
            try:
                arrived.append(await _receive_one(connection, wanted, room))
                room -= len(arrived[-1].data)
            except _GrownError:
                self._wanted.remove(wanted)
                self._large.append(wanted)
                connection.is_usable = False  # the other replies are still to come
                raise
            except (RefusedError, IntegrityError) as exc:
                if is_temporary(exc):
                    connection.is_usable = False
                    raise
                failed.append(TreeFile(wanted.local, wanted.remote, 0, error=exc))
        return arrived, failed

    async def _get_one(self, wanted: Wanted) -> None:
        try:
            got = await self._get_large(wanted.remote, wanted.local)
        except FtpcError as exc:
            self._tally.take(TreeFile(wanted.local, wanted.remote, 0, error=exc))
        else:
            self._tally.take(TreeFile(wanted.local, wanted.remote, got.size, resumed=got.resumed))
        finally:
            self._room.release()


class _GrownError(ConnectionLostError):
    """A file is not small any more. The conversation is given up for it, and it is fetched by itself."""


async def _receive_one(connection: Connection, wanted: Wanted, room: int) -> Arrived:
    request = Get(filename=wanted.remote)
    async with connection.patience():
        content = await connection.read_reply(Content)
        check_content(content, request)
        if content.length > room:
            raise _GrownError(f"{wanted.remote}: it has grown to {content.length} bytes")
        leaves = await connection.read_bytes(content.leaves * DIGEST_SIZE) if content.leaves else b""
        data = await connection.read_bytes(content.length)
        root = content.root if leaves else (await connection.read_reply(Trailer)).root
    if tree_of(data).root != root:
        raise IntegrityError(f"{wanted.remote}: it arrived damaged or is damaged on the server; nothing was kept")
    return Arrived(wanted, data, content)


def _is_harmless(name: str) -> bool:
    """Tell whether a name from the wire is one name here too, and no path (`..`, or `C:x` on Windows)."""
    try:
        is_one = RemotePath.parse(name).parts == (name,)
    except BadPathError:
        return False
    return is_one and os.path.basename(name) == name and not os.path.splitdrive(name)[0]  # noqa: PTH119


def _make_folder(path: str) -> None:
    with local_errors(path):
        if os.path.isdir(path):  # noqa: PTH112
            return
        os.makedirs(path, exist_ok=True)  # noqa: PTH103
        _sync_folder(os.path.dirname(path) or ".")  # noqa: PTH120


def _sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Saver:
    """Stores a batch, in a thread: hidden files, all synced together, then their names, then their folders."""

    def __init__(self, files: list[Arrived], preserve: bool) -> None:  # noqa: FBT001 (used in one place)
        self._files = files
        self._preserve = preserve

    def save(self, syncers: Executor) -> list[TreeFile]:
        """Give for each what became of it."""
        errors: dict[int, FtpcError] = {}
        hidden: dict[int, tuple[int, str]] = {}
        try:
            for index, file in enumerate(self._files):
                with _noted(errors, index, file):
                    hidden[index] = self._write(file)
            syncing = {index: syncers.submit(os.fsync, fd) for index, (fd, _) in hidden.items()}
            for index, sync in syncing.items():
                with _noted(errors, index, self._files[index]):
                    sync.result()
                    os.replace(hidden[index][1], self._files[index].wanted.local)  # noqa: PTH105
            self._sync_folders(errors)
        finally:
            for index, (fd, path) in hidden.items():
                os.close(fd)
                if index in errors:
                    with contextlib.suppress(OSError):
                        os.unlink(path)  # noqa: PTH108
        return [self._result(file, errors.get(index)) for index, file in enumerate(self._files)]

    def _result(self, file: Arrived, error: FtpcError | None) -> TreeFile:
        wanted, size = file.wanted, 0 if error else len(file.data)
        return TreeFile(wanted.local, wanted.remote, size, file.content.root, error=error)

    def _write(self, file: Arrived) -> tuple[int, str]:
        folder, name = os.path.split(file.wanted.local)
        path = os.path.join(folder, f".{os.fsdecode(os.fsencode(name)[:200])}.{secrets.token_hex(4)}.part")  # noqa: PTH118
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            view = memoryview(file.data)
            while view:
                view = view[os.write(fd, view) :]
            if self._preserve:
                mtime_ns = file.content.mtime * 1_000_000_000 + file.content.mtime_ns
                os.fchmod(fd, file.content.mode)
                os.utime(fd, ns=(mtime_ns, mtime_ns))
        except BaseException:
            os.close(fd)
            os.unlink(path)  # noqa: PTH108
            raise
        return fd, path

    def _sync_folders(self, errors: dict[int, FtpcError]) -> None:
        folders: dict[str, list[int]] = {}
        for index, file in enumerate(self._files):
            folders.setdefault(os.path.dirname(file.wanted.local), []).append(index)  # noqa: PTH120
        for folder, indexes in folders.items():
            try:
                with local_errors(folder):
                    _sync_folder(folder)
            except FtpcError as exc:
                errors.update((index, exc) for index in indexes if index not in errors)


@contextlib.contextmanager
def _noted(errors: dict[int, FtpcError], index: int, file: Arrived) -> Iterator[None]:
    try:
        with local_errors(file.wanted.local):
            yield
    except FtpcError as exc:
        errors[index] = exc
