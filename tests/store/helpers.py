"""What the tests of the stores share: short ways to use a store, and ways to look at what it did to the disk."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ftpd.store.base import Store, StoredFile, Upload
from ftpd.store.local.digests import SETTLED_NS
from ftpd.store.values import UploadPlan
from ftpd.wire.digests import Tree, tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Entry
from ftpd.wire.terms import IfExists

PATIENCE_S = 20.0
"""How long anything may take before a test counts as hung. Nothing takes nearly that long."""

ROOT = RemotePath(())


class Nothing:
    """A digest for tests that need none."""

    def update(self, data: object, /) -> None:
        """Forget the bytes."""


def path_of(text: str) -> RemotePath:
    """Parse a name as the server does."""
    return RemotePath.parse(text)


def plan_for(
    name: str, size: int | None = None, if_exists: IfExists = IfExists.OVERWRITE, mtime: int | None = None
) -> UploadPlan:
    """Plan an upload of which only this is announced."""
    return UploadPlan(path_of(name), size, if_exists, mtime)


async def begun(store: Store, plan: UploadPlan, data: bytes = b"") -> Upload:
    """Open an upload that is not refused, and write its bytes."""
    upload = await store.begin(plan)
    assert upload is not None
    await upload.write(0, data, Nothing())
    return upload


async def put(
    store: Store, name: str, data: bytes = b"", if_exists: IfExists = IfExists.OVERWRITE, mtime: int | None = None
) -> RemotePath | None:
    """Upload a file as a command does: begin, write, publish, and discard however it ends."""
    upload = await store.begin(plan_for(name, len(data), if_exists, mtime))
    if upload is None:
        return None
    try:
        await upload.write(0, data, Nothing())
        return await upload.publish(tree_of(data))
    finally:
        await upload.discard()


@contextlib.asynccontextmanager
async def opened(store: Store, name: str) -> AsyncIterator[StoredFile]:
    """Open a file, and close it whatever happens."""
    file = await store.open(path_of(name))
    try:
        yield file
    finally:
        await file.close()


async def content(file: StoredFile) -> bytes:
    """Read a whole open file."""
    data = await file.load(0, file.details.size, None, copy=True)
    assert data is not None
    return bytes(data)


async def get(store: Store, name: str) -> bytes:
    """Read a whole file."""
    async with opened(store, name) as file:
        return await content(file)


async def pages(store: Store, folder: RemotePath = ROOT, *, limit: int = 100, long: bool = False) -> list[list[Entry]]:
    """List a folder page by page; the empty page that ends it is left out."""
    listing = await store.list(folder, long=long)
    try:
        found = []
        while page := await listing.next(limit):
            found.append(page)
        return found
    finally:
        await listing.close()


async def names(store: Store, folder: str = "") -> list[str]:
    """Give the sorted names in a folder."""
    found = await pages(store, RemotePath.parse_folder(folder))
    return sorted(entry.name for page in found for entry in page)


async def tree_in(store: Store, name: str) -> Tree | None:
    """Give the tree that a store knows of a file."""
    return (await store.stat(path_of(name)))[1]


@contextlib.contextmanager
def refused(*codes: ErrorCode) -> Iterator[None]:
    """Expect a refusal with one of these codes."""
    with pytest.raises(FtpdError) as caught:
        yield
    assert caught.value.code in codes, f"expected {codes}, got {caught.value!r} with {caught.value.code!r}"


def snapshot(root: Path) -> dict[str, tuple[int, ...]]:
    """Take down all that a change beneath a folder would alter: names, inodes, modes, sizes, times, links."""
    paths = [root, *root.rglob("*")]
    return {str(path.relative_to(root)): _marks(path.lstat()) for path in paths}


def _marks(found: os.stat_result) -> tuple[int, ...]:
    return (
        found.st_ino,
        found.st_mode,
        found.st_uid,
        found.st_nlink,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


def open_descriptors(root: Path | None = None) -> set[tuple[str, str]]:
    """Give the descriptors of this process; with a root, only those beneath it: others come and go with the garbage."""
    found = set()
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that read the folder
            found.add((number.name, str(number.readlink())))
    return {(number, what) for number, what in found if root is None or str(root) in what}


def temporaries(root: Path) -> list[str]:
    """Give the names of the temporary files of a store's uploads."""
    return [path.name for path in (root / ".ftpd" / "tmp").iterdir()]


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait for something that nobody announces."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s in vain: {what}"
        await asyncio.sleep(0.002)


def is_settled(file: Path) -> bool:
    """Tell whether a file has been left alone for so long that its digests may be kept."""
    return time.time_ns() - file.stat().st_ctime_ns > SETTLED_NS


async def settled(file: Path) -> None:
    """Wait until the digests of a file may be kept."""
    await eventually(lambda: is_settled(file), f"{file} is left alone")
