"""Who is let in: limits per source, and the chance of those who have not logged in."""

import pytest

from ftpd.access.penalties import FREE_SCORE, MOST_KNOWN, Penalties
from ftpd.admission import ALL_STRANGERS, DROP_FROM, MAX_PER_SOURCE, MOST_STRANGERS, Admission, Visit, drop_chance

THERE = "192.0.2.1"


@pytest.mark.parametrize(
    ("limit", "host", "others", "let_in"),
    [
        (None, THERE, "192.0.2.2", MAX_PER_SOURCE),
        (None, "2001:db8::1", "2001:db8:0:1::1", MAX_PER_SOURCE),
        (None, "127.0.0.1", THERE, 1000),
        (None, "::1", THERE, 1000),
        (3, "127.0.0.1", THERE, 3),
        (0, THERE, "127.0.0.1", 1000),
    ],
)
def test_per_source(limit: int | None, host: str, others: str, let_in: int) -> None:
    """So many are let in from one source and no more, until one has left; another source does not matter."""
    admission = Admission(limit)
    visits = [admission.enter(host) for _ in range(1000)]
    assert [True] * let_in + [False] * (1000 - let_in) == [visit.refusal is None for visit in visits]
    assert admission.enter(others).refusal is None
    if let_in < 1000:
        admission.leave(visits[-1])
        assert admission.enter(host).refusal
        admission.leave(visits[0])
        assert admission.enter(host).refusal is None
    assert admission.enter(host).refusal or let_in == 1000


def test_nothing_is_left_of_those_who_have_left() -> None:
    """What was counted is gone when all have left, refused or not."""
    admission = Admission(2, needs_login=True)
    for visit in [admission.enter(host) for host in ["192.0.2.1"] * 5 + ["192.0.2.2"]]:
        if visit.refusal is None:
            admission.let_in(visit, lambda: True, lambda: None)
        admission.leave(visit)
    assert (0, 0) == (len(admission._by_source), len(admission._strangers))


def test_chance_of_strangers() -> None:
    """10:30:100: nobody is refused below 10, 3 of 10 at 10, all at 100, and ever more in between."""
    assert [0.0] * DROP_FROM == [drop_chance(count) for count in range(DROP_FROM)]
    assert pytest.approx([0.3, 0.65, 1.0, 1.0]) == [drop_chance(count) for count in (10, 55, MOST_STRANGERS, 1000)]
    rising = [drop_chance(count) for count in range(DROP_FROM, MOST_STRANGERS + 1)]
    assert rising == sorted(set(rising))


@pytest.mark.parametrize(("draw", "let_in"), [(0.0, DROP_FROM), (0.5, 36), (0.9999, MOST_STRANGERS)])
def test_strangers(draw: float, let_in: int) -> None:
    """However lucky they are, no more than 100 are strangers at a time; those who have logged in are none."""
    admission = Admission(0, needs_login=True, draw=lambda: draw)
    visits: list[Visit] = []
    for _ in range(1000):
        visits.append(admission.enter(THERE))
        if visits[-1].refusal is None:
            admission.let_in(visits[-1], lambda: True, lambda: None)
    inside = [visit for visit in visits if visit.refusal is None]
    assert let_in == len(inside)
    for visit in inside:
        visit.is_stranger = lambda: False
    assert admission.enter(THERE).refusal is None


def arrive(admission: Admission, host: str, expelled: list[Visit]) -> Visit:
    """Come in, if one may, and say nothing."""
    visit = admission.enter(host)
    if visit.refusal is None:
        admission.let_in(visit, lambda: True, lambda: expelled.append(visit))
    return visit


def test_crowds_keep_nobody_else_out() -> None:
    """However many say nothing at a few places, who comes from elsewhere is let in, and one of the crowd has to go."""
    expelled: list[Visit] = []
    admission = Admission(0, needs_login=True, draw=lambda: 0.9999)
    crowd = [arrive(admission, f"192.0.2.{number % 5}", expelled) for number in range(2000)]
    honest = [arrive(admission, f"198.51.100.{number}", expelled) for number in range(100)]
    assert [None] * 100 == [visit.refusal for visit in honest]
    assert set(expelled) < set(crowd)
    assert ALL_STRANGERS == len(admission._strangers)
    assert {*expelled, *admission._strangers} == {visit for visit in [*crowd, *honest] if visit.refusal is None}


def test_known_places_suffer_last() -> None:
    """Of strangers from thousands of places the oldest has to go, but for those where somebody has logged in before."""
    expelled: list[Visit] = []
    penalties = Penalties()
    penalties.welcome(THERE)
    admission = Admission(needs_login=True, penalties=penalties)
    known = arrive(admission, THERE, expelled)
    crowd = [arrive(admission, f"10.0.{number // 250}.{number % 250}", expelled) for number in range(5000)]
    assert known in admission._strangers
    assert crowd[: len(expelled)] == expelled
    assert ALL_STRANGERS == len(admission._strangers)


def test_known_places_are_bounded() -> None:
    """Of the places where somebody has logged in the latest are remembered, and no more than there is room for."""
    penalties = Penalties()
    for number in range(MOST_KNOWN):
        penalties.welcome(str(number))
    penalties.welcome("0")
    penalties.welcome(THERE)
    assert (True, False, True) == (penalties.is_known("0"), penalties.is_known("1"), penalties.is_known(THERE))
    assert MOST_KNOWN == len(penalties._known)


def test_strangers_where_nobody_logs_in() -> None:
    """Where nobody has to log in there are no strangers, and no penalties."""
    penalties = Penalties()
    penalties.add("127.0.0.1", 2 * FREE_SCORE)
    admission = Admission(penalties=penalties, draw=lambda: 0.0)
    assert [None] * 1000 == [admission.enter("127.0.0.1").refusal for _ in range(1000)]


def test_penalised_source() -> None:
    """A source with too many mistakes is not let in, others are."""
    penalties = Penalties()
    penalties.add(THERE, 2 * FREE_SCORE)
    admission = Admission(needs_login=True, penalties=penalties)
    assert "wrong credentials" in str(admission.enter(THERE).refusal)
    assert admission.enter("192.0.2.2").refusal is None
