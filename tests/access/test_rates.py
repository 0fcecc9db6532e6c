"""Rates: never above the limit in the long run, shared by users, and small things do not wait behind large ones."""

import asyncio
from collections import Counter, deque

import pytest

from ftpd.access.rates import AHEAD, BURST_S, LOWEST_RATE, SMALL, Line, Pace, Rates, Turn
from ftpd.payload.receive import PIECE

RATE, MIB = 1_000_000, 1 << 20


class Crowd:
    """Connections of several users, each of which moves a piece whenever it may. Time passes when all wait."""

    def __init__(self, line: Line, connections: dict[str, int], piece: int = PIECE, *, is_small: bool = False) -> None:
        self.line = line
        self.now = 1000.0
        self.moved = Counter[str]()
        self.piece = piece
        self.is_small = is_small
        self.waiting = set[Turn]()
        self.free = deque(user for user, count in connections.items() for _ in range(count))

    def run(self, seconds: float) -> Counter[str]:
        """Let time pass, and tell what each user has moved in it."""
        before, end = self.moved.copy(), self.now + seconds
        while self.now < end:
            while self.free and self.now < end:
                self.move(self.free.popleft())
            self.now = max(self.now, self.line.free_at)
            while (turn := self.line.next(self.now)) is not None:
                if turn in self.waiting:
                    self.waiting.discard(turn)
                    self.free.append(turn.who)
        return self.moved - before

    def move(self, user: str) -> None:
        """Move a piece."""
        self.moved[user] += self.piece
        turn = self.line.take(user, self.piece, self.now, is_small=self.is_small)
        if turn is None:
            self.free.append(user)
        else:
            self.waiting.add(turn)


@pytest.mark.parametrize("piece", [1000, PIECE, 8 * PIECE])
@pytest.mark.parametrize("is_small", [False, True])
def test_rate(piece: int, *, is_small: bool) -> None:
    """However many move, and what, together they move what the rate allows and not much less."""
    moved = Crowd(Line(RATE), {"a": 3, "b": 1}, piece, is_small=is_small).run(100).total()
    assert 0.98 < moved / (100 * RATE) < 1.03


def test_idle_time_is_not_saved_up() -> None:
    """After a long silence nobody may move more at once than after a short one."""
    line = Line(RATE)
    assert None is line.take("a", PIECE, 1000.0, is_small=False)
    assert 1000 - BURST_S + PIECE / RATE == pytest.approx(line.free_at)


def test_users_share() -> None:
    """Of users who are busy at the same time each gets the same, however many connections each has."""
    crowd = Crowd(Line(RATE), {"one": 1, "few": 3, "many": 60})
    crowd.run(10)
    moved = crowd.run(60)
    assert [pytest.approx(20 * RATE, rel=0.1)] * 3 == [moved[user] for user in ("one", "few", "many")]


def test_newcomer() -> None:
    """Who comes late gets his share from then on, and not what he did not take before."""
    crowd = Crowd(Line(RATE), {"there": 8})
    crowd.run(30)
    crowd.free.append("new")
    moved = crowd.run(30)
    assert [pytest.approx(15 * RATE, rel=0.1)] * 2 == [moved["there"], moved["new"]]


def test_what_somebody_does_not_want_is_the_others() -> None:
    """Who moves less than his share leaves the rest to others, and waits for no more than a few pieces."""
    line = Line(RATE)
    crowd = Crowd(line, {"busy": 4})
    waits: list[float] = []
    for _ in range(60):
        crowd.run(1.0)
        began = crowd.now
        turn = line.take("modest", PIECE, crowd.now, is_small=False)
        assert turn is not None
        while turn in line._waiting.get("modest", ()):
            crowd.run(PIECE / RATE)
        waits.append(crowd.now - began)
    assert max(waits) < 4 * PIECE / RATE
    assert crowd.moved["busy"] + 60 * PIECE > 0.97 * RATE * (crowd.now - 1000)


def test_small_ones_go_first() -> None:
    """Something small goes at once however many wait, also of who waits himself, and is paid for by them."""
    line, now = Line(RATE), 1000.0
    crowd = Crowd(line, {"busy": 20})
    crowd.run(10)
    before, now = line.free_at, crowd.now
    assert [None, None] == [line.take(user, SMALL, now, is_small=True) for user in ("other", "busy")]
    assert before + 2 * SMALL / RATE == pytest.approx(line.free_at)


def test_many_small_ones_are_not_small() -> None:
    """Who moves thousands of small things has no more than his share of it, and others are not starved."""
    line = Line(RATE)
    crowd = Crowd(line, {"bulk": 1})
    crowd.run(10)
    turns = [line.take("flood", 1000, crowd.now, is_small=True) for _ in range(5000)]
    at_once = turns.count(None) * 1000
    assert AHEAD <= at_once < AHEAD + 2000
    moved = crowd.run(8)
    assert moved["bulk"] > 3 * RATE


def test_gone() -> None:
    """Who waits no more is not waited for; what he has moved counts."""
    line = Line(RATE)
    assert None is line.take("a", MIB, 1000.0, is_small=False)
    turn = line.take("a", MIB, 1000.0, is_small=False)
    assert isinstance(turn, Turn)
    before = line.free_at
    line.leave(turn, 1000.0)
    line.leave(turn, 1000.0)
    assert (False, None) == (line.has_waiting, line.next(2000.0))
    assert before + MIB / RATE == pytest.approx(line.free_at)


async def test_waiting() -> None:
    """Who waits is woken in his turn; who is cancelled keeps nobody waiting."""
    pace = Rates(1000 * RATE).of("a", 500 * RATE)
    tasks = [asyncio.create_task(pace.came(10 * RATE, is_small=False)) for _ in range(20)]
    await asyncio.sleep(0)
    tasks[-1].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert 1 == sum(isinstance(outcome, asyncio.CancelledError) for outcome in done)


async def test_all_together() -> None:
    """A user's connections share his rate, all users that for all, each way by itself; without one nobody waits."""
    rates = Rates(10 * RATE)
    first, again, other = rates.of("a", RATE), rates.of("a", RATE), rates.of("b", None)
    assert (first._up, first._down) == (again._up, again._down)
    assert [*other._up, *other._down] == [first._up[1], first._down[1]]
    assert not {*first._up} & {*first._down}
    assert [True, False] == [pace.is_limited for pace in (other, Rates().of("a", None))]
    await Pace().came(1000 * MIB, is_small=False)
    await Pace().went(1000 * MIB, is_small=False)
    assert LOWEST_RATE == Line(1).rate
