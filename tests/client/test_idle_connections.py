"""A server ends a connection on which nothing is asked for too long: that is no break, and nothing fails for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ftpc.files import LocalSource
from ftpc.transfer import upload
from ftpd import requests
from ftpd.payload import tcp
from ftpd.wire.limits import SMALL_FILE
from tests.client.support import MIB, Service, connected, content
from tests.client.test_trees import all_in, make


@pytest.fixture
async def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """A server that waits for a fraction of a second only, at the end of a thin line."""
    monkeypatch.setattr(requests, "IDLE_S", 0.3)
    (tmp_path / "root").mkdir()
    service = Service(tmp_path / "root")
    await service.start(limit_rate=1_000_000)
    yield service
    await service.stop()


async def test_large_files_in_folder_after_folder(slow: Service, folder: Path) -> None:
    """However often the next listing waits for large files, a download of a folder ends well."""
    files = {f"{'in/' * depth}{name}": content(SMALL_FILE + 1, name) for depth in range(5) for name in range(14)}
    make(slow.root, files)
    async with connected(slow.address, retries=2) as client:
        result = await client.get_tree("", folder / "here")
    assert (len(files), []) == (result.files, result.errors)
    assert files == all_in(folder / "here")


async def test_a_small_file_after_large_ones(slow: Service, folder: Path) -> None:
    """A small file that goes up after large ones finds a connection."""
    large = {f"{number:02}": content(2 * SMALL_FILE, number) for number in range(14)}
    files = {**large, "small": b"small"}
    make(folder, files)
    async with connected(slow.address, retries=0) as client:
        result = await client.put_many([(str(folder / name), name) for name in files])
    assert (len(files), []) == (result.files, result.errors)
    assert sorted(files) == slow.published()


@pytest.mark.parametrize(("verb", "is_far"), [("get", False), ("put", False), ("put", True)])
async def test_a_file_that_takes_long_to_compare(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch, verb: str, *, is_far: bool
) -> None:
    """A file whose last byte is another is read once, and then moved over a connection that is there."""
    if is_far:
        monkeypatch.setattr(tcp, "LONG_S", 0.0)
        monkeypatch.setattr(upload, "QUICK", MIB)
    data = content(17 * MIB)
    other = data[:-1] + bytes([data[-1] ^ 1])
    make(folder, {"source": data, "a": other})
    async with connected(service.address) as client:
        await client.put(folder / "source", "a")
    monkeypatch.setattr(requests, "IDLE_S", 0.3)
    compared: list[int] = []
    real = LocalSource.leaf
    async with connected(service.address) as client:

        async def leaf(source: LocalSource, offset: int, size: int) -> bytes:
            await connection.channel.ended.wait()  # what the server does when it has waited long enough
            compared.append(offset)
            return await real(source, offset, size)

        connection = await client._pool._open()
        client._pool._idle.append(connection)
        monkeypatch.setattr(LocalSource, "leaf", leaf)
        result = await (client.get("a", folder / "a") if verb == "get" else client.put(folder / "a", "a"))
    assert [0, 8 * MIB, 16 * MIB] == compared
    assert not result.identical
    assert {data if verb == "get" else other} == {(where / "a").read_bytes() for where in (folder, service.root)}
