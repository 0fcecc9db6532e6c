"""Faults while somebody logs in: whatever goes wrong, wherever, nobody is let in by it, and no secret is told."""

import asyncio
import json
import logging
import math
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from argon2 import PasswordHasher

import ftpd
from ftpd.access import door, penalties
from ftpd.access.credentials import new_token
from ftpd.access.door import UsersDoor
from ftpd.access.users import Token, User, edit
from ftpd.wire.errors import ErrorCode, FtpdError
from tests.client.support import PATIENCE_S, Service
from tests.peer import frame

TOKEN = new_token()
PASSWORD = "correct horse battery"  # noqa: S105 (planted, to be looked for)

PLACES = tuple(str(Path(ftpd.__file__).parent / name) for name in ("access", "commands/account.py"))
"""Where it is decided who is let in."""

FAULTS = [
    RuntimeError("a bug"),
    FtpdError(ErrorCode.IO_ERROR, "a refusal"),
    *(
        pytest.param(error, marks=pytest.mark.long)
        for error in (OSError("a disk"), ValueError("a value"), MemoryError())
    ),
]


CREDENTIALS: dict[str, dict[str, object]] = {
    "right token": {"cmd": "auth", "token": TOKEN.text},
    "wrong token": {"cmd": "auth", "token": new_token().text},
    "right password": {"cmd": "auth", "method": "password", "user": "team", "password": PASSWORD},
    "wrong password": {"cmd": "auth", "method": "password", "user": "team", "password": "wrong"},
}


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """A server with a user whose password is quickly compared, where wrong ones are quickly answered."""
    monkeypatch.setattr(door, "WRONG_S", 0.0)
    monkeypatch.setattr(penalties, "FREE_SCORE", math.inf)
    with edit(tmp_path / "users.toml") as users:
        kept = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
        users.users["team"] = User(rights=["full"], password=kept)
        users.tokens[TOKEN.id] = Token(user="team", sha256=TOKEN.sha256)
    (tmp_path / "root").mkdir()
    service = Service(tmp_path / "root")
    await service.start(door=UsersDoor(tmp_path / "users.toml"))
    yield service
    await service.stop()


class Fault:
    """Raises an error in the Nth call of a function of the places above, and in no other."""

    def __init__(self, number: int, error: BaseException) -> None:
        self._left = number
        self._error = error
        self.where = ""

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Be called for every call of a function."""
        if event == "call" and frame.f_code.co_filename.startswith(PLACES):
            self._left -= 1
            if self._left == 0:
                self.where = frame.f_code.co_qualname
                sys.settrace(None)
                raise self._error


@pytest.fixture(autouse=True)
def _tracing() -> Iterator[None]:
    before = sys.gettrace()
    yield
    sys.settrace(before)


async def log_in(service: Service, header: dict[str, object], fault: Fault) -> list[dict[str, Any]]:
    """Try to log in while something goes wrong, and to list the root afterwards; give the replies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    replies: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            for request in ({"cmd": "ping"}, header, {"cmd": "ls"}):
                sys.settrace(fault if request is header else None)
                writer.write(frame(request))
                (size,) = struct.unpack("<i", await reader.readexactly(4))
                replies.append(json.loads(await reader.readexactly(size)))
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        sys.settrace(None)
        writer.close()
    return replies


@pytest.mark.parametrize("error", FAULTS, ids=repr)
@pytest.mark.parametrize("shown", CREDENTIALS)
async def test_no_fault_lets_anybody_in(
    service: Service, caplog: pytest.LogCaptureFixture, shown: str, error: BaseException
) -> None:
    """An error in any call that decides lets nobody in; without one who is right is let in, and nobody else."""
    caplog.set_level(logging.DEBUG)
    header = CREDENTIALS[shown]
    places: list[str] = []
    while True:
        fault = Fault(len(places) + 1, error)
        _, *replies = await log_in(service, header, fault)
        if not fault.where:
            break
        places.append(fault.where)
        assert not any(reply["ok"] for reply in replies), fault.where
    assert [shown.startswith("right")] * 2 == [reply["ok"] for reply in replies]
    assert len(places) > 5
    for secret in (TOKEN.text, PASSWORD, str(header.get("token", PASSWORD))):
        assert secret not in caplog.text
