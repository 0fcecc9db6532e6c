"""More connections for a file on a short path: one after the other, as long as what is measured says that it pays."""

import asyncio
import os
import re
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

import ftpc
from ftpc.connection import Connection
from ftpc.progress import Item, Phase
from ftpc.transfer import growth
from ftpc.transfer.growth import Measured, measure, opportunity
from ftpd.wire.limits import CHUNKS_IN_FLIGHT
from tests.client.proxy import Line, Proxy
from tests.client.support import MIB, Service, connected, content, soon

CHUNK = 8 * MIB
SIZE = 24 * CHUNK + 1000
DATA = content(SIZE)

LIMITED = Measured(rate=1000, busy=1, idle=1)
"""One processor is the limit, another has nothing to do, and what is left takes long."""

Moment = Callable[[], Awaitable[object]]


class Gauge:
    """Says what is measured, each at its moment. After the last nothing is measured any more."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.said = 0
        """How much of it."""
        self.script: list[tuple[Moment, Measured]] = []
        patch.setattr(growth, "SETTLE_S", 0)
        patch.setattr(growth, "LOOK_S", 0.01)
        patch.setattr(growth, "measure", self._measure)

    async def _measure(self, item: Item) -> Measured:
        del item
        if self.said == len(self.script):
            await asyncio.Event().wait()
        moment, measured = self.script[self.said]
        await moment()
        self.said += 1
        return measured


@pytest.fixture
def gauge(monkeypatch: pytest.MonkeyPatch) -> Gauge:
    """What is measured."""
    return Gauge(monkeypatch)


def has_brought(line: Line, place: int, size: int) -> Moment:
    """Make the moment when one connection has brought so much."""

    async def wait() -> None:
        while len(line.shares) <= place or line.shares[place] < size:
            line.moved.clear()
            await line.moved.wait()

    return wait


def hold(line: Line, at: int) -> None:
    """Let the connection wait that brings that byte, and no other."""
    line.held.clear()
    line.go.clear()
    line.hold_at, line.holds_one = at, True


async def hold_again(line: Line) -> None:
    """When one connection waits let it go on, and the next wait that brings some chunks more."""
    await line.held.wait()
    let_go = line.go
    line.go = asyncio.Event()
    hold(line, line.count + 5 * CHUNK)
    let_go.set()


@pytest.fixture
async def source(service: Service, folder: Path) -> None:
    """A file whose digests the server knows."""
    (folder / "source").write_bytes(DATA)
    async with connected(service.address) as client:
        await client.put(folder / "source", "a")


async def test_an_upload_grows_as_long_as_it_pays(service: Service, proxy: Proxy, folder: Path, gauge: Gauge) -> None:
    """One connection more is opened where one is limited, and a third when the second has paid; bytes go over once."""
    (folder / "a").write_bytes(DATA)
    hold(proxy.up, CHUNK)
    faster = LIMITED._replace(rate=2000, busy=2)
    gauge.script = [
        (proxy.up.held.wait, LIMITED),
        (has_brought(proxy.up, 1, CHUNK), faster),
        (has_brought(proxy.up, 2, 1), faster._replace(rate=3000, idle=0)),  # there is no processor left for a fourth
    ]
    async with ftpc.connect(proxy.address, retries=0) as client:
        putting = asyncio.create_task(client.put(folder / "a"))
        await soon(lambda: gauge.said == 3, "all is measured")
        proxy.up.go.set()
        result = await putting
    assert (3, 0, 0) == (proxy.accepted, result.resumed, result.repaired)
    assert SIZE < proxy.up.count < SIZE + 20_000
    assert DATA == (service.root / "a").read_bytes()
    assert [] == service.partials()


async def test_one_that_does_not_pay_leaves_an_upload(
    service: Service, proxy: Proxy, folder: Path, gauge: Gauge
) -> None:
    """A connection that makes an upload no faster brings what it has begun, and no more; no other is tried."""
    (folder / "a").write_bytes(DATA)
    hold(proxy.up, CHUNK)
    gauge.script = [(proxy.up.held.wait, LIMITED), (has_brought(proxy.up, 1, CHUNK // 2), LIMITED._replace(rate=1099))]
    async with ftpc.connect(proxy.address, retries=0) as client:
        putting = asyncio.create_task(client.put(folder / "a"))
        await soon(lambda: gauge.said == 2, "it is measured")
        await soon(lambda: client._pool._idle, "it is done")
        brought = proxy.up.shares[1]
        proxy.up.go.set()
        await putting
    assert 2 == proxy.accepted
    assert CHUNK <= brought <= (CHUNKS_IN_FLIGHT + 1) * (CHUNK + 1000)
    assert brought == proxy.up.shares[1]
    assert SIZE < proxy.up.count < SIZE + 20_000
    assert DATA == (service.root / "a").read_bytes()


@pytest.mark.parametrize(
    ("measured", "streams"),
    [
        (LIMITED._replace(busy=0.5), 8),  # the line is the limit, or the disk, or the server
        (LIMITED._replace(idle=0.5), 8),
        (LIMITED._replace(rate=SIZE / 9), 8),  # it is over soon
        (LIMITED._replace(rate=0), 8),  # nothing moves at all: no more is known of the rate
        (LIMITED, 1),
    ],
)
async def test_no_upload_grows_without_need(
    proxy: Proxy, folder: Path, gauge: Gauge, measured: Measured, streams: int
) -> None:
    """Without a processor that is the limit, one that is free, and enough to do it stays at one connection."""
    (folder / "a").write_bytes(DATA)
    hold(proxy.up, CHUNK)
    gauge.script = [(proxy.up.held.wait, measured)]
    async with ftpc.connect(proxy.address, streams=streams, retries=0) as client:
        putting = asyncio.create_task(client.put(folder / "a"))
        await proxy.up.held.wait()
        await soon(lambda: streams == 1 or gauge.said, "it is measured")
        proxy.up.go.set()
        await putting
    assert 1 == proxy.accepted


async def test_others_count(proxy: Proxy, folder: Path, gauge: Gauge) -> None:
    """That we are busy with several files at a time is no sign that one of them is limited."""
    (folder / "a").write_bytes(DATA)
    hold(proxy.up, CHUNK)
    gauge.script = [(proxy.up.held.wait, LIMITED)]
    async with ftpc.connect(proxy.address, retries=0) as client, client._pool.lend():
        putting = asyncio.create_task(client.put(folder / "a"))
        await soon(lambda: gauge.said, "it is measured")
        proxy.up.go.set()
        await putting
    assert 2 == proxy.accepted


async def test_one_that_is_not_let_in(service: Service, proxy: Proxy, folder: Path, gauge: Gauge) -> None:
    """Where the server takes one connection only, an upload goes on over that."""
    await service.stop()
    await service.start(max_per_source=1)
    (folder / "a").write_bytes(DATA)
    hold(proxy.up, CHUNK)
    gauge.script = [(proxy.up.held.wait, LIMITED)]
    async with ftpc.connect(proxy.address, retries=0) as client:
        putting = asyncio.create_task(client.put(folder / "a"))
        await soon(lambda: client._pool.is_crowded, "the other one is turned away")
        assert not client._pool.may_lend_beside()
        proxy.up.go.set()
        await putting
    assert 2 == proxy.accepted
    assert DATA == (service.root / "a").read_bytes()


async def test_nobody_waits_for_a_connection_that_others_have(service: Service, gauge: Gauge) -> None:
    """As long as no more connection would be lent, the one that there is goes on alone, and it is measured again."""
    item, is_free = Item("a", SIZE, Phase.SENDING), asyncio.Event()
    gauge.script = [*2 * [(partial(asyncio.sleep, 0), LIMITED)], (is_free.wait, LIMITED)]
    async with ftpc.connect(service.address, streams=2) as client, asyncio.TaskGroup() as group:
        async with client._pool.lend_beside():
            waiting = group.create_task(opportunity(item, client._pool))
            await soon(lambda: gauge.said == 2, "it is measured")
            assert not waiting.done()
        is_free.set()
    assert LIMITED == waiting.result()


async def test_one_that_is_lost(service: Service, proxy: Proxy, folder: Path, gauge: Gauge) -> None:
    """What a connection that came later had not got confirmed when it is lost goes over the first."""
    (folder / "a").write_bytes(DATA)
    hold(proxy.up, CHUNK)
    gauge.script = [(proxy.up.held.wait, LIMITED)]
    async with ftpc.connect(proxy.address, retries=0) as client:
        putting = asyncio.create_task(client.put(folder / "a"))
        await has_brought(proxy.up, 1, CHUNK + CHUNK // 2)()
        proxy.cut_one(-1)
        proxy.up.go.set()
        result = await putting
    assert DATA == (service.root / "a").read_bytes()
    assert 0 == result.repaired


async def test_a_download_grows(proxy: Proxy, folder: Path, gauge: Gauge, source: None) -> None:
    """The stream is ended between two chunks; what is missing comes over one connection, and over more if it pays.

    No chunk is asked for again that was there, and that is no break: nothing counts as gone on with.
    """
    down, asked = proxy.down, bytearray()
    proxy.up.watch = asked.extend
    hold(down, 3 * CHUNK + 5000)
    gauge.script = [
        (partial(hold_again, down), LIMITED),
        (down.held.wait, LIMITED),  # in the connection that goes on
        (has_brought(down, 2, 2 * CHUNK), LIMITED._replace(rate=2000)),
    ]
    async with ftpc.connect(proxy.address, retries=0) as client:
        getting = asyncio.create_task(client.get("a", folder / "b"))
        await soon(lambda: gauge.said == 3, "all is measured")
        down.go.set()
        result = await getting
    assert DATA == (folder / "b").read_bytes()
    assert (3, 0, 0, False) == (proxy.accepted, result.resumed, result.repaired, result.restarted)
    offsets = [int(offset) for offset in re.findall(rb'"offset":(\d+)', asked)]
    assert [*range(min(offsets), SIZE, CHUNK)] == sorted(offsets)
    assert min(offsets) >= CHUNK


async def test_one_that_does_not_pay_leaves_a_download(proxy: Proxy, folder: Path, gauge: Gauge, source: None) -> None:
    """A connection that makes a download no faster brings what it has asked for, and no more."""
    down = proxy.down
    hold(down, 3 * CHUNK + 5000)
    gauge.script = [
        (partial(hold_again, down), LIMITED),
        (down.held.wait, LIMITED),
        (has_brought(down, 2, CHUNK // 2), LIMITED),
    ]
    async with ftpc.connect(proxy.address, retries=0) as client:
        getting = asyncio.create_task(client.get("a", folder / "b"))
        await soon(lambda: gauge.said == 3, "all is measured")
        await soon(lambda: client._pool._idle, "it is done")
        brought = down.shares[2]
        down.go.set()
        await getting
    assert 3 == proxy.accepted
    assert brought == down.shares[2] < 6 * CHUNK
    assert DATA == (folder / "b").read_bytes()


async def test_a_download_without_digests_stays_one_stream(
    service: Service, proxy: Proxy, folder: Path, gauge: Gauge
) -> None:
    """What the server has no digests of can not be proven in parts: it comes as it is, however much might be gained."""
    (service.root / "a").write_bytes(DATA)
    hold(proxy.down, CHUNK)
    gauge.script = [(proxy.down.held.wait, LIMITED)]
    async with ftpc.connect(proxy.address, retries=0) as client:
        getting = asyncio.create_task(client.get("a", folder / "b"))
        await soon(lambda: gauge.said, "it is measured")
        proxy.down.go.set()
        await getting
    assert 1 == proxy.accepted
    assert DATA == (folder / "b").read_bytes()


@pytest.mark.parametrize("streams", [2, 3])
async def test_as_many_as_are_allowed(proxy: Proxy, folder: Path, gauge: Gauge, source: None, streams: int) -> None:
    """A download whose stream is ended can use as many connections as any, and no more, however much each pays."""
    down = proxy.down
    hold(down, 3 * CHUNK + 5000)
    rates = [LIMITED._replace(rate=2**step * 1000, busy=8, idle=8) for step in range(5)]
    here = partial(asyncio.sleep, 0)
    gauge.script = [
        (partial(hold_again, down), LIMITED),
        (down.held.wait, rates[0]),
        *((here, rate) for rate in rates[1:]),
    ]
    async with ftpc.connect(proxy.address, streams=streams, retries=0) as client:
        getting = asyncio.create_task(client.get("a", folder / "b"))
        await soon(lambda: gauge.said == len(gauge.script), "all is measured")
        down.go.set()
        await getting
    assert 1 + streams == proxy.accepted
    assert DATA == (folder / "b").read_bytes()


async def test_a_download_that_can_not_have_another_connection(
    service: Service, proxy: Proxy, folder: Path, gauge: Gauge, source: None
) -> None:
    """Where the server takes one only, the stream is not ended for nothing."""
    await service.stop()
    await service.start(max_per_source=1)
    hold(proxy.down, 3 * CHUNK + 5000)
    gauge.script = [(proxy.down.held.wait, LIMITED)]
    async with ftpc.connect(proxy.address, retries=0) as client:
        getting = asyncio.create_task(client.get("a", folder / "b"))
        await soon(lambda: client._pool.is_crowded, "the other one is turned away")
        proxy.down.go.set()
        await getting
    assert 2 == proxy.accepted
    assert DATA == (folder / "b").read_bytes()
    assert proxy.down.count < SIZE + 20_000


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_download_of_what_is_gone(
    service: Service, proxy: Proxy, folder: Path, gauge: Gauge, source: None, *, is_replaced: bool
) -> None:
    """What has lost its name meanwhile, or has another content, comes as one stream to its end."""
    hold(proxy.down, 3 * CHUNK + 5000)
    is_gone = asyncio.Event()
    gauge.script = [(is_gone.wait, LIMITED)]
    async with ftpc.connect(proxy.address, retries=0) as client, connected(service.address) as other:
        getting = asyncio.create_task(client.get("a", folder / "b"))
        await proxy.down.held.wait()
        (service.root / "a").unlink()
        if is_replaced:
            (folder / "source").write_bytes(DATA[::-1])
            await other.put(folder / "source", "a")
        is_gone.set()
        await soon(lambda: client._pool._idle, "another connection has asked")
        proxy.down.go.set()
        await getting
    assert 2 == proxy.accepted
    assert DATA == (folder / "b").read_bytes()


@pytest.mark.parametrize("what", ["put", "get", "get in parts"])
async def test_another_connection_that_is_not_to_be_trusted(
    proxy: Proxy, folder: Path, gauge: Gauge, source: None, what: str
) -> None:
    """What is wrong with a connection that is only tried does not end what goes on without it."""
    line, refused = proxy.up if what == "put" else proxy.down, asyncio.Event()
    hold(line, 3 * CHUNK + 5000)

    async def refuse() -> Connection:
        refused.set()
        raise ftpc.TrustError("this is not the server")

    async def refuse_others() -> None:
        await line.held.wait()
        client._pool._connect = refuse

    in_parts = [(partial(hold_again, line), LIMITED)] if what == "get in parts" else []
    gauge.script = [*in_parts, (refuse_others, LIMITED)]
    async with ftpc.connect(proxy.address, retries=0) as client:
        moving = asyncio.create_task(client.put(folder / "source", "b") if what == "put" else client.get("a", folder))
        await refused.wait()
        line.go.set()
        await moving
    assert 1 + len(in_parts) == proxy.accepted


async def test_damage_before_a_download_grows(proxy: Proxy, folder: Path, gauge: Gauge, source: None) -> None:
    """A chunk that came damaged in the stream is fetched again, and counts as repaired."""
    down = proxy.down
    down.flip_at = CHUNK // 2
    hold(down, 3 * CHUNK + 5000)
    gauge.script = [(partial(hold_again, down), LIMITED), (down.held.wait, LIMITED._replace(idle=0))]
    async with ftpc.connect(proxy.address, retries=0) as client:
        getting = asyncio.create_task(client.get("a", folder / "b"))
        await soon(lambda: gauge.said == 2, "all is measured")
        down.go.set()
        result = await getting
    assert DATA == (folder / "b").read_bytes()
    assert (1, 0) == (result.repaired, result.resumed)


async def test_a_break_after_a_download_has_grown(proxy: Proxy, folder: Path, gauge: Gauge, source: None) -> None:
    """That the stream was ended is no break, but a break behind it is one: what is here then was gone on with."""
    down = proxy.down
    hold(down, 3 * CHUNK + 5000)
    gauge.script = [(partial(hold_again, down), LIMITED), (down.held.wait, LIMITED._replace(idle=0))]
    async with ftpc.connect(proxy.address, retries=5) as client:
        getting = asyncio.create_task(client.get("a", folder / "b"))
        await soon(lambda: gauge.said == 2, "all is measured")
        proxy.cut()
        result = await getting
    assert DATA == (folder / "b").read_bytes()
    assert result.resumed >= CHUNK
    assert not result.restarted


async def test_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is seen what we do and how fast it goes; no processor is free that nobody tells of; little is left alone."""
    monkeypatch.setattr(growth, "LOOK_S", 0.2)
    item, over = Item("a", SIZE, Phase.SENDING), threading.Event()

    def work() -> None:
        while not over.is_set():
            item.moved += 1  # `done` stays

    thread = threading.Thread(target=work)
    thread.start()
    measured = await measure(item)
    monkeypatch.setattr(growth, "PROC_STAT", Path("/nowhere"))
    untold = await measure(item)
    over.set()
    thread.join()
    assert measured is not None
    assert untold is not None
    assert measured.rate > 0
    assert measured.busy > 0
    assert untold.idle <= 0
    assert untold.busy > 0
    assert await measure(Item("a", CHUNK, Phase.SENDING)) is None


@pytest.mark.parametrize(
    ("later", "is_free"), [("9 9 9 900 0", True), ("9 9 9 100 800", True), ("900 9 9 100 0", False)]
)
async def test_processors_that_have_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str, *, is_free: bool
) -> None:
    """A processor is free if it is idle or waits for a disk (proc_stat(5)), of those that this process may use."""
    monkeypatch.setattr(growth, "LOOK_S", 0.01)
    monkeypatch.setattr(growth, "PROC_STAT", tmp_path / "stat")
    (tmp_path / "stat").write_text("cpu  9 9 9 100 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    measuring = asyncio.create_task(measure(Item("a", SIZE, Phase.SENDING)))
    await asyncio.sleep(0)
    (tmp_path / "stat").write_text(f"cpu  {later} 0 0 0 0 0\n")
    measured = await measuring
    assert measured is not None
    most = len(os.sched_getaffinity(0)) - measured.busy
    assert measured.idle == (most if is_free else 0)
