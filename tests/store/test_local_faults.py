"""When the disk is full, forbidden, read-only or gone: a defined refusal, the old file as it was, nothing left over."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftpd.store.local import LocalStore
from ftpd.store.values import UploadPlan
from ftpd.wire.digests import tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import MIB
from ftpd.wire.paths import RemotePath
from ftpd.wire.terms import Algorithm, Durability, IfExists
from tests.disks import full, mounted, only_root, run, small_disk
from tests.store import unprivileged
from tests.store.conftest import OpenLocal
from tests.store.helpers import (
    PATIENCE_S,
    ROOT,
    Nothing,
    begun,
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

NOBODY = 65534


@pytest.fixture(params=["tmpfs", "ext4"])
def small(request: pytest.FixtureRequest, tmp_path: Path, root: Path) -> Iterator[Path]:
    """A root on a file system of its own, of 16 MiB."""
    with small_disk(request.param, tmp_path / "image", root, 16 * MIB):
        yield root


@only_root
@pytest.mark.root
@pytest.mark.parametrize("durability", list(Durability))
async def test_a_full_disk_is_said_and_survived(small: Path, open_local: OpenLocal, durability: Durability) -> None:
    """When space runs out: `no_space`, the old file stays, no temporary is left, and all works once there is space."""
    store = open_local(small, durability=durability)
    try:
        await put(store, "a.txt", b"old")
        before = open_descriptors(small)
        with full(small, spare=2 * MIB):
            upload = await begun(store, plan_for("a.txt"))
            with refused(ErrorCode.NO_SPACE):
                for offset in range(0, 16 * MIB, MIB):
                    await upload.write(offset, b"x" * MIB, Nothing())
            await upload.discard()
            assert ([], before) == (temporaries(small), open_descriptors(small))
            assert (b"old", tree_of(b"old")) == (await get(store, "a.txt"), await tree_in(store, "a.txt"))
        await put(store, "a.txt", b"n" * 4 * MIB)
        assert b"n" * 4 * MIB == await get(store, "a.txt")
    finally:
        await store.close()


@only_root
@pytest.mark.root
async def test_a_disk_without_a_byte_left_is_said_and_survived(small: Path, open_local: OpenLocal) -> None:
    """With no space at all uploads say `no_space`, wherever they meet it; files are read, told of and hashed."""
    store = open_local(small, durability=Durability.FULL)
    try:
        await put(store, "a.txt", b"old")
        before = open_descriptors(small)
        with full(small):
            for number in range(20):
                with refused(ErrorCode.NO_SPACE):
                    await put(store, f"new/{number}", b"x" * 100_000)
            assert b"old" == await get(store, "a.txt")
            assert "149603e6c03516362a8da23f624db945" == await store.checksum(path_of("a.txt"), Algorithm.MD5)
            assert ([], before) == (temporaries(small), open_descriptors(small))
        await put(store, "new/a.txt", b"new")
        assert b"new" == await get(store, "new/a.txt")
    finally:
        await store.close()


@only_root
@pytest.mark.root
@pytest.mark.parametrize("size", [17 * MIB, 2**40, 2**53 - 1])
async def test_what_can_not_fit_is_refused_before_its_first_byte(small: Path, open_local: OpenLocal, size: int) -> None:
    """An upload that announces more than the free space hears `no_space` at once, and no temporary is made."""
    store = open_local(small)
    try:
        with refused(ErrorCode.NO_SPACE):
            await store.begin(plan_for("a.txt", size))
        assert [] == temporaries(small)
        upload = await store.begin(plan_for("a.txt", MIB))
        assert upload is not None
        await upload.discard()
    finally:
        await store.close()


async def test_more_than_any_disk_has_is_refused(local: LocalStore, root: Path) -> None:
    """The largest size that a request can carry is `no_space` everywhere, without a byte being reserved."""
    with refused(ErrorCode.NO_SPACE):
        await local.begin(plan_for("a.txt", 2**53 - 1))
    assert [] == temporaries(root)


@only_root
@pytest.mark.root
async def test_a_file_system_that_is_read_only(root: Path, open_local: OpenLocal) -> None:
    """A read-only store serves a read-only file system; one that writes is refused there with `read_only`."""
    (root / "a.txt").write_bytes(b"abc")
    with mounted("--bind", "-o", "ro", root, at=root):
        with contextlib.suppress(OSError):
            (root / "probe").write_bytes(b"")
            pytest.skip("this mount does not make read-only bind mounts")
        before = snapshot(root)
        with refused(ErrorCode.READ_ONLY):
            open_local(root)
        store = open_local(root, read_only=True)
        assert (b"abc", ["a.txt"]) == (await get(store, "a.txt"), await names(store))
        assert "900150983cd24fb0d6963f7d28e17f72" == await store.checksum(path_of("a.txt"), Algorithm.MD5)
        await store.close()
        assert before == snapshot(root)


@only_root
@pytest.mark.root
@pytest.mark.parametrize("if_exists", [IfExists.OVERWRITE, IfExists.FAIL])
async def test_temporaries_that_can_not_be_removed(root: Path, open_local: OpenLocal, if_exists: IfExists) -> None:
    """When the operating system does not let the temporary go, what `publish` says agrees with what is there."""
    store = open_local(root)
    state = root / ".ftpd" / "tmp"
    upload = await begun(store, plan_for("a.txt", 3, if_exists), b"abc")
    run("chattr", "+a", state)
    try:
        expected = ["a.txt"] if await upload.publish(tree_of(b"abc")) else []
    except FtpdError as exc:
        assert ErrorCode.FORBIDDEN is exc.code  # noqa: PT017 (it may also return)
        expected = []
    finally:
        run("chattr", "-a", state)
    await upload.discard()
    assert expected == await names(store)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder to serve that somebody without rights can get to; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_nobody(root: Path) -> dict[str, str]:
    """Use the store as somebody without rights, in a process of their own."""
    done = subprocess.run(
        [sys.executable, unprivileged.__file__, str(NOBODY)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert 0 == done.returncode, done.stderr.decode()
    outcomes: dict[str, str] = json.loads(done.stdout)
    return outcomes


@only_root
def test_what_the_operating_system_forbids(reachable: Path) -> None:
    """Without the rights for it everything is `forbidden`, and leaves no trace; what is allowed works beside it."""
    for folder in ("closed", "locked"):
        (reachable / folder).mkdir()
        (reachable / folder / "file").write_bytes(b"old")
    (reachable / "secret").write_bytes(b"secret")
    (reachable / "secret").chmod(0o600)
    (reachable / "closed").chmod(0o700)
    os.chown(reachable, NOBODY, NOBODY)
    before = snapshot(reachable / "locked"), snapshot(reachable / "closed")
    expected = {
        "get secret": "forbidden",
        "md5 secret": "forbidden",
        "stat secret": "done",
        "list closed": "forbidden",
        "get closed/file": "forbidden",
        "put closed/file": "forbidden",
        "put locked/file": "forbidden",
        "put locked/new/file": "forbidden",
        "make locked/new": "forbidden",
        "make locked": "done",
        "get locked/file": "done",
        "put fine": "done",
        "temporaries": "none",
    }
    assert expected == as_nobody(reachable)
    assert before == (snapshot(reachable / "locked"), snapshot(reachable / "closed"))


@only_root
def test_a_root_that_may_not_be_written(reachable: Path) -> None:
    """A store that writes does not start on a root where it may not; nothing is made there."""
    before = snapshot(reachable)
    assert {"start": "forbidden"} == as_nobody(reachable)
    assert before == snapshot(reachable)


async def test_a_root_that_is_removed(local: LocalStore, root: Path) -> None:
    """With its root gone the store refuses in its own words, also uploads that had begun, and closes in peace."""
    gone = (ErrorCode.UNAVAILABLE,)
    await put(local, "folder/a.txt", b"abc")
    before = open_descriptors(root)
    uploads = [await begun(local, UploadPlan(path_of(f"{name}b.txt"), 3), b"abc") for name in ("", "folder/", "new/")]
    shutil.rmtree(root)
    for upload in uploads:
        await upload.write(3, b"def", Nothing())
        with refused(*gone):
            await upload.publish(tree_of(b"abcdef"))
        await upload.discard()
    for name in ("c.txt", "folder/c.txt", "new/c.txt"):
        with refused(*gone):
            await put(local, name, b"abc")
    for name in ("folder", "new/inner", ""):
        with refused(*gone):
            await local.make_folder(RemotePath.parse_folder(name))
    with refused(*gone):
        await local.open(path_of("folder/a.txt"))
    with refused(*gone):
        await local.stat(path_of("folder/a.txt"))
    with refused(*gone):
        await local.checksum(path_of("folder/a.txt"), Algorithm.MD5)
    with refused(*gone):
        await names(local, "folder")
    with refused(*gone):
        await names(local, str(ROOT))
    await local.close()
    assert not os.access(root, os.F_OK)
    assert not open_descriptors(root) - before


async def test_a_state_folder_that_is_removed(local: LocalStore, root: Path) -> None:
    """Without its state folder a store reads on, and says `unavailable` to uploads instead of making half files."""
    await put(local, "a.txt", b"abc")
    shutil.rmtree(root / ".ftpd")
    assert b"abc" == await get(local, "a.txt")
    with refused(ErrorCode.UNAVAILABLE):
        await put(local, "b.txt", b"abc")
    assert ["a.txt"] == await names(local)
