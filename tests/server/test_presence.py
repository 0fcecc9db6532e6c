"""Connections of a user who may have only so many: none is counted that is not his, and none is forgotten."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ftpd.access import credentials
from ftpd.access.credentials import hash_password, new_token
from ftpd.access.door import UsersDoor
from ftpd.access.users import Token, User, edit
from tests.client.support import PATIENCE_S, Service
from tests.peer import frame

TOKEN, OTHER = new_token(), new_token()
PASSWORD = "only here"  # noqa: S105 (of a test)


class Talk:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, header: dict[str, object]) -> dict[str, Any]:
        """Send a request, and read its reply."""
        self._writer.write(frame(header))
        return await self.read()

    async def read(self) -> dict[str, Any]:
        """Read a reply."""
        async with asyncio.timeout(PATIENCE_S):
            (size,) = struct.unpack("<i", await self._reader.readexactly(4))
            reply: dict[str, Any] = json.loads(await self._reader.readexactly(size))
        return reply

    def close(self) -> None:
        """Leave."""
        self._writer.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A users file with somebody who may have one connection, and can come in several ways."""
    with edit(file := tmp_path / "users.toml") as users:
        users.users["team"] = User(rights=["full"], password=hash_password(PASSWORD), connections=1)
        for token in (TOKEN, OTHER):
            users.tokens[token.id] = Token(user="team", sha256=token.sha256)
    return file


@pytest.fixture
def door(file: Path) -> UsersDoor:
    """A door that knows it."""
    return UsersDoor(file)


@pytest.fixture
async def talks(tmp_path: Path, door: UsersDoor) -> AsyncIterator[list[Talk]]:
    """Two connections to a server with that door."""
    (tmp_path / "root").mkdir()
    service = Service(tmp_path / "root")
    await service.start(door=door)
    talks = [Talk(*await asyncio.open_connection("127.0.0.1", service.port)) for _ in range(2)]
    yield talks
    for talk in talks:
        talk.close()
    await service.stop()


def auth(token: credentials.NewToken) -> dict[str, object]:
    """Give the request to log in with a token."""
    return {"cmd": "auth", "token": token.text}


async def test_a_log_in_that_holds_no_more(
    talks: list[Talk], file: Path, door: UsersDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who logs in again, with a password that is changed while it is compared, stays who he was, and is counted."""
    first, second = talks
    loop, verify = asyncio.get_running_loop(), credentials._verify

    def change_meanwhile(kept: str, password: str) -> bool:
        with edit(file) as users:
            users.users["team"].password = hash_password("another")
        asyncio.run_coroutine_threadsafe(door.look(), loop).result(PATIENCE_S)
        return verify(kept, password)

    assert (await first.ask(auth(TOKEN)))["ok"]
    monkeypatch.setattr(credentials, "_verify", change_meanwhile)
    again = await first.ask({"cmd": "auth", "method": "password", "user": "team", "password": PASSWORD})
    assert "unauthorized" == again["error"]["code"]
    assert "team" == (await first.ask({"cmd": "whoami"}))["user"]
    assert "busy" == (await second.ask(auth(TOKEN)))["error"]["code"]


async def test_one_that_is_told_to_go(talks: list[Talk], file: Path) -> None:
    """A connection that is ended is its user's no more, also before it is closed at the other end."""
    first, second = talks
    assert (await first.ask(auth(TOKEN)))["ok"]
    with edit(file) as users:
        del users.tokens[TOKEN.id]
    assert "unauthorized" == (await first.read())["error"]["code"]
    assert (await second.ask(auth(OTHER)))["ok"]
