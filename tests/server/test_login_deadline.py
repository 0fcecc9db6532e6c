"""The time to log in: counted from the beginning, whatever is said meanwhile."""

import asyncio
import contextlib
import json
import struct
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from ftpd import session
from ftpd.access import credentials, users_file
from ftpd.access.credentials import hash_password, new_token
from ftpd.access.door import UsersDoor
from ftpd.access.penalties import FREE_SCORE
from ftpd.access.users import Token, User, edit
from tests.client.support import PATIENCE_S, Service
from tests.peer import frame

PING = frame({"cmd": "ping"})
TOKEN = new_token()
PASSWORD = "only here"  # noqa: S105 (of a test)


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """A server where there is little time to log in."""
    monkeypatch.setattr(session, "LOGIN_S", 0.3)
    with edit(tmp_path / "users.toml") as users:
        users.users["team"] = User(rights=["full"])
        users.tokens[TOKEN.id] = Token(user="team", sha256=TOKEN.sha256)
    (tmp_path / "root").mkdir()
    service = Service(tmp_path / "root")
    await service.start(door=UsersDoor(tmp_path / "users.toml"))
    yield service
    await service.stop()


async def read(reader: asyncio.StreamReader) -> dict[str, object]:
    """Read a reply."""
    (size,) = struct.unpack("<i", await reader.readexactly(4))
    reply: dict[str, object] = json.loads(await reader.readexactly(size))
    return reply


async def last_of(reader: asyncio.StreamReader) -> dict[str, object]:
    """Read replies to the end of the connection, and give the last one."""
    reply: dict[str, object] = {}
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                reply = await read(reader)
    return reply


@pytest.mark.parametrize("words", [b"", PING, PING[:4], PING[:-1]], ids=["silent", "asking", "a length", "a header"])
async def test_strangers_are_cut(service: Service, words: bytes) -> None:
    """Who has not logged in when the time is over is told so and cut; who has logged in stays."""
    inside, talk = await asyncio.open_connection("127.0.0.1", service.port)
    talk.write(frame({"cmd": "auth", "token": TOKEN.text}))
    assert (await read(inside))["ok"]
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(words)
    reply = await last_of(reader)
    assert {"code": "timeout"}.items() <= dict(reply["error"]).items()  # type: ignore[call-overload] # it is a table
    talk.write(PING)
    assert (await read(inside))["ok"]
    writer.close()
    talk.close()


@pytest.mark.parametrize("bit", [PING, PING[:1]], ids=["request by request", "byte by byte"])
async def test_talking_does_not_help(service: Service, bit: bytes) -> None:
    """Who goes on talking is cut all the same."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    ending = asyncio.create_task(last_of(reader))

    async def talk() -> None:
        rest = PING
        while not ending.done():
            writer.write(rest[: len(bit)])
            rest = rest[len(bit) :] or PING
            await asyncio.sleep(0.01)

    talking = asyncio.create_task(talk())
    with contextlib.suppress(ConnectionResetError):
        await ending
    await talking
    assert reader.at_eof() or reader.exception()
    writer.close()


async def test_who_could_not_be_compared_was_not_wrong(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passwords that came while the users file could not be read, however many, keep nobody from logging in later."""
    go_on = threading.Event()
    with edit(tmp_path / "users.toml") as users:
        users.users["team"].password = hash_password(PASSWORD)
    users_file.reader.submit(go_on.wait, PATIENCE_S)
    auth = frame({"cmd": "auth", "method": "password", "user": "team", "password": PASSWORD})
    async with asyncio.timeout(PATIENCE_S):
        peers = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(int(FREE_SCORE))]
        for _, writer in peers:
            writer.write(auth)
        for reader, writer in peers:
            assert "nobody logged in" in str(await last_of(reader))
            writer.close()
        go_on.set()
        monkeypatch.setattr(session, "LOGIN_S", PATIENCE_S)
        await come(service, auth)


async def come(service: Service, auth: bytes) -> None:
    """Log in over a connection of one's own, which has to be let in."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(auth)
    reply = await read(reader)
    assert reply.get("user") == "team", reply
    writer.close()


async def test_who_waits_for_others_was_not_wrong(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right passwords that are not compared in time, or just being compared, keep nobody from logging in later."""
    begun, go_on, verify = threading.Event(), threading.Event(), credentials._verify

    def verify_slowly(kept: str, password: str) -> bool:
        begun.set()
        go_on.wait(PATIENCE_S)
        return verify(kept, password)

    monkeypatch.setattr(credentials, "_verify", verify_slowly)
    with edit(tmp_path / "users.toml") as users:
        users.users["team"].password = hash_password(PASSWORD)
    auth = frame({"cmd": "auth", "method": "password", "user": "team", "password": PASSWORD})
    async with asyncio.timeout(PATIENCE_S):
        compared, first = await asyncio.open_connection("127.0.0.1", service.port)
        first.write(auth)
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        waiting = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(int(FREE_SCORE) - 1)]
        for _, writer in waiting:
            writer.write(auth)
        for reader, writer in waiting:
            assert "nobody logged in" in str(await last_of(reader))
            writer.close()
        go_on.set()
        assert "nobody logged in" in str(await last_of(compared))
        first.close()
        monkeypatch.setattr(session, "LOGIN_S", PATIENCE_S)
        await come(service, auth)


async def test_who_is_cut_before_the_answer_was_wrong(service: Service, tmp_path: Path) -> None:
    """Wrong passwords count, also if the time is over before that is said."""
    with edit(tmp_path / "users.toml") as users:
        users.users["team"].password = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    auth = frame({"cmd": "auth", "method": "password", "user": "team", "password": "wrong"})
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(int(FREE_SCORE)):
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(auth)
            assert "nobody logged in" in str(await last_of(reader))
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        assert "too many wrong credentials" in str(await last_of(reader))
        writer.close()
