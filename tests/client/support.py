"""What the tests of the client share: a server in their own event loop, content, and a display that remembers."""

import asyncio
import contextlib
import functools
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import ftpc
from ftpc.client import Client
from ftpc.credentials import Credentials
from ftpc.progress import Item, Phase
from ftpc.trust import Trust
from ftpd.access.door import Door
from ftpd.listening import listen
from ftpd.payload.workers import Workers
from ftpd.server import Server
from ftpd.store.local import LocalStore
from ftpd.wire.terms import Durability

MIB = 1024 * 1024
PATIENCE_S = 20.0
"""How long anything may take before a test counts as hung. Nothing takes nearly that long."""


@functools.lru_cache(maxsize=8)
@functools.lru_cache(maxsize=2)
def content(size: int, seed: int = 0) -> bytes:
    """Give bytes that do not repeat, the same for the same arguments."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


async def soon(condition: Callable[[], object], what: str) -> None:
    """Wait for something that nobody announces."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited {PATIENCE_S:g} s in vain: {what}"
        await asyncio.sleep(0.005)


def names_in(folder: Path) -> list[str]:
    """Give the names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def hidden(folder: Path) -> list[str]:
    """Give the names of partials in a folder."""
    return [name for name in names_in(folder) if name.startswith(".")]


class Service:
    """A real server in the event loop of the test. It can be stopped and started again on the same port."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = 0
        self._closing = contextlib.AsyncExitStack()

    @property
    def address(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self.port}"

    async def start(
        self,
        *,
        read_only: bool = False,
        tls: ssl.SSLContext | None = None,
        door: Door | None = None,
        max_per_source: int | None = None,
        limit_rate: int = 0,
    ) -> None:
        """Begin to serve."""
        workers = Workers()
        self._closing.callback(workers.close)
        store = LocalStore(self.root, workers, durability=Durability.NONE, read_only=read_only)
        self._closing.push_async_callback(store.close)
        server = Server(store, 100, None if tls is None else lambda: tls, door, max_per_source, limit_rate)
        [(_, self.port)] = server.start(listen("127.0.0.1", self.port))
        self._closing.push_async_callback(server.drain, 0.0)

    async def stop(self) -> None:
        """Cut all connections."""
        await self._closing.aclose()

    def temporaries(self) -> list[Path]:
        """Give what uploads that are not resumable have on disk."""
        return [*(self.root / ".ftpd" / "tmp").iterdir()]

    def partials(self) -> list[Path]:
        """Give the files of resumable uploads, under way or broken off."""
        return [path for path in (self.root / ".ftpd" / "partial").iterdir() if not path.suffix]

    def published(self) -> list[str]:
        """Give the names that others can see."""
        names = (str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())
        return sorted(name for name in names if not name.startswith(".ftpd"))

    async def settles(self) -> None:
        """Wait until no upload has anything on disk."""
        await soon(lambda: not self.temporaries(), "temporary files go with their connection")


@contextlib.asynccontextmanager
async def connected(
    address: str,
    retries: int = 0,
    trust: Trust | None = None,
    credentials: Credentials | None = None,
    jobs: Path | None = None,
) -> AsyncIterator[Client]:
    """Give a client of the server at an address; unless told otherwise it takes every break for the end."""
    async with ftpc.connect(address, retries=retries, trust=trust, credentials=credentials, jobs=jobs) as client:
        yield client


class Moment(NamedTuple):
    """What a display was told at one moment."""

    verb: str
    name: str
    done: int
    total: int | None
    phase: Phase


class Recorder:
    """A display that remembers all it was told, and calls back."""

    def __init__(self, told: Callable[[Moment], object] = lambda _: None) -> None:
        self.moments: list[Moment] = []
        self._told = told

    def start(self, item: Item) -> None:
        """Remember."""
        self._note("start", item)

    def update(self, item: Item) -> None:
        """Remember."""
        self._note("update", item)

    def stop(self, item: Item) -> None:
        """Remember."""
        self._note("stop", item)

    def _note(self, verb: str, item: Item) -> None:
        moment = Moment(verb, item.name, item.done, item.total, item.phase)
        self.moments.append(moment)
        self._told(moment)

    @property
    def done(self) -> list[int]:
        """What was done at each moment."""
        return [moment.done for moment in self.moments]

    @property
    def phases(self) -> list[Phase]:
        """The phases, each once, in the order in which they were seen."""
        return [*dict.fromkeys(moment.phase for moment in self.moments)]
