"""Uploads into a local folder: a hidden temporary file that gets its name only when it is whole and on the disk.

The order of the steps in `_publish` is what survives a power cut: the file's bytes are durable before its name points
to them, and the name is durable before anybody is told. See `docs/operating.md`, "What a reply means".
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator

from ftpd.payload.direct import Stretch
from ftpd.payload.files import store
from ftpd.payload.workers import Workers
from ftpd.store.base import Upload
from ftpd.store.chunks import OpenChunk
from ftpd.store.local.beneath import Beneath
from ftpd.store.local.digests import DigestCache, State
from ftpd.store.local.errors import ROOT_GONE, from_os_error, os_errors
from ftpd.store.names import free_names
from ftpd.store.values import Growth, UploadPlan, growth_of
from ftpd.wire.digests import Buffer, Digest, Tree
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath
from ftpd.wire.terms import IfExists


class Landing:
    """What all uploads of one store share: where they are written, and how durable they become."""

    def __init__(self, root: Beneath, temporary: int, digests: DigestCache, workers: Workers, *, sync: bool) -> None:
        self.root = root
        self.temporary = temporary
        """Descriptor of the folder for temporary files, on the same file system as the root."""
        self.digests = digests
        self.workers = workers
        self.sync = sync
        self.mode = 0o666 & ~_umask()


def check_free(root: Beneath, plan: UploadPlan, stored: int = 0) -> Growth | None:
    """Refuse what can be refused before the first byte. Returns what it adds, or None if it is to be skipped.

    Only for the sake of an early answer: all of it is decided again when the upload is published.
    """
    if plan.size is not None:
        space = os.fstatvfs(root.fd)
        if plan.size - stored > space.f_bavail * space.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    found = _find(root, plan.path)
    if found is None:
        return growth_of(plan, None)
    _check_replaceable(found, plan.path)
    if plan.if_exists is IfExists.FAIL:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    return None if plan.if_exists is IfExists.SKIP else growth_of(plan, found.st_size)


def open_temporary(name: str, folder: int, *, create: bool) -> int:
    """Open a file of the state folder for writing."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT | os.O_EXCL if create else 0)
    try:
        return os.open(name, flags, 0o600, dir_fd=folder)
    except FileNotFoundError as exc:
        if not create:
            raise
        raise FtpdError(ErrorCode.UNAVAILABLE, ROOT_GONE) from exc


class LocalUpload(Upload):
    """An upload into a temporary file of the state folder."""

    def __init__(self, landing: Landing, plan: UploadPlan, folder: int, name: str | None = None) -> None:
        """Make a file in a folder of the state; with a name it is there already, and opened later."""
        self._landing = landing
        self._plan = plan
        self._folder = folder
        self.name = name or secrets.token_hex(16)
        self.leaves = {}
        self._fd = -1 if name else open_temporary(self.name, folder, create=True)
        self._over = False
        self._is_unnamed = False
        """Whether it is finished, and all that is missing is its name."""

    async def write(self, offset: int, data: Buffer | Stretch, digest: Digest) -> int:
        """See `Upload.write`."""
        with self._errors():
            return await self._landing.workers.disk(store, self._fd, offset, data, digest, sync=self._landing.sync)

    async def fill(self, chunk: OpenChunk, data: Buffer | Stretch) -> None:
        """See `Upload.fill`."""
        with self._errors():
            await self._landing.workers.disk(self._fill, chunk, data)

    async def reopen(self, index: int) -> None:
        """See `Upload.reopen`."""
        self.leaves.pop(index, None)

    async def suspend(self) -> None:
        """See `Upload.suspend`."""
        await self.discard()

    def _fill(self, chunk: OpenChunk, data: Buffer | Stretch) -> None:
        more: Buffer | Stretch | None = data
        while more is not None:
            chunk.take(store(self._fd, chunk.offset, more, chunk.digest, sync=self._landing.sync))
            if chunk.missing:
                break
            chunk.check(self._plan.path)
            self._keep(chunk.index, chunk.leaf)
            more = chunk.go_on()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise from_os_error(exc, self._plan.path) from exc

    def _keep(self, index: int, leaf: bytes) -> None:
        self.leaves[index] = leaf

    async def publish(self, tree: Tree) -> RemotePath | None:
        """See `Upload.publish`."""
        try:
            return await self._landing.workers.publish(lambda: self._publish_and_end(tree))
        finally:
            await self.discard()

    async def discard(self) -> None:
        """See `Upload.discard`."""
        if not self._over:
            await self._landing.workers.finish(self.release)

    def release(self) -> None:
        """Close the temporary file, and remove it unless it has been published. For one thread at a time."""
        if self._over:
            return
        self._over = True
        with contextlib.suppress(OSError):  # of no consequence: what was acknowledged has been synced
            os.close(self._fd)
        with contextlib.suppress(OSError):  # published, or the folder is gone; what stays is swept at the next start
            os.unlink(self.name, dir_fd=self._folder)

    def _publish_and_end(self, tree: Tree) -> RemotePath | None:
        try:
            return self._publish(tree)
        finally:
            self.release()

    def _publish(self, tree: Tree) -> RemotePath | None:
        landing, plan = self._landing, self._plan
        with os_errors(plan.path, landing.root):
            self._finish_file(tree.size)
            self._is_unnamed = True
            folder = landing.root.make_folder(plan.path.parent, sync=landing.sync)
            try:
                path = give_name(plan, self.name, self._folder, folder)
                self._is_unnamed = False
                if path is None:
                    return None
                if landing.sync:
                    os.fsync(folder)
            finally:
                os.close(folder)
            landing.digests.keep_tree(path, State.of(os.fstat(self._fd)), tree)
        return path

    def _finish_file(self, size: int) -> None:
        os.ftruncate(self._fd, size)  # a chunk sent beyond the end leaves nothing behind
        os.fchmod(self._fd, self._landing.mode if self._plan.mode is None else self._plan.mode)
        set_mtime(self._fd, self._plan)
        if self._landing.sync:
            # Never retried: after an error the kernel forgets the bytes and says yes (fsyncgate, LWN 752063).
            os.fsync(self._fd)


def set_mtime(fd: int, plan: UploadPlan) -> None:
    """Give a file the time its sender wants it to have."""
    if plan.mtime is not None:
        mtime_ns = plan.mtime * 1_000_000_000 + plan.mtime_ns
        os.utime(fd, ns=(mtime_ns, mtime_ns))


def give_name(plan: UploadPlan, name: str, hidden: int, folder: int) -> RemotePath | None:
    """Move a finished file from the hidden folder to its name in a folder; None if it is to be skipped."""
    path, if_exists = plan.path, plan.if_exists
    if if_exists is IfExists.OVERWRITE:
        found = _find_in(folder, path.name)
        if found is not None:
            _check_replaceable(found, path)
        os.rename(name, path.name, src_dir_fd=hidden, dst_dir_fd=folder)
        return path
    for free in free_names(path) if if_exists is IfExists.RENAME else (path,):
        try:
            # Unlike a rename, a link never replaces: of many at once exactly one gets the name.
            os.link(name, free.name, src_dir_fd=hidden, dst_dir_fd=folder)
        except FileExistsError:
            continue
        with contextlib.suppress(OSError):  # the name is there, which is what counts
            os.unlink(name, dir_fd=hidden)
        return free
    if if_exists is IfExists.SKIP:
        return None
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _find(root: Beneath, path: RemotePath) -> os.stat_result | None:
    try:
        folder = root.open_folder(path.parent)
    except FileNotFoundError:
        return None
    try:
        return _find_in(folder, path.name)
    finally:
        os.close(folder)


def _find_in(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _check_replaceable(found: os.stat_result, path: RemotePath) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), str(path))


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
