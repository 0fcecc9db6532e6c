"""What a server can be asked, and under which names: all that moves no file."""

import asyncio
from types import TracebackType
from typing import Self, TypeVar

from ftpc.address import IS_ADDRESS, Address
from ftpc.connection import Connection
from ftpc.errors import RemoteNameError
from ftpc.listing import Listing
from ftpc.pool import Pool
from ftpd.wire.paths import BadPathError, RemotePath
from ftpd.wire.replies import (
    Checksum,
    Disk,
    Done,
    Greeting,
    Identity,
    Pong,
    Reply,
    Shared,
    SharedPath,
    SharePage,
    Status,
)
from ftpd.wire.requests import Df, ListShares, Md5, Ping, Request, Share, Stat, Sum, Unshare, Whoami
from ftpd.wire.terms import Algorithm

R = TypeVar("R", bound=Reply)


class Questions:
    """A server, with the connections to it, and what it can be asked. `Client` is this and moves files."""

    def __init__(self, address: Address, pool: Pool) -> None:
        self.address = address
        self._pool = pool

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address} {self._pool!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Transfers must be over."""
        await self._pool.close()

    def ls(self, folder: str = "", *, long: bool = False) -> "Listing":
        """List a folder: `async for entry in client.ls()`. With `long`, entries have size, time and mode."""
        return Listing(self._pool, self.remote_folder(folder), long=long)

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

        async def ping(connection: Connection) -> float:
            await connection.greet()
            started = loop.time()
            await connection.ask(Ping(), Pong)
            return loop.time() - started

        return await self._pool.ask(ping)

    async def hello(self) -> Greeting:
        """Give what the server says of itself."""
        return await self._pool.ask(Connection.greet)

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
        if IS_ADDRESS.match(name):
            raise RemoteNameError("an address of a server is no name on it; connect to it, and ask for what it has")
        parts = [part for part in f"{self.address.folder}/{name}".split("/") if part not in {"", "."}]
        try:
            return str(RemotePath.parse_folder("/".join(parts)))
        except BadPathError as exc:
            raise RemoteNameError(exc.message) from exc

    async def _ask(self, request: Request, kind: type[R]) -> R:
        return await self._pool.ask(lambda connection: connection.ask(request, kind))
