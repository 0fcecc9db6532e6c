"""`Workers`: threads that are never left alone with what they were given."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from ftpd.payload.workers import DIGEST_THREADS, DISK_THREADS, SYNC_THREADS, Workers
from tests.payload.conftest import PATIENCE_S
from tests.payload.helpers import eventually

Pool = Callable[..., Awaitable[object]]


@pytest.fixture(params=["disk", "sync", "digest"])
def pool(request: pytest.FixtureRequest, workers: Workers) -> Pool:
    """Each of the pools."""
    if request.param == "digest":  # whose functions are given an event
        return lambda function, *args: workers.digest(lambda _: function(*args))
    found: Pool = getattr(workers, request.param)
    return found


async def test_results_and_errors_come_back(pool: Pool) -> None:
    """A function's result is returned and its exception raised; it runs in another thread."""
    assert 5 == await pool(divmod(17, 3).__getitem__, 0)
    assert threading.get_ident() != await pool(threading.get_ident)
    with pytest.raises(FileNotFoundError):
        await pool(open, "/nothing/at/all")


async def test_cancelling_waits_for_the_thread(pool: Pool) -> None:
    """However often it is cancelled, a call returns only after its thread has finished, and then as cancelled."""
    started, go_on, finished = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go_on.wait(PATIENCE_S)
        finished.set()

    async with asyncio.timeout(PATIENCE_S):
        calling = asyncio.ensure_future(pool(work))
        await eventually(started.is_set, "the thread works")
        for _ in range(3):
            calling.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not calling.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await calling
    assert finished.is_set()


async def test_cancelling_hides_the_error_of_the_thread(pool: Pool) -> None:
    """A cancelled call whose thread fails is cancelled, and nothing is reported as never retrieved."""
    go_on = threading.Event()

    def work() -> None:
        go_on.wait(PATIENCE_S)
        raise OSError

    calling = asyncio.ensure_future(pool(work))
    await asyncio.sleep(0)
    calling.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await calling


@pytest.mark.parametrize(
    ("busy", "free", "threads"),
    [("disk", "sync", DISK_THREADS), ("sync", "disk", SYNC_THREADS), ("digest", "disk", DIGEST_THREADS)],
)
async def test_one_pool_does_not_hold_up_the_other(workers: Workers, busy: str, free: str, threads: int) -> None:
    """While all threads of one pool wait, and more work queues there, the other pool works."""
    go_on, lock, at_work = threading.Event(), threading.Lock(), 0

    def work(_: threading.Event | None = None) -> None:
        nonlocal at_work
        with lock:
            at_work += 1
        go_on.wait(PATIENCE_S)

    async with asyncio.timeout(PATIENCE_S):
        waiting = [asyncio.ensure_future(getattr(workers, busy)(work)) for _ in range(threads + 5)]
        await eventually(lambda: at_work == threads, "all threads work")
        assert "done" == await getattr(workers, free)(lambda: "done")
        assert threads == at_work
        go_on.set()
        await asyncio.gather(*waiting)
    assert threads + 5 == at_work


async def test_as_many_threads_as_are_asked_for() -> None:
    """With two threads two calls run at the same time, a third one when one of them is done."""
    workers, go_on, at_work = Workers(2), threading.Semaphore(0), list[int]()

    def work(number: int) -> None:
        at_work.append(number)
        go_on.acquire(timeout=PATIENCE_S)

    try:
        calls = [asyncio.ensure_future(workers.disk(work, number)) for number in range(3)]
        await eventually(lambda: len(at_work) == 2, "two threads work")
        assert [0, 1] == sorted(at_work)
        go_on.release()
        await eventually(lambda: len(at_work) == 3, "it is the third one's turn")
        go_on.release(2)
        await asyncio.gather(*calls)
    finally:
        workers.close()


async def test_a_cancelled_digest_is_told_to_stop(workers: Workers) -> None:
    """Who computes a digest that nobody waits for any more learns it by the event; cancelling waits for that."""
    ended = threading.Event()

    def work(stop: threading.Event) -> None:
        assert stop.wait(PATIENCE_S)
        ended.set()

    calling = asyncio.ensure_future(workers.digest(work))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert ended.is_set()


async def test_what_is_to_be_finished_is_done_though_cancelled(workers: Workers) -> None:
    """`finish` does its work also if it is cancelled before a thread has begun with it."""
    go_on, done = threading.Event(), threading.Event()
    busy = [asyncio.ensure_future(workers.disk(go_on.wait, PATIENCE_S)) for _ in range(DISK_THREADS)]
    await asyncio.sleep(0)
    finishing = asyncio.ensure_future(workers.finish(done.set))
    await asyncio.sleep(0)
    finishing.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    assert done.is_set()
    await asyncio.gather(*busy)


async def test_what_a_cancelled_call_has_opened_is_released(workers: Workers) -> None:
    """`acquire` hands what was opened to its caller, or, if that was cancelled meanwhile, to `release`."""
    go_on, released = threading.Event(), list[str]()

    def work() -> str:
        go_on.wait(PATIENCE_S)
        return "opened"

    calling = asyncio.ensure_future(workers.acquire(work, released.append))
    await asyncio.sleep(0)
    calling.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert ["opened"] == released
    assert "opened" == await workers.acquire(work, released.append)
    assert ["opened"] == released
