"""Resumable uploads, in every kind of store: what is sealed stays, and has one owner."""

import asyncio

import pytest
from blake3 import blake3

from ftpd.store.base import Store, Upload
from ftpd.store.chunks import OpenChunk
from ftpd.wire.digests import hash_leaf, tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import MIB
from ftpd.wire.terms import IfExists
from tests.store.helpers import get, path_of, plan_for, put, refused

CHUNK = 8 * MIB
DATA = bytes(range(256)) * (5 * MIB // 64)
PIECES = [DATA[start : start + CHUNK] for start in range(0, len(DATA), CHUNK)]
PLAN = plan_for("a.bin", len(DATA))._replace(chunk_size=CHUNK)


async def begun(store: Store, *sealed: int) -> Upload:
    """Open a resumable upload, and seal some of its chunks."""
    upload = await store.begin(PLAN)
    assert upload is not None
    for index in sealed:
        await seal(upload, index)
    return upload


async def seal(upload: Upload, index: int, data: bytes | None = None) -> None:
    """Send a chunk in two pieces."""
    piece = data or PIECES[index]
    chunk = OpenChunk(index, index * CHUNK, len(piece), hash_leaf(PIECES[index]))
    await upload.fill(chunk, piece[:1000])
    await upload.fill(chunk, piece[1000:])


async def resumed(store: Store, name: str) -> Upload:
    """Go on with an upload that is there."""
    upload = await store.resume(name, PLAN)
    assert upload is not None
    return upload


async def test_what_is_sealed_stays(store: Store) -> None:
    """A suspended upload is gone on with: its sealed chunks are there, and the file is whole in the end."""
    upload = await begun(store, 2, 0)
    await upload.write(CHUNK, b"not sealed", blake3())
    await upload.suspend()
    again = await resumed(store, upload.name)
    assert {index: hash_leaf(PIECES[index]) for index in (0, 2)} == again.leaves
    await seal(again, 1)
    assert path_of("a.bin") == await again.publish(tree_of(DATA))
    assert DATA == await get(store, "a.bin")
    with refused(ErrorCode.UNKNOWN_UPLOAD):
        await store.resume(upload.name, PLAN)


async def test_a_chunk_that_is_being_written_again_keeps_the_file_back(store: Store) -> None:
    """What has an unsealed chunk when it comes to publishing has no name afterwards."""
    upload = await begun(store, 0, 1, 2)
    await upload.reopen(1)
    with refused(ErrorCode.INCOMPLETE):
        await upload.publish(tree_of(DATA))
    with refused(ErrorCode.NOT_FOUND):
        await get(store, "a.bin")


async def test_chunks_may_come_at_the_same_time(store: Store) -> None:
    """Chunks that are stored at the same time are all sealed; what ends the upload meanwhile waits for them."""
    upload = await begun(store)
    filling = [asyncio.create_task(seal(upload, index)) for index in range(len(PIECES))]
    await asyncio.gather(*filling)
    filling = [asyncio.create_task(fill_again(upload, index)) for index in range(len(PIECES))]
    await asyncio.sleep(0)
    again = await resumed(store, upload.name)
    for done in await asyncio.gather(*filling, return_exceptions=True):
        assert done is None or (isinstance(done, FtpdError) and done.code is ErrorCode.LEASE_LOST)
    for index in set(range(len(PIECES))) - again.leaves.keys():
        await seal(again, index)
    await again.publish(tree_of(DATA))
    assert DATA == await get(store, "a.bin")


async def fill_again(upload: Upload, index: int) -> None:
    """Send a chunk that is sealed already."""
    await upload.reopen(index)
    await seal(upload, index)


async def test_a_newcomer_owns_it(store: Store) -> None:
    """Whoever resumes an upload has it alone: nothing that the old owner does has any effect."""
    old = await begun(store, 0)
    new = await resumed(store, old.name)
    for call in (seal(old, 1), old.write(0, b"late", blake3()), old.reopen(0), old.publish(tree_of(DATA))):
        with refused(ErrorCode.LEASE_LOST):
            await call
    await old.discard()
    await old.suspend()
    assert {0} == new.leaves.keys()
    for index in (1, 2):
        await seal(new, index)
    await new.publish(tree_of(DATA))
    assert DATA == await get(store, "a.bin")


async def test_of_many_newcomers_one_owns_it(store: Store) -> None:
    """Of many that resume an upload at the same time exactly one can write to it; it ends the upload."""
    old = await begun(store, 0)
    newcomers = await asyncio.gather(*(resumed(store, old.name) for _ in range(8)))
    results = await asyncio.gather(*(seal(newcomer, 1) for newcomer in newcomers), return_exceptions=True)
    owners = [newcomer for newcomer, result in zip(newcomers, results, strict=True) if result is None]
    assert [ErrorCode.LEASE_LOST] * 7 == [result.code for result in results if isinstance(result, FtpdError)]
    [owner] = owners
    await seal(owner, 2)
    await owner.publish(tree_of(DATA))
    assert DATA == await get(store, "a.bin")


async def test_a_wrong_chunk_is_not_sealed(store: Store) -> None:
    """Bytes with another digest are `integrity`, and the chunk is not had, also not after a break."""
    upload = await begun(store, 0)
    with refused(ErrorCode.INTEGRITY):
        await seal(upload, 1, bytes(CHUNK))
    assert {0} == upload.leaves.keys()
    await upload.suspend()
    again = await resumed(store, upload.name)
    assert {0} == again.leaves.keys()
    await again.discard()


async def test_a_reopened_chunk_is_not_sealed(store: Store) -> None:
    """A chunk that is about to be written again is not had until it is sealed again."""
    upload = await begun(store, 0, 1)
    await upload.reopen(0)
    await upload.suspend()
    again = await resumed(store, upload.name)
    assert {1} == again.leaves.keys()
    await again.discard()


async def test_with_nothing_sealed_there_is_nothing_to_go_on_with(store: Store) -> None:
    """An upload without a sealed chunk is dropped when it is suspended."""
    upload = await begun(store)
    await upload.suspend()
    with refused(ErrorCode.UNKNOWN_UPLOAD):
        await store.resume(upload.name, PLAN)


@pytest.mark.parametrize("plan", [PLAN._replace(path=path_of("b")), PLAN._replace(size=1), PLAN._replace(chunk_size=1)])
async def test_another_file(store: Store, plan: object) -> None:
    """An upload of another name, size or cut is not the one that was begun; that one stays."""
    upload = await begun(store, 0)
    await upload.suspend()
    with refused(ErrorCode.UNKNOWN_UPLOAD):
        await store.resume(upload.name, plan)  # type: ignore[arg-type] # a plan, which parametrize forgets
    again = await resumed(store, upload.name)
    await again.discard()


async def test_names_that_are_none(store: Store) -> None:
    """No name from outside leads anywhere else."""
    for name in ("", ".", "..", "../tmp/x", "a" * 5000, "0" * 32, "A" * 32, "a.bin"):
        with refused(ErrorCode.UNKNOWN_UPLOAD):
            await store.resume(name, PLAN)


async def test_a_name_that_was_taken_meanwhile(store: Store) -> None:
    """`fail` and `skip` hold when an upload is gone on with as when it is begun; `overwrite` replaces."""
    upload = await begun(store, 0, 1, 2)
    await upload.suspend()
    await put(store, "a.bin", b"other")
    with refused(ErrorCode.EXISTS):
        await store.resume(upload.name, PLAN._replace(if_exists=IfExists.FAIL))
    assert await store.resume(upload.name, PLAN._replace(if_exists=IfExists.SKIP)) is None
    again = await resumed(store, upload.name)
    await again.publish(tree_of(DATA))
    assert DATA == await get(store, "a.bin")


async def test_nobody_sees_it(store: Store) -> None:
    """An unfinished upload has no name that anybody could read."""
    upload = await begun(store, 0, 1, 2)
    with pytest.raises(FtpdError):
        await store.stat(path_of("a.bin"))
    await upload.suspend()
    with pytest.raises(FtpdError):
        await store.stat(path_of("a.bin"))
    await store.sweep()
    again = await resumed(store, upload.name)
    await again.discard()
