"""How fast bytes may move: one line per user and direction, and one per direction for all.

Bytes are counted when they have been moved, and who has moved some waits until the line is free before he moves more.
Of users who wait for the same line, whoever has had the least goes first, however many connections each has: that is
start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queueing", SIGCOMM 1996).
"""

import asyncio
import time
from collections import deque

from ftpd.wire.limits import KIB

LOWEST_RATE = 64_000
"""Bytes in a second: with less, peers would take the time between two pieces for the end of the connection."""

BURST_S = 0.25
"""Unused rate is kept for so long."""

SMALL = 64 * KIB
"""Up to this size something goes at once, before all that is larger."""

AHEAD = 256 * KIB
"""How much a user may have had more than others when what is small goes at once no more: a thousand small files are
not small together."""


class Turn:
    """Somebody waits."""

    def __init__(self, who: str, size: int) -> None:
        self.who = who
        self.size = size


class Line:
    """One rate. Pure: the time is passed in, and nothing waits here."""

    def __init__(self, rate: int) -> None:
        self.rate = max(rate, LOWEST_RATE)
        self._waiting: dict[str, deque[Turn]] = {}
        self._had: dict[str, int] = {}
        """Bytes that each has had, on a scale on which all who wait are about the same."""
        self._level = 0
        """Where that scale is."""
        self.free_at = 0.0

    @property
    def has_waiting(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def take(self, who: str, size: int, now: float, *, is_small: bool) -> Turn | None:
        """Count bytes that were moved. Returns what to wait for before more are, or None."""
        if not self._waiting and self.free_at <= now:
            self._had.clear()
            self._level = 0
            self._count(who, size, now)
            return None
        if is_small and self._had.get(who, 0) - self._level <= AHEAD:
            self._count(who, size, now)
            return None
        turn = Turn(who, size)
        self._waiting.setdefault(who, deque()).append(turn)
        self._had[who] = max(self._had.get(who, 0), self._level)
        return turn

    def next(self, now: float) -> Turn | None:
        """Give the next turn if its time has come."""
        if not self._waiting or self.free_at > now:
            return None
        who = min(self._waiting, key=self._had.__getitem__)
        self._level = max(self._level, self._had[who])
        turn = self._waiting[who].popleft()
        if not self._waiting[who]:
            del self._waiting[who]
        self._count(who, turn.size, now)
        return turn

    def leave(self, turn: Turn, now: float) -> None:
        """Take note that somebody waits no more. What he has moved counts all the same."""
        turns = self._waiting.get(turn.who)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[turn.who]
            self._count(turn.who, turn.size, now)

    def _count(self, who: str, size: int, now: float) -> None:
        self.free_at = max(self.free_at, now - BURST_S) + size / self.rate
        self._had[who] = max(self._had.get(who, 0), self._level) + size


class Rate:
    """A line, and those who wait in it. For one event loop."""

    def __init__(self, rate: int) -> None:
        self._line = Line(rate)
        self._waiters: dict[Turn, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def moved(self, who: str, size: int, *, is_small: bool) -> None:
        """Count bytes, and wait until more may be moved. Cancelling is safe: they count all the same."""
        turn = self._line.take(who, size, time.monotonic(), is_small=is_small)
        if turn is None:
            return
        loop = asyncio.get_running_loop()
        waiter = self._waiters[turn] = loop.create_future()
        try:
            self._serve(loop)
            await waiter
        finally:
            del self._waiters[turn]
            self._line.leave(turn, time.monotonic())

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        while (turn := self._line.next(now)) is not None:
            waiter = self._waiters[turn]
            if not waiter.done():
                waiter.set_result(None)
        if self._timer is None and self._line.has_waiting:
            self._timer = loop.call_later(self._line.free_at - now, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._serve(loop)


class Pace:
    """The rates that hold for one user."""

    def __init__(self, who: str = "", up: tuple[Rate, ...] = (), down: tuple[Rate, ...] = ()) -> None:
        self._who = who
        self._up = up
        self._down = down

    @property
    def is_limited(self) -> bool:
        """Whether there are any."""
        return bool(self._up)

    async def came(self, size: int, *, is_small: bool) -> None:
        """Count bytes that were received, and wait until more may be. Cancelling is safe."""
        for rate in self._up:
            await rate.moved(self._who, size, is_small=is_small)

    async def went(self, size: int, *, is_small: bool) -> None:
        """Count bytes that were sent, likewise."""
        for rate in self._down:
            await rate.moved(self._who, size, is_small=is_small)


class Rates:
    """The rates of all users."""

    def __init__(self, total: int = 0) -> None:
        self._total = (Rate(total), Rate(total)) if total else None
        self._users: dict[tuple[str, int], tuple[Rate, Rate]] = {}

    def of(self, name: str, rate: int | None) -> Pace:
        """Give the rates of a user: his own, and that of all."""
        pairs = [self._total] if self._total else []
        if rate:
            if (name, rate) not in self._users:
                self._users[name, rate] = Rate(rate), Rate(rate)
            pairs.insert(0, self._users[name, rate])
        return Pace(name, tuple(up for up, _ in pairs), tuple(down for _, down in pairs))
