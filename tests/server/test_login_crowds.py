"""Crowds before the log-in: many at once, slow ones, silent ones. They are cut in time, and the others get in."""

import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from ftpd.access import credentials, door
from ftpd.access.credentials import MOST_PASSWORDS
from ftpd.access.door import UsersDoor
from ftpd.access.users import User, edit
from ftpd.payload.channel import LINGER_S
from ftpd.session import LOGIN_S
from ftpd.tls import HANDSHAKE_S
from ftpd.wire.errors import FtpdError
from tests.client.support import soon
from tests.peer import PATIENCE_S, Peer, ServerProcess, eventually, frame, served
from tests.server.crowd import allow_files, files_of, flood, leave, place, quick_and_long, say
from tests.server.test_floods import encrypted

CHECKS_KIB = (2 * 64 + 16) * 1024
"""What passwords may cost: two that are being compared, and a little."""

LAG_S = 0.02
"""How long others may wait for an answer meanwhile."""

HONEST = 50

A_SECOND = 500
"""Slow senders that come in a second: no more than the kernel's queue holds, or some would come late."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.0/8 are addresses of this machine")


@pytest.fixture(params=["plain", "tls"])
def server(request: pytest.FixtureRequest, tmp_path: Path, token: str) -> Iterator[ServerProcess]:
    """A server of that folder, which ends without a traceback."""
    allow_files(12_000)
    options = ("--tls",) if request.param == "tls" else ()
    with served(tmp_path, "-q", "--grace", "1", *options) as server:
        yield server


@pytest.mark.parametrize("server", ["plain"], indirect=True)
@quick_and_long(100, 1000)
async def test_passwords_at_once(server: ServerProcess, token: str, tell: Callable[[str], None], count: int) -> None:
    """However many passwords come at once, memory is that of two, and others are answered meanwhile."""
    before = server.memory_kib()
    server.forget_peak()
    wrong = {"cmd": "auth", "method": "password", "user": "team", "password": "wrong"}
    answered: list[str] = []
    lags: list[float] = []

    async def guess(number: int) -> str:
        answered.append(await say(server, place(number), wrong, patience_s=5))
        return answered[-1]

    with server.connect() as peer:
        assert peer.ask({"cmd": "auth", "token": token})["ok"]
        guessing = asyncio.create_task(flood((partial(guess, number) for number in range(count)), at_once=count))
        await soon(lambda: len(answered) >= count - MOST_PASSWORDS, "the others wait, and the test does nothing else")
        while not guessing.done():
            lags.append(await asyncio.to_thread(lag_of, peer))
            await asyncio.sleep(0.01)
        outcomes = await guessing
    grown, p99 = server.memory_kib("VmHWM") - before, sorted(lags)[len(lags) * 99 // 100]
    tell(
        f"{count} passwords at once: {dict(outcomes)}; memory +{grown / 1024:.0f} MiB at most;"
        f" others are answered after {p99 * 1000:.1f} ms (p99 of {len(lags)})"
    )
    assert grown < CHECKS_KIB
    assert p99 < LAG_S or count < 1000


def lag_of(peer: Peer) -> float:
    """Ask for a sign of life, and tell how long that took."""
    started = time.monotonic()
    assert peer.ask({"cmd": "ping"})["ok"]
    return time.monotonic() - started


@quick_and_long(200, 2000)
async def test_users_that_are_not_there_take_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None], count: int
) -> None:
    """A wrong password takes as long for a user who is there, one without a password, and one who is not there."""
    quick = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)  # so that other differences show
    monkeypatch.setattr(door, "WRONG_S", 0.0)
    monkeypatch.setattr(credentials, "_hasher", quick)
    monkeypatch.setattr(credentials, "_decoy", quick.hash("decoy"))
    with edit(tmp_path / "users.toml") as users:
        users.users["team"] = User(rights=["full"], password=quick.hash("correct horse"))
        users.users["keys"] = User(rights=["full"])
    entrance = UsersDoor(tmp_path / "users.toml")
    times: dict[str, list[float]] = {name: [] for name in ("team", "keys", "nobody")}
    for _ in range(count):
        for name, taken in times.items():
            started = time.perf_counter()
            with pytest.raises(FtpdError):
                await entrance.by_password(name, "wrong")
            taken.append(time.perf_counter() - started)
    means = {name: statistics.mean(taken) for name, taken in times.items()}
    sigma = statistics.mean(statistics.stdev(taken) for taken in times.values())
    apart = max(means.values()) - min(means.values())
    tell(
        f"{count} wrong passwords each: "
        + ", ".join(f"{name} {mean * 1e6:.0f} µs" for name, mean in means.items())
        + f"; the means are {apart / sigma:.2f} standard deviations apart"
    )
    assert apart < sigma


@quick_and_long(400, 5000)
async def test_slow_senders(
    server: ServerProcess, tmp_path: Path, token: str, tell: Callable[[str], None], count: int
) -> None:
    """Those who send a byte now and then, or none, are cut when their time is over; all others log in meanwhile."""
    is_encrypted = "TLS" in server.how
    start = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" if is_encrypted else frame({"cmd": "ping"})
    files = files_of(server)
    arrived = asyncio.Queue[int]()
    trickling = [asyncio.create_task(trickle(server, number, start, arrived)) for number in range(count)]
    await asyncio.sleep(0.5)
    answers = Counter(
        [await asyncio.to_thread(log_in, server, token, is_encrypted=is_encrypted) for _ in range(HONEST)]
    )
    assert {"ok": HONEST} == answers
    if count == 5000:
        await soon(lambda: arrived.qsize() == count, "all have come, also those that the kernel lets try again")
        limit_s = HANDSHAKE_S if is_encrypted else LOGIN_S + LINGER_S
        started = time.monotonic()
        await asyncio.to_thread(eventually, lambda: files_of(server) <= files, "all are cut", 3 * limit_s)
        rest_s = time.monotonic() - started
        tell(
            f"{count} slow senders ({'TLS' if is_encrypted else 'plain'}): {answers['ok']} of {HONEST} log-ins succeed"
            f" meanwhile; all slow ones are cut {rest_s:.1f} s later, of {limit_s:.0f} s that they may take"
        )
        assert rest_s < limit_s + 1
    for task in trickling:
        task.cancel()
    await asyncio.gather(*trickling, return_exceptions=True)


async def trickle(server: ServerProcess, number: int, data: bytes, arrived: asyncio.Queue[int]) -> None:
    """Say something slowly, or nothing, and stay. Some are never let in: the kernel's queue has an end."""
    await asyncio.sleep(number / A_SECOND)
    writer: asyncio.StreamWriter | None = None
    try:
        local = (place(number % 500), 0)
        try:
            _, writer = await asyncio.open_connection(server.host, server.port, local_addr=local)
        finally:
            arrived.put_nowait(number)
        for at in range(len(data) if number % 2 else 0):
            writer.write(data[at : at + 1])
            await asyncio.sleep(5)
            if writer.is_closing():
                return
        await asyncio.sleep(3600)
    except OSError:
        pass
    finally:
        if writer is not None:
            leave(writer)


def log_in(server: ServerProcess, token: str, *, is_encrypted: bool) -> str:
    """Log in from a place of one's own; tell what came of it."""
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE_S:
        try:
            with encrypted(server) if is_encrypted else server.connect() as peer:
                reply = peer.ask({"cmd": "auth", "token": token})
                return "ok" if reply["ok"] else str(reply["error"]["code"])
        except OSError:
            time.sleep(0.05)
    return "cut"
