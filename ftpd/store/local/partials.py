"""Resumable uploads of a local store: a hidden file, and a journal of its sealed chunks beside it.

Both lie in `<root>/.ftpd/partial`. A killed server loses nothing that was sealed: the bytes are in the system's hands.
A crashed machine may lose bytes that the journal speaks of, so the journal names the run of the machine and the file;
where either is another one now, every sealed chunk is read again and compared with its digest.
"""

import asyncio
import contextlib
import os
import re
import threading
import time
from collections.abc import AsyncIterator

from blake3 import blake3

from ftpd.payload.direct import Stretch
from ftpd.payload.files import read_pieces
from ftpd.payload.journal import Found, Journal, Value, boot_id
from ftpd.store.chunks import OpenChunk, check_complete, lease_lost, unknown_upload
from ftpd.store.local.errors import os_errors
from ftpd.store.local.publish import Landing, LocalUpload, check_free, open_temporary
from ftpd.store.values import UploadPlan
from ftpd.wire.digests import Buffer, Digest, Tree, chunk_count
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath

_NAME = re.compile(r"[0-9a-f]{32}")
JOURNAL = ".journal"
_REWRITTEN = ".rewritten"
_SUFFIXES = ("", JOURNAL, _REWRITTEN)

_PASSING = {ErrorCode.NO_SPACE, ErrorCode.BUSY}
"""What keeps a whole file from getting its name today, and not tomorrow: there was no room for its folder, say."""


class Partials:
    """The resumable uploads of one store, each with at most one owner."""

    def __init__(self, landing: Landing, folder: int, ttl_s: float) -> None:
        """Keep them in the folder of this descriptor, and drop those that nobody has touched for `ttl_s`."""
        self.landing = landing
        self.folder = folder
        self._ttl_s = ttl_s
        self._owned: dict[str, LocalPartial] = {}
        self._doomed: set[str] = set()

    async def begin(self, plan: UploadPlan) -> "LocalPartial | None":
        """Open a new one, or give None if it is to be skipped."""
        partial = await self.landing.workers.acquire(lambda: self._begin(plan), _release)
        if partial is not None:
            self._owned[partial.name] = partial
        return partial

    async def resume(self, name: str, plan: UploadPlan) -> "LocalPartial | None":
        """See `Store.resume`."""
        if not _NAME.fullmatch(name):
            raise unknown_upload(name)
        while name in self._owned:  # of several newcomers at once, each takes it from the one before
            await self._owned[name].lose()
        if name in self._doomed:
            raise unknown_upload(name)
        # Registered before it is opened, so that whoever comes next finds an owner to take it from.
        partial = self._owned[name] = LocalPartial(self, plan, name)
        try:
            is_wanted = await partial.open()
        except BaseException:
            self.forget(partial)
            raise
        if not is_wanted:
            self.forget(partial)
            return None
        return partial

    def forget(self, partial: "LocalPartial") -> None:
        """Take note that an upload has no owner any more."""
        if self._owned.get(partial.name) is partial:
            del self._owned[partial.name]

    async def sweep(self) -> None:
        """See `Store.sweep`."""
        for name in await self.landing.workers.disk(self._find_old):
            if name not in self._owned:
                self._doomed.add(name)  # nobody can take it up again while its files go
                try:
                    await self.landing.workers.disk(self._remove_if_old, name)
                finally:
                    self._doomed.discard(name)

    def _begin(self, plan: UploadPlan) -> "LocalPartial | None":
        with os_errors(plan.path, self.landing.root):
            return None if check_free(self.landing.root, plan) is None else LocalPartial(self, plan)

    def _find_old(self) -> list[str]:
        with os_errors("", self.landing.root):
            entries = os.listdir(self.folder)  # noqa: PTH208 (a descriptor)
        return [name for name in {entry.partition(".")[0] for entry in entries} if self._is_old(name)]

    def _remove_if_old(self, name: str) -> None:
        if self._is_old(name):
            remove(name, self.folder)

    def _is_old(self, name: str) -> bool:
        changed = 0.0
        for suffix in _SUFFIXES:
            with contextlib.suppress(OSError):
                changed = max(changed, os.stat(name + suffix, dir_fd=self.folder).st_mtime)
        return changed < time.time() - self._ttl_s


def remove(name: str, folder: int) -> None:
    """Remove an upload's files, as far as they are there."""
    for suffix in _SUFFIXES:
        with contextlib.suppress(OSError):
            os.unlink(name + suffix, dir_fd=folder)


def _release(partial: "LocalPartial | None") -> None:
    if partial is not None:
        partial.release()


class _Gate:
    """Lets many in at a time, or one alone. Whoever waits to be alone is waited for by those that come later."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._inside = 0
        self._left = asyncio.Event()

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Be inside with others."""
        async with self._door:
            self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._left.set()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be inside when all others have left."""
        async with self._door:
            while self._inside:
                self._left.clear()
                await self._left.wait()
            yield


class LocalPartial(LocalUpload):
    """A resumable upload. What ends it waits for what writes, so that one who loses it has stopped writing."""

    def __init__(self, partials: Partials, plan: UploadPlan, name: str | None = None) -> None:
        """Make a new one; or, with a name, prepare to `open` one that is there."""
        self._partials = partials
        self._gate = _Gate()
        self._noting = threading.Lock()
        self._is_lost = False
        self._journal: Journal | None = None
        assert plan.size is not None
        assert plan.chunk_size is not None
        self._size, self._chunk_size = plan.size, plan.chunk_size
        super().__init__(partials.landing, plan, partials.folder, name)
        if name is not None:
            return
        try:
            self._journal = self._new_journal(self.name + JOURNAL)
        except BaseException:
            self.release()
            raise

    async def open(self) -> bool:
        """Open the files, and find out which chunks are there. Returns False if the upload is to be skipped."""
        async with self._gate.alone():
            return await self._landing.workers.digest(self._open)

    async def lose(self) -> None:
        """Close the files for good, when what is being written has been: the upload is another's from here on."""
        async with self._gate.alone():
            self._is_lost = True
            await self._landing.workers.finish(self._close)
        self._partials.forget(self)

    async def write(self, offset: int, data: Buffer | Stretch, digest: Digest) -> int:
        """See `Upload.write`."""
        async with self._gate.together():
            self._check_owner()
            return await super().write(offset, data, digest)

    async def fill(self, chunk: OpenChunk, data: Buffer | Stretch) -> None:
        """See `Upload.fill`."""
        async with self._gate.together():
            self._check_owner()
            await super().fill(chunk, data)

    async def reopen(self, index: int) -> None:
        """See `Upload.reopen`."""
        async with self._gate.together():
            self._check_owner()
            if index in self.leaves:
                with os_errors(self._plan.path):
                    await self._landing.workers.disk(self._drop, index)
                self.leaves.pop(index, None)  # not before: while the journal speaks of it, its bytes have to stay

    async def publish(self, tree: Tree) -> RemotePath | None:
        """See `Upload.publish`."""
        try:
            async with self._gate.alone():
                self._check_owner()
                return await self._landing.workers.publish(lambda: self._publish_and_end(tree))
        except asyncio.CancelledError:  # before that had begun
            await self.suspend()
            raise
        finally:
            self._partials.forget(self)

    def _publish_and_end(self, tree: Tree) -> RemotePath | None:
        end = self.release
        try:
            check_complete(self._plan.path, self.leaves, tree)
            return self._publish(tree)
        except FtpdError as exc:
            if exc.code in _PASSING and self._is_unnamed:
                end = self._close
            raise
        finally:
            end()

    async def suspend(self) -> None:
        """See `Upload.suspend`."""
        async with self._gate.alone():
            # With no chunk sealed there is nothing to go on with.
            await self._landing.workers.finish(self._close if self.leaves else self.release)
        self._partials.forget(self)

    async def discard(self) -> None:
        """See `Upload.discard`."""
        async with self._gate.alone():
            if not self._is_lost:
                await self._landing.workers.finish(self.release)
        self._partials.forget(self)

    def release(self) -> None:
        """Close the files, and remove them unless they have been published. For one thread at a time."""
        if not self._over:
            self._close()
            remove(self.name, self._folder)

    def _check_owner(self) -> None:
        if self._is_lost:
            raise lease_lost(self._plan.path)
        if self._over:
            raise unknown_upload(self.name)

    def _close(self) -> None:
        if self._over:
            return
        self._over = True
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
        if self._journal is not None:
            self._journal.close()

    def _keep(self, index: int, leaf: bytes) -> None:
        assert self._journal is not None
        with self._noting:
            self._journal.add(index, leaf)
        super()._keep(index, leaf)

    def _drop(self, index: int) -> None:
        assert self._journal is not None
        with self._noting:
            self._journal.drop(index)

    def _new_journal(self, name: str) -> Journal:
        fd = open_temporary(name, self._folder, create=True)
        try:
            return Journal.create(fd, self._head())
        except BaseException:
            os.close(fd)
            raise

    def _head(self) -> dict[str, Value]:
        plan = self._plan
        inode = os.fstat(self._fd).st_ino
        return {
            "path": str(plan.path), "size": plan.size, "chunk_size": plan.chunk_size, "boot": boot_id(), "inode": inode
        }  # fmt: skip

    def _open(self, stop: threading.Event) -> bool:
        is_wanted = False
        with os_errors(self._plan.path, self._landing.root):
            try:
                self._trust(self._open_files(), stop)
                # What was stored of a broken chunk has its space already; what is sparse counts as stored.
                stored = max(len(self.leaves) * self._chunk_size, os.fstat(self._fd).st_blocks * 512)
                is_wanted = check_free(self._landing.root, self._plan, stored) is not None
                os.utime(self._fd)  # it is in use, and not to be swept for a while
            finally:
                if not is_wanted:
                    self._close()
        return is_wanted

    def _open_files(self) -> Found:
        try:
            os.chmod(self.name, 0o600, dir_fd=self._folder)  # it has its final mode if it was about to be published
            self._fd = open_temporary(self.name, self._folder, create=False)
            fd = open_temporary(self.name + JOURNAL, self._folder, create=False)
        except FileNotFoundError:
            raise unknown_upload(self.name) from None
        opened = Journal.open(fd)
        if opened is None:
            os.close(fd)
            raise unknown_upload(self.name)
        self._journal, found = opened
        return found

    def _trust(self, found: Found, stop: threading.Event) -> None:
        """Take over the sealed chunks: at once if nothing can have happened to them, else after reading them."""
        now = self._head()
        if any(found.head.get(key) != now[key] for key in ("path", "size", "chunk_size")):
            raise unknown_upload(self.name)
        count = chunk_count(self._size, self._chunk_size)
        present = os.fstat(self._fd).st_size
        leaves = {
            index: leaf
            for index, leaf in found.leaves.items()
            if index < count and min((index + 1) * self._chunk_size, self._size) <= present
        }
        if found.head == now and now["boot"]:
            self.leaves = leaves
            return
        self.leaves = {index: leaf for index, leaf in leaves.items() if not stop.is_set() and self._holds(index, leaf)}
        if stop.is_set():
            raise lease_lost(self._plan.path)
        self._rewrite()

    def _holds(self, index: int, leaf: bytes) -> bool:
        offset = index * self._chunk_size
        hasher = blake3()
        try:
            read_pieces(self._fd, offset, min(self._chunk_size, self._size - offset), hasher.update)
        except (OSError, FtpdError):  # a bad sector is a chunk that is not there
            return False
        return hasher.digest() == leaf

    def _rewrite(self) -> None:
        """Begin the journal anew with what has been found."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.name + _REWRITTEN, dir_fd=self._folder)
        fresh = self._new_journal(self.name + _REWRITTEN)
        for index, leaf in self.leaves.items():
            fresh.add(index, leaf)
        os.rename(self.name + _REWRITTEN, self.name + JOURNAL, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        if self._journal is not None:
            self._journal.close()
        self._journal = fresh
