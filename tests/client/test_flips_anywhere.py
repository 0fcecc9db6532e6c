"""Bits that flip anywhere on the way, in headers and digests as well as in bytes: the file ends identical."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import ftpc
from ftpc.client import Client
from tests.client.proxy import Proxy
from tests.client.support import MIB, Service, connected, content

CHUNK = 8 * MIB
SIZE = CHUNK + 1000
"""A chunk, and one so small that headers are a good part of what follows."""

HEADERS = 220
"""Bytes that the requests before the first byte of a file have, about."""


@pytest.fixture
async def patient(proxy: Proxy) -> AsyncIterator[Client]:
    """A client that tries again, and has been greeted."""
    async with ftpc.connect(proxy.address, retries=5, stall_timeout_s=0.5, connect_timeout_s=1) as client:
        await client.hello()
        yield client


@pytest.fixture(params=[*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 100))])
def dice(request: pytest.FixtureRequest) -> random.Random:
    """A sequence that is the same in every run; what a failed test is called repeats it."""
    return random.Random(request.param)  # noqa: S311 (no secret)


def flip(proxy: Proxy, direction: str, place: int, dice: random.Random) -> None:
    """Let a bit flip so many bytes from here."""
    line = proxy.up if direction == "up" else proxy.down
    line.flip_at, line.flip_mask = line.count + place, 1 << dice.randrange(8)


@pytest.mark.parametrize("place", ["headers", "the second header", "commit", "confirmations"])
async def test_in_what_is_said_of_an_upload(
    service: Service, proxy: Proxy, patient: Client, folder: Path, dice: random.Random, place: str
) -> None:
    """A bit that flips in what is said of chunks, by either side, costs a chunk or a connection, never the upload."""
    (folder / "a").write_bytes(content(SIZE))
    match place:
        case "headers":
            flip(proxy, "up", dice.randrange(HEADERS), dice)
        case "the second header":
            flip(proxy, "up", HEADERS + CHUNK + dice.randrange(200), dice)
        case "commit":
            flip(proxy, "up", HEADERS + SIZE + 100 + dice.randrange(200), dice)
        case _:
            flip(proxy, "down", dice.randrange(200), dice)
    await patient.put(folder / "a")
    assert (["a"], content(SIZE)) == (service.published(), (service.root / "a").read_bytes())


@pytest.mark.parametrize("size", [0, 1, 5000])
async def test_in_a_small_upload(
    service: Service, proxy: Proxy, patient: Client, folder: Path, dice: random.Random, size: int
) -> None:
    """A small file is sent again as a whole, if what arrived is not what was sent."""
    (folder / "some name").write_bytes(content(size))
    # Behind the name: what happens to that is another test.
    flip(proxy, "up", 45 + dice.randrange(130 + size), dice)
    await patient.put(folder / "some name")
    assert content(size) == (service.root / "some name").read_bytes()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [1, 5000, SIZE])
async def test_in_a_download(
    service: Service,
    proxy: Proxy,
    patient: Client,
    folder: Path,
    dice: random.Random,
    size: int,
    *,
    known: bool,
) -> None:
    """Whatever flips in what comes down, be it known beforehand or not, what is kept in the end is the file."""
    (folder / "source").write_bytes(content(size))
    if known:
        async with connected(service.address) as direct:
            await direct.put(folder / "source", "a")
    else:
        (service.root / "a").write_bytes(content(size))
    flip(proxy, "down", dice.randrange(300 + size) if dice.randrange(2) else dice.randrange(260), dice)
    await patient.get("a", folder / "b")
    assert content(size) == (folder / "b").read_bytes()


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_in_what_is_asked_about_a_folder(
    service: Service, proxy: Proxy, patient: Client, folder: Path, dice: random.Random, direction: str
) -> None:
    """No bit that flips in the question which files are there, or in its answer, makes one count that is not."""
    (folder / "tree").mkdir()
    names = "acegikmoqs"  # in each of them a bit can flip that makes it another one
    for name in names[::2]:
        (folder / "tree" / name).write_bytes(b"")
    async with connected(service.address) as client:
        await client.put_tree(folder / "tree")
    for name in names[1::2]:
        (folder / "tree" / name).write_bytes(b"")
    flip(proxy, direction, dice.randrange(900 if direction == "up" else 350), dice)
    told: list[ftpc.TreeFile] = []
    await patient.put_tree(folder / "tree", report=told.append)
    assert len(names) == len(told)
    assert {f"tree/{name}" for name in names} == {file.remote for file in told if file.error} | {*service.published()}
