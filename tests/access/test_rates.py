"""Rates: never above the limit in the long run, and small things do not wait behind large ones."""

import random

import pytest

from ftpd.access.rates import BURST_S, LOWEST_RATE, SMALL, Bucket, Pace, Rates

RATE, MIB = 1_000_000, 1 << 20


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        """Tell it."""
        return self.now


@pytest.mark.parametrize("sizes", [(1, SMALL), (SMALL + 1, MIB), (1, MIB)])
def test_rate(sizes: tuple[int, int]) -> None:
    """Who waits as he is told moves what the rate allows, and not much less; idle time is not saved up."""
    clock, chance = Clock(), random.Random(1)  # noqa: S311 (sizes of a test)
    bucket = Bucket(RATE, clock)
    clock.now = 1000.0
    moved = 0
    while moved < 100 * MIB:
        size = chance.randint(*sizes)
        clock.now += bucket.take(size)
        moved += size
    seconds = clock.now - 1000
    assert 0.95 < moved / RATE / (seconds + BURST_S) < 1.02


def test_small_ones_go_first() -> None:
    """A small one waits for no large one, large ones wait for the small ones; many small ones have a limit too."""
    clock = Clock()
    bucket = Bucket(RATE, clock)
    clock.now = 10
    assert bucket.take(50 * MIB) > 50
    assert 0 == bucket.take(1000)
    assert bucket.take(SMALL + 1) == pytest.approx((50 * MIB + 1000 + SMALL + 1) / RATE - BURST_S)
    assert max(bucket.take(SMALL) for _ in range(100)) > 99 * SMALL / RATE - 2 * BURST_S


def test_all_together() -> None:
    """The lowest of the rates holds; a user's connections share one, and each way has its own."""
    rates = Rates(10 * RATE)
    first, again, other = rates.of("a", RATE), rates.of("a", RATE), rates.of("b", None)
    assert first.came(10 * MIB) > 9
    assert again.came(10 * MIB) > 19
    assert 1 < other.came(SMALL + 1) < 3
    assert again.went(SMALL + 1) < 1
    assert [True, False] == [pace.is_limited for pace in (other, Rates().of("a", None))]
    assert Pace([], []).came(MIB) == 0
    assert LOWEST_RATE == Bucket(1).rate
