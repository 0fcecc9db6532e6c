"""Crowds of clients for campaigns: cheap ones, from as many places as wanted, that say one thing and leave."""

import asyncio
import contextlib
import json
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

import pytest

from tests.peer import PATIENCE_S, ServerProcess, eventually, frame

_RESET = struct.pack("ii", 1, 0)
"""Linger for no time: no port is kept for a connection that is over, so that one machine has enough of them."""


def quick_and_long(quick: int, long: int) -> pytest.MarkDecorator:
    """Run a test in a size for every day and in its full size."""
    return pytest.mark.parametrize("count", [quick, pytest.param(long, marks=[pytest.mark.long])])


def allow_files(count: int) -> None:
    """Raise our limit of open files, and with it that of servers to come."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < min(count, hard):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def place(number: int) -> str:
    """Give one of sixteen million addresses of this machine."""
    return f"127.{1 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}"


async def say(server: ServerProcess, source: str, header: Mapping[str, object], patience_s: float = PATIENCE_S) -> str:
    """Connect, say something, and leave with the answer: `ok`, a code, `cut` for none, or `slow`."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(patience_s):
            reader, writer = await asyncio.open_connection(server.host, server.port, local_addr=(source, 0))
            writer.write(frame(header))
            (size,) = struct.unpack("<i", await reader.readexactly(4))
            reply = json.loads(await reader.readexactly(size))
            return "ok" if reply["ok"] else str(reply["error"]["code"])
    except TimeoutError:
        return "slow"
    except (OSError, asyncio.IncompleteReadError):
        return "cut"
    finally:
        if writer is not None:
            leave(writer)


def leave(writer: asyncio.StreamWriter) -> None:
    """Vanish."""
    sock: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def flood(attempts: Iterable[Callable[[], Awaitable[str]]], at_once: int) -> Counter[str]:
    """Make attempts, so many at a time, and count what came of them."""
    outcomes: Counter[str] = Counter()
    waiting = iter(attempts)

    async def work() -> None:
        for attempt in waiting:
            outcomes[await attempt()] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    return outcomes


def calm(server: ServerProcess) -> None:
    """Wait until the server has nothing left to do."""

    def rests() -> bool:
        before = server.cpu_s()
        time.sleep(0.3)
        return server.cpu_s() - before < 0.03

    eventually(rests, "the server comes to rest", 2 * PATIENCE_S)


def files_of(server: ServerProcess) -> int:
    """Count the descriptors that a server has open."""
    return len([*Path(f"/proc/{server.pid}/fd").iterdir()])


class Honest:
    """Somebody who does the same thing again and again while others misbehave. He tries again when told `busy`."""

    def __init__(self, attempt: Callable[[int], Awaitable[str]], every_s: float = 0.05) -> None:
        self._attempt, self._every_s = attempt, every_s
        self.times: list[float] = []
        """How long each took, with all its tries."""
        self.tries = 0
        self.failures: Counter[str] = Counter()

    async def during(self, others: Awaitable[Counter[str]]) -> Counter[str]:
        """Go on as long as they do, and give what came of them."""
        misbehaving = asyncio.ensure_future(others)
        try:
            while not misbehaving.done() or not self.times:
                await self._once()
                await asyncio.sleep(self._every_s)
            return await misbehaving
        finally:
            misbehaving.cancel()

    async def _once(self) -> None:
        started = time.monotonic()
        self.tries += 1
        while (answer := await self._attempt(len(self.times))) in {"busy", "cut"}:
            self.tries += 1
            if time.monotonic() - started > PATIENCE_S:
                break
            await asyncio.sleep(self._every_s)
        self.times.append(time.monotonic() - started)
        if answer != "ok":
            self.failures[answer] += 1

    @property
    def p99_s(self) -> float:
        """What only one in a hundred exceeds."""
        return sorted(self.times)[len(self.times) * 99 // 100]

    def __str__(self) -> str:
        count = len(self.times)
        return f"{count - self.failures.total()} of {count} ({self.tries} tries), p99 {self.p99_s * 1000:.0f} ms"
