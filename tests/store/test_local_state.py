"""The local store's own state: hidden from clients, cleaned up after, locked against others."""

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest

from ftpd.payload.workers import DISK_THREADS, Workers
from ftpd.store.base import Listing, StoredFile, Upload
from ftpd.store.local import LocalStore
from ftpd.store.values import UploadPlan
from ftpd.wire.digests import tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath
from ftpd.wire.terms import Algorithm, IfExists
from tests.store.conftest import OpenLocal
from tests.store.helpers import (
    PATIENCE_S,
    ROOT,
    Nothing,
    begun,
    eventually,
    get,
    names,
    open_descriptors,
    path_of,
    plan_for,
    put,
    refused,
    snapshot,
    temporaries,
    tree_in,
)


async def test_the_state_folder_is_not_listed(local: LocalStore, root: Path) -> None:
    """The state folder is there, private, and in no listing; a folder of that name further down is an ordinary one."""
    await put(local, "a.txt")
    await put(local, "folder/.ftpd/b.txt", b"b")
    assert 0o40700 == (root / ".ftpd").stat().st_mode
    assert (["a.txt", "folder"], [".ftpd"]) == (await names(local), await names(local, "folder"))
    assert b"b" == await get(local, "folder/.ftpd/b.txt")


@pytest.mark.parametrize("name", [".ftpd", "/.ftpd", ".ftpd/lock", ".FTPD", ".ftpd.", ".ftpd/tmp/x", ".f\u200dtpd"])
def test_the_state_folder_has_no_name(name: str) -> None:
    """No spelling of the state folder gets past the parser that all names go through."""
    with refused(ErrorCode.BAD_PATH):
        RemotePath.parse_folder(name)


async def test_a_name_that_nobody_can_ask_for_is_not_listed(local: LocalStore, root: Path) -> None:
    """A name on the disk that is reserved like the state folder's counts as unnameable."""
    (root / ".FTPD").mkdir()
    listing = await local.list(ROOT, long=False)
    assert [] == await listing.next(10)
    assert 1 == listing.unnameable
    await listing.close()


@pytest.mark.parametrize("if_exists", list(IfExists))
async def test_publishing_leaves_no_temporary(local: LocalStore, root: Path, if_exists: IfExists) -> None:
    """The temporary of an upload is gone once it is published, and the file has one name."""
    upload = await begun(local, plan_for("a.txt", 3, if_exists), b"abc")
    assert 1 == len(temporaries(root))
    await upload.publish(tree_of(b"abc"))
    assert ([], 1) == (temporaries(root), (root / "a.txt").stat().st_nlink)


async def test_discard_leaves_no_temporary(local: LocalStore, root: Path) -> None:
    """The temporary of an upload, and its descriptor, are gone once it is discarded."""
    before = open_descriptors()
    upload = await begun(local, plan_for("folder/a.txt", 3), b"abc")
    await upload.discard()
    assert ([], before) == (temporaries(root), open_descriptors())
    assert not (root / "folder").exists()


@pytest.mark.parametrize(("if_exists", "code"), [(IfExists.FAIL, ErrorCode.EXISTS), (IfExists.SKIP, None)])
async def test_losing_the_name_leaves_no_temporary(
    local: LocalStore, root: Path, if_exists: IfExists, code: ErrorCode | None
) -> None:
    """The temporary of an upload is gone when its name was taken meanwhile."""
    before = open_descriptors()
    upload = await begun(local, plan_for("a.txt", 4, if_exists), b"late")
    (root / "a.txt").write_bytes(b"first")
    try:
        assert await upload.publish(tree_of(b"late")) is None
    except FtpdError as exc:
        assert code is exc.code  # noqa: PT017 (it may also return)
    assert ([], before) == (temporaries(root), open_descriptors())


async def test_what_a_killed_server_left_is_swept_at_start(root: Path, open_local: OpenLocal) -> None:
    """Temporaries of a killed server are removed at start; published files and the digests stay."""
    store = open_local(root)
    await put(store, "a.txt", b"abc")
    await begun(store, plan_for("b.txt", 3), b"abc")
    await store.close()
    (root / ".ftpd" / "tmp" / "0123456789abcdef").write_bytes(b"half a file")
    assert 2 == len(temporaries(root))
    store = open_local(root)
    assert ([], ["a.txt"]) == (temporaries(root), await names(store))
    assert tree_of(b"abc") == await tree_in(store, "a.txt")


async def test_a_second_writer_is_refused(root: Path, open_local: OpenLocal) -> None:
    """A second store that writes hears `busy`, disturbs nothing and keeps nothing open; readers are welcome."""
    first = open_local(root)
    upload = await begun(first, plan_for("a.txt", 3), b"abc")
    before = open_descriptors()
    with refused(ErrorCode.BUSY):
        open_local(root)
    assert before == open_descriptors()
    await upload.publish(tree_of(b"abc"))
    readers = [open_local(root, read_only=True) for _ in range(2)]
    assert [b"abc", b"abc"] == [await get(reader, "a.txt") for reader in readers]


async def test_the_lock_ends_with_the_store(root: Path, open_local: OpenLocal) -> None:
    """A folder can be served again once its store is closed, and closing gives back all descriptors."""
    before = open_descriptors()
    for _ in range(3):
        await open_local(root).close()
    assert before == open_descriptors()


@pytest.mark.parametrize(
    ("make", "code"),
    [("nothing", ErrorCode.NOT_FOUND), ("file", ErrorCode.NOT_DIRECTORY)],
)
@pytest.mark.parametrize("read_only", [True, False])
async def test_only_a_folder_can_be_served(
    tmp_path: Path,
    open_local: OpenLocal,
    make: str,
    code: ErrorCode,
    read_only: bool,  # noqa: FBT001 (a column)
) -> None:
    """A root that is missing or a file is refused, and nothing is made of it."""
    (tmp_path / "file").write_bytes(b"")
    before = snapshot(tmp_path)
    with refused(code):
        open_local(tmp_path / make, read_only=read_only)
    assert before == snapshot(tmp_path)


async def test_a_read_only_store_changes_nothing(root: Path, open_local: OpenLocal) -> None:
    """Nothing that a read-only store does alters a name, mode, size, time or link beneath its root."""
    (root / "folder").mkdir()
    (root / "folder" / "a.txt").write_bytes(b"abc")
    before = snapshot(root)
    store = open_local(root, read_only=True)
    for path in (path_of("folder/a.txt"), path_of("folder"), ROOT):
        await store.stat(path)
    assert (["folder"], ["a.txt"]) == (await names(store), await names(store, "folder"))
    assert b"abc" == await get(store, "folder/a.txt")
    await store.checksum(path_of("folder/a.txt"), Algorithm.SHA256)
    file = await store.open(path_of("folder/a.txt"))
    await file.remember(tree_of(b"abc"))
    await file.close()
    for name in ("new.txt", "new/new.txt", "folder/a.txt"):
        with refused(ErrorCode.READ_ONLY):
            await store.begin(plan_for(name, 3))
    await store.close()
    assert before == snapshot(root)


async def test_opening_what_is_no_file_keeps_no_descriptor(local: LocalStore, root: Path) -> None:
    """A refused `open`, `checksum`, `list` or `begin` leaves nothing open, or a client could use up all descriptors."""
    await put(local, "folder/file")
    (root / "link").symlink_to("folder")
    before = open_descriptors()
    for name in ("folder", "folder/file", "folder/file/x", "link", "link/file", "nothing"):
        path = path_of(name)
        for attempt in (
            lambda path=path: local.list(path, long=True),
            lambda path=path: local.open(path),
            lambda path=path: local.checksum(path, Algorithm.MD5),
            lambda path=path: local.begin(UploadPlan(path, 1, IfExists.FAIL)),
        ):
            with contextlib.suppress(FtpdError):
                match await attempt():
                    case Listing() | StoredFile() as opened:
                        await opened.close()
                    case Upload() as upload:
                        await upload.discard()
    assert before == open_descriptors()


async def test_a_cancelled_begin_leaves_nothing(local: LocalStore, root: Path, workers: Workers) -> None:
    """Cancelling `begin` while its thread works leaves no temporary and no descriptor behind."""
    await put(local, "warm-up")
    release = threading.Event()
    before = open_descriptors()
    blocking = [asyncio.create_task(workers.disk(release.wait, PATIENCE_S)) for _ in range(DISK_THREADS)]
    beginning = asyncio.create_task(local.begin(plan_for("a.txt", 3)))
    await asyncio.sleep(0)
    beginning.cancel()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    await asyncio.gather(*blocking)
    assert ([], before) == (temporaries(root), open_descriptors())


async def test_a_cancelled_publish_is_whole_or_nothing(local: LocalStore, root: Path) -> None:
    """Cancelling `publish` leaves no temporary; either the whole file, and it is told, or none, and it is cancelled."""
    for number in range(20):
        name, data = f"{number}.bin", b"%02d" % number * 1000
        upload = await begun(local, plan_for(name, len(data)), data)
        publishing = asyncio.create_task(upload.publish(tree_of(data)))
        for _ in range(number % 3):
            await asyncio.sleep(0)
        publishing.cancel()
        (published,) = await asyncio.gather(publishing, return_exceptions=True)
        await upload.discard()
        if (root / name).exists():
            assert (name, data) == (str(published), (root / name).read_bytes())
        else:
            assert isinstance(published, asyncio.CancelledError)
    await eventually(lambda: not temporaries(root), "the temporaries are gone")


async def test_data_may_be_written_while_others_publish(local: LocalStore) -> None:
    """Uploads to different names do not disturb each other."""

    async def upload(number: int) -> None:
        data = b"%04d" % number * 5000
        upload = await begun(local, plan_for(f"{number % 4}/{number}", len(data)), data[:10_000])
        await upload.write(10_000, data[10_000:], Nothing())
        await upload.publish(tree_of(data))
        assert data == await get(local, f"{number % 4}/{number}")

    await asyncio.gather(*(upload(number) for number in range(40)))
