"""What only a disk can show of resumable uploads: journals, crashes, age."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from blake3 import blake3

from ftpd.payload.workers import SYNC_THREADS
from ftpd.store.base import Store
from ftpd.store.chunks import OpenChunk
from ftpd.store.local import LocalStore, partials
from ftpd.wire.digests import hash_leaf, tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import MIB
from ftpd.wire.paths import RemotePath
from tests.disks import full, only_root, small_disk
from tests.store.conftest import OpenLocal
from tests.store.helpers import PATIENCE_S, get, open_descriptors, refused
from tests.store.test_contract_resuming import CHUNK, DATA, PIECES, PLAN, begun, resumed, seal


def files(root: Path) -> list[Path]:
    """Give the files of unfinished uploads."""
    return sorted((root / ".ftpd" / "partial").iterdir())


async def broken_off(store: Store, *sealed: int) -> str:
    """Leave an upload with some chunks; give its name."""
    upload = await begun(store, *sealed)
    await upload.suspend()
    return upload.name


async def test_it_outlives_its_store(root: Path, open_local: OpenLocal) -> None:
    """The next store in the folder goes on with what the last one had, without reading it."""
    first = open_local(root)
    name = await broken_off(first, 0, 1)
    await first.close()
    data, _ = files(root)
    with data.open("r+b") as file:  # would be noticed if it were read
        file.write(b"!")
    again = await resumed(open_local(root), name)
    assert {0, 1} == again.leaves.keys()
    await again.discard()
    assert [] == files(root)


class HeldChunk(OpenChunk):
    """A chunk whose thread waits before it is sealed."""

    def __init__(self, index: int, go: threading.Event) -> None:
        super().__init__(index, index * CHUNK, len(PIECES[index]), hash_leaf(PIECES[index]))
        self._go = go

    def check(self, path: RemotePath) -> None:
        """See `OpenChunk.check`."""
        assert self._go.wait(PATIENCE_S)
        super().check(path)


@pytest.mark.parametrize("how", ["resume", "suspend", "discard", "publish"])
async def test_what_ends_it_waits_for_those_who_write(local: LocalStore, how: str) -> None:
    """Two chunks are stored at the same time; who takes the upload, or ends it, waits for both and keeps others out."""
    upload = await begun(local, 2)
    go = threading.Event()
    filling = [asyncio.create_task(upload.fill(HeldChunk(index, go), PIECES[index])) for index in (0, 1)]
    await seal(upload, 2)
    ends: dict[str, Callable[[], Coroutine[None, None, object]]] = {
        "resume": lambda: resumed(local, upload.name),
        "suspend": upload.suspend,
        "discard": upload.discard,
        "publish": lambda: upload.publish(tree_of(DATA)),
    }
    ending = asyncio.create_task(ends[how]())
    late = asyncio.create_task(seal(upload, 2))
    done, _ = await asyncio.wait([ending, late], timeout=0.05)
    assert not done
    go.set()
    await asyncio.gather(*filling, ending)
    with pytest.raises(FtpdError) as refused:
        await late
    assert refused.value.code in {ErrorCode.LEASE_LOST, ErrorCode.UNKNOWN_UPLOAD}
    if how in {"resume", "suspend"}:
        assert {0, 1, 2} == (await resumed(local, upload.name)).leaves.keys()
    elif how == "publish":
        assert DATA == await get(local, "a.bin")


@pytest.mark.parametrize("where", ["a chunk", "a thread"])
async def test_a_name_that_is_not_wanted_any_more(local: LocalStore, where: str) -> None:
    """What is cancelled while it waits for its name, whatever for, is closed, and can be gone on with."""
    before = open_descriptors()
    upload, go = await begun(local, 0, 1, 2), threading.Event()
    await upload.reopen(2)
    filling: list[asyncio.Task[object]] = [asyncio.create_task(upload.fill(HeldChunk(2, go), PIECES[2]))]
    if where == "a thread":
        go.set()
        await asyncio.gather(*filling)
        go.clear()
        filling = [asyncio.create_task(local.workers.sync(lambda: go.wait(PATIENCE_S))) for _ in range(SYNC_THREADS)]
        await asyncio.sleep(0)
    naming = asyncio.create_task(upload.publish(tree_of(DATA)))
    done, _ = await asyncio.wait([naming], timeout=0.05)
    assert not done
    naming.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*filling)
    with pytest.raises(asyncio.CancelledError):
        await naming
    assert before == open_descriptors()
    again = await resumed(local, upload.name)
    assert {0, 1, 2} == again.leaves.keys()
    await again.publish(tree_of(DATA))
    assert DATA == await get(local, "a.bin")


async def test_after_a_crash_of_the_machine_nothing_is_believed(
    root: Path, open_local: OpenLocal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another run of the machine, sealed chunks are read; those that have their digest are kept, others are not."""
    store = open_local(root)
    name = await broken_off(store, 0, 1, 2)
    data, journal = files(root)
    with data.open("r+b") as file:
        file.seek(CHUNK + 5)
        file.write(b"!")
    for boot in ("another", ""):
        monkeypatch.setattr(partials, "boot_id", lambda boot=boot: boot)
        again = await resumed(store, name)
        assert {0: hash_leaf(PIECES[0]), 2: hash_leaf(PIECES[2])} == again.leaves
        await again.suspend()
    assert [data, journal] == files(root)
    again = await resumed(store, name)
    await seal(again, 1)
    await again.publish(tree_of(DATA))
    assert DATA == await get(store, "a.bin")


async def test_a_file_that_is_another_one(root: Path, open_local: OpenLocal) -> None:
    """Of a copy in place of the file, as from a backup, only what has its digest is believed."""
    store = open_local(root)
    name = await broken_off(store, 0, 1)
    data, _ = files(root)
    copy = bytearray(data.read_bytes())
    copy[3] ^= 1
    data.rename(data.with_name("moved"))
    data.write_bytes(copy)
    again = await resumed(store, name)
    assert {1} == again.leaves.keys()
    await again.discard()


@pytest.mark.parametrize("cut", [0, 20, -1, -48, -60])
async def test_a_journal_that_was_cut(root: Path, open_local: OpenLocal, cut: int) -> None:
    """A journal cut anywhere counts up to there; without its first line there is nothing to go on with."""
    store = open_local(root)
    name = await broken_off(store, 0, 1)
    _, journal = files(root)
    whole = journal.stat().st_size
    os.truncate(journal, cut if cut >= 0 else whole + cut)
    if cut >= 0:
        with refused(ErrorCode.UNKNOWN_UPLOAD):
            await store.resume(name, PLAN)
        return
    again = await resumed(store, name)
    assert ({0} if cut >= -48 else set()) == again.leaves.keys()
    for index in {0, 1, 2} - again.leaves.keys():
        await seal(again, index)
    await again.publish(tree_of(DATA))
    assert DATA == await get(store, "a.bin")


@pytest.mark.parametrize("lost", [0, 1])
async def test_one_of_the_two_files_is_gone(root: Path, open_local: OpenLocal, lost: int) -> None:
    """Without its journal, or without its bytes, an upload is unknown."""
    store = open_local(root)
    name = await broken_off(store, 0, 1)
    files(root)[lost].unlink()
    with refused(ErrorCode.UNKNOWN_UPLOAD):
        await store.resume(name, PLAN)


async def test_bytes_that_are_gone(root: Path, open_local: OpenLocal) -> None:
    """A file that was cut has only the chunks that are still in it."""
    store = open_local(root)
    name = await broken_off(store, 0, 1)
    os.truncate(files(root)[0], CHUNK + 1)
    again = await resumed(store, name)
    assert {0} == again.leaves.keys()
    await again.discard()


async def test_the_sweep_takes_the_old(root: Path, open_local: OpenLocal) -> None:
    """What nobody has touched for longer than the time is dropped; what is new, or open however old, stays."""
    store = open_local(root, partial_ttl_s=3600)
    old, new = await broken_off(store, 0), await broken_off(store, 0)
    live = await begun(store, 0)
    for path in files(root):
        if new not in path.name:
            os.utime(path, (0, 0))
    await store.sweep()
    assert {new, live.name} == {path.name.partition(".")[0] for path in files(root)}
    with refused(ErrorCode.UNKNOWN_UPLOAD):
        await store.resume(old, PLAN)
    for index in (1, 2):
        await seal(live, index)
    await live.publish(tree_of(DATA))
    assert DATA == await get(store, "a.bin")


async def test_a_sweep_and_a_resume_at_once(root: Path, open_local: OpenLocal) -> None:
    """Of an old upload that is swept and resumed in the same moment, either all is there or it is unknown."""
    store = open_local(root, partial_ttl_s=3600)
    kept = 0
    for turns in range(40):
        name = await broken_off(store, 0)
        for path in files(root):
            os.utime(path, (0, 0))
        sweeping = asyncio.create_task(store.sweep())
        for _ in range(turns):
            await asyncio.sleep(0)
        try:
            upload = await resumed(store, name)
        except FtpdError as exc:
            await sweeping
            assert (ErrorCode.UNKNOWN_UPLOAD, []) == (exc.code, files(root))  # noqa: PT017 (one of two good ends)
            continue
        await sweeping
        for index in (1, 2):
            await seal(upload, index)
        await upload.publish(tree_of(DATA))
        assert DATA == await get(store, "a.bin")
        kept += 1
    assert kept


@only_root
@pytest.mark.root
async def test_a_chunk_that_can_not_be_opened_again(tmp_path: Path, root: Path, open_local: OpenLocal) -> None:
    """With no room to note that a chunk is going to be written again, it stays as it is: sealed, and to be reopened."""
    plan = PLAN._replace(size=CHUNK + 1000)
    with small_disk("tmpfs", tmp_path, root, 16 * MIB):
        store = open_local(root)
        upload = await store.begin(plan)
        assert upload is not None
        chunk = OpenChunk(1, CHUNK, 1000, hash_leaf(bytes(1000)))
        await upload.fill(chunk, bytes(1000))
        _, journal = files(root)
        while journal.stat().st_size % 4096 <= 4096 - 48:  # until the next record needs a page more
            await upload.reopen(1)
            chunk.begin(1, CHUNK, 1000, hash_leaf(bytes(1000)))
            await upload.fill(chunk, bytes(1000))
        with full(root), refused(ErrorCode.NO_SPACE):
            await upload.reopen(1)
        assert {1} == upload.leaves.keys()
        await upload.reopen(1)
        await upload.write(CHUNK, b"!", blake3())
        upload.leaves[0] = b""  # or there would be nothing to go on with
        await upload.suspend()
        again = await store.resume(upload.name, plan)
        assert again is not None
        assert {} == again.leaves
        await again.discard()
        await store.close()
