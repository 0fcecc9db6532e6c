"""Guessing from one place and from many: few guesses are looked at, memory is bounded, and who belongs here gets in."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ftpd.access.penalties import FREE_SCORE
from tests.peer import ServerProcess, served
from tests.server.crowd import Honest, allow_files, calm, flood, place, quick_and_long, say

MOST_KIB = 64 * 1024
"""What any number of guesses may cost for good."""

CHECKS_KIB = 2 * 64 * 1024
"""What two passwords cost while they are being compared."""

WRONG = {"cmd": "auth", "method": "password", "user": "team", "password": "wrong"}
RIGHT = {**WRONG, "password": "correct horse"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.0/8 are addresses of this machine")


@pytest.fixture
def server(tmp_path: Path, token: str) -> Iterator[ServerProcess]:
    """A server of that folder, which ends without a traceback."""
    allow_files(5000)
    with served(tmp_path, "-q") as server:
        yield server


@quick_and_long(1000, 100_000)
async def test_one_place(server: ServerProcess, token: str, tell: Callable[[str], None], count: int) -> None:
    """Of any number of wrong passwords from one place ten are looked at, and everybody else logs in meanwhile."""
    honest = Honest(lambda number: say(server, place(number), {"cmd": "auth", "token": token}))
    guesses = (partial(say, server, "127.0.0.2", WRONG) for _ in range(count))
    outcomes = await honest.during(flood(guesses, at_once=200))
    tell(
        f"{count} passwords from one place, 200 at a time: {outcomes['unauthorized']} looked at;"
        f" honest log-ins: {honest}"
    )
    assert FREE_SCORE == outcomes["unauthorized"]
    assert count == outcomes["unauthorized"] + outcomes["busy"] + outcomes["cut"]
    assert (0, True) == (honest.failures.total(), honest.p99_s < 1 or count < 100_000)


@quick_and_long(1000, 50_000)
async def test_many_places(server: ServerProcess, token: str, tell: Callable[[str], None], count: int) -> None:
    """Places that guess, however many, take little memory; tokens, and passwords from known places, get in."""
    assert "ok" == await say(server, "127.0.0.3", RIGHT)  # that place is known from here on
    before = server.memory_kib()
    server.forget_peak()
    by_token = Honest(lambda number: say(server, place(10_000_000 + number), {"cmd": "auth", "token": token}))
    by_password = Honest(lambda _: say(server, "127.0.0.3", RIGHT), every_s=0.2)
    guesses = (partial(say, server, place(number), WRONG, patience_s=2) for number in range(count))
    outcomes: Counter[str] = await by_token.during(by_password.during(flood(guesses, at_once=200)))
    peak = server.memory_kib("VmHWM") - before
    await asyncio.to_thread(calm, server)
    grown = server.memory_kib() - before
    tell(
        f"a password from each of {count} places, 200 at a time: {outcomes['unauthorized']} looked at;"
        f" honest log-ins: by token {by_token}, by password {by_password};"
        f" memory +{grown / 1024:.1f} MiB, +{peak / 1024:.0f} MiB at most"
    )
    assert (0, 0) == (by_token.failures.total(), by_password.failures.total())
    assert grown < MOST_KIB
    assert peak < MOST_KIB + CHECKS_KIB
    assert by_token.p99_s < 1 or count < 50_000  # how long a password takes depends on the processor
