"""Downloads of one file over several connections: on long paths only, and whatever becomes of one of them."""

import asyncio
from pathlib import Path

import pytest

import ftpc
from ftpc.jobs import unfinished
from ftpc.transfer.download import Download
from ftpd.payload import tcp
from ftpd.payload.journal import Journal
from tests.client.proxy import Proxy
from tests.client.support import MIB, PATIENCE_S, Recorder, Service, connected, content, hidden

CHUNK = 8 * MIB
SIZE = 9 * CHUNK + 1000


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every path count as long."""
    monkeypatch.setattr(tcp, "LONG_S", 0.0)


@pytest.fixture
async def source(service: Service, folder: Path) -> None:
    """A file whose digests the server knows."""
    (folder / "source").write_bytes(content(SIZE))
    async with connected(service.address) as client:
        await client.put(folder / "source", "a")


async def test_one_connection_on_a_short_path(proxy: Proxy, folder: Path, source: None) -> None:
    """Over loopback a file comes over one connection, however large it is."""
    async with connected(proxy.address) as client:
        await client.get("a", folder / "b")
    assert 1 == proxy.accepted
    assert content(SIZE) == (folder / "b").read_bytes()


@pytest.mark.parametrize(("streams", "expected"), [(8, 8), (3, 3), (1, 1), (64, 10)])
@pytest.mark.usefixtures("far")
async def test_several_on_a_long_one(proxy: Proxy, folder: Path, source: None, streams: int, expected: int) -> None:
    """On a long path it comes over as many as are allowed and have something to bring; no chunk comes twice."""
    recorder = Recorder()
    async with ftpc.connect(proxy.address, streams=streams) as client:
        result = await client.get("a", folder / "b", progress=recorder)
    assert content(SIZE) == (folder / "b").read_bytes()
    assert expected == proxy.accepted
    assert (0, 0, False) == (result.resumed, result.repaired, result.restarted)
    assert proxy.down.count < SIZE + 20_000
    assert sorted(moment.done for moment in recorder.moments) == [moment.done for moment in recorder.moments]
    assert SIZE == recorder.moments[-1].done


@pytest.mark.usefixtures("far")
async def test_none_has_two_chunks_while_another_has_none(service: Service, proxy: Proxy, folder: Path) -> None:
    """The first connection asks for a second chunk only if there is one more than there are connections to come."""
    (folder / "source").write_bytes(content(4 * CHUNK))
    async with connected(service.address) as client:
        await client.put(folder / "source", "a")
    proxy.down.hold_at, proxy.down.holds_one = 10_000, True  # in the first chunk
    async with ftpc.connect(proxy.address, streams=4) as client:
        getting = asyncio.create_task(client.get("a", folder / "b"))
        await proxy.down.held.wait()
        while sum(share >= CHUNK for share in proxy.down.shares) < 3:
            proxy.down.moved.clear()
            await proxy.down.moved.wait()
        proxy.down.go.set()
        await getting
    assert [True] * 4 == [CHUNK <= share < CHUNK + 10_000 for share in proxy.down.shares]
    assert content(4 * CHUNK) == (folder / "b").read_bytes()


@pytest.mark.usefixtures("far")
async def test_a_file_of_which_the_server_knows_nothing(service: Service, proxy: Proxy, folder: Path) -> None:
    """What has no digests yet comes over one connection, proven at its end."""
    (service.root / "a").write_bytes(content(SIZE))
    async with connected(proxy.address) as client:
        await client.get("a", folder / "b")
    assert 1 == proxy.accepted
    assert content(SIZE) == (folder / "b").read_bytes()


@pytest.mark.usefixtures("far")
async def test_nobody_waits_for_what_is_not_needed(proxy: Proxy, folder: Path, source: None) -> None:
    """A download is over when all is here, also if another connection that it wanted is still used by other files."""
    async with ftpc.connect(proxy.address, streams=2) as client, client._pool.lend_beside():
        async with asyncio.timeout(PATIENCE_S):
            await client.get("a", folder / "b")
    assert content(SIZE) == (folder / "b").read_bytes()


@pytest.mark.usefixtures("far")
async def test_flips_are_repaired(proxy: Proxy, folder: Path, source: None) -> None:
    """Each chunk that arrives damaged is fetched again, and no other."""
    proxy.down.flip_at, proxy.down.flip_every = CHUNK, 3 * CHUNK
    async with connected(proxy.address, retries=5) as client:
        result = await client.get("a", folder / "b")
    assert content(SIZE) == (folder / "b").read_bytes()
    assert result.repaired >= 2


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("at", [100_000, 3 * CHUNK, 8 * CHUNK])
async def test_all_are_cut(proxy: Proxy, folder: Path, source: None, at: int) -> None:
    """When all connections are lost at once it goes on over others; what was verified is not fetched again."""
    proxy.down.cut_at = at
    recorder = Recorder(lambda moment: setattr(proxy.down, "cut_at", None) if moment.phase.startswith("conn") else None)
    async with connected(proxy.address, retries=5) as client:
        result = await client.get("a", folder / "b", progress=recorder)
    assert content(SIZE) == (folder / "b").read_bytes()
    assert not result.restarted
    assert [] == hidden(folder)


@pytest.mark.usefixtures("far")
async def test_holes_are_filled(proxy: Proxy, folder: Path, source: None) -> None:
    """Another process fetches what is missing, wherever that is."""
    proxy.down.cut_at = 6 * CHUNK
    async with ftpc.connect(proxy.address, retries=0, jobs=folder / "jobs") as client:
        with pytest.raises(ftpc.FtpcError):
            await client.get("a", folder / "b")
    proxy.down.cut_at = None
    [job] = unfinished(folder / "jobs")
    # Of what is here, forget the first: there is a hole before it then.
    [path] = (folder / "jobs").iterdir()
    with path.open("r+b") as file:
        opened = Journal.open(file.fileno())
        assert opened is not None
        journal, found = opened
        there = sorted(found.leaves)
        journal.drop(there[0])
    before = proxy.down.count
    async with ftpc.connect(proxy.address, retries=0, jobs=folder / "jobs") as client:
        result = await client.get("a", folder / "b")
    assert content(SIZE) == (folder / "b").read_bytes()
    assert job.size == SIZE
    assert result.resumed == sum(min(CHUNK, SIZE - index * CHUNK) for index in there[1:])
    assert proxy.down.count - before < SIZE - result.resumed + 20_000


@pytest.mark.parametrize("let_in", [1, 3])
@pytest.mark.usefixtures("far")
async def test_few_are_let_in(
    service: Service, proxy: Proxy, folder: Path, source: None, let_in: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only so many connections are let in, these fetch what the others should have, and no chunk twice."""
    monkeypatch.delattr(Download, "_fetch")  # of what is left when the connections are done
    await service.stop()
    await service.start(max_per_source=let_in)
    async with ftpc.connect(proxy.address, streams=8, retries=0) as client:
        await client.get("a", folder / "b")
    assert 8 == proxy.accepted
    assert content(SIZE) == (folder / "b").read_bytes()
    assert proxy.down.count < SIZE + 20_000


@pytest.mark.usefixtures("far")
async def test_replaced_in_the_middle(service: Service, proxy: Proxy, folder: Path, source: None) -> None:
    """A file that is replaced while its chunks come is begun afresh: no chunk of the old one stays."""
    del source
    new = content(SIZE, 1)
    (folder / "new").write_bytes(new)
    proxy.down.hold_at = 2 * CHUNK  # when not all has been asked for
    async with connected(service.address) as direct, ftpc.connect(proxy.address, streams=2, retries=3) as client:
        downloading = asyncio.create_task(client.get("a", folder / "b"))
        await proxy.down.held.wait()
        await direct.put(folder / "new", "a")
        proxy.down.hold_at = None
        proxy.down.go.set()
        result = await downloading
    assert new == (folder / "b").read_bytes()
    assert result.restarted


@pytest.mark.usefixtures("far")
async def test_cancelled(proxy: Proxy, folder: Path, source: None) -> None:
    """Cancelling leaves nothing, and nothing goes on."""
    del source
    proxy.down.hold_at = 4 * CHUNK
    async with connected(proxy.address) as client:
        downloading = asyncio.create_task(client.get("a", folder / "b"))
        await proxy.down.held.wait()
        downloading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await downloading
        assert ([], False) == (hidden(folder), (folder / "b").exists())
        proxy.down.hold_at = None
        proxy.down.go.set()
        await client.get("a", folder / "b")
    assert content(SIZE) == (folder / "b").read_bytes()
