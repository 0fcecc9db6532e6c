"""A store that takes no more than somebody's quota. It sees full paths; a `View` on it sees the user's."""

import asyncio
from collections.abc import Callable, Sequence

from ftpd.access.accounts import Account, Held
from ftpd.access.rates import Pace, Rates
from ftpd.access.rights import ANONYMOUS, Principal, Quota
from ftpd.access.view import View
from ftpd.payload.direct import Stretch
from ftpd.store.base import Listing, Store, StoredFile, Upload
from ftpd.store.chunks import OpenChunk
from ftpd.store.values import NO_GROWTH, Details, Growth, Likeness, SmallFile, Space, Twin, UploadPlan, Usage, WholeFile
from ftpd.wire.digests import Buffer, Digest, Tree
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath
from ftpd.wire.terms import Algorithm, EntryType, IfExists

_FOR_NOW = {ErrorCode.NO_SPACE, ErrorCode.BUSY}
"""With these a resumable upload that could not be published stays."""


class Stores:
    """A store as each user sees it. Users with the same home share what is used of it."""

    def __init__(self, store: Store, rates: Rates | None = None) -> None:
        self._store = store
        self._rates = rates or Rates()
        self._accounts: dict[RemotePath, Account] = {}

    def pace_of(self, principal: Principal) -> Pace:
        """Give the rates of somebody."""
        return self._rates.of(principal.name, principal.rate)

    def of(self, principal: Principal, now: Callable[[], Principal]) -> Store:
        """Give the store of somebody; `now` as for `View`."""
        if principal is ANONYMOUS:
            return self._store
        if principal.quota == Quota():
            return View(self._store, principal, now)
        account = self._accounts.setdefault(principal.home, Account(self._store, principal.home))
        return View(MeteredStore(self._store, account, principal.quota), principal, now)


class MeteredStore(Store):
    """A store with a quota on what is put into it."""

    def __init__(self, store: Store, account: Account, quota: Quota) -> None:
        self._store = store
        self._account = account
        self._quota = quota
        self.durability = store.durability
        self.read_only = store.read_only

    async def begin(self, plan: UploadPlan) -> Upload | None:
        """See `Store.begin`."""
        key = object()
        await self._account.hold(key, await self._wanted(plan), self._quota)
        upload = None
        try:
            upload = await self._store.begin(plan)
        finally:
            if upload is None:
                self._account.release(key)
        if upload is None:
            return None
        self._account.rename(key, upload.name)
        return self.own(upload, plan)

    async def check(self, plans: Sequence[UploadPlan]) -> Sequence[Growth | FtpdError]:
        """See `Store.check`."""
        found = list(await self._store.check(plans))
        for number, (plan, growth) in enumerate(zip(plans, found, strict=True)):
            if isinstance(growth, Growth) and growth != NO_GROWTH:
                try:
                    await self._account.check(Held(plan.size or 0, growth.files), self._quota)
                except FtpdError as exc:
                    found[number] = exc
        return found

    async def resume(self, name: str, plan: UploadPlan) -> Upload | None:
        """See `Store.resume`."""
        await self._account.look()
        is_promised = self._account.wake(name)
        if not is_promised:
            await self._account.hold(name, await self._wanted(plan), self._quota)
        upload = None
        try:
            upload = await self._store.resume(name, plan)
        except FtpdError as exc:
            # What there was a promise for may still be there: it was perhaps another file that was asked for.
            if exc.code is ErrorCode.UNKNOWN_UPLOAD and not is_promised:
                self._account.release(name)
            raise
        finally:
            if upload is None:
                self._account.owners.pop(name, None)  # who had it may have lost it nevertheless
                self._account.sleep(name)
        return None if upload is None else self.own(upload, plan)

    async def put_all(self, files: Sequence[SmallFile]) -> Sequence[RemotePath | FtpdError | None]:
        """See `Store.put_all`."""
        refusals: dict[int, FtpdError] = {}
        replaced: dict[int, Details | None] = {}
        answers: Sequence[RemotePath | FtpdError | None] = ()
        try:
            for number, file in enumerate(files):
                try:
                    old = await self.replaced(file.plan)
                    await self._account.hold((id(files), number), Held(file.tree.size, int(old is None)), self._quota)
                    replaced[number] = self._credit(file.plan, old)
                except FtpdError as exc:
                    refusals[number] = exc
            answers = await self._store.put_all([files[number] for number in replaced]) if replaced else ()
        finally:
            results = dict(zip(replaced, answers, strict=False))
            for number, old in replaced.items():
                added = _added(results[number], files[number].tree, old) if number in results else None
                self._account.end_publishing(files[number].plan.path, (id(files), number), added)
        return [refusals[number] if number in refusals else results[number] for number in range(len(files))]

    async def publish(self, upload: Upload, plan: UploadPlan, tree: Tree, old: Details | None) -> RemotePath | None:
        """Publish an upload, which replaces a file perhaps, and take note of what that changes."""
        old = self._credit(plan, old)
        added: Held | None = None
        key: object = upload.name
        is_kept = False
        try:
            published = await upload.publish(tree)
            added = _added(published, tree, old)
        except FtpdError as exc:
            added = Held(0, 0)
            is_kept = exc.code in _FOR_NOW and plan.chunk_size is not None
            if exc.code is ErrorCode.LEASE_LOST:  # what is promised to it is another's
                key = None
            raise
        except asyncio.CancelledError:
            added, is_kept = Held(0, 0), plan.chunk_size is not None and bool(upload.leaves)
            raise
        finally:
            self._account.end_publishing(plan.path, key, added)
            if is_kept:
                self._account.keep(upload.name, plan.size or 0)
        return published

    async def replaced(self, plan: UploadPlan) -> Details | None:
        """Give what a file would replace."""
        if plan.if_exists is not IfExists.OVERWRITE:
            return None
        try:
            details, _ = await self._store.stat(plan.path)
        except FtpdError:
            return None
        return details if details.type is EntryType.FILE else None

    async def grow(self, name: str, size: int) -> None:
        """Promise more to an upload. Raises as `Account.hold` does."""
        await self._account.hold(name, Held(size, 0), self._quota)

    def own(self, upload: Upload, plan: UploadPlan) -> "MeteredUpload":
        """Take note of who has an upload now."""
        metered = self._account.owners[upload.name] = MeteredUpload(upload, self, plan)
        return metered

    def end(self, upload: "MeteredUpload", *, is_kept: bool) -> None:
        """Take note that an upload is over without having been published, unless it is another's by now."""
        if not self.disown(upload):
            return
        if is_kept:
            self._account.sleep(upload.name)
        else:
            self._account.release(upload.name)

    def disown(self, upload: "MeteredUpload") -> bool:
        """Take note that nobody has an upload any more. Returns whether it was not another's."""
        is_own = self._account.owners.get(upload.name) is upload
        if is_own:
            del self._account.owners[upload.name]
        return is_own

    async def space(self) -> Space:
        """See `Store.space`."""
        await self._account.look()
        space, account = await self._store.space(), self._account
        return space._replace(
            used=account.size, quota=self._quota.size, files=account.files, quota_files=self._quota.files
        )

    async def usage(self, folder: RemotePath) -> Usage:
        """See `Store.usage`."""
        return await self._store.usage(folder)

    async def stat(self, path: RemotePath, *, sync: bool = False) -> tuple[Details, Tree | None]:
        """See `Store.stat`."""
        return await self._store.stat(path, sync=sync)

    async def list(self, path: RemotePath, *, long: bool) -> Listing:
        """See `Store.list`."""
        return await self._store.list(path, long=long)

    async def open(self, path: RemotePath) -> StoredFile:
        """See `Store.open`."""
        return await self._store.open(path)

    async def read_small(self, paths: Sequence[RemotePath], room: int) -> Sequence[WholeFile | FtpdError | None]:
        """See `Store.read_small`."""
        return await self._store.read_small(paths, room)

    async def same(self, files: Sequence[Twin]) -> Sequence[Likeness]:
        """See `Store.same`."""
        return await self._store.same(files)

    async def make_folder(self, path: RemotePath) -> bool:
        """See `Store.make_folder`."""
        return await self._store.make_folder(path)

    async def checksum(self, path: RemotePath, algorithm: Algorithm) -> str:
        """See `Store.checksum`."""
        return await self._store.checksum(path, algorithm)

    async def sweep(self) -> None:
        """See `Store.sweep`."""
        await self._store.sweep()

    async def close(self) -> None:
        """Do nothing: the store is not ours."""

    async def _wanted(self, plan: UploadPlan) -> Held:
        return Held(plan.size or 0, int(await self.replaced(plan) is None))

    def _credit(self, plan: UploadPlan, old: Details | None) -> Details | None:
        """Begin to give a name. Returns what goes by it for certain: of two at once only one replaces it."""
        if self._account.begin_publishing(plan.path):
            return old
        self._account.doubt()
        return None


class MeteredUpload(Upload):
    """An upload whose space was promised."""

    def __init__(self, upload: Upload, store: MeteredStore, plan: UploadPlan) -> None:
        self._upload = upload
        self._store = store
        self._plan = plan
        self._grown: dict[int, int] = {}
        self._is_over = False
        self.name = upload.name
        self.takes_runs = upload.takes_runs and plan.size is not None  # else each chunk has to be promised its space

    @property
    def leaves(self) -> dict[int, bytes]:  # type: ignore[override] # that of the upload itself
        """See `Upload.leaves`."""
        return self._upload.leaves

    async def write(self, offset: int, data: Buffer | Stretch, digest: Digest) -> int:
        """See `Upload.write`."""
        return await self._upload.write(offset, data, digest)

    async def fill(self, chunk: OpenChunk, data: Buffer | Stretch) -> None:
        """See `Upload.fill`."""
        if self._plan.size is None:
            before = self._grown.get(chunk.index, 0)
            if chunk.size > before:
                await self._store.grow(self.name, chunk.size - before)
                self._grown[chunk.index] = chunk.size
        await self._upload.fill(chunk, data)

    async def reopen(self, index: int) -> None:
        """See `Upload.reopen`."""
        await self._upload.reopen(index)

    async def publish(self, tree: Tree) -> RemotePath | None:
        """See `Upload.publish`."""
        try:
            old = await self._store.replaced(self._plan)
        except asyncio.CancelledError:
            await self.suspend()
            raise
        self._is_over = True
        try:
            return await self._store.publish(self._upload, self._plan, tree, old)
        finally:
            self._store.disown(self)

    async def suspend(self) -> None:
        """See `Upload.suspend`."""
        is_kept = self._plan.chunk_size is not None and bool(self.leaves)
        try:
            await self._upload.suspend()
        finally:
            self._end(is_kept=is_kept)

    async def discard(self) -> None:
        """See `Upload.discard`."""
        try:
            await self._upload.discard()
        finally:
            self._end(is_kept=False)

    def _end(self, *, is_kept: bool) -> None:
        if not self._is_over:
            self._is_over = True
            self._store.end(self, is_kept=is_kept)


def _added(published: RemotePath | FtpdError | None, tree: Tree, old: Details | None) -> Held:
    if not isinstance(published, RemotePath):
        return Held(0, 0)
    return Held(tree.size, 1) if old is None else Held(tree.size - old.size, 0)
