"""A store in a local folder: `Store` on top of the kernel's own confinement, publishing and page cache."""

import contextlib
import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

from blake3 import blake3

from ftpd.payload.files import read_pieces
from ftpd.payload.workers import Workers
from ftpd.store.base import Listing, Store, StoredFile, Upload
from ftpd.store.loaded import LoadedFile
from ftpd.store.local.batch import Batch
from ftpd.store.local.beneath import Beneath
from ftpd.store.local.comparing import MOST_COMPARED, Comparison
from ftpd.store.local.details import check_regular, details_of
from ftpd.store.local.digests import DigestCache, State, was_written_to
from ftpd.store.local.errors import os_errors
from ftpd.store.local.file import LocalFile
from ftpd.store.local.listing import LocalListing
from ftpd.store.local.partials import Partials
from ftpd.store.local.publish import Landing, LocalUpload, check_free
from ftpd.store.local.reading import Reading
from ftpd.store.local.usage import space_of, usage_of
from ftpd.store.values import NO_GROWTH, Details, Growth, Likeness, SmallFile, Space, Twin, UploadPlan, Usage, WholeFile
from ftpd.wire.digests import Tree
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import SMALL_FILE
from ftpd.wire.paths import STATE_FOLDER, RemotePath
from ftpd.wire.terms import Algorithm, Durability

PARTIAL_TTL_S = 7 * 24 * 3600.0
"""How long an unfinished upload is kept: a laptop may be away for a week."""


class LocalStore(Store):
    """Files in a folder and below. Two stores that write can not share a folder; any number that only read can.

    Raises:
        FtpdError: `busy` if another server writes there; whatever keeps the folder from being used.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        workers: Workers,
        *,
        durability: Durability,
        read_only: bool = False,
        partial_ttl_s: float = PARTIAL_TTL_S,
    ) -> None:
        self._partial_ttl_s = partial_ttl_s
        self.durability = durability
        self.read_only = read_only
        self.workers = workers
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as undo, os_errors(root):
            self._root = Beneath(root)
            undo.callback(self._root.close)
            if read_only:  # changes nothing, so it keeps its digests to itself
                self._digests = DigestCache(None)
                undo.callback(self._digests.close)
            else:
                state = Path(root) / STATE_FOLDER
                self._digests, self._landing, self._partials = self._open_state(state, undo)
            self._closing = undo.pop_all()

    def _open_state(self, state: Path, undo: contextlib.ExitStack) -> tuple[DigestCache, Landing, Partials]:
        # Opened beneath the root like everything else: a link in place of the folder is refused.
        state.mkdir(mode=0o700, exist_ok=True)
        folder = self._root.open_folder(RemotePath((STATE_FOLDER,)))
        undo.callback(os.close, folder)
        _lock(folder, undo, state.parent)
        temporary, partial = (self._open_state_folder(name, folder, undo) for name in ("tmp", "partial"))
        # What a killed server left behind: the lock says that nobody is writing to it.
        for debris in os.listdir(temporary):  # noqa: PTH208 (a descriptor)
            with contextlib.suppress(OSError):
                os.unlink(debris, dir_fd=temporary)
        digests = DigestCache(state / "digests.sqlite")
        undo.callback(digests.close)
        sync = self.durability is Durability.FULL
        landing = Landing(self._root, temporary, digests, self.workers, sync=sync)
        return digests, landing, Partials(landing, partial, self._partial_ttl_s)

    def _open_state_folder(self, name: str, state: int, undo: contextlib.ExitStack) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=state)
        folder = self._root.open_folder(RemotePath((STATE_FOLDER, name)))
        undo.callback(os.close, folder)
        return folder

    async def stat(self, path: RemotePath, *, sync: bool = False) -> tuple[Details, Tree | None]:
        """See `Store.stat`."""
        if sync and self.durability is Durability.FULL and not self.read_only:
            return await self.workers.sync(self._sync_and_stat, path)
        return await self.workers.disk(self._stat, path)

    async def list(self, path: RemotePath, *, long: bool) -> Listing:
        """See `Store.list`."""
        return await self.workers.acquire(lambda: self._list(path, long=long), LocalListing.release)

    async def open(self, path: RemotePath) -> StoredFile:
        """See `Store.open`."""
        return await self.workers.acquire(lambda: self._open(path), _release)

    async def begin(self, plan: UploadPlan) -> Upload | None:
        """See `Store.begin`."""
        if self.read_only:
            raise FtpdError(ErrorCode.READ_ONLY, "this server is read-only")
        if plan.chunk_size is not None:
            return await self._partials.begin(plan)
        return await self.workers.acquire(lambda: self._begin(plan), _drop)

    async def check(self, plans: Sequence[UploadPlan]) -> Sequence[Growth | FtpdError]:
        """See `Store.check`."""
        if self.read_only:
            raise FtpdError(ErrorCode.READ_ONLY, "this server is read-only")
        return await self.workers.disk(lambda: [self._check(plan) for plan in plans])

    async def resume(self, name: str, plan: UploadPlan) -> Upload | None:
        """See `Store.resume`."""
        if self.read_only:
            raise FtpdError(ErrorCode.READ_ONLY, "this server is read-only")
        return await self._partials.resume(name, plan)

    async def put_all(self, files: Sequence[SmallFile]) -> Sequence[RemotePath | FtpdError | None]:
        """See `Store.put_all`."""
        if self.read_only:
            return await super().put_all(files)
        return await self.workers.publish_all(Batch(self._landing, files).store)

    async def read_small(self, paths: Sequence[RemotePath], room: int) -> Sequence[WholeFile | FtpdError | None]:
        """See `Store.read_small`."""
        return await self.workers.disk(Reading(self._root, self._digests, paths).read, room)

    async def same(self, files: Sequence[Twin]) -> Sequence[Likeness]:
        """See `Store.same`."""
        sync = self.durability is Durability.FULL and not self.read_only
        pages = (files[start : start + MOST_COMPARED] for start in range(0, len(files), MOST_COMPARED))
        comparisons = (Comparison(self._root, self._digests, page, sync=sync) for page in pages)
        # One by one: between two of them it is the turn of whoever else has small files.
        return [likeness for comparison in comparisons for likeness in await self.workers.batch(comparison.compare)]

    async def make_folder(self, path: RemotePath) -> bool:
        """See `Store.make_folder`."""
        if self.read_only:
            raise FtpdError(ErrorCode.READ_ONLY, "this server is read-only")
        return await self.workers.sync(self._make_folder, path)

    async def space(self) -> Space:
        """See `Store.space`."""
        return await self.workers.disk(self._space)

    async def usage(self, folder: RemotePath) -> Usage:
        """See `Store.usage`."""
        return await self.workers.digest(lambda _: self._usage(folder))

    async def sweep(self) -> None:
        """See `Store.sweep`."""
        if not self.read_only:
            await self._partials.sweep()

    async def checksum(self, path: RemotePath, algorithm: Algorithm) -> str:
        """See `Store.checksum`."""
        return await self.workers.digest(lambda stop: self._checksum(path, algorithm, stop))

    async def close(self) -> None:
        """See `Store.close`."""
        self._closing.close()

    def _stat(self, path: RemotePath) -> tuple[Details, Tree | None]:
        with os_errors(path, self._root):
            if not path.parts:
                return details_of(os.fstat(self._root.fd)), None
            folder = self._root.open_folder(path.parent)
            try:
                found = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
            finally:
                os.close(folder)
        tree = self._digests.tree(path, State.of(found)) if stat.S_ISREG(found.st_mode) else None
        return details_of(found), tree

    def _sync_and_stat(self, path: RemotePath) -> tuple[Details, Tree | None]:
        details, tree = self._stat(path)
        if tree is not None:
            with self._open_regular(path)[0] as file, os_errors(path):
                os.fsync(file.fileno())
                folder = self._root.open_folder(path.parent)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        return details, tree

    def _list(self, path: RemotePath, *, long: bool) -> "LocalListing":
        with os_errors(path, self._root):
            return LocalListing(self._root.open_folder(path), self.workers, long=long, is_root=not path.parts)

    def _open(self, path: RemotePath) -> "LocalFile | LoadedFile":
        file, found = self._open_regular(path)
        opened = LocalFile(file, path, found, self._digests, self.workers)
        if found.st_size > SMALL_FILE:
            return opened
        try:
            return opened.read()
        finally:
            opened.release()

    def _open_regular(self, path: RemotePath) -> tuple[FileIO, os.stat_result]:
        with os_errors(path, self._root):
            fd = self._root.open(path, os.O_RDONLY)
            found = os.fstat(fd)
        try:
            check_regular(found, path)
        except FtpdError:
            os.close(fd)
            raise
        return FileIO(fd, "rb"), found

    def _begin(self, plan: UploadPlan) -> LocalUpload | None:
        with os_errors(plan.path, self._root):
            if check_free(self._root, plan) is None:
                return None
            return LocalUpload(self._landing, plan, self._landing.temporary)

    def _check(self, plan: UploadPlan) -> Growth | FtpdError:
        try:
            with os_errors(plan.path, self._root):
                return check_free(self._root, plan) or NO_GROWTH
        except FtpdError as exc:
            return exc

    def _make_folder(self, path: RemotePath) -> bool:
        with os_errors(path, self._root):
            folder, is_new = self._root.open_or_make(path, sync=self._landing.sync)
            os.close(folder)
        return is_new

    def _space(self) -> Space:
        with os_errors("", self._root):
            return space_of(self._root)

    def _usage(self, folder: RemotePath) -> Usage:
        with os_errors(folder, self._root):
            return usage_of(self._root, folder, self._partials.folder if not self.read_only else None)

    def _checksum(self, path: RemotePath, algorithm: Algorithm, stop: threading.Event) -> str:
        file, found = self._open_regular(path)
        with file, os_errors(path):
            state = State.of(found)
            known = self._digests.checksum(path, state, algorithm)
            if known is not None:
                return known
            settled = state.is_settled()
            hasher = blake3() if algorithm is Algorithm.BLAKE3 else hashlib.new(algorithm.value, usedforsecurity=False)

            def take(piece: memoryview) -> None:
                if stop.is_set():
                    raise FtpdError(ErrorCode.GOING_AWAY, f"{path}: nobody waits for its digest any more")
                hasher.update(piece)

            read_pieces(file.fileno(), 0, found.st_size, take)
            after = os.fstat(file.fileno())
        if was_written_to(found, after):
            raise FtpdError(ErrorCode.CHANGED, f"{path}: the file changed while its digest was computed")
        if settled and State.of(after) == state:
            self._digests.keep_checksum(path, state, algorithm, hasher.hexdigest())
        return hasher.hexdigest()


def _release(file: LocalFile | LoadedFile) -> None:
    if isinstance(file, LocalFile):
        file.release()


def _lock(folder: int, undo: contextlib.ExitStack, root: Path) -> None:
    """Hold the state folder for ourselves until `undo`."""
    lock = os.open("lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    undo.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        pid = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        who = f"another server (process {pid})" if pid.isdecimal() else "another server"
        raise FtpdError(ErrorCode.BUSY, f"{who} already writes to {root}") from exc
    with contextlib.suppress(OSError):  # a full disk: whoever comes second hears less
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)


def _drop(upload: LocalUpload | None) -> None:
    if upload is not None:
        upload.release()
