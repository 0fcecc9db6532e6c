"""What a command may touch: the store, its request, and the conversation it is part of."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from ftpd.access.door import Challenge, Door, Login
from ftpd.access.penalties import Caller
from ftpd.access.presence import Presence
from ftpd.access.quotas import Stores
from ftpd.access.rights import Principal
from ftpd.commands.uploads import Leases, OpenUpload
from ftpd.payload.direct import Stretch
from ftpd.payload.files import Source
from ftpd.store.base import Listing, Store
from ftpd.wire.digests import Digest
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Entry, Reply
from ftpd.wire.terms import RequestId


class Transfer(NamedTuple):
    """What a finished command moved, for the log."""

    path: RemotePath
    size: int
    started: float | None = None
    """When it began, if that was before its last command (`time.monotonic`)."""


AT_WORK = ("put", "get", "chunk", "md5", "sum")
"""Commands that have files open for as long as their peer, or the disk, needs."""

QUEUE_S = 30.0
"""How long a request waits for its turn: those whose turn it is may be slow."""


class Budget:
    """How many files all conversations together may hold open: descriptors are not endless."""

    def __init__(self, files: int, *, is_short: bool = False) -> None:
        """So many between requests. Where there are more conversations, as many requests are worked on at once."""
        self.files = files
        self._turns = asyncio.Semaphore(files) if is_short else None

    def working_on(self, command: object) -> AbstractAsyncContextManager[None]:
        """Wait for the turn of a request that may be worked on, and do so within. Cancelling is safe.

        Raises:
            FtpdError: `busy`, it was not its turn for `QUEUE_S`.
        """
        return contextlib.nullcontext() if self._turns is None or command not in AT_WORK else _turn(self._turns)

    def take(self) -> bool:
        """Take one, if one is left."""
        if self.files <= 0:
            return False
        self.files -= 1
        return True

    def give_back(self) -> None:
        """Give one back."""
        self.files += 1


@contextlib.asynccontextmanager
async def _turn(turns: asyncio.Semaphore) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(QUEUE_S):
            await turns.acquire()
    except TimeoutError:
        message = f"the server has no files left for this, and had none for {QUEUE_S:.0f} s; try again later"
        raise FtpdError(ErrorCode.BUSY, message) from None
    try:
        yield
    finally:
        turns.release()


class OpenListing(NamedTuple):
    """A listing of which more pages may be asked for."""

    cursor: str
    listing: Listing
    rest: list[Entry]
    """Entries that did not fit in the page before."""
    principal: Principal
    """Whoever may see them: it ends with his rights."""


class Common(NamedTuple):
    """What all conversations of a server share."""

    stores: Stores
    door: Door
    presence: Presence
    budget: Budget
    leases: Leases
    limits: dict[str, int]
    """What `hello` tells of the server's bounds."""


class Exchange(ABC):
    """One conversation: what its commands share, and how they move payload."""

    store: Store
    """As whoever is asking sees it."""
    principal: Principal
    """Who is asking."""

    def __init__(self, common: Common, caller: Caller) -> None:
        self.stores, self.door, self.presence, self.budget, self.leases, self.limits = common
        self.caller = caller
        self.login: Login | None = None
        """How who is asking has logged in, if he has."""
        self.certificate = self.door.certificate
        """The SHA-256 of the certificate that the peer was shown, if it was shown one."""
        self.challenge: Challenge | None = None
        """What the peer has to sign, once."""
        self.tries = 0
        """How often in a row wrong credentials were shown."""
        self.uploads: dict[str, OpenUpload] = {}
        """Those that this conversation owns."""
        self.joined: dict[str, OpenUpload] = {}
        """Those of others that it brings chunks of."""
        self.listing: OpenListing | None = None
        self.request_id: RequestId | None = None
        self.transfer: Transfer | None = None
        """Set by a command that moved a file."""

    @abstractmethod
    def let_in(self, login: Login) -> None:
        """Be somebody else from here on.

        Raises:
            FtpdError: `busy`, he has as many connections as he may; or what he has shown holds no more.
        """

    @abstractmethod
    async def receive(self) -> Stretch | None:
        """Give the next bytes of the request's payload, valid until the next call, or None after the last."""

    @abstractmethod
    async def send(self, reply: Reply, payload: bytes = b"") -> None:
        """Send a reply that is not the last word on its request, and a few bytes behind it."""

    @abstractmethod
    async def send_all(self, reply: Reply, payload: bytes) -> None:
        """Send a reply and all that belongs to it."""

    @abstractmethod
    def post(self, reply: Reply) -> bool:
        """Send the reply to the current request from the thread that has its payload: its command is not over yet.

        Returns whether the peer's side has taken it. If not, it is sent later, and the command is to come to its end.
        """

    @abstractmethod
    async def send_payload(self, source: Source, offset: int, size: int, digest: Digest | None) -> None:
        """Send a range of a file. An error before its end leaves nothing but to close the connection."""

    def take_upload(self, name: str) -> OpenUpload:
        """Take an upload out of the conversation, to end it."""
        self.budget.give_back()
        opened = self.uploads.pop(name)
        self.leases.end(opened)
        return opened

    def leave_upload(self, name: str) -> None:
        """Bring no more chunks of somebody else's upload."""
        self.joined.pop(name).leave()

    async def close(self) -> None:
        """Drop what the conversation has open."""
        for name in list(self.joined):
            self.leave_upload(name)
        for name in list(self.uploads):
            await self.take_upload(name).upload.suspend()
        await self.close_listing()

    async def close_listing(self) -> None:
        """Close the open listing, if there is one."""
        if self.listing is not None:
            opened, self.listing = self.listing, None
            self.budget.give_back()
            await opened.listing.close()
