"""The library: a client that keeps a few connections to one server and moves files over them.

What only transfers need is imported by the first transfer, so that asking a question starts fast.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from ftpc.address import Address, parse_address
from ftpc.connection import CONNECT_S, RETRIES, STALL_S, STREAMS, Connection, Patience
from ftpc.errors import LocalFileError, RefusedError, RemoteNameError
from ftpc.listing import Listing
from ftpc.progress import Item, NoProgress, Phase, Progress
from ftpc.results import GetResult, PutResult, TreeFile, TreeResult
from ftpd.wire.limits import SMALL_PUT
from ftpd.wire.messages import (
    Algorithm,
    Checksum,
    Content,
    Df,
    Disk,
    Done,
    Get,
    Greeting,
    Identity,
    IfExists,
    ListShares,
    Md5,
    Ping,
    Pong,
    Reply,
    Request,
    Share,
    Shared,
    SharedPath,
    SharePage,
    Stat,
    Status,
    Stored,
    Sum,
    Unshare,
    Whoami,
)
from ftpd.wire.paths import BadPathError, RemotePath

if TYPE_CHECKING:
    from pathlib import Path

    from ftpc.credentials import Credentials
    from ftpc.files import LocalSource, Partial
    from ftpc.transfer.upload import Plan
    from ftpc.trust import Trust
    from ftpc.upload_job import UploadJob
    from ftpd.payload.workers import Workers

CONNECTIONS = 4
"""Transfers at the same time: what fills a path with a long round trip (measured by others: 4 streams reach the ceiling
of a 138 ms path, 16 are worse) without crowding out everybody else."""

R = TypeVar("R", bound=Reply)


class Client:
    """A server, as a client sees it. Use it with `async with`, from one event loop.

    Any number of coroutines may use one client; at most `connections` of them have a connection at the same time.
    All methods raise `FtpcError` and nothing else on purpose, and may be cancelled: neither side shows half a file.
    """

    def __init__(  # noqa: PLR0913 (as `connect`, which is how it is made)
        self,
        address: Address,
        *,
        connections: int = CONNECTIONS,
        streams: int = STREAMS,
        patience: Patience | None = None,
        jobs: str | os.PathLike[str] | None = None,
        trust: "Trust | None" = None,
        credentials: "Credentials | None" = None,
    ) -> None:
        self.address = address
        self._trust = trust
        self._credentials = credentials
        self._patience = patience or Patience()
        self._jobs = jobs
        self._room = asyncio.Semaphore(connections)
        self._streams = streams
        self._spare = asyncio.Semaphore(streams - 1)
        self._idle: list[Connection] = []
        self._threads: Workers | None = None

    def __repr__(self) -> str:
        return f"<Client {self.address} {len(self._idle)} idle connections>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Transfers must be over."""
        while self._idle:
            await self._idle.pop().close()
        if self._threads is not None:
            self._threads.close()

    async def put(
        self,
        source: str | os.PathLike[str] | int,
        remote: str | None = None,
        *,
        if_exists: IfExists = IfExists.OVERWRITE,
        preserve: bool = False,
        progress: Progress | None = None,
    ) -> PutResult:
        """Upload a file. When this returns, the server has it, verified and durable.

        Args:
            source: a local file, or the descriptor of a stream that is read to its end.
            remote: its name on the server; by default the file's own name. Missing folders are made.
            if_exists: what happens if the name is taken.
            preserve: send modification time and mode along (not for streams).
            progress: is told how it goes.

        Raises:
            ChangedError: the local file changed meanwhile.
            RefusedError: the server did not take it.
            FtpcError: anything else that can go wrong.
        """
        from pathlib import Path

        from ftpc.files import LocalSource, PipeSource
        from ftpc.transfer.streams import Streams
        from ftpc.transfer.upload import Plan, upload_stream

        progress = progress or NoProgress()
        if remote is None:
            if isinstance(source, int):
                raise RemoteNameError("a stream has no name of its own; say what it is to be called")
            remote = Path(source).name
        async with self._room:  # before anything is opened: many may wait here
            if isinstance(source, int):
                plan = Plan(self.remote_name(remote), if_exists, preserve)
                item = Item(plan.remote, None, Phase.SENDING)
                pipe = PipeSource(source, self._workers)
                async with self._lent() as connection, _shown(item, progress):
                    stored = await upload_stream(connection, pipe, plan, item, progress, self._workers)
            else:
                with contextlib.closing(LocalSource(Path(source), self._workers)) as file:
                    streams = Streams(self._lent_beside, self._streams)
                    plan = Plan(self.remote_name(remote), if_exists, preserve, streams)
                    item = Item(plan.remote, file.size, Phase.SENDING)
                    async with _shown(item, progress):
                        return await self._upload(file, plan, item, progress)
        return PutResult(stored.filename, stored.filesize, stored.root, stored.skipped)

    async def _upload(self, file: "LocalSource", plan: "Plan", item: Item, progress: Progress) -> PutResult:
        from ftpc.transfer.retry import persist
        from ftpc.transfer.upload import upload_file

        job = self._job_for(file, plan)
        was_known, has_changed = job.is_known, job.has_changed
        # The reply to a small put may have been lost: doing it again would find the name taken by itself.
        is_repeatable = file.size > SMALL_PUT or plan.if_exists in {IfExists.OVERWRITE, IfExists.SKIP}

        async def attempt() -> Stored:
            async with self._lent() as connection:
                return await upload_file(connection, file, plan, job, item, progress)

        done = False
        try:
            stored = await persist(attempt, self._patience.retries if is_repeatable else 0, item, progress)
            done = True
        finally:
            job.close(done=done)
        item.done = stored.filesize
        return PutResult(
            stored.filename,
            stored.filesize,
            stored.root,
            stored.skipped,
            resumed=item.resumed,
            repaired=item.repaired,
            changed=has_changed and bool(item.resumed),
            restarted=was_known and not item.resumed and not stored.skipped,
            identical=stored.skipped and stored.root is not None,
        )

    async def put_tree(
        self,
        folder: str | os.PathLike[str],
        remote: str | None = None,
        *,
        if_exists: IfExists = IfExists.OVERWRITE,
        preserve: bool = False,
        progress: Progress | None = None,
        report: Callable[[TreeFile], None] | None = None,
    ) -> TreeResult:
        """Upload a folder with all that is in it. When this returns, the server has it, verified and durable.

        A file that can not be stored, or a folder that can not be made, does not keep the others from it. Folders
        without files are made; their times and modes are not sent. Symbolic links are left out. Cancelling is safe:
        what was reported is stored, of the rest some may be.

        Args:
            folder: the local folder.
            remote: what it is called on the server; by default its own name. "" is where names are relative to.
            if_exists: what happens to names that are taken.
            preserve: send modification times and modes along.
            progress: is told how it goes; of all small files as one item.
            report: is told what became of each file, and of each folder that no file in it makes.

        Raises:
            LocalNotFoundError: there is no such folder.
            FtpcError: the connection is lost for good.
        """
        from ftpc.transfer.tasks import Tally
        from ftpc.transfer.tree_upload import Loader, TreeUpload

        path = os.fspath(folder)
        name = remote if remote is not None else _own_name(path)
        base = self.remote_folder(name)
        progress = progress or NoProgress()

        async def put_large(file: str, full_name: str) -> PutResult:
            inner = f"{name}/{full_name.removeprefix(base)}"
            return await self.put(file, inner, if_exists=if_exists, preserve=preserve, progress=progress)

        item = Item(path, None, Phase.SENDING)
        loader = Loader(path, base, if_exists, preserve=preserve)
        upload = TreeUpload(loader, self._workers, put_large, Tally(item, progress, report))
        async with _shown(item, progress):
            return await upload.run(self._lent, self._patience.retries)

    def _job_for(self, file: "LocalSource", plan: "Plan") -> "UploadJob":
        from pathlib import Path

        from ftpc.jobs import Task
        from ftpc.upload_job import StoredUploadJob, UploadJob

        if self._jobs is None or file.size <= SMALL_PUT:
            return UploadJob(file.state)
        task = Task("put", self.address.url, plan.remote, os.path.abspath(file.path))  # noqa: PTH100 (keeps symbolic links)
        options = {"if_exists": plan.if_exists.value, "preserve": plan.preserve}
        return StoredUploadJob(Path(self._jobs), task, file.state, options)

    async def get(
        self,
        remote: str,
        target: str | os.PathLike[str] | int = ".",
        *,
        offset: int = 0,
        length: int | None = None,
        preserve: bool = False,
        progress: Progress | None = None,
    ) -> GetResult:
        """Download a file. When this returns, the target is there as a whole, verified and durable.

        Args:
            remote: its name on the server.
            target: the local file, or a folder it goes into; or a descriptor that is written to as bytes come, before
                they are verified.
            offset: the first byte that is wanted.
            length: how many bytes are wanted; by default all.
            preserve: keep modification time and mode.
            progress: is told how it goes.

        Raises:
            IntegrityError: what arrived is damaged. Nothing was kept.
            RefusedError: the server did not give it.
            FtpcError: anything else that can go wrong.
        """
        from pathlib import Path

        from ftpc.files import Partial, PipeSink
        from ftpc.transfer.download import Shown, download

        progress = progress or NoProgress()
        request = Get(filename=self.remote_name(remote), offset=offset, length=length)
        item = Item(request.filename, None, Phase.RECEIVING)
        local = None
        async with self._room:  # before anything is opened: many may wait here
            if isinstance(target, int):
                sink = PipeSink(target, self._workers)
                async with self._lent() as connection, _shown(item, progress):
                    content = await download(connection, request, sink, Shown(item, progress))
            else:
                local = _local_target(request.filename, Path(target))
                with contextlib.closing(Partial(local, self._workers)) as partial:
                    async with _shown(item, progress):
                        if offset or length is not None:
                            content = await self._get_range(request, partial, item, progress)
                            await _save(partial, content, item, progress, preserve=preserve)
                        else:
                            content = await self._get_whole(request.filename, partial, item, progress, preserve)
        mtime, size = _seconds(content.mtime, content.mtime_ns), item.total or 0
        return GetResult(local, size, mtime, content.mode, item.resumed, item.restarted, item.repaired)

    async def get_tree(
        self,
        remote: str,
        folder: str | os.PathLike[str] | None = None,
        *,
        preserve: bool = False,
        progress: Progress | None = None,
        report: Callable[[TreeFile], None] | None = None,
    ) -> TreeResult:
        """Download all files in a folder and below. When this returns, they are there, verified and durable.

        A file that can not be fetched or stored does not keep the others from it. What is neither file nor folder is
        left out. Cancelling is safe: what was reported is stored, of the rest some may be.

        Args:
            remote: the folder on the server.
            folder: where its content goes; by default a folder of its name. Made when missing.
            preserve: keep modification times and modes.
            progress: is told how it goes; of all small files as one item.
            report: is told what became of each file.

        Raises:
            RefusedError: there is no such folder.
            FtpcError: the connection is lost for good, or the folder can not be made.
        """
        from pathlib import Path

        from ftpc.transfer.saving import Wanted
        from ftpc.transfer.tasks import Tally
        from ftpc.transfer.tree_download import TreeDownload

        base = self.remote_folder(remote)
        target = os.fspath(folder) if folder is not None else base.rpartition("/")[2] or "."
        item = Item(base or str(self.address), None, Phase.RECEIVING)
        progress = progress or NoProgress()
        prefix = self.remote_folder("")

        async def get_large(full_name: str, local: str) -> GetResult:
            inner = full_name.removeprefix(prefix)
            if os.path.isdir(local):  # noqa: ASYNC240, PTH112 (`get` would put it inside)
                raise LocalFileError(f"{local}: it is a folder")
            return await self.get(inner, Path(local), preserve=preserve, progress=progress)

        tally = Tally(item, progress, report)
        download = TreeDownload(Wanted(base, target, 0), self._workers, get_large, tally, preserve=preserve)
        async with _shown(item, progress):
            return await download.run(self._lent, self._patience.retries)

    async def _get_range(self, request: Get, partial: "Partial", item: Item, progress: Progress) -> Content:
        from ftpc.transfer.download import Shown, download
        from ftpc.transfer.retry import persist

        async def attempt() -> Content:
            async with self._lent() as connection:
                item.restarted = item.restarted or bool(item.done)
                return await download(connection, request, partial, Shown(item, progress))

        return await persist(attempt, self._patience.retries, item, progress)

    async def _get_whole(
        self,
        name: str,
        partial: "Partial",
        item: Item,
        progress: Progress,
        preserve: bool,  # noqa: FBT001 (one of five, all needed)
    ) -> Content:
        from ftpc.download_job import open_job
        from ftpc.jobs import Task
        from ftpc.transfer.download import Download, Shown
        from ftpc.transfer.retry import persist
        from ftpc.transfer.streams import Streams

        task = Task("get", self.address.url, name, str(partial.full_target))
        job = await open_job(self._jobs, task, partial, self._workers, preserve=preserve)
        item.restarted = job.was_lost
        streams = Streams(self._lent_beside, self._streams)
        run, done = Download(name, partial, job, Shown(item, progress), streams).run, False

        async def attempt() -> Content:
            async with self._lent() as connection:
                return await run(connection)

        try:
            content = await persist(attempt, self._patience.retries, item, progress)
            await _save(partial, content, item, progress, preserve=preserve)
            done = True
        finally:
            job.close(done=done)
        return content

    def ls(self, folder: str = "", *, long: bool = False) -> "Listing":
        """List a folder: `async for entry in client.ls()`. With `long`, entries have size, time and mode."""
        return Listing(self._connection, self.remote_folder(folder), long=long)

    async def whoami(self) -> Identity:
        """Tell who is logged in, and what he may do."""
        return await self._ask(Whoami(), Identity)

    async def share(
        self,
        remote: str,
        *,
        upload: bool = False,
        expires_s: int = 7 * 24 * 3600,
        count: int | None = None,
        label: str = "",
    ) -> Shared:
        """Make a token with which somebody else can have a file or folder; with `upload`, bring new files to it."""
        path = self.remote_folder(remote)
        return await self._ask(Share(path=path, upload=upload, expires=expires_s, count=count, label=label), Shared)

    async def shares(self) -> list[SharedPath]:
        """List the shares that hold at this moment."""
        page = await self._ask(ListShares(), SharePage)
        found = list(page.shares)
        while page.more and page.shares:
            page = await self._ask(ListShares(after=found[-1].share), SharePage)
            found += page.shares
        return found

    async def unshare(self, share: str) -> None:
        """Make a share invalid, by its id."""
        await self._ask(Unshare(share=share), Done)

    async def df(self) -> Disk:
        """Tell how much room there is on the server's disk, and in the quota of whoever asks."""
        return await self._ask(Df(), Disk)

    async def stat(self, remote: str) -> Status:
        """Tell what a name is. An empty name is the folder that names are relative to."""
        return await self._ask(Stat(filename=self.remote_folder(remote)), Status)

    async def md5(self, remote: str) -> str:
        """Give the MD5 of a file, in hex."""
        return (await self._ask(Md5(filename=self.remote_name(remote)), Checksum)).digest

    async def sum(self, remote: str, algorithm: Algorithm = Algorithm.SHA256) -> str:
        """Give a digest over the content of a file, in hex."""
        return (await self._ask(Sum(filename=self.remote_name(remote), algo=algorithm), Checksum)).digest

    async def ping(self) -> float:
        """Give the round trip time in seconds."""
        loop = asyncio.get_running_loop()
        async with self._connection() as connection:
            await connection.greet()
            started = loop.time()
            await connection.ask(Ping(), Pong)
            return loop.time() - started

    async def hello(self) -> Greeting:
        """Give what the server says of itself."""
        async with self._connection() as connection:
            return await connection.greet()

    def remote_name(self, name: str) -> str:
        """Give the full name of a remote file: relative to the address's folder, tidied up.

        Raises:
            RemoteNameError: no server has such a name.
        """
        full = self.remote_folder(name)
        try:
            return str(RemotePath.parse(full))
        except BadPathError as exc:
            raise RemoteNameError(exc.message) from exc

    def remote_folder(self, name: str) -> str:
        """Give the full name of a remote folder; "" is the root.

        Raises:
            RemoteNameError: no server has such a name.
        """
        parts = [part for part in f"{self.address.folder}/{name}".split("/") if part not in {"", "."}]
        try:
            return str(RemotePath.parse_folder("/".join(parts)))
        except BadPathError as exc:
            raise RemoteNameError(exc.message) from exc

    @property
    def _workers(self) -> "Workers":
        from ftpd.payload.workers import Workers

        if self._threads is None:
            self._threads = Workers()
        return self._threads

    async def _ask(self, request: Request, kind: type[R]) -> R:
        async with self._connection() as connection:
            return await connection.ask(request, kind)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Wait for room, and lend a connection."""
        async with self._room, self._lent() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        """Lend a connection; it goes back if the conversation is intact."""
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
    async def _lent_beside(self) -> AsyncIterator[Connection]:
        """Lend a connection for a file that has one already."""
        async with self._spare, self._lent() as connection:
            yield connection

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.channel.ended.is_set():
                return connection
            await connection.close()
        return await Connection.open(self.address, self._patience, self._trust, self._credentials)


def connect(  # noqa: PLR0913 (all but the first have defaults, and are given by name)
    server: str,
    *,
    connections: int = CONNECTIONS,
    streams: int = STREAMS,
    connect_timeout_s: float = CONNECT_S,
    stall_timeout_s: float = STALL_S,
    retries: int = RETRIES,
    jobs: str | os.PathLike[str] | None = None,
    trust: "Trust | None" = None,
    credentials: "Credentials | None" = None,
) -> Client:
    """Make a client for a server: `async with ftpc.connect("ftpd://host") as client: …`.

    Nothing is sent before the first request. Must be called in a running event loop.

    Args:
        server: `HOST`, `HOST:PORT` or `ftpd://HOST:PORT/FOLDER`; names are then relative to the folder.
        connections: how many transfers may run at the same time.
        streams: how many connections one large file may use; more than one are used where the round trip is long.
        connect_timeout_s: how long the server may take to accept a connection, and to greet.
        stall_timeout_s: how long nothing at all may move before a connection counts as lost.
        retries: how often in a row a lost connection is tried again without any progress.
        jobs: a folder where unfinished transfers are remembered, so that another process goes on with them. Without one
            they end with this process.
        trust: how an encrypted server proves who it is: by default with a certificate that the system's authorities
            vouch for, or with the pin at the end of `ftpds://HOST:PORT#sha256:PIN`.
        credentials: what is shown to log in.

    Raises:
        AddressError: the address can not be understood.
    """
    patience = Patience(connect_timeout_s, stall_timeout_s, retries)
    return Client(
        parse_address(server),
        connections=connections,
        streams=streams,
        patience=patience,
        jobs=jobs,
        trust=trust,
        credentials=credentials,
    )


@contextlib.asynccontextmanager
async def _shown(item: Item, progress: Progress) -> AsyncIterator[None]:
    progress.start(item)
    try:
        yield
    finally:
        progress.stop(item)


async def _save(partial: "Partial", content: Content, item: Item, progress: Progress, *, preserve: bool) -> None:
    item.phase = Phase.SAVING
    progress.update(item)
    partial.size = item.total
    mtime_ns = content.mtime * 1_000_000_000 + content.mtime_ns
    await partial.publish(mtime_ns if preserve else None, content.mode if preserve else None)


def _own_name(folder: str) -> str:
    """Give the name of a folder, however it is written: `.`, `photos/`."""
    return os.path.basename(os.path.abspath(folder))  # noqa: PTH100, PTH119 (no pathlib at start)


def _local_target(remote: str, target: "Path") -> "Path":
    from ftpc.files import local_errors

    with local_errors(target):
        if not target.is_dir():
            return target
    name = remote.rpartition("/")[2]
    # A name that is plain there may be a path here: `..\\x` or `C:x` on Windows.
    if os.path.basename(name) != name or os.path.splitdrive(name)[0]:  # noqa: PTH119 (no pathlib at start)
        raise LocalFileError(f"{name}: that name is not possible here; say where it is to go")
    return target / name


def _seconds(mtime: int, mtime_ns: int) -> float:
    return mtime + mtime_ns / 1e9
