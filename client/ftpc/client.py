"""The library: a client that keeps a few connections to one server and moves files over them.

What only transfers need is imported by the first transfer, so that asking a question starts fast.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from ftpc.address import Address, parse_address
from ftpc.connection import CONNECT_S, RETRIES, STALL_S, STREAMS, Connection, Patience
from ftpc.errors import LocalFileError, RemoteNameError
from ftpc.pool import Pool
from ftpc.progress import SMALL_FILES, Contents, Item, NoProgress, Parts, Phase, Progress, shown
from ftpc.questions import Questions
from ftpc.results import GetResult, Objection, PutResult, TreeFile, TreeResult
from ftpd.wire.requests import Get
from ftpd.wire.terms import IfExists

if TYPE_CHECKING:
    from ftpc.credentials import Credentials
    from ftpc.jobs import Memory, Task
    from ftpc.trust import Trust

CONNECTIONS = 4
"""Transfers at the same time: what fills a path with a long round trip (measured by others: 4 streams reach the ceiling
of a 138 ms path, 16 are worse) without crowding out everybody else."""


class Client(Questions):
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
        notice: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._trust = trust
        self._credentials = credentials
        self._patience = patience or Patience()
        super().__init__(address, Pool(self._open, connections, streams, self._patience.retries, notice))
        self._jobs = jobs
        self.unfinished: set[Task] = set()
        """What it was asked to move and has not; whether any of it is remembered stands in the folder of jobs."""

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

        from ftpc.transfer.plan import Plan
        from ftpc.transfer.put import put_file, put_stream

        if remote is None:
            if isinstance(source, int):
                raise RemoteNameError("a stream has no name of its own; say what it is to be called")
            remote = Path(source).name
        plan = Plan(self.remote_name(remote), if_exists, preserve)
        if isinstance(source, int):
            return await put_stream(self._pool, source, plan, progress or NoProgress())
        with self._remembering() as memory:
            return await put_file(self._pool, Path(source), plan, memory, progress or NoProgress())

    async def drop(self, remote: str, size: int, upload: str) -> None:
        """Have the server drop what it has of an upload that was broken off, which then no longer counts as used.

        Args:
            remote: its name on the server, as it was to be.
            size: its bytes in all.
            upload: the server's name for it.

        Raises:
            RefusedError: it has none such (`unknown_upload`), or this is nobody who may drop it.
            FtpcError: the server can not be told.
        """
        from ftpc.transfer.upload import drop

        async with self._pool.connection() as connection:
            await drop(connection, self.remote_name(remote), size, upload)

    async def check(
        self, files: Iterable[tuple[str, str]], *, if_exists: IfExists = IfExists.OVERWRITE
    ) -> "list[Objection]":
        """Ask what speaks against uploading files, before any is sent: rights, taken names, too little room for all.

        Nothing is reserved. A server that is too old to be asked has no objections. Cancelling is safe.

        Args:
            files: names of local files, and what they are to be called on the server.
            if_exists: what happens to names that are taken.

        Returns:
            What speaks against it: the first ten refusals, how many more there are, and what there is no room for.

        Raises:
            FtpcError: the server can not be asked.
        """
        from ftpc.transfer.preflight import preflight

        names: list[tuple[str, str]] = []
        objections: list[Objection] = []
        for local, remote in files:
            try:
                names.append((local, self.remote_name(remote)))
            except RemoteNameError as exc:
                objections.append(Objection(local, exc))
        return objections + await preflight(self._pool, names, if_exists, self._is_begun)

    async def put_tree(  # noqa: PLR0913 (all but the first have defaults, and are given by name)
        self,
        folder: str | os.PathLike[str],
        remote: str | None = None,
        *,
        if_exists: IfExists = IfExists.OVERWRITE,
        preserve: bool = False,
        check: bool = False,
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
            check: ask first, as `check` does, and send nothing if something speaks against the first files; end if
                there turns out to be too little room for all. The result has the reasons among its errors.
            progress: is told how it goes; of all small files as one item.
            report: is told what became of each file, and of each folder that no file in it makes.

        Raises:
            LocalNotFoundError: there is no such folder.
            FtpcError: the connection is lost for good.
        """
        from ftpc.transfer.loader import Loader
        from ftpc.transfer.preflight import Scout
        from ftpc.transfer.repeat import Repeat
        from ftpc.transfer.tasks import Tally
        from ftpc.transfer.tree_upload import TreeUpload
        from ftpc.transfer.walk import walk

        path = os.fspath(folder)
        name = remote if remote is not None else _own_name(path)
        base = self.remote_folder(name)
        progress = progress or NoProgress()

        async def put_large(file: str, full_name: str) -> PutResult:
            inner = f"{name}/{full_name.removeprefix(base)}"
            return await self.put(file, inner, if_exists=if_exists, preserve=preserve, progress=Parts(progress))

        item = Item(path, None, Phase.SENDING)
        loader = Loader(walk(path, base), if_exists, preserve=preserve)
        item.contents = loader.contents
        scout = Scout(path, base, if_exists, self._is_begun) if check else None
        repeat = Repeat(base, if_exists, preserve=preserve)
        upload = TreeUpload(loader, self._pool, put_large, Tally(item, progress, report), repeat, scout)
        async with shown(item, progress):
            return await upload.run()

    async def put_many(
        self,
        files: Iterable[tuple[str, str]],
        *,
        if_exists: IfExists = IfExists.OVERWRITE,
        preserve: bool = False,
        progress: Progress | None = None,
        report: Callable[[TreeFile], None] | None = None,
    ) -> TreeResult:
        """Upload files, small ones without waiting for each other's replies. When this returns, the server has them.

        A file that can not be stored does not keep the others from it. Cancelling is safe: what was reported is stored,
        of the rest some may be.

        Args:
            files: names of local files, and what they are to be called on the server.
            if_exists: what happens to names that are taken.
            preserve: send modification times and modes along.
            progress: is told how it goes: of each small file when it is over, and of all of them as an item that does
                not count.
            report: is told what became of each file.

        Raises:
            FtpcError: the connection is lost for good. What was not reported may be stored or not.
        """
        from ftpc.transfer.loader import Loader
        from ftpc.transfer.repeat import Repeat
        from ftpc.transfer.tasks import TallyOfNamed
        from ftpc.transfer.tree_upload import TreeUpload
        from ftpc.transfer.walk import common_folder, named

        found = [named(local, remote, self.remote_name) for local, remote in files]
        base, prefix = common_folder(found), self.remote_folder("")
        progress = progress or NoProgress()

        async def put_large(file: str, full_name: str) -> PutResult:
            inner = full_name.removeprefix(prefix)
            return await self.put(file, inner, if_exists=if_exists, preserve=preserve, progress=progress)

        item = Item(SMALL_FILES, None, Phase.SENDING, counts=False)
        loader = Loader(iter(found), if_exists, preserve=preserve, follows=True)
        repeat = Repeat(base, if_exists, preserve=preserve)
        upload = TreeUpload(loader, self._pool, put_large, TallyOfNamed(item, progress, report), repeat)
        async with shown(item, progress):
            return await upload.run()

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

        from ftpc.transfer.get import get_file, get_range, get_stream

        progress = progress or NoProgress()
        request = Get(filename=self.remote_name(remote), offset=offset, length=length)
        if isinstance(target, int):
            return await get_stream(self._pool, request, target, progress)
        if offset or length is not None:
            return await get_range(self._pool, request, Path(target), progress, preserve=preserve)
        with self._remembering() as memory:
            return await get_file(self._pool, request.filename, Path(target), memory, progress, preserve=preserve)

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
        item.contents = Contents()
        progress = progress or NoProgress()
        prefix = self.remote_folder("")

        async def get_large(full_name: str, local: str) -> GetResult:
            inner = full_name.removeprefix(prefix)
            if os.path.isdir(local):  # noqa: ASYNC240, PTH112 (`get` would put it inside)
                raise LocalFileError(f"{local}: it is a folder")
            return await self.get(inner, Path(local), preserve=preserve, progress=Parts(progress))

        tally = Tally(item, progress, report)
        download = TreeDownload(Wanted(base, target, 0), self._pool, get_large, tally, preserve=preserve)
        async with shown(item, progress):
            return await download.run()

    async def get_many(
        self,
        files: Iterable[tuple[str, str]],
        *,
        preserve: bool = False,
        progress: Progress | None = None,
        report: Callable[[TreeFile], None] | None = None,
    ) -> TreeResult:
        """Download files, small ones without waiting for each other. When this returns, they are there.

        A file that can not be fetched or stored does not keep the others from it. Cancelling is safe: what was reported
        is stored, of the rest some may be.

        Args:
            files: names on the server, and the local files that they become. Missing folders are made.
            preserve: keep modification times and modes.
            progress: is told how it goes: of each small file when it is over, and of all of them as an item that does
                not count.
            report: is told what became of each file.

        Raises:
            FtpcError: the connection is lost for good. What was not reported may be stored or not, but never in part.
        """
        from pathlib import Path

        from ftpc.transfer.saving import Wanted
        from ftpc.transfer.tasks import TallyOfNamed
        from ftpc.transfer.tree_download import UNKNOWN, TreeDownload

        progress = progress or NoProgress()
        prefix = self.remote_folder("")
        tally = TallyOfNamed(Item(SMALL_FILES, None, Phase.RECEIVING, counts=False), progress, report)

        async def get_large(full_name: str, local: str) -> GetResult:
            return await self.get(full_name.removeprefix(prefix), Path(local), preserve=preserve, progress=progress)

        def named() -> Iterator[Wanted]:
            for remote, local in files:
                try:
                    yield Wanted(self.remote_name(remote), local, UNKNOWN)
                except RemoteNameError as exc:
                    tally.take_small([TreeFile(local, remote, 0, error=exc)])

        download = TreeDownload(named(), self._pool, get_large, tally, preserve=preserve)
        async with shown(tally.item, progress):
            return await download.run()

    @contextlib.contextmanager
    def _remembering(self) -> "Iterator[Memory]":
        memory = self._memory
        try:
            yield memory
        except BaseException:
            self.unfinished |= memory.tasks
            raise

    @property
    def _memory(self) -> "Memory":
        from pathlib import Path

        from ftpc.jobs import Memory

        is_share = self._credentials is not None and self._credentials.is_share
        return Memory(Path(self._jobs) if self._jobs is not None else None, self.address.url, set(), is_share)

    def _is_begun(self, local: str, remote: str) -> bool:
        memory = self._memory
        return memory.knows(memory.task("put", remote, os.path.abspath(local)))  # noqa: PTH100 (as `put_file`)

    async def _open(self) -> Connection:
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
    notice: Callable[[str], object] = lambda _: None,
) -> Client:
    """Make a client for a server: `async with ftpc.connect("ftpd://host") as client: …`.

    Nothing is sent before the first request. Must be called in a running event loop.

    Args:
        server: `HOST`, `HOST:PORT` or `ftpd://HOST:PORT/FOLDER`; names are then relative to the folder.
        connections: how many transfers may run at the same time.
        streams: how many connections one large file may use; more than one are used where the round trip is long, or
            where they are seen to pay.
        connect_timeout_s: how long the server may take to accept a connection, and to greet.
        stall_timeout_s: how long nothing at all may move before a connection counts as lost.
        retries: how often in a row a lost connection is tried again without any progress; with 0 nothing is, and
            questions are not asked again either that the server is too busy for, which otherwise is done for 5 s.
        jobs: a folder where unfinished transfers are remembered, so that another process goes on with them. Without one
            they end with this process.
        trust: how an encrypted server proves who it is: by default with a certificate that the system's authorities
            vouch for, or with the pin at the end of `ftpds://HOST:PORT#sha256:PIN`.
        credentials: what is shown to log in.
        notice: is told in a line, once, that a question is asked again because the server is too busy for it.

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
        notice=notice,
    )


def _own_name(folder: str) -> str:
    """Give the name of a folder, however it is written: `.`, `photos/`."""
    return os.path.basename(os.path.abspath(folder))  # noqa: PTH100, PTH119 (no pathlib at start)
