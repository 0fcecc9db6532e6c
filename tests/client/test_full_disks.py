"""A disk that fills up in the middle of a transfer, on either side: a defined end, and what was stored is not lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.client.command import Ftpc, Result
from tests.client.proxy import Proxy, proxied
from tests.client.support import MIB, content, soon
from tests.disks import full, only_root, small_disk, without_names
from tests.peer import ServerProcess, served

pytestmark = [only_root, pytest.mark.root]

CHUNK = 8 * MIB
SIZE = 5 * CHUNK + 1000
DISK = 96 * MIB
RECORD = 48
"""Bytes that a journal grows by for each chunk."""


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    at = tmp_path / "disk"
    at.mkdir()
    with small_disk(request.param, tmp_path / "image", at, DISK):
        yield at


@pytest.fixture
def small_server(disk: Path) -> Iterator[ServerProcess]:
    """A server on that disk."""
    (disk / "root").mkdir()
    with served(disk / "root") as server:
        yield server


@pytest.fixture
async def way(small_server: ServerProcess) -> AsyncIterator[Proxy]:
    """A network before that server."""
    async with proxied(small_server.port) as proxy:
        yield proxy


@pytest.fixture
def user(way: Proxy, folder: Path, small_server: ServerProcess) -> Ftpc:
    """A user of that server, whose commands run beside the test."""
    return Ftpc(way.address, folder, small_server.root)


async def run(user: Ftpc, *arguments: str) -> Result:
    """Run a command, while the test's own event loop goes on."""
    return await asyncio.to_thread(user.run, *arguments)


def partial_of(server: ServerProcess) -> Path:
    """Give the hidden file of the one upload."""
    [name] = server.partials()
    return server.root / ".ftpd" / "partial" / name


def sealed(server: ServerProcess) -> int:
    """Count the chunks that the journal of the one upload speaks of."""
    data = partial_of(server).with_suffix(".journal").read_bytes()
    return (len(data) - data.index(b"\n") - 1) // RECORD


def command_in(err: str) -> list[str]:
    """Give the command that a message says to go on with."""
    [line] = [line for line in err.splitlines() if "go on with: " in line]
    name, *arguments = line.partition("go on with: ")[2].split()
    assert "ftpc" == name
    return arguments


async def test_a_disk_that_fills_up_in_the_middle(
    user: Ftpc, way: Proxy, small_server: ServerProcess, disk: Path
) -> None:
    """`no_space` is status 10 and a command that goes on: with space again it sends what is missing, and no more."""
    source = user.write("big", content(SIZE))
    way.up.hold_at = 2 * CHUNK + CHUNK // 2
    putting = asyncio.create_task(run(user, "put", "big", "--progress", "none"))
    await way.up.held.wait()
    await soon(lambda: sealed(small_server) == 2, "two chunks are stored")
    with full(disk):
        way.up.go.set()
        failed = await putting
        assert (10, True) == (failed.status, "the server's disk is full" in failed.err), failed
        assert not (small_server.root / "big").exists()
        again = command_in(failed.err)
        assert 10 == (await run(user, *again)).status  # still full, and nothing is lost by trying
    assert 2 == sealed(small_server)
    way.up.hold_at = None
    # As much as is missing, and no more: what was stored of a broken chunk does not need its space twice.
    spare = SIZE - partial_of(small_server).stat().st_blocks * 512 + MIB
    before = way.up.count
    with full(disk, spare=spare):
        done = await run(user, *again)
    assert (0, True) == (done.status, "16.0 MiB of it were there already" in done.err), done
    assert way.up.count - before < SIZE - 2 * CHUNK + 10_000
    assert source.read_bytes() == (small_server.root / "big").read_bytes()
    assert ([], "") == (small_server.partials(), user.run("jobs").out)


async def test_a_disk_without_room_for_the_name(
    user: Ftpc, way: Proxy, small_server: ServerProcess, disk: Path
) -> None:
    """If only the folder can not be made in the end, the command that goes on sends not a single chunk again."""
    source = user.write("big", content(SIZE))
    way.up.hold_at = 2 * CHUNK
    putting = asyncio.create_task(run(user, "put", "big", "--to", "new/folder", "--progress", "none"))
    await way.up.held.wait()
    with without_names(disk):
        way.up.go.set()
        failed = await putting
    assert (10, True) == (failed.status, "the server's disk is full" in failed.err), failed
    way.up.hold_at = None
    before = way.up.count
    done = await run(user, *command_in(failed.err))
    assert (0, True) == (done.status, way.up.count - before < 10_000), done
    assert source.read_bytes() == (small_server.root / "new" / "folder" / "big").read_bytes()
    assert ([], "") == (small_server.partials(), user.run("jobs").out)


@pytest.fixture
def fetcher(disk: Path, ftpc: Ftpc) -> Ftpc:
    """A user whose folder is on the small disk, of a server that has room."""
    home = disk / "home"
    home.mkdir()
    ftpc.serve("big", content(SIZE))
    ftpc.serve("tree/big", content(SIZE))
    for number in range(3):
        ftpc.serve(f"tree/{number}", content(50_000, number))
    return ftpc._replace(folder=home)


@pytest.mark.parametrize("arguments", [["get", "big"], ["get", "-r", "tree"]])
def test_a_full_disk_here(fetcher: Ftpc, disk: Path, arguments: list[str]) -> None:
    """A download that does not fit is status 4 and says why; the old file stays, and the rest is fetched later."""
    fetcher.write("big", b"old")
    with full(disk, spare=20 * MIB):
        failed = fetcher.run(*arguments)
        assert (4, True) == (failed.status, "No space left on device" in failed.err), failed
        how = (
            "go on with: ftpc resume" if "big" in arguments else "3 of 4 files are stored; give the same command again"
        )
        assert how in failed.err, failed.err
        assert b"old" == (fetcher.folder / "big").read_bytes()
        assert _files(fetcher) <= {"big", "tree/0", "tree/1", "tree/2"}
    again = fetcher.run(*arguments)
    assert 0 == again.status
    assert "of it were here already" in again.err
    assert not [*fetcher.folder.rglob("*.part")]
    assert content(SIZE) == (fetcher.folder / arguments[-1].replace("tree", "tree/big")).read_bytes()


def _files(fetcher: Ftpc) -> set[str]:
    """Give the files that can be seen."""
    there = (path.relative_to(fetcher.folder) for path in fetcher.folder.rglob("*") if path.is_file())
    return {str(path) for path in there if not any(part.startswith(".") for part in path.parts)}


def test_a_full_disk_where_uploads_are_remembered(fetcher: Ftpc, disk: Path) -> None:
    """An upload that can not be remembered is status 4, and a way to do without that is named, which works."""
    fetcher.write("up", content(2 * CHUNK))
    with without_names(disk):
        failed = fetcher.run("put", "up")
        assert (4, True, True) == (failed.status, "No space left" in failed.err, "--no-resume" in failed.err), failed
        assert 0 == fetcher.run("put", "up", "--no-resume").status
    assert content(2 * CHUNK) == (fetcher.remote / "up").read_bytes()
