"""A store in memory: for tests, for demonstrations, and as the proof that the contract needs no disk."""

import hashlib
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from blake3 import blake3

from ftpd.payload.direct import Stretch
from ftpd.store.base import Listing, Store, StoredFile, Upload
from ftpd.store.chunks import OpenChunk, check_complete, lease_lost, unknown_upload
from ftpd.store.loaded import LoadedFile
from ftpd.store.names import free_names
from ftpd.store.values import NO_GROWTH, Details, Growth, Space, UploadPlan, Usage, growth_of
from ftpd.wire.digests import Buffer, Digest, Tree
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Entry
from ftpd.wire.terms import Algorithm, Durability, EntryType, IfExists

PLENTY = 2**40
"""Bytes that it says are free. Nobody counts them; who asks beforehand is not to be turned away."""


class Content(NamedTuple):
    """A published file."""

    data: bytes
    tree: Tree
    details: Details


class MemoryStore(Store):
    """Files in a dictionary. Folders are there because something is in them, or because they were made."""

    def __init__(self, *, read_only: bool = False) -> None:
        self.durability = Durability.NONE
        self.read_only = read_only
        self.files: dict[RemotePath, Content] = {}
        self.folders: set[RemotePath] = set()
        """Those that were made. The folders they are in need not be among them."""
        self.partials: dict[str, MemoryUpload] = {}

    async def stat(self, path: RemotePath, *, sync: bool = False) -> tuple[Details, Tree | None]:
        """See `Store.stat`."""
        del sync
        if self._is_folder(path):
            return Details(EntryType.DIRECTORY, 0, 0, 0, 0o755), None
        content = self._content(path)
        return content.details, content.tree

    async def list(self, path: RemotePath, *, long: bool) -> Listing:
        """See `Store.list`."""
        if not self._is_folder(path):
            self._content(path)
            raise FtpdError(ErrorCode.NOT_DIRECTORY, f"{path}: it is not a folder")
        depth = len(path.parts)
        names = {inner.parts[depth] for inner in self._below(path)}
        return MemoryListing([self._entry(RemotePath((*path.parts, name)), long=long) for name in names])

    async def open(self, path: RemotePath) -> StoredFile:
        """See `Store.open`."""
        content = self._content(path)
        return LoadedFile(content.details, content.tree, content.data)

    async def begin(self, plan: UploadPlan) -> Upload | None:
        """See `Store.begin`."""
        if self.read_only:
            raise FtpdError(ErrorCode.READ_ONLY, "this server is read-only")
        if self._growth(plan) is None:
            return None
        upload = MemoryUpload(self, plan)
        if plan.chunk_size is not None:
            self.partials[upload.name] = upload
        return upload

    async def check(self, plans: Sequence[UploadPlan]) -> Sequence[Growth | FtpdError]:
        """See `Store.check`."""
        if self.read_only:
            raise FtpdError(ErrorCode.READ_ONLY, "this server is read-only")
        found: list[Growth | FtpdError] = []
        for plan in plans:
            try:
                found.append(self._growth(plan) or NO_GROWTH)
            except FtpdError as exc:
                found.append(exc)
        return found

    async def resume(self, name: str, plan: UploadPlan) -> Upload | None:
        """See `Store.resume`."""
        if await self.begin(plan._replace(chunk_size=None)) is None:
            return None
        found = self.partials.get(name)
        if found is None or found.plan[:2] != plan[:2] or found.plan.chunk_size != plan.chunk_size:
            raise unknown_upload(name)
        self.partials[name] = found.hand_over(plan)
        return self.partials[name]

    async def make_folder(self, path: RemotePath) -> bool:
        """See `Store.make_folder`."""
        if self.read_only:
            raise FtpdError(ErrorCode.READ_ONLY, "this server is read-only")
        if self._is_folder(path):
            return False
        self._check_parts(path, len(path.parts))
        self.folders.add(path)
        return True

    async def space(self) -> Space:
        """See `Store.space`."""
        used = sum(len(content.data) for content in self.files.values())
        return Space(total=used + PLENTY, free=PLENTY)

    async def usage(self, folder: RemotePath) -> Usage:
        """See `Store.usage`."""
        depth = len(folder.parts)
        sizes = [len(content.data) for path, content in self.files.items() if path.parts[:depth] == folder.parts]
        return Usage(sum(sizes), len(sizes), {})

    async def sweep(self) -> None:
        """See `Store.sweep`: it keeps what it has until it is closed."""

    async def checksum(self, path: RemotePath, algorithm: Algorithm) -> str:
        """See `Store.checksum`."""
        data = self._content(path).data
        if algorithm is Algorithm.BLAKE3:
            return blake3(data).hexdigest()
        return hashlib.new(algorithm.value, data, usedforsecurity=False).hexdigest()

    async def close(self) -> None:
        """See `Store.close`."""
        self.files.clear()
        self.folders.clear()
        self.partials.clear()

    def check_place(self, path: RemotePath) -> None:
        """Refuse a name that a file can not have."""
        if self._is_folder(path):
            raise FtpdError(ErrorCode.IS_DIRECTORY, f"{path}: it is a folder")
        self._check_parts(path, len(path.parts) - 1)

    def is_taken(self, path: RemotePath) -> bool:
        """Tell whether something has that name."""
        return path in self.files or self._is_folder(path)

    def _growth(self, plan: UploadPlan) -> Growth | None:
        """Refuse what can be refused before the first byte; None if the upload is to be skipped."""
        self.check_place(plan.path)
        content = self.files.get(plan.path)
        if content is not None and plan.if_exists is IfExists.FAIL:
            raise FtpdError(ErrorCode.EXISTS, f"{plan.path}: the name is taken")
        if content is not None and plan.if_exists is IfExists.SKIP:
            return None
        return growth_of(plan, None if content is None else len(content.data))

    def _check_parts(self, path: RemotePath, count: int) -> None:
        """Refuse a name of whose first parts one is a file."""
        if any(RemotePath(path.parts[:depth]) in self.files for depth in range(1, count + 1)):
            raise FtpdError(ErrorCode.NOT_DIRECTORY, f"{path}: a part of the name is not a folder")

    def _is_folder(self, path: RemotePath) -> bool:
        return not path.parts or path in self.folders or any(self._below(path))

    def _below(self, path: RemotePath) -> Iterator[RemotePath]:
        """Give all that is in a folder, and in those in it."""
        depth = len(path.parts)
        for known in (self.files, self.folders):
            yield from (inner for inner in known if len(inner.parts) > depth and inner.parts[:depth] == path.parts)

    def _content(self, path: RemotePath) -> Content:
        self.check_place(path)
        if path not in self.files:
            raise FtpdError(ErrorCode.NOT_FOUND, f"{path}: there is no such file or folder")
        return self.files[path]

    def _entry(self, path: RemotePath, *, long: bool) -> Entry:
        content = self.files.get(path)
        kind = EntryType.FILE if content else EntryType.DIRECTORY
        if not long:
            return Entry(name=path.name, type=kind)
        details = content.details if content else Details(kind, 0, 0, 0, 0o755)
        return Entry(
            name=path.name,
            type=kind,
            size=details.size,
            mtime=details.mtime,
            mtime_ns=details.mtime_ns,
            mode=details.mode,
        )


class MemoryListing(Listing):
    """A listing that was complete when it was opened."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries

    async def next(self, limit: int) -> list[Entry]:
        """See `Listing.next`."""
        page, self._entries = self._entries[:limit], self._entries[limit:]
        self.is_over = not self._entries
        return page

    async def close(self) -> None:
        """See `Listing.close`."""


class MemoryUpload(Upload):
    """A file on its way in."""

    def __init__(self, store: MemoryStore, plan: UploadPlan) -> None:
        self.name = secrets.token_hex(16)
        self.leaves = {}
        self.plan = plan
        self._store = store
        self._data = bytearray()
        self._is_lost = False

    def hand_over(self, plan: UploadPlan) -> "MemoryUpload":
        """Give all of it to a new owner."""
        self._is_lost = True
        other = MemoryUpload(self._store, plan)
        other.name, other.leaves, other._data = self.name, self.leaves, self._data
        return other

    async def write(self, offset: int, data: Buffer | Stretch, digest: Digest) -> int:
        """See `Upload.write`."""
        self._check_owner()
        start = offset
        for piece in data if isinstance(data, Stretch) else (data,):
            digest.update(piece)
            self._data.extend(bytes(max(0, offset - len(self._data))))
            self._data[offset : offset + len(piece)] = piece
            offset += len(piece)
        return offset - start

    async def fill(self, chunk: OpenChunk, data: Buffer | Stretch) -> None:
        """See `Upload.fill`."""
        more: Buffer | Stretch | None = data
        while more is not None:
            chunk.take(await self.write(chunk.offset, more, chunk.digest))
            if chunk.missing:
                break
            chunk.check(self.plan.path)
            self.leaves[chunk.index] = chunk.leaf
            more = chunk.go_on()

    async def reopen(self, index: int) -> None:
        """See `Upload.reopen`."""
        self._check_owner()
        self.leaves.pop(index, None)

    async def publish(self, tree: Tree) -> RemotePath | None:
        """See `Upload.publish`."""
        self._check_owner()
        self._store.partials.pop(self.name, None)
        if self.plan.chunk_size is not None:
            check_complete(self.plan.path, self.leaves, tree)
        path, files = self.plan.path, self._store.files
        self._store.check_place(path)
        if path in files:
            match self.plan.if_exists:
                case IfExists.SKIP:
                    return None
                case IfExists.FAIL:
                    raise FtpdError(ErrorCode.EXISTS, f"{path}: the name is taken")
                case IfExists.RENAME:
                    path = self._free_name()
                case IfExists.OVERWRITE:
                    pass
        plan = self.plan
        now = divmod(time.time_ns(), 1_000_000_000)
        mtime, mtime_ns = now if plan.mtime is None else (plan.mtime, plan.mtime_ns)
        mode = 0o644 if plan.mode is None else plan.mode
        details = Details(EntryType.FILE, tree.size, mtime, mtime_ns, mode)
        files[path] = Content(bytes(self._data[: tree.size]), tree, details)
        return path

    async def discard(self) -> None:
        """See `Upload.discard`."""
        if not self._is_lost:
            self._store.partials.pop(self.name, None)
            self._data = bytearray()

    async def suspend(self) -> None:
        """See `Upload.suspend`."""
        if self.plan.chunk_size is None or not self.leaves:
            await self.discard()

    def _check_owner(self) -> None:
        if self._is_lost:
            raise lease_lost(self.plan.path)

    def _free_name(self) -> RemotePath:
        for name in free_names(self.plan.path):
            if not self._store.is_taken(name):
                return name
        raise FtpdError(ErrorCode.EXISTS, f"{self.plan.path}: the name and all like it are taken")
