"""The clock on the wall may say what it likes: transfers go on, and nobody is in for longer than he may be."""

import asyncio
import datetime as dt
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import ftpc
from ftpc.client import Client
from ftpc.credentials import Credentials
from ftpc.errors import RefusedError
from ftpd.access import users as users_module
from ftpd.access.credentials import new_token
from ftpd.access.door import UsersDoor
from ftpd.access.users import Token, User, edit
from tests.client.support import MIB, Service, content

TEN_YEARS = 10 * 365 * 24 * 3600
SIZE = 12 * MIB
TOKEN = new_token()


class Wall:
    """A clock on the wall that can be set."""

    ahead_s = 0.0

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        true_time, wall = time.time, self

        class Shown(dt.datetime):
            """What it shows."""

            @classmethod
            def now(cls, tz: dt.tzinfo | None = None) -> "Shown":
                """Tell the time."""
                return cls.fromtimestamp(true_time() + wall.ahead_s, tz)

        monkeypatch.setattr(time, "time", lambda: true_time() + self.ahead_s)
        monkeypatch.setattr(users_module, "dt", SimpleNamespace(datetime=Shown, UTC=dt.UTC))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A server, and a token that is good for an hour."""
    with edit(tmp_path / "users.toml") as users:
        users.users["team"] = User(rights=["full"])
        expires = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).replace(microsecond=0)
        users.tokens[TOKEN.id] = Token(user="team", sha256=TOKEN.sha256, expires=expires)
    (tmp_path / "root").mkdir()
    service = Service(tmp_path / "root")
    await service.start(door=UsersDoor(tmp_path / "users.toml"))
    yield service
    await service.stop()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    """Somebody who has logged in."""
    async with ftpc.connect(service.address, credentials=Credentials(TOKEN.text), retries=0) as client:
        assert "team" == (await client.whoami()).user
        yield client


@pytest.mark.parametrize("count", [5, pytest.param(100, marks=pytest.mark.long)])
async def test_transfers_while_the_clock_is_set(
    service: Service, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """While the clock is set back by ten years, and to where it was, no log-in and no transfer is cut."""
    wall = Wall(monkeypatch)
    (tmp_path / "file").write_bytes(content(SIZE))

    async def turn() -> None:
        for wall.ahead_s in itertools.cycle((-TEN_YEARS, 0, -3600, 0)):
            await asyncio.sleep(0.005)

    turning = asyncio.create_task(turn())
    for number in range(count):
        await client.put(tmp_path / "file", f"{number}")
        await client.get(f"{number}", tmp_path / "back")
        assert content(SIZE) == (tmp_path / "back").read_bytes()
        (service.root / f"{number}").unlink()
    turning.cancel()
    wall.ahead_s = 0


async def test_token_when_the_clock_is_set(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is good until its time by the clock on the wall, to the second, whatever that has shown before."""
    wall = Wall(monkeypatch)
    for wall.ahead_s, is_in in ((-TEN_YEARS, True), (3540, True), (3660, False), (TEN_YEARS, False), (0, True)):
        if is_in:
            assert [] == [entry.name async for entry in client.ls()]
        else:
            with pytest.raises(RefusedError, match="expired"):
                [entry.name async for entry in client.ls()]
