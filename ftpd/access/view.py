"""A store as somebody sees it: his home is its root, and nothing happens that he may not do.

All rights on paths are decided here, on the same parsed path that is then opened. Who may not know that something is
there is told that it is not.
"""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from ftpd.access.rights import Principal, Right
from ftpd.payload.direct import Stretch
from ftpd.store.base import Listing, Store, StoredFile, Upload
from ftpd.store.chunks import OpenChunk
from ftpd.store.values import NO_GROWTH, Details, Growth, Likeness, SmallFile, Space, Twin, UploadPlan, Usage, WholeFile
from ftpd.wire.digests import Buffer, Digest, Tree
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Entry
from ftpd.wire.terms import Algorithm, EntryType, IfExists


class View(Store):
    """A store through the eyes of a principal."""

    def __init__(self, store: Store, principal: Principal, now: Callable[[], Principal] | None = None) -> None:
        """See a store as a principal does; `now` gives what is left of him when an upload is to get its name."""
        self._store = store
        self._principal = principal
        self._now = now or (lambda: principal)
        self._home = principal.home.parts
        self.durability = store.durability
        self.read_only = store.read_only

    async def stat(self, path: RemotePath, *, sync: bool = False) -> tuple[Details, Tree | None]:
        """See `Store.stat`."""
        if not (Right.READ in self._principal.rights_at(path) or self._principal.sees_below(path)):
            self._check(path, Right.LIST)
        try:
            with self._errors():
                details, tree = await self._store.stat(self._full(path), sync=sync)
        except FtpdError as exc:
            if not self._is_home_to_be(path, exc):
                raise
            return Details(EntryType.DIRECTORY, 0, 0, 0, 0o755), None
        return details, tree if Right.READ in self._principal.rights_at(path) else None  # digests tell of content

    async def list(self, path: RemotePath, *, long: bool) -> Listing:
        """See `Store.list`."""
        may_list = Right.LIST in self._principal.rights_at(path)
        if not may_list and not self._principal.sees_below(path):
            self._check(path, Right.LIST)
        try:
            with self._errors():
                listing = await self._store.list(self._full(path), long=long)
        except FtpdError as exc:
            if not self._is_home_to_be(path, exc):
                raise
            return _NoNames()
        return _FilteredListing(listing, self._principal, path)

    async def open(self, path: RemotePath) -> StoredFile:
        """See `Store.open`."""
        self._check(path, Right.READ)
        with self._errors():
            return await self._store.open(self._full(path))

    async def read_small(self, paths: Sequence[RemotePath], room: int) -> Sequence[WholeFile | FtpdError | None]:
        """See `Store.read_small`."""
        allowed = list(itertools.takewhile(lambda path: Right.READ in self._principal.rights_at(path), paths))
        if not allowed:
            return await super().read_small(paths[:1], room)
        with self._errors():
            found = await self._store.read_small([self._full(path) for path in allowed], room)
        return [self._stripped(answer) if isinstance(answer, FtpdError) else answer for answer in found]

    async def begin(self, plan: UploadPlan) -> Upload | None:
        """See `Store.begin`."""
        inner = self._inner(plan)
        with self._errors():
            upload = await self._store.begin(inner)
        return self._wrapped(upload, plan.path, inner.if_exists)

    async def check(self, plans: Sequence[UploadPlan]) -> Sequence[Growth | FtpdError]:
        """See `Store.check`. Of names that may be replaced and not be seen nothing is counted: it would show them."""
        inner = [self._try_inner(plan) for plan in plans]
        allowed = [plan for plan in inner if isinstance(plan, UploadPlan)]
        with self._errors():
            answers = iter(await self._store.check(allowed) if allowed else ())
        return [
            plan if isinstance(plan, FtpdError) else self._told(asked.path, plan, next(answers))
            for asked, plan in zip(plans, inner, strict=True)
        ]

    async def resume(self, name: str, plan: UploadPlan) -> Upload | None:
        """See `Store.resume`."""
        inner = self._inner(plan)
        with self._errors():
            upload = await self._store.resume(name, inner)
        return self._wrapped(upload, plan.path, inner.if_exists)

    async def put_all(self, files: Sequence[SmallFile]) -> Sequence[RemotePath | FtpdError | None]:
        """See `Store.put_all`."""
        plans = [self._try_inner(file.plan) for file in files]
        allowed = [
            file._replace(plan=plan) for file, plan in zip(files, plans, strict=True) if isinstance(plan, UploadPlan)
        ]
        with self._errors():
            answers = iter(await self._store.put_all(allowed) if allowed else ())
        return [plan if isinstance(plan, FtpdError) else self._outer(next(answers)) for plan in plans]

    async def same(self, files: Sequence[Twin]) -> Sequence[Likeness]:
        """See `Store.same`. Of what may not be read nothing is told: digests tell of content."""
        readable = [Right.READ in self._principal.rights_at(file.path) for file in files]
        allowed = [file._replace(path=self._full(file.path)) for file in itertools.compress(files, readable)]
        with self._errors():
            answers = iter(await self._store.same(allowed) if allowed else ())
        return [next(answers) if may_read else Likeness.NO_FOLDER for may_read in readable]

    async def make_folder(self, path: RemotePath) -> bool:
        """See `Store.make_folder`."""
        if not path.parts:  # always there, if only for its user: the first upload makes it
            return False
        self._check(path, Right.WRITE)
        with self._errors():
            return await self._store.make_folder(self._full(path))

    async def space(self) -> Space:
        """See `Store.space`."""
        return await self._store.space()

    async def usage(self, folder: RemotePath) -> Usage:
        """See `Store.usage`."""
        self._check(folder, Right.LIST)
        return await self._store.usage(self._full(folder))

    async def sweep(self) -> None:
        """See `Store.sweep`."""
        await self._store.sweep()

    async def checksum(self, path: RemotePath, algorithm: Algorithm) -> str:
        """See `Store.checksum`."""
        self._check(path, Right.READ)
        with self._errors():
            return await self._store.checksum(self._full(path), algorithm)

    async def close(self) -> None:
        """Do nothing: the store is not ours."""

    def _check(self, path: RemotePath, right: Right) -> None:
        held = self._principal.rights_at(path)
        if right in held:
            return
        if right is not Right.WRITE and not held & {Right.LIST, Right.READ}:  # whether it is there is not to be known
            raise FtpdError(ErrorCode.NOT_FOUND, f"{path}: there is no such file or folder")
        raise FtpdError(ErrorCode.FORBIDDEN, f"{path}: {self._principal.refusal(right)}")

    def _is_home_to_be(self, path: RemotePath, exc: FtpdError) -> bool:
        """Tell whether it is the home that is not there yet. The first upload makes it; until then it is empty."""
        return exc.code is ErrorCode.NOT_FOUND and not path.parts and bool(self._home)

    def _inner(self, plan: UploadPlan) -> UploadPlan:
        self._check(plan.path, Right.WRITE)
        if_exists = plan.if_exists
        if if_exists is IfExists.OVERWRITE and Right.OVERWRITE not in self._principal.rights_at(plan.path):
            if_exists = IfExists.FAIL  # decided by the kernel, in the step that gives the name
        return plan._replace(path=self._full(plan.path), if_exists=if_exists)

    def _try_inner(self, plan: UploadPlan) -> UploadPlan | FtpdError:
        try:
            return self._inner(plan)
        except FtpdError as exc:
            return exc

    def _told(self, path: RemotePath, inner: UploadPlan, answer: Growth | FtpdError) -> Growth | FtpdError:
        if isinstance(answer, FtpdError):
            return self._stripped(answer)
        is_hidden = inner.if_exists is IfExists.OVERWRITE and Right.LIST not in self._principal.rights_at(path)
        return NO_GROWTH if is_hidden else answer

    def _full(self, path: RemotePath) -> RemotePath:
        return RemotePath((*self._home, *path.parts)) if self._home else path

    def _own(self, path: RemotePath) -> RemotePath:
        return RemotePath(path.parts[len(self._home) :])

    def _wrapped(self, upload: Upload | None, path: RemotePath, if_exists: IfExists) -> Upload | None:
        if upload is None:
            return None

        def check() -> None:
            now = self._now()
            held = now.rights_at(path)
            replaces = if_exists is IfExists.OVERWRITE and Right.OVERWRITE not in held
            if now.home != self._principal.home or Right.WRITE not in held or replaces:
                code = ErrorCode.FORBIDDEN if now.grants else ErrorCode.UNAUTHORIZED
                raise FtpdError(code, f"{path}: {self._principal.name} may not store files there any more")

        return _OwnUpload(upload, self._own, self._errors, check)

    def _outer(self, answer: RemotePath | FtpdError | None) -> RemotePath | FtpdError | None:
        if isinstance(answer, RemotePath):
            return self._own(answer)
        return self._stripped(answer) if isinstance(answer, FtpdError) else None

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Let errors out with names as the user knows them."""
        try:
            yield
        except FtpdError as exc:
            raise self._stripped(exc) from exc

    def _stripped(self, exc: FtpdError) -> FtpdError:
        if not self._home:
            return exc
        # Messages begin with the name they are about, or have it in quotes; the home itself has none for its user.
        home = re.escape("/".join(self._home))
        message = re.sub(rf"(^|['\"]){home}(?:/|: )", r"\1", exc.message, count=1)
        return FtpdError(exc.code, message, **exc.facts)


class _NoNames(Listing):
    """The listing of a home that is not there yet."""

    is_over = True

    async def next(self, limit: int) -> list[Entry]:
        """See `Listing.next`."""
        del limit
        return []

    async def close(self) -> None:
        """See `Listing.close`."""


class _FilteredListing(Listing):
    """A listing without the names that are not to be seen."""

    def __init__(self, listing: Listing, principal: Principal, folder: RemotePath) -> None:
        self._listing = listing
        self._principal = principal
        self._folder = folder

    async def next(self, limit: int) -> list[Entry]:
        """See `Listing.next`."""
        while page := await self._listing.next(limit):
            self.unnameable, self.is_over = self._listing.unnameable, self._listing.is_over
            if seen := [entry for entry in page if self._is_seen(entry.name)]:
                return seen
        return []

    async def close(self) -> None:
        """See `Listing.close`."""
        await self._listing.close()

    def _is_seen(self, name: str) -> bool:
        path = RemotePath((*self._folder.parts, name))
        return Right.LIST in self._principal.rights_at(path) or self._principal.sees_below(path)


class _OwnUpload(Upload):
    """An upload whose names are those that its sender knows, and who has to be allowed to have it at its end too."""

    def __init__(
        self,
        upload: Upload,
        own: Callable[[RemotePath], RemotePath],
        errors: Callable[[], AbstractContextManager[None]],
        check: Callable[[], None],
    ) -> None:
        self._upload = upload
        self._own = own
        self._errors = errors
        self._check = check
        self.name = upload.name
        self.takes_runs = upload.takes_runs

    @property
    def leaves(self) -> dict[int, bytes]:  # type: ignore[override] # that of the upload itself
        """See `Upload.leaves`."""
        return self._upload.leaves

    async def write(self, offset: int, data: Buffer | Stretch, digest: Digest) -> int:
        """See `Upload.write`."""
        with self._errors():
            return await self._upload.write(offset, data, digest)

    async def fill(self, chunk: OpenChunk, data: Buffer | Stretch) -> None:
        """See `Upload.fill`."""
        with self._errors():
            await self._upload.fill(chunk, data)

    async def reopen(self, index: int) -> None:
        """See `Upload.reopen`."""
        with self._errors():
            await self._upload.reopen(index)

    async def publish(self, tree: Tree) -> RemotePath | None:
        """See `Upload.publish`."""
        try:
            self._check()
        except FtpdError:
            await self._upload.suspend()
            raise
        with self._errors():
            path = await self._upload.publish(tree)
        return None if path is None else self._own(path)

    async def suspend(self) -> None:
        """See `Upload.suspend`."""
        await self._upload.suspend()

    async def discard(self) -> None:
        """See `Upload.discard`."""
        await self._upload.discard()
