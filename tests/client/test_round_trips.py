"""What goes up comes down the same: files, pieces of files, streams, and what is told of them."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

import ftpc
from ftpc import Client, IfExists, LocalFileError, LocalNotFoundError, RefusedError
from ftpd.wire.digests import tree_of
from tests.client.support import MIB, Service, content, hidden, names_in, soon

SIZES = [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 25 * MIB]


@pytest.mark.parametrize("size", SIZES)
async def test_file_goes_up_and_comes_back(service: Service, client: Client, folder: Path, size: int) -> None:
    """A file of any size is the same on the server and when it comes back, and both results say what happened."""
    data = content(size)
    (folder / "a.bin").write_bytes(data)
    put = await client.put(folder / "a.bin")
    assert ftpc.PutResult("a.bin", size, tree_of(data).root, skipped=False) == put
    assert data == (service.root / "a.bin").read_bytes()
    got = await client.get("a.bin", folder / "b.bin")
    assert (folder / "b.bin", size) == (got.local, got.size)
    found = (service.root / "a.bin").stat()
    assert pytest.approx(found.st_mtime) == got.mtime
    assert found.st_mode & 0o777 == got.mode
    assert data == (folder / "b.bin").read_bytes()
    assert [] == hidden(folder)


async def test_file_whose_digests_the_server_does_not_know(service: Service, client: Client, folder: Path) -> None:
    """A file that came onto the server by other ways comes down as well, verified by a trailer."""
    data = content(9 * MIB)
    (service.root / "a").write_bytes(data)
    await client.get("a", folder)
    assert data == (folder / "a").read_bytes()


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 20 * MIB])
async def test_stream_goes_up(service: Service, client: Client, size: int) -> None:
    """What comes from a pipe in small pieces is stored whole, whatever its length."""
    data = content(size)
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb", buffering=0) as pipe:  # noqa: PTH123 (a descriptor)
            pipe.writelines(data[at : at + 60_001] for at in range(0, size, 60_001))

    try:
        writer = asyncio.create_task(asyncio.to_thread(write))
        put = await client.put(reading, "stream")
        await writer
    finally:
        os.close(reading)
    assert ("stream", size, False) == (put.remote, put.size, put.skipped)
    assert data == (service.root / "stream").read_bytes()


async def test_stream_whose_writer_is_slow(service: Service, client: Client) -> None:
    """A pipe that is silent for a while keeps nobody from anything, and all of it arrives."""
    reading, writing = os.pipe()
    try:
        task = asyncio.create_task(client.put(reading, "slow"))
        await soon(service.temporaries, "the upload has begun")
        for byte in range(50):
            os.write(writing, bytes([byte]))
            await client.ping()
        assert [] == service.published()
    finally:
        os.close(writing)
    assert 50 == (await task).size
    os.close(reading)
    assert bytes(range(50)) == (service.root / "slow").read_bytes()


@pytest.mark.parametrize("size", [0, 9 * MIB])
async def test_descriptor_of_a_file_goes_up(service: Service, client: Client, folder: Path, size: int) -> None:
    """A descriptor of a regular file is a stream from where it stands to its end."""
    (folder / "a").write_bytes(b"skipped" + content(size))
    with (folder / "a").open("rb") as file:
        os.lseek(file.fileno(), 7, os.SEEK_SET)
        await client.put(file.fileno(), "a")
    assert content(size) == (service.root / "a").read_bytes()


async def test_device_goes_up(service: Service, client: Client) -> None:
    """/dev/null is an empty stream: programs that are started without input have it as such."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        assert 0 == (await client.put(nothing, "empty")).size
    finally:
        os.close(nothing)
    assert b"" == (service.root / "empty").read_bytes()


@pytest.mark.parametrize("size", [0, 1, 9 * MIB])
async def test_file_comes_down_into_a_descriptor(service: Service, client: Client, size: int) -> None:
    """A descriptor gets all bytes, in order, and the result names no local file."""
    data = content(size)
    (service.root / "a").write_bytes(data)
    reading, writing = os.pipe()

    def read() -> bytes:
        with open(reading, "rb") as pipe:  # noqa: PTH123 (a descriptor)
            return pipe.read()

    reader = asyncio.create_task(asyncio.to_thread(read))
    try:
        got = await client.get("a", writing)
    finally:
        os.close(writing)
    assert (None, size) == (got.local, got.size)
    assert data == await reader


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, None, (0, 100)), (0, 10, (0, 10)), (40, 20, (40, 60)), (90, 20, (90, 100)), (100, None, (100, 100))],
)
async def test_range(
    service: Service, client: Client, folder: Path, offset: int, length: int | None, expected: tuple[int, int]
) -> None:
    """Of a range comes what there is of it."""
    (service.root / "a").write_bytes(content(100))
    got = await client.get("a", folder / "b", offset=offset, length=length)
    start, end = expected
    assert end - start == got.size
    assert content(100)[start:end] == (folder / "b").read_bytes()


async def test_range_beyond_the_end(service: Service, client: Client, folder: Path) -> None:
    """An offset beyond the end is refused, and nothing appears."""
    (service.root / "a").write_bytes(b"12345")
    with pytest.raises(RefusedError, match="offset") as caught:
        await client.get("a", folder / "b", offset=6)
    assert ("bad_range", {"filesize": 5}) == (caught.value.code, caught.value.facts)
    assert [] == names_in(folder)


@pytest.mark.parametrize("size", [10, 9 * MIB])
async def test_preserve(service: Service, client: Client, folder: Path, size: int) -> None:
    """Modification time, to the nanosecond, and mode go along both ways if that is asked for, and not otherwise."""
    mtime_ns = 1_234_567_890_123_456_789
    source = folder / "a"
    source.write_bytes(content(size))
    source.chmod(0o640)
    os.utime(source, ns=(mtime_ns, mtime_ns))
    await client.put(source, preserve=True)
    await client.get("a", folder / "b", preserve=True)
    await client.get("a", folder / "c")
    for path in (service.root / "a", folder / "b"):
        assert (mtime_ns, 0o640) == (path.stat().st_mtime_ns, stat.S_IMODE(path.stat().st_mode))
    assert mtime_ns != (folder / "c").stat().st_mtime_ns


@pytest.mark.parametrize("size", [10, 9 * MIB])
async def test_if_exists(service: Service, client: Client, folder: Path, size: int) -> None:
    """A name that is taken is overwritten, refused, skipped or evaded, as is asked for."""
    (folder / "a.txt").write_bytes(content(size))
    taken = service.root / "a.txt"
    taken.write_bytes(b"old")
    with pytest.raises(RefusedError) as caught:
        await client.put(folder / "a.txt", if_exists=IfExists.FAIL)
    assert "exists" == caught.value.code
    skipped = await client.put(folder / "a.txt", if_exists=IfExists.SKIP)
    assert ("a.txt", None, True) == (skipped.remote, skipped.root, skipped.skipped)
    renamed = await client.put(folder / "a.txt", if_exists=IfExists.RENAME)
    assert ("a (1).txt", False) == (renamed.remote, renamed.skipped)
    assert b"old" == taken.read_bytes()
    assert content(size) == (service.root / "a (1).txt").read_bytes()
    await client.put(folder / "a.txt", if_exists=IfExists.OVERWRITE)
    assert content(size) == taken.read_bytes()


async def test_stream_that_is_skipped(service: Service, client: Client) -> None:
    """A stream whose name is taken is not read if it is to be skipped."""
    (service.root / "a").write_bytes(b"old")
    reading, writing = os.pipe()
    try:
        assert (await client.put(reading, "a", if_exists=IfExists.SKIP)).skipped
    finally:
        os.close(reading)
        os.close(writing)
    assert b"old" == (service.root / "a").read_bytes()


async def test_what_can_not_be_sent(service: Service, client: Client, folder: Path) -> None:
    """A folder, a FIFO without a writer and what is not there are refused at once, and nothing reaches the server."""
    os.mkfifo(folder / "fifo")
    for path, kind in (
        (folder, LocalFileError),
        (folder / "fifo", LocalFileError),
        (folder / "no", LocalNotFoundError),
    ):
        with pytest.raises(kind):
            await client.put(path, "a")
    assert [] == service.published()


@pytest.mark.parametrize("name", ["a" * 256, "a" * 5000], ids=["component", "path"])
async def test_local_name_that_can_not_be(service: Service, client: Client, folder: Path, name: str) -> None:
    """A local name that is too long for the system is an error of ours, both ways."""
    (service.root / "a").touch()
    with pytest.raises(LocalFileError):
        await client.put(folder / name, "a")
    with pytest.raises(LocalFileError):
        await client.get("a", folder / name)
