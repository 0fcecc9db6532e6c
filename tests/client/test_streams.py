"""One upload over several connections: used where the round trip is long, and as safe as over one."""

import asyncio
from pathlib import Path

import pytest

import ftpc
from ftpc import ChangedError, Client
from ftpc.jobs import unfinished
from ftpd.payload import tcp
from ftpd.wire.digests import tree_of
from tests.client.proxy import Proxy
from tests.client.scripted import GREETING, read_request, scripted
from tests.client.support import MIB, Moment, Recorder, Service, connected, content, soon
from tests.peer import frame

CHUNK = 8 * MIB
SIZE = 9 * CHUNK + 1000
DATA = content(SIZE)


def verified(service: Service) -> bool:
    """Tell whether the server has noted a chunk of the only upload that it has."""
    journals = [path.with_name(f"{path.name}.journal") for path in service.partials()]
    return any(path.stat().st_size > 48 + len(path.read_bytes().partition(b"\n")[0]) for path in journals)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every path count as long."""
    monkeypatch.setattr(tcp, "LONG_S", 0.0)


async def test_one_connection_on_a_short_path(service: Service, proxy: Proxy, far_client: Client, folder: Path) -> None:
    """Over loopback a file takes one connection, however large it is."""
    (folder / "a").write_bytes(DATA)
    await far_client.put(folder / "a")
    assert 1 == proxy.accepted
    assert DATA == (service.root / "a").read_bytes()


@pytest.mark.parametrize(("size", "streams", "expected"), [(SIZE, 8, 8), (SIZE, 3, 3), (2 * CHUNK, 8, 2), (SIZE, 1, 1)])
@pytest.mark.usefixtures("far")
async def test_several_on_a_long_one(
    service: Service, proxy: Proxy, folder: Path, size: int, streams: int, expected: int
) -> None:
    """There are as many connections as chunks, up to the limit; the file is whole, and its bytes go over once."""
    (folder / "a").write_bytes(DATA[:size])
    recorder = Recorder()
    async with ftpc.connect(proxy.address, streams=streams, retries=0) as client:
        result = await client.put(folder / "a", progress=recorder)
    assert (size, 0, 0) == (result.size, result.resumed, result.repaired)
    assert expected == proxy.accepted
    assert size < proxy.up.count < size + 10_000
    assert DATA[:size] == (service.root / "a").read_bytes()
    assert sorted(recorder.done) == recorder.done
    assert ["sending", "committing"][: len(recorder.phases)] == recorder.phases


@pytest.mark.usefixtures("far")
async def test_many_files_share_what_there_is(service: Service, proxy: Proxy, folder: Path) -> None:
    """Many files at the same time use no more connections than transfers and streams are allowed together."""
    (folder / "a").write_bytes(DATA)
    async with ftpc.connect(proxy.address, connections=3, streams=4, retries=0) as client:
        await asyncio.gather(*(client.put(folder / "a", f"{number}") for number in range(6)))
    assert proxy.accepted <= 3 + 3
    assert all(DATA == (service.root / f"{number}").read_bytes() for number in range(6))


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.usefixtures("far")
async def test_one_of_them_is_cut(service: Service, proxy: Proxy, folder: Path, place: int) -> None:
    """When a connection is lost, what it has not brought goes over the others; if it is the first, by going on."""
    (folder / "a").write_bytes(DATA)
    cut = False

    def cut_once(moment: Moment) -> None:
        nonlocal cut
        if not cut and moment.done:
            cut = True
            proxy.cut_one(place)

    recorder = Recorder(cut_once)
    async with ftpc.connect(proxy.address, retries=3 if place == 0 else 0) as client:
        await client.put(folder / "a", progress=recorder)
    assert DATA == (service.root / "a").read_bytes()
    assert [] == service.partials()


@pytest.mark.usefixtures("far")
async def test_all_but_the_first_are_cut_at_once(service: Service, proxy: Proxy, folder: Path) -> None:
    """Also when the others vanish before they have brought anything, the file arrives."""
    (folder / "a").write_bytes(DATA)
    proxy.up.hold_at = 2 * CHUNK
    async with connected(proxy.address) as client:
        uploading = asyncio.create_task(client.put(folder / "a"))
        await proxy.up.held.wait()
        for _ in range(7):
            proxy.cut_one(-1)
            await asyncio.sleep(0)
        proxy.up.hold_at = None
        proxy.up.go.set()
        await uploading
    assert DATA == (service.root / "a").read_bytes()


@pytest.mark.usefixtures("far")
async def test_damaged_chunks_are_sent_again(service: Service, proxy: Proxy, folder: Path) -> None:
    """Chunks that arrive damaged, over whichever connection, are sent again, and nothing else is."""
    (folder / "a").write_bytes(DATA)
    proxy.up.flip_at, proxy.up.flip_every = 2 * CHUNK + 5000, 3 * CHUNK
    async with connected(proxy.address) as client:
        result = await client.put(folder / "a")
    assert result.repaired >= 1
    assert DATA == (service.root / "a").read_bytes()
    assert proxy.up.count < SIZE + result.repaired * CHUNK + 10_000


@pytest.mark.usefixtures("far")
async def test_it_is_cancelled_and_gone_on_with(service: Service, proxy: Proxy, folder: Path) -> None:
    """Cancelled in the middle, it leaves nothing to see and nothing that runs; later it goes on with what was there."""
    (folder / "a").write_bytes(DATA)
    async with ftpc.connect(proxy.address, jobs=folder / "jobs") as client:
        proxy.up.hold_at = 8 * CHUNK
        uploading = asyncio.create_task(client.put(folder / "a"))
        await proxy.up.held.wait()
        await soon(lambda: verified(service), "a chunk is whole")
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        proxy.up.hold_at = None
        proxy.up.go.set()
        assert [] == service.published()
        assert 1 == len(unfinished(folder / "jobs"))
        result = await client.put(folder / "a")
    assert result.resumed >= CHUNK
    assert DATA == (service.root / "a").read_bytes()


@pytest.mark.usefixtures("far")
async def test_the_file_changes_meanwhile(service: Service, proxy: Proxy, folder: Path) -> None:
    """A file that becomes shorter while several connections send it is an error, and nothing is published."""
    path = folder / "a"
    path.write_bytes(DATA)
    proxy.up.hold_at = 3 * CHUNK
    async with connected(proxy.address) as client:
        uploading = asyncio.create_task(client.put(path))
        await proxy.up.held.wait()
        with path.open("r+b") as file:
            file.truncate(CHUNK)
        proxy.up.hold_at = None
        proxy.up.go.set()
        with pytest.raises(ChangedError):
            await uploading
    assert [] == service.published()


@pytest.mark.usefixtures("far")
async def test_a_server_that_can_not(folder: Path) -> None:
    """A server that gives no lease gets everything over one connection, and is never asked to wait."""
    data = DATA[: CHUNK + 1]
    (folder / "a").write_bytes(data)
    asked: list[dict[str, object]] = []
    absent = {"ok": False, "error": {"code": "not_found", "message": "no"}}
    begun = {"ok": True, "upload": "u", "chunk_size": CHUNK}
    stored = {"ok": True, "filename": "a", "filesize": len(data), "root": tree_of(data).root}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            asked.append(request)
            confirmed = {"ok": True, "index": request.get("index", 0)}
            replies = {"hello": GREETING, "stat": absent, "begin": begun, "chunk": confirmed, "commit": stored}
            writer.write(frame(replies[request["cmd"]]))
            await writer.drain()

    async with scripted(handle) as address, connected(address) as client:
        assert len(data) == (await client.put(folder / "a")).size
    commands = [str(request["cmd"]) for request in asked if request["cmd"] != "hello"]
    assert ["stat", "begin", "chunk", "chunk", "commit"] == commands
    assert "wait" not in asked[-1]


@pytest.mark.parametrize("let_in", [1, 3])
@pytest.mark.usefixtures("far")
async def test_a_server_that_lets_few_connect(service: Service, proxy: Proxy, folder: Path, let_in: int) -> None:
    """Where only so many connections are let in, the file comes over these, in one try."""
    (folder / "a").write_bytes(DATA)
    await service.stop()
    await service.start(max_per_source=let_in)
    recorder = Recorder()
    async with ftpc.connect(proxy.address, streams=8, retries=0) as client:
        await client.put(folder / "a", progress=recorder)
    assert 8 == proxy.accepted
    assert DATA == (service.root / "a").read_bytes()
    assert "waiting" not in recorder.phases


@pytest.mark.usefixtures("far")
async def test_a_server_that_lets_nobody_join(service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others are refused, the first connection brings everything."""
    (folder / "a").write_bytes(DATA)
    monkeypatch.setattr("ftpd.commands.uploads.secrets.compare_digest", lambda *_: False)
    async with connected(service.address) as client:
        await client.put(folder / "a")
    assert DATA == (service.root / "a").read_bytes()
