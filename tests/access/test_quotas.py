"""Quotas of uploads that are cancelled when their file is about to get its name: what was promised is given back."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

import pytest

from ftpd.access.quotas import MeteredUpload, Stores
from ftpd.access.rights import ALL, ROOT, Grant, Principal, Quota
from ftpd.payload.workers import Workers
from ftpd.store.base import Store, Upload
from ftpd.store.local import LocalStore
from ftpd.store.values import SmallFile
from ftpd.wire.digests import tree_of
from ftpd.wire.terms import Durability, IfExists
from tests.store.helpers import PATIENCE_S, Nothing, open_descriptors, plan_for, put
from tests.store.test_contract_resuming import DATA, PLAN, resumed, seal

QUOTA = Quota(2 * len(DATA), 3)
ALICE = Principal("alice", (Grant(ROOT, ALL),), quota=QUOTA)


class Service:
    """A store with a quota, and the one thread that it has for files."""

    def __init__(self, store: Store, workers: Workers) -> None:
        self.store = store
        self._workers = workers

    async def cancelled(self, work: Coroutine[object, object, object]) -> None:
        """Begin something, and cancel it while its thread is busy with something else."""
        begun, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def hold() -> None:
            loop.call_soon_threadsafe(begun.set)
            assert go_on.wait(PATIENCE_S)

        holding = asyncio.create_task(self._workers.disk(hold))
        await begun.wait()
        task = asyncio.ensure_future(work)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await holding
        with pytest.raises(asyncio.CancelledError):
            await task

    async def used(self) -> tuple[int | None, int | None]:
        """Tell how much of the quota is used."""
        space = await self.store.space()
        return space.used, space.files


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A store of somebody who has a quota."""
    workers = Workers(disk=1)
    store = LocalStore(tmp_path, workers, durability=Durability.NONE)
    try:
        yield Service(Stores(store).of(ALICE, lambda: ALICE), workers)
    finally:
        await store.close()
        workers.close()


async def chunks(store: Store) -> Upload:
    """Send an upload in chunks, but for its last word."""
    upload = await store.begin(PLAN)
    assert upload is not None
    for index in range(3):
        await seal(upload, index)
    return upload


async def test_one_file(service: Service) -> None:
    """An upload that is cancelled before it has its name uses nothing of the quota afterwards."""
    upload = await service.store.begin(plan_for("a", len(DATA)))
    assert upload is not None
    await upload.write(0, DATA, Nothing())
    await service.cancelled(upload.publish(tree_of(DATA)))
    await upload.discard()
    assert (0, 0) == await service.used()


async def test_many_small_files(service: Service) -> None:
    """Nor do small files that are stored together, some of which have been promised their space."""
    ways = {"a": IfExists.FAIL, "b": IfExists.OVERWRITE, "c": IfExists.OVERWRITE}  # what the first replaces is known
    files = [SmallFile(plan_for(name, 1, way), b"x", tree_of(b"x")) for name, way in ways.items()]
    await service.store.space()  # it was counted before
    await service.cancelled(service.store.put_all(files))
    assert (0, 0) == await service.used()
    assert [file.plan.path for file in files] == [*await service.store.put_all(files)]


async def test_chunks(service: Service) -> None:
    """An upload in chunks stays for who goes on with it, and uses its space once, until it is dropped."""
    upload = await chunks(service.store)
    before = open_descriptors()
    await service.cancelled(upload.publish(tree_of(DATA)))
    assert 2 == len(before - open_descriptors())  # of the file and of its journal
    assert (len(DATA), 1) == await service.used()
    again = await resumed(service.store, upload.name)
    assert {0, 1, 2} == again.leaves.keys()
    assert (len(DATA), 1) == await service.used()
    await again.discard()
    assert (0, 0) == await service.used()


async def test_nothing_is_kept_of_uploads(service: Service) -> None:
    """Of an upload that has got its name nothing stays in memory."""
    for number in range(3):
        await put(service.store, f"{number}")
    gc.collect()
    assert [] == [one for one in gc.get_objects() if isinstance(one, MeteredUpload)]
