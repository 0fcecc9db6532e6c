"""Wrong credentials: how many a source may show, and that a full table locks nobody out."""

import asyncio
import math
import random

import pytest

from ftpd.access.penalties import FREE_SCORE, HALF_LIFE_S, PURGE_S, Caller, Penalties, source_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.terms import AuthMethod

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        """Tell it."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


def guess(caller: Caller, method: AuthMethod = AuthMethod.PASSWORD, code: ErrorCode = ErrorCode.UNAUTHORIZED) -> bool:
    """Show what is wrong; tell whether it was looked at."""
    looked = False
    try:
        with caller.trying(method):
            looked = True
            raise FtpdError(code, "wrong")
    except FtpdError:
        return looked
    raise AssertionError("what is wrong is not let in")


@pytest.mark.parametrize("seed", range(5))
def test_guesses_per_hour(clock: Clock, seed: int) -> None:
    """Of 100,000 wrong passwords from one source at any times, at most 30 are looked at in any hour."""
    chance = random.Random(seed)  # noqa: S311 (times of a test)
    caller, looked = Caller(HERE, Penalties(clock)), []
    for _ in range(100_000):
        clock.now += chance.expovariate(100_000 / (5 * 3600))
        if guess(caller):
            looked.append(clock.now)
    assert len(looked) > 30  # the source is not locked out for ever
    assert max(sum(at <= other < at + 3600 for other in looked) for at in looked) <= 30


def test_many_at_the_same_time(clock: Clock) -> None:
    """Passwords that are being compared count already: no more begin before the first is found to be wrong."""
    caller = Caller(HERE, Penalties(clock))
    under_way = [caller.trying(AuthMethod.PASSWORD) for _ in range(100)]
    begun, refusals = 0, []
    for attempt in under_way:
        try:
            attempt.__enter__()
            begun += 1
        except FtpdError as exc:
            refusals.append((exc.code, exc.facts["retry_after"]))
    assert FREE_SCORE == begun
    assert [(ErrorCode.BUSY, int(HALF_LIFE_S * math.log2(10 / 9)) + 1)] * (100 - begun) == refusals
    for attempt in under_way[:begun]:
        attempt.__exit__(None, None, None)  # they were all right
    assert guess(caller)


def test_who_gives_up_waiting_was_wrong(clock: Clock) -> None:
    """A connection that is cut while its password is compared does not get the attempt back."""
    penalties = Penalties(clock)
    with pytest.raises(ConnectionError), Caller(HERE, penalties).trying(AuthMethod.PASSWORD):
        raise ConnectionError
    assert 1 == penalties.score(HERE)


def test_who_is_cancelled_was_not_wrong(clock: Clock) -> None:
    """A log-in that the server itself cuts, before anything wrong was found, gets the attempt back."""
    penalties = Penalties(clock)
    with pytest.raises(asyncio.CancelledError), Caller(HERE, penalties).trying(AuthMethod.PASSWORD):
        raise asyncio.CancelledError
    assert (0, 0) == (penalties.score(HERE), len(penalties))


def test_what_was_not_looked_at_costs_nothing(clock: Clock) -> None:
    """A server that is too busy to compare does not blame who has asked."""
    penalties = Penalties(clock)
    assert guess(Caller(HERE, penalties), code=ErrorCode.BUSY)
    assert (0, 0) == (penalties.score(HERE), len(penalties))


def test_half_of_it_is_forgotten(clock: Clock) -> None:
    """A score decays, and another source has none of it."""
    penalties = Penalties(clock)
    penalties.add(HERE, 8)
    clock.now += 2 * HALF_LIFE_S
    assert (2, 0) == (penalties.score(HERE), penalties.score(THERE))
    penalties.add(HERE, 38)
    wait_s = penalties.wait_s(HERE)
    clock.now += wait_s - 1
    assert penalties.wait_s(HERE) == pytest.approx(1)
    clock.now += 2
    assert 0 == penalties.wait_s(HERE)


def test_job_with_an_expired_token(clock: Clock) -> None:
    """A job that shows an expired token every minute does not lock out others at the same address."""
    caller = Caller(HERE, Penalties(clock))
    for _ in range(7 * 24 * 60):
        clock.now += 60
        assert guess(caller, AuthMethod.TOKEN)


def test_full_table(clock: Clock) -> None:
    """A full table stays as large as it is, and lets those in who have no place in it; there is room again in time."""
    penalties = Penalties(clock, size=100)
    for number in range(10_000):
        penalties.add(str(number), FREE_SCORE)
    assert 100 == len(penalties)
    assert penalties.wait_s("0") > 0
    assert 0 == penalties.wait_s("9999")
    clock.now += PURGE_S + 100 * HALF_LIFE_S
    penalties.add(HERE, FREE_SCORE)
    assert penalties.wait_s(HERE) > 0
    assert 1 == len(penalties)


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_source(host: str, source: str) -> None:
    """A customer is one address of the old kind, and one network of the new."""
    assert source == source_of(host)
