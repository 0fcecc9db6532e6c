"""One `get`, from a remote file to a local file or a stream: over as many connections as it takes."""

import contextlib
import os
from pathlib import Path

from ftpc.download_job import open_job
from ftpc.errors import LocalFileError
from ftpc.files import Partial, PipeSink, local_errors
from ftpc.jobs import Memory
from ftpc.pool import Pool
from ftpc.progress import Item, Phase, Progress, shown
from ftpc.results import GetResult
from ftpc.transfer.download import Download, Shown, download
from ftpc.transfer.plan import Streams
from ftpc.transfer.retry import go_on, persist
from ftpd.wire.messages import Content, Get


async def get_stream(pool: Pool, request: Get, fd: int, progress: Progress) -> GetResult:
    """Download into a descriptor. What it was given can not be taken back: a lost connection is the end."""
    item = Item(request.filename, None, Phase.RECEIVING)
    async with pool.room(), pool.lend_greeted() as connection, shown(item, progress):
        content = await download(connection, request, PipeSink(fd, pool.workers), Shown(item, progress))
    return _result(None, content, item)


async def get_range(pool: Pool, request: Get, target: Path, progress: Progress, *, preserve: bool = False) -> GetResult:
    """Download a range into a file. After a break it is fetched from its beginning: there is nothing that proves it."""
    item = Item(request.filename, None, Phase.RECEIVING)

    async def attempt() -> Content:
        async with pool.lend() as connection:
            go_on(item, progress)
            item.restarted = item.restarted or bool(item.done)
            return await download(connection, request, partial, Shown(item, progress))

    async with pool.room():
        local = _local_target(request.filename, target)
        with contextlib.closing(Partial(local, pool.workers)) as partial:
            async with shown(item, progress):
                content = await persist(attempt, pool.retries, item, progress)
                await _save(partial, content, Shown(item, progress), preserve=preserve)
    return _result(local, content, item)


async def get_file(
    pool: Pool, name: str, target: Path, memory: Memory, progress: Progress, *, preserve: bool = False
) -> GetResult:
    """Download a file, going on after every break, also after that of another process if it is remembered."""
    item = Item(name, None, Phase.RECEIVING)
    async with pool.room():
        local = _local_target(name, target)
        with contextlib.closing(Partial(local, pool.workers)) as partial:
            async with shown(item, progress):
                content = await _persist(pool, partial, memory, Shown(item, progress), preserve=preserve)
    return _result(local, content, item)


async def _persist(pool: Pool, partial: Partial, memory: Memory, view: Shown, *, preserve: bool) -> Content:
    name = view.item.name
    task = memory.task("get", name, str(partial.full_target))
    job = await open_job(memory.folder, task, partial, pool.workers, preserve=preserve)
    view.item.restarted = view.item.lost = job.was_lost
    run = Download(name, partial, job, view, Streams(pool.lend_beside, pool.streams)).run

    async def attempt() -> Content:
        async with pool.lend() as connection:
            go_on(view.item, view.progress)
            return await run(connection)

    done = False
    try:
        content = await persist(attempt, pool.retries, view.item, view.progress)
        await _save(partial, content, view, preserve=preserve)
        done = True
    finally:
        job.close(done=done)
    return content


async def _save(partial: Partial, content: Content, view: Shown, *, preserve: bool) -> None:
    view.item.phase = Phase.SAVING
    view.progress.update(view.item)
    partial.size = view.item.total
    mtime_ns = content.mtime * 1_000_000_000 + content.mtime_ns
    await partial.publish(mtime_ns if preserve else None, content.mode if preserve else None)


def _local_target(remote: str, target: Path) -> Path:
    with local_errors(target):
        if not target.is_dir():
            return target
    name = remote.rpartition("/")[2]
    # A name that is plain there may be a path here: `..\\x` or `C:x` on Windows.
    if Path(name).name != name or os.path.splitdrive(name)[0]:
        raise LocalFileError(f"{name}: that name is not possible here; say where it is to go")
    return target / name


def _result(local: Path | None, content: Content, item: Item) -> GetResult:
    mtime = content.mtime + content.mtime_ns / 1e9
    told = (item.resumed, item.restarted, item.repaired, item.lost)
    return GetResult(local, item.total or 0, mtime, content.mode, *told)
