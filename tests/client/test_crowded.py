"""A server that takes fewer connections than there is work for: the work is done over those that it takes."""

import asyncio
import contextlib
import ssl
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme

import ftpc
from ftpc import RefusedError, pool
from ftpc.client import Client
from ftpc.credentials import Credentials
from ftpc.trust import Trust
from ftpd.access.credentials import new_token
from ftpd.access.door import UsersDoor
from ftpd.access.users import Token, User, edit
from ftpd.wire.limits import MIN_CHUNK, SMALL_FILE
from ftpd.wire.terms import IfExists
from tests.client.command import Ftpc, command
from tests.client.scripted import GREETING, read_request, refusal, scripted
from tests.client.support import Service, connected, content, names_in, soon
from tests.peer import frame

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


async def listed(client: Client) -> list[str]:
    """List the root."""
    return [entry.name async for entry in client.ls()]


QUESTIONS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "ping": lambda client: client.ping(),
    "hello": lambda client: client.hello(),
    "stat": lambda client: client.stat(""),
    "ls": listed,
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_question_waits_for_a_place(service: Service, question: str) -> None:
    """A question that finds no place is asked again, says so once, and is answered when there is one."""
    await serve(service, 1)
    (service.root / "a").write_bytes(b"a")
    told: list[str] = []
    leaving: list[asyncio.Task[None]] = []
    async with connected(service.address) as other:
        await other.ping()

        def notice(line: str) -> None:
            told.append(line)
            leaving.append(asyncio.create_task(other.close()))

        async with ftpc.connect(service.address, notice=notice) as client:
            await QUESTIONS[question](client)
            assert (1, True) == (len(told), "1 connections from" in told[0])
            await asyncio.gather(*leaving)


async def test_question_that_finds_no_place(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there is none for a few seconds the question is refused, and those behind it at once."""
    await serve(service, 1)
    tries: list[int] = []

    def wait_s(times: int, _: RefusedError) -> float:
        tries.append(times)
        return 0.0 if times < 3 else 3600.0

    monkeypatch.setattr(pool, "BUSY_S", 60.0)
    monkeypatch.setattr(pool, "_wait_s", wait_s)
    async with connected(service.address) as other, ftpc.connect(service.address) as client:
        await other.ping()
        for _ in range(3):
            with pytest.raises(RefusedError, match="limit"):
                await client.ping()
    assert [0, 1, 2, 3, 3, 3] == tries


@pytest.mark.parametrize(("hint", "connections"), [({"retry_after": 3600}, 1), ({}, 2)])
async def test_how_long_the_server_says(
    monkeypatch: pytest.MonkeyPatch, hint: dict[str, object], connections: int
) -> None:
    """Nobody waits for a server that says that it will be busy for longer; for others as long as they say."""
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await read_request(reader))["cmd"])
        writer.write(refusal("busy", "no", **hint) if len(seen) < 2 else frame(GREETING))

    async with scripted(handle) as address, ftpc.connect(address) as client:
        with contextlib.suppress(RefusedError):
            await client.hello()
    assert connections == len(seen)
    assert 3 == pool._wait_s(0, RefusedError("busy", "", {"retry_after": 3}))
    assert pool.LONGEST_WAIT_S >= max(pool._wait_s(times, RefusedError("busy", "", {})) for times in range(9))


async def test_verb_waits_for_a_place(service: Service, folder: Path) -> None:
    """So it is from the command line, where one line says so."""
    await serve(service, 1)
    (service.root / "b").touch()
    user = Ftpc(service.address, folder, service.root)
    async with connected(service.address) as other:
        await other.ping()
        running = await asyncio.create_subprocess_exec(*command("ls"), stdout=PIPE, stderr=PIPE, env=user.environment())
        assert running.stderr is not None
        said = await running.stderr.readline()
        await other.close()
        out, more = await running.communicate()
    assert (0, b"b\n", b"") == (running.returncode, out, more), said + more
    assert said.endswith(b"which is the limit (--max-per-source); asking again for 5 s\n")


async def test_encrypted_transfer_waits_for_a_place(service: Service, folder: Path) -> None:
    """Whether a server is to be trusted is asked before anything is sent; if it is full, a transfer goes on trying."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    await service.stop()
    await service.start(max_per_source=1, tls=context)
    user = Ftpc(f"ftpds://{service.address}", folder, service.root)
    trust = Trust(folder / "ca.pem")
    async with connected(user.server, trust=trust) as other:
        await other.ping()
        line = command("put", "ca.pem", "--ca", "ca.pem", "--progress", "plain")
        running = await asyncio.create_subprocess_exec(*line, stderr=PIPE, cwd=folder, env=user.environment())
        assert running.stderr is not None
        assert b"asking again" in await running.stderr.readline()
        said = await running.stderr.readline()  # it was given up: now it is the transfer that waits
        await other.close()
        assert (0, True) == (await running.wait(), b"s: there are 1 connections" in said), said
        await running.stderr.read()
    assert (service.root / "ca.pem").is_file()


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
