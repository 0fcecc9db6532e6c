"""Threads for what would make the event loop wait: disks and digests."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

DISK_THREADS = 16
"""Enough to keep a queue at the disk. What takes time in them (receiving, hashing, reading and writing) is done without
the interpreter lock, so that as many cores are busy as there are threads with work."""

DIGEST_THREADS = 4
"""Whole-file digests take minutes for large files; whoever asks for many of them waits for his own."""

BATCH_THREADS = 4
"""Each holds dozens of files open."""

SYNC_THREADS = 16
"""fsync waits for the disk, not for a processor, and a journal commits concurrent ones together."""

SEND_THREADS = 64
"""A client sends on so many connections at once; all but two of them wait for the network."""

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Bounded pools, one per kind of waiting, so that none keeps bytes from being written. Threads start if needed."""

    def __init__(self, disk: int = DISK_THREADS) -> None:
        """Make the pools; `disk` threads move payload."""
        self._disk = ThreadPoolExecutor(disk, thread_name_prefix="disk")
        self._digest = ThreadPoolExecutor(DIGEST_THREADS, thread_name_prefix="digest")
        self._send = ThreadPoolExecutor(SEND_THREADS, thread_name_prefix="send")
        self._batch = ThreadPoolExecutor(BATCH_THREADS, thread_name_prefix="batch")
        self._sync = ThreadPoolExecutor(SYNC_THREADS, thread_name_prefix="sync")

    async def disk(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run file work. Cancelling is safe: it waits until the thread has let go of the arguments."""
        return await _run(self._disk, lambda: function(*args, **kwargs))

    async def acquire(self, function: Callable[[], T], release: Callable[[T], object]) -> T:
        """Run file work that opens something. If it is cancelled meanwhile, what was opened is released."""
        return await _run(self._disk, function, release)

    async def finish(self, function: Callable[[], object]) -> None:
        """Run file work that gives something back. It is done also if it is cancelled meanwhile."""
        await _finish(self._disk, function)

    async def digest(self, function: Callable[[threading.Event], T]) -> T:
        """Run what reads a whole file. The event is set if it is cancelled: then the result is wanted by nobody."""
        stop = threading.Event()
        try:
            return await _run(self._digest, lambda: function(stop), cancel=stop.set)
        finally:
            stop.set()

    async def batch(self, function: Callable[[Executor], T]) -> T:
        """Run work on many files, which is given the threads of `sync`. Cancelling is as safe as with `disk`."""
        return await _run(self._batch, lambda: function(self._sync))

    async def publish(self, function: Callable[[], T]) -> T:
        """Run what gives a file its name. If it is cancelled when that has begun, the result comes nevertheless.

        So it can be told what is stored. That it was cancelled is still to be seen (`is_cancelled`), by whoever tells.
        """
        return await _run(self._sync, function, is_told=True)

    async def publish_all(self, function: Callable[[Executor], T]) -> T:
        """Run what gives many files their names, with threads as `batch`, and cancelled as `publish`."""
        return await _run(self._batch, lambda: function(self._sync), is_told=True)

    async def send(self, function: Callable[[], T], stop: threading.Event) -> T:
        """Run what sends to a peer, as long as the peer takes. The event is set if it is cancelled."""
        return await _run(self._send, function, cancel=stop.set)

    async def sync(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what waits for the disk to be durable. Cancelling is as safe as with `disk`."""
        return await _run(self._sync, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Let idle threads end. Everything handed in has been awaited by then."""
        for pool in (self._disk, self._digest, self._send, self._batch, self._sync):
            pool.shutdown(wait=False)


def is_cancelled() -> bool:
    """Tell whether the current task has been cancelled, also if what it was at came to its end nevertheless."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _run(
    pool: Executor,
    function: Callable[[], T],
    release: Callable[[T], object] | None = None,
    cancel: Callable[[], object] | None = None,
    *,
    is_told: bool = False,
) -> T:
    work = pool.submit(function)
    try:
        return await asyncio.wrap_future(work)
    except asyncio.CancelledError:
        # The thread goes on (python/cpython#107505). It would write through a descriptor number that is somebody
        # else's by then, so cancellation waits for it, unless it has not begun.
        if cancel is not None:
            cancel()
        await settle(work)
        if is_told and not work.cancelled():
            return work.result()
        if release is not None and not work.cancelled() and work.exception() is None:
            result = work.result()
            await _finish(pool, lambda: release(result))
        raise


async def _finish(pool: Executor, function: Callable[[], object]) -> None:
    work = pool.submit(function)
    cancelled = await settle(work)
    work.result()
    if cancelled is not None:
        raise cancelled


async def settle(work: Future[Any]) -> asyncio.CancelledError | None:
    """Wait for a thread whatever happens; give the cancellation that came meanwhile."""
    cancelled = None
    while not work.done():
        waiting = asyncio.wrap_future(work)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is not lost, but raised
        try:
            await asyncio.wait((waiting,))
        except asyncio.CancelledError as exc:
            cancelled = exc
    return cancelled
