"""A server that takes fewer connections than there is work for: the work is done over those that it takes."""

import asyncio
import contextlib
from pathlib import Path

import pytest

import ftpc
from ftpc import RefusedError, pool
from ftpc.client import Client
from ftpc.credentials import Credentials
from ftpd.access.credentials import new_token
from ftpd.access.door import UsersDoor
from ftpd.access.users import Token, User, edit
from ftpd.wire.limits import MIN_CHUNK, SMALL_FILE
from ftpd.wire.messages import IfExists
from tests.client.support import Service, connected, content, names_in, soon

MANY = 12
"""More than there are connections, and more large files than wait at a time."""


async def serve(service: Service, places: int) -> None:
    """Serve again, so many connections from one place."""
    await service.stop()
    await service.start(max_per_source=places)


def make(folder: Path, *sizes: int) -> list[Path]:
    """Make files."""
    folder.mkdir(exist_ok=True)
    files = [folder / str(number) for number in range(len(sizes))]
    for number, (file, size) in enumerate(zip(files, sizes, strict=True)):
        file.write_bytes(content(size, number))
    return files


def eager(service: Service, connections: int = 6) -> Client:
    """A client that wants more connections than it gets, and tries nothing again."""
    return ftpc.connect(service.address, connections=connections, retries=0)


@pytest.mark.parametrize("places", [1, 2, 5])
async def test_files_at_once(service: Service, folder: Path, places: int) -> None:
    """All files arrive and come back, also those that must not be sent twice; no try is counted."""
    await serve(service, places)
    files = make(folder, *[1000] * MANY, MIN_CHUNK + 1, MIN_CHUNK + 1)
    async with eager(service) as client:
        await asyncio.gather(*(client.put(file, if_exists=IfExists.FAIL) for file in files))
        back = folder / "back"
        back.mkdir()
        await asyncio.gather(*(client.get(file.name, back) for file in files))
        assert [(service.root / file.name).read_bytes() for file in files] == [file.read_bytes() for file in files]
        assert [(back / file.name).read_bytes() for file in files] == [file.read_bytes() for file in files]
        await asyncio.gather(*(client.stat(file.name) for file in files))
        assert client._pool._count <= places


@pytest.mark.parametrize("places", [1, 3])
async def test_folders(service: Service, folder: Path, places: int) -> None:
    """A folder with more large files than wait at a time goes up and comes down, without waiting for itself."""
    await serve(service, places)
    make(folder / "tree", *[SMALL_FILE + 1] * 3 * MANY, *[10] * MANY)
    async with eager(service) as client:
        up = await client.put_tree(folder / "tree")
        down = await client.get_tree("tree", folder / "back")
    assert (4 * MANY, []) == (up.files, up.errors) == (down.files, down.errors)
    assert [file.read_bytes() for file in sorted((folder / "tree").iterdir())] == [
        file.read_bytes() for file in sorted((folder / "back").iterdir())
    ]


async def test_connections_of_one_user(service: Service, folder: Path, tmp_path: Path) -> None:
    """So it is if the server says so only when somebody has logged in."""
    token = new_token()
    with edit(tmp_path / "users.toml") as users:
        users.users["guest"] = User(rights=["full"], connections=2)
        users.tokens[token.id] = Token(user="guest", sha256=token.sha256)
    await service.stop()
    await service.start(door=UsersDoor(tmp_path / "users.toml"))
    files = make(folder, *[1000] * MANY)
    async with ftpc.connect(service.address, connections=6, retries=0, credentials=Credentials(token.text)) as client:
        await asyncio.gather(*(client.put(file, if_exists=IfExists.FAIL) for file in files))
    assert sorted(file.name for file in files) == [name for name in names_in(service.root) if name != ".ftpd"]


async def test_no_place_at_all(service: Service, folder: Path) -> None:
    """Where others have all places there is nothing to wait for: every transfer is told so."""
    await serve(service, 1)
    files = make(folder, *[1000] * 4)
    async with connected(service.address) as other, eager(service) as client:
        await other.ping()
        results = await asyncio.gather(*(client.put(file) for file in files), return_exceptions=True)
        assert [(RefusedError, "busy")] * 4 == [(type(exc), getattr(exc, "code", "")) for exc in results]


async def test_listing_that_has_the_only_connection(service: Service) -> None:
    """Who holds the only connection himself, to read a listing, is not made to wait for it."""
    await serve(service, 1)
    (service.root / "a").write_bytes(b"a")
    async with eager(service) as client:
        async with contextlib.aclosing(client.ls()) as listing:
            entry = await anext(listing)
            with pytest.raises(RefusedError, match="limit") as refused:
                await client.stat(entry.name)
        assert (RefusedError, "busy") == (type(refused.value), refused.value.code)


async def test_place_that_gets_free(service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while it is tried whether there is one place more; before that, what there is has to do."""
    await serve(service, 2)
    files = make(folder, *[1000] * 4)
    async with eager(service) as client:
        async with connected(service.address) as other:
            await other.ping()
            await asyncio.gather(*(client.put(file) for file in files))
            assert 1 == client._pool._count
        await soon(lambda: not client._pool._idle[0].channel.ended.is_set(), "its own connection is still there")
        await asyncio.gather(*(client.put(file) for file in files))
        assert 1 == client._pool._count
        monkeypatch.setattr(pool, "GROW_S", 0.0)
        client._pool._grows_at = 0.0

        async def put_until_there_are_two() -> None:
            while client._pool._count < 2:
                await asyncio.gather(*(client.put(file) for file in files))

        await asyncio.wait_for(put_until_there_are_two(), 20)
