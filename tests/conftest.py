"""What tests of several folders need."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ftpd.payload.workers import Workers
from ftpd.server import Server
from ftpd.store.local import LocalStore
from ftpd.wire.messages import Durability


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """Serve the test's folder, and give the port."""
    workers = Workers()
    store = LocalStore(tmp_path, workers, durability=Durability.NONE)
    server = Server(store, 100)
    ((_, number),) = await server.start("127.0.0.1", 0)
    yield number
    await server.drain(5)
    await store.close()
    workers.close()
