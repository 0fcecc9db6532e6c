"""One flipped bit on the way: the file never appears under its name, on neither side."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ftpc import Client, IntegrityError
from tests.client.proxy import Proxy
from tests.client.support import MIB, Service, connected, content, hidden, names_in

BIG = 17 * MIB


@pytest.mark.parametrize("at", [600, 8 * MIB + 600, BIG - 10])
async def test_flip_in_a_get(service: Service, proxy: Proxy, far_client: Client, folder: Path, at: int) -> None:
    """A bit that flips in a chunk of a get is found where it arrives; that chunk is fetched again, and no other."""
    (folder / "source").write_bytes(content(BIG))
    async with connected(service.address) as client:
        await client.put(folder / "source", "a")
    proxy.down.flip_at = at + 500
    result = await far_client.get("a", folder)
    assert content(BIG) == (folder / "a").read_bytes()
    assert (1, False) == (result.repaired, result.restarted)
    assert proxy.down.count < BIG + 8 * MIB + 10_000


@pytest.mark.parametrize("at", [600, 8 * MIB + 600, BIG - 10])
async def test_flip_in_a_get_of_an_unknown_file(
    service: Service, proxy: Proxy, far_client: Client, folder: Path, at: int
) -> None:
    """A bit that flips in a file whose digests come last is found by then, and nothing of it is kept."""
    (service.root / "a").write_bytes(content(BIG))
    proxy.down.flip_at = at
    with pytest.raises(IntegrityError, match=r"^a: "):
        await far_client.get("a", folder)
    assert ([], []) == (names_in(folder), hidden(folder))
    await far_client.get("a", folder)
    assert content(BIG) == (folder / "a").read_bytes()


async def test_get_over_a_way_that_damages_everything(service: Service, proxy: Proxy, folder: Path) -> None:
    """A chunk that never arrives whole ends the download after a few tries, and nothing appears."""
    (folder / "source").write_bytes(content(BIG))
    async with connected(service.address) as client:
        await client.put(folder / "source", "a")
    proxy.down.flip_at, proxy.down.flip_every = MIB, 5 * MIB
    async with connected(proxy.address) as client:
        with pytest.raises(IntegrityError, match=r"^a: a chunk is damaged"):
            await client.get("a", folder)
    assert (["source"], []) == (names_in(folder), hidden(folder))


async def test_flip_in_the_leaves(service: Service, proxy: Proxy, far_client: Client, folder: Path) -> None:
    """A bit that flips in the digests themselves is found before the bytes are taken."""
    (folder / "source").write_bytes(content(BIG))
    async with connected(service.address) as client:
        await client.put(folder / "source", "a")
    await far_client.hello()
    greeting = proxy.down.count
    await far_client.get("a", folder / "whole")
    before_bytes = proxy.down.count - greeting - BIG
    proxy.down.flip_at = proxy.down.count + before_bytes - 1
    with pytest.raises(IntegrityError, match="do not fit together"):
        await far_client.get("a", folder / "a")
    assert not (folder / "a").exists()


async def test_flip_in_the_trailer(service: Service, proxy: Proxy, far_client: Client, folder: Path) -> None:
    """A bit that flips in the trailing root is found."""
    (service.root / "a").write_bytes(content(100))
    await far_client.hello()
    greeting = proxy.down.count
    await far_client.get("a", folder / "whole", length=50)
    per_get = proxy.down.count - greeting
    proxy.down.flip_at = proxy.down.count + per_get - 5
    with pytest.raises(IntegrityError):
        await far_client.get("a", folder / "a", length=50)
    assert not (folder / "a").exists()


@pytest.mark.parametrize(
    ("size", "place"),
    [
        (6 * MIB, lambda end: end - 6 * MIB),
        (6 * MIB, lambda end: end - 3 * MIB),
        (6 * MIB, lambda end: end - 1),
        (1, lambda end: end - 1),
    ],
)
async def test_flip_in_a_put(
    service: Service, proxy: Proxy, folder: Path, size: int, place: Callable[[int], int]
) -> None:
    """A bit that flips in the bytes of a small put is found, and nothing is published."""
    (folder / "a").write_bytes(content(size))
    (service.root / "a").write_bytes(b"old")
    async with connected(proxy.address) as client:
        await client.put(folder / "a", "b")
        proxy.up.flip_at = proxy.up.count + place(proxy.up.count)
    async with connected(proxy.address) as client:
        with pytest.raises(IntegrityError):
            await client.put(folder / "a")
        await client.ping()
    assert b"old" == (service.root / "a").read_bytes()
    await service.settles()


@pytest.mark.parametrize("share", [0.25, 0.5, 0.999])
async def test_flip_in_a_chunk(service: Service, proxy: Proxy, folder: Path, share: float) -> None:
    """A bit that flips in a chunk is found where it arrives; that chunk is sent again, and no other."""
    (folder / "a").write_bytes(content(BIG))
    async with connected(proxy.address) as client:
        before = proxy.up.count
        proxy.up.flip_at = before + int(share * BIG)
        result = await client.put(folder / "a")
        assert (1, False) == (result.repaired, result.skipped)
    assert content(BIG) == (service.root / "a").read_bytes()
    assert proxy.up.count - before < BIG + 8 * MIB + 10_000


async def test_a_way_that_damages_everything(service: Service, proxy: Proxy, folder: Path) -> None:
    """A chunk that never arrives whole ends the upload after a few tries, and nothing is published."""
    (folder / "a").write_bytes(content(BIG))
    async with connected(proxy.address) as client:
        await client.hello()
        proxy.up.flip_at, proxy.up.flip_every = proxy.up.count + MIB, 5 * MIB
        with pytest.raises(IntegrityError):
            await client.put(folder / "a")
    assert [] == service.published()


async def test_flip_in_a_stream(service: Service, proxy: Proxy, far_client: Client, folder: Path) -> None:
    """A bit that flips in the bytes of a stream is found, is called the same, and nothing is published."""
    (folder / "a").write_bytes(content(BIG))
    proxy.up.flip_at = BIG // 2
    with (folder / "a").open("rb") as file, pytest.raises(IntegrityError):
        await far_client.put(file.fileno(), "a")
    assert [] == service.published()


async def test_change_on_the_servers_disk(service: Service, client: Client, folder: Path) -> None:
    """Bytes that change on the server's disk behind a time set back come as they are now, not as the digests say."""
    (folder / "a").write_bytes(content(BIG))
    await client.put(folder / "a")
    stored = service.root / "a"
    before = stored.stat()
    with stored.open("r+b") as file:
        file.seek(10 * MIB)
        file.write(b"\xff\x00\xff")
    os.utime(stored, ns=(before.st_atime_ns, before.st_mtime_ns))
    await client.get("a", folder / "b")
    assert stored.read_bytes() == (folder / "b").read_bytes()
