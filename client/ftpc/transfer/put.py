"""One `put`, from a local file or a stream to what became of it: over as many connections as it takes."""

import contextlib
import os
from pathlib import Path

from ftpc.errors import RefusedError
from ftpc.files import LocalSource, PipeSource
from ftpc.jobs import Memory
from ftpc.pool import Pool
from ftpc.progress import Item, Phase, Progress, shown
from ftpc.results import PutResult
from ftpc.transfer.plan import Plan
from ftpc.transfer.retry import persist
from ftpc.transfer.upload import drop, find_same, upload_file
from ftpc.transfer.upload_stream import upload_stream
from ftpc.upload_job import StoredUploadJob, UploadJob
from ftpd.wire.limits import SMALL_PUT
from ftpd.wire.replies import Stored
from ftpd.wire.terms import IfExists


async def put_stream(pool: Pool, fd: int, plan: Plan, progress: Progress) -> PutResult:
    """Upload what comes out of a descriptor. It can not be read twice: a lost connection is the end."""
    item = Item(plan.remote, None, Phase.SENDING)
    async with pool.room(), pool.lend_greeted() as connection, shown(item, progress):
        source = PipeSource(fd, pool.workers)
        stored = await upload_stream(connection, source, plan, item, progress, pool.workers)
    return PutResult(stored.filename, stored.filesize, stored.root, stored.skipped)


async def put_file(pool: Pool, path: Path, plan: Plan, memory: Memory, progress: Progress) -> PutResult:
    """Upload a file, going on after every break, also after that of another process if it is remembered."""
    async with pool.room():
        with contextlib.closing(LocalSource(path, pool.workers)) as file:
            plan = plan._replace(pool=pool)
            item = Item(plan.remote, file.size, Phase.SENDING)
            async with shown(item, progress):
                return await _persist(pool, file, plan, memory, (item, progress))


async def _persist(pool: Pool, file: LocalSource, plan: Plan, memory: Memory, view: tuple[Item, Progress]) -> PutResult:
    item, progress = view
    job = _job_for(file, plan, memory)
    was_known, has_changed = job.is_known, job.has_changed
    # The reply to a small put may have been lost: doing it again would find the name taken by itself.
    is_repeatable = file.size > SMALL_PUT or plan.if_exists in {IfExists.OVERWRITE, IfExists.SKIP}

    async def attempt() -> Stored:
        async with pool.lend() as connection:
            if (same := await find_same(connection, file, plan, job, item, progress)) is not None:
                return same
        # Perhaps over another one: to read what is here may have taken longer than the server waits for a request.
        async with pool.lend() as connection:
            if job.outdated is not None:
                upload, size = job.outdated
                with contextlib.suppress(RefusedError):  # perhaps it has dropped that itself
                    await drop(connection, plan.remote, size, upload)
                job.outdated = None
            return await upload_file(connection, file, plan, job, item, progress)

    done = False
    try:
        stored = await persist(attempt, pool.retries if is_repeatable else 0, item, progress)
        done = True
    finally:
        job.close(done=done)
    item.done = stored.filesize
    return PutResult(
        stored.filename,
        stored.filesize,
        stored.root,
        stored.skipped,
        resumed=item.resumed,
        repaired=item.repaired,
        changed=has_changed and bool(item.resumed),
        restarted=was_known and not item.resumed and not stored.skipped,
        identical=stored.skipped and stored.root is not None,
    )


def _job_for(file: LocalSource, plan: Plan, memory: Memory) -> UploadJob:
    if memory.folder is None or file.size <= SMALL_PUT:
        return UploadJob(file.state)
    task = memory.task("put", plan.remote, os.path.abspath(file.path))  # noqa: PTH100 (keeps symbolic links)
    options = {"if_exists": plan.if_exists.value, "preserve": plan.preserve, "share": memory.is_share}
    return StoredUploadJob(memory.folder, task, file.state, options)
