"""One upload, one owner: who takes over has it in one round trip, and who lost it hears so and harms nothing."""

import asyncio
from pathlib import Path

import pytest

from ftpc import RefusedError
from ftpc.results import PutResult
from ftpd.wire.terms import IfExists
from tests.client.proxy import Proxy
from tests.client.support import MIB, Recorder, Service, connected, content
from tests.peer import Peer
from tests.server.tree import leaf_of, tree_of

CHUNK = 8 * MIB
SIZE = 4 * CHUNK + 1000


def resume(peer: Peer, upload: str) -> list[list[int]]:
    """Take an upload over."""
    begun = peer.ask({"cmd": "begin", "filename": "a", "filesize": SIZE, "upload": upload})
    have: list[list[int]] = begun["have"]
    return have


def send(peer: Peer, upload: str, index: int, data: bytes) -> bool:
    """Send a chunk of the file."""
    piece = data[index * CHUNK : (index + 1) * CHUNK]
    header = {"cmd": "chunk", "upload": upload, "index": index, "size": len(piece), "digest": leaf_of(piece)}
    return peer.ask(header, piece)["ok"] is True


async def test_a_half_open_connection_is_in_nobodys_way(service: Service, proxy: Proxy, folder: Path) -> None:
    """The successor has the upload with its first reply; what the old owner still sends is refused, and it is told."""
    (folder / "a").write_bytes(content(SIZE))
    proxy.up.hold_at = 2 * CHUNK + CHUNK // 2
    async with connected(proxy.address) as client:
        confirmed = asyncio.Event()
        recorder = Recorder(lambda moment: confirmed.set() if moment.done >= 2 * CHUNK else None)
        uploading = asyncio.create_task(client.put(folder / "a", progress=recorder))
        await asyncio.gather(proxy.up.held.wait(), confirmed.wait())
        [upload] = [path.name for path in service.partials()]
        with Peer(service.port) as peer:
            assert [[0, 1]] == await asyncio.to_thread(resume, peer, upload)
            proxy.up.go.set()  # all that the old owner has on its way arrives now
            with pytest.raises(RefusedError) as caught:
                await uploading
            assert "lease_lost" == caught.value.code
            for index in (2, 3, 4):
                assert await asyncio.to_thread(send, peer, upload, index, content(SIZE))
            root = tree_of(content(SIZE)).root
            stored = await asyncio.to_thread(peer.ask, {"cmd": "commit", "upload": upload, "chunks": 5, "root": root})
    assert stored["ok"]
    assert content(SIZE) == (service.root / "a").read_bytes()


async def put_by_many(service: Service, folder: Path, if_exists: IfExists) -> list[PutResult | BaseException]:
    """Let several clients upload files of their own to one name, all at once."""

    async def put(number: int) -> PutResult:
        path = folder / str(number)
        path.write_bytes(content(SIZE, number))
        async with connected(service.address) as client:
            return await client.put(path, "a", if_exists=if_exists)

    return await asyncio.gather(*(put(number) for number in range(6)), return_exceptions=True)


async def test_many_clients_to_one_name(service: Service, folder: Path) -> None:
    """Of clients that overwrite one name all succeed, and in the end it is the whole file of one of them."""
    results = await put_by_many(service, folder, IfExists.OVERWRITE)
    assert [] == [result for result in results if isinstance(result, BaseException)]
    assert (service.root / "a").read_bytes() in [content(SIZE, number) for number in range(6)]
    assert [] == service.partials()


async def test_one_client_wins(service: Service, folder: Path) -> None:
    """Of clients that want the name for themselves one gets it, whole; the others hear `exists`, and leave nothing."""
    results = await put_by_many(service, folder, IfExists.FAIL)
    assert ["exists"] * 5 == [result.code for result in results if isinstance(result, RefusedError)]
    [winner] = [number for number, result in enumerate(results) if isinstance(result, PutResult)]
    assert content(SIZE, winner) == (service.root / "a").read_bytes()
    assert [] == service.partials()
