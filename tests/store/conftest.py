"""Stores to test: each kind for the contract, the local one for what only a disk can show."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ftpd.payload.workers import Workers
from ftpd.store.base import Store
from ftpd.store.local import PARTIAL_TTL_S, LocalStore
from ftpd.store.memory import MemoryStore
from ftpd.wire.terms import Durability

OpenLocal = Callable[..., LocalStore]
"""Opens a local store on a folder; `durability` and `read_only` as `LocalStore` has them."""

Reopen = Callable[[Store], Awaitable[Store]]
"""Closes a store, and opens one with the same files that only reads."""


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Threads for one test."""
    pools = Workers()
    yield pools
    pools.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder to serve; what lies beside it must stay out of reach."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
async def open_local(workers: Workers) -> AsyncIterator[OpenLocal]:
    """A way to open local stores that are closed after the test."""
    async with AsyncExitStack() as closing:

        def opener(
            root: Path,
            *,
            durability: Durability = Durability.NONE,
            read_only: bool = False,
            partial_ttl_s: float = PARTIAL_TTL_S,
        ) -> LocalStore:
            store = LocalStore(root, workers, durability=durability, read_only=read_only, partial_ttl_s=partial_ttl_s)
            closing.push_async_callback(store.close)
            return store

        yield opener


@pytest.fixture
async def local(root: Path, open_local: OpenLocal) -> LocalStore:
    """A local store that writes, without syncs: nothing is proved by waiting for a disk."""
    return open_local(root)


@pytest.fixture(params=["memory", "local"])
async def store(request: pytest.FixtureRequest, root: Path, open_local: OpenLocal) -> Store:
    """One empty store of each kind."""
    return MemoryStore() if request.param == "memory" else open_local(root)


@pytest.fixture
def read_only(root: Path, open_local: OpenLocal) -> Reopen:
    """A way to go on with the same files in a store that only reads."""

    async def reopen(store: Store) -> Store:
        if isinstance(store, MemoryStore):
            reader = MemoryStore(read_only=True)
            reader.files.update(store.files)
            reader.folders.update(store.folders)
            return reader
        await store.close()
        return open_local(root, read_only=True)

    return reopen
