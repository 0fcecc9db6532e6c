"""One `get`, from a remote file to a local file or a stream: over as many connections as it takes."""

import contextlib
from pathlib import Path

from ftpc.connection import Connection
from ftpc.download_job import open_job
from ftpc.errors import ChangedError, LocalFileError, LocalNotFoundError
from ftpc.files import LocalSource, Partial, PipeSink, local_errors, refuse_path
from ftpc.jobs import Memory
from ftpc.pool import Pool
from ftpc.progress import Item, Phase, Progress, shown
from ftpc.results import GetResult
from ftpc.transfer.compare import ask_for_tree, compare
from ftpc.transfer.download import Download, Shown, download
from ftpc.transfer.here import make_durable
from ftpc.transfer.retry import persist
from ftpd.wire.limits import SMALL_FILE
from ftpd.wire.replies import Content, Status
from ftpd.wire.requests import Get


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
                return await _persist(pool, partial, memory, Shown(item, progress), preserve=preserve)


async def _persist(pool: Pool, partial: Partial, memory: Memory, view: Shown, *, preserve: bool) -> GetResult:
    """Download a file, unless it is here already, the same to the last byte: then that is made durable."""
    name, item = view.item.name, view.item
    task = memory.task("get", name, str(partial.full_target))
    options = {"preserve": preserve, "share": memory.is_share}
    job = await open_job(memory.folder, task, partial, pool.workers, options)
    item.restarted = item.lost = job.was_lost
    run = Download(name, partial, job, view, pool).run

    is_other = bool(job.leaves)

    async def attempt() -> Content | Status:
        nonlocal is_other
        if not is_other:
            async with pool.lend() as connection:
                if (same := await _find_here(pool, connection, partial.target, view, preserve=preserve)) is not None:
                    return same
            is_other = True
        # Perhaps over another one: to read what is here may have taken longer than the server waits for a request.
        while True:
            async with pool.lend() as connection:
                if (content := await run(connection)) is not None:
                    return content

    done = False
    try:
        content = await persist(attempt, pool.retries, item, view.progress)
        if isinstance(content, Content):
            await _save(partial, content, view, preserve=preserve)
        else:
            await _make_durable(pool, partial.target)
        done = True
    finally:
        job.close(done=done)
    if isinstance(content, Content):
        return _result(partial.target, content, item)._replace(root=job.tree.root)
    item.restarted = item.lost = False
    return _result(partial.target, content, item)._replace(root=content.root, identical=True)


async def _find_here(pool: Pool, connection: Connection, target: Path, view: Shown, *, preserve: bool) -> Status | None:
    """Give what the remote file is, if what is here under its name is the same. What a link leads to is not meant."""
    item, phase = view.item, view.item.phase
    item.done = 0
    with (
        contextlib.suppress(ChangedError, LocalFileError, LocalNotFoundError),  # whatever it is, it is replaced
        contextlib.closing(LocalSource(target, pool.workers, follows=False)) as source,
    ):
        # On a long path a small one is here before an answer could be.
        if source.size > SMALL_FILE or not connection.channel.is_far:
            item.total = source.size
            await ask_for_tree(connection, item.name)
            status = await compare(connection, source, item, view.progress, preserve=preserve)
            if status is not None:
                return status
    item.phase, item.done, item.total = phase, 0, None
    return None


async def _make_durable(pool: Pool, target: Path) -> None:
    (error,) = await pool.workers.batch(lambda threads: make_durable([str(target)], threads))
    if error is not None:
        raise error


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
    refuse_path(name)
    return target / name


def _result(local: Path | None, content: Content | Status, item: Item) -> GetResult:
    mtime = content.mtime + content.mtime_ns / 1e9
    told = (item.resumed, item.restarted, item.repaired, item.lost)
    return GetResult(local, item.total or 0, mtime, content.mode, *told)
