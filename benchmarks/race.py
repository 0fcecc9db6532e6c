"""A race: ways to do the same thing, taken in turns, and the bars our way has to clear.

To add one: write a function that makes a `Plan` from a `Ground`, wrap it in a `Race`, and name that in
`races/__init__.py`. Tables, JSON and picture come by themselves.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.ground import Ground, Place
from benchmarks.processes import FailedError
from benchmarks.results import BarResult, Better, RaceResult, WayResult, rounded


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Way:
    """One of the ways. `run` does it once and gives its figure, in the plan's unit."""

    label: str
    run: Callable[[], float]
    prepare: Callable[[], None] = _nothing
    """Is done before each run, and not measured."""
    check: Callable[[], None] = _nothing
    """Is done after the warm-up: raises `FailedError` if the run did not do what it should have."""
    is_ours: bool = False


@dataclass(frozen=True)
class Bar:
    """What one of our ways has to reach: a ratio to another way, or without one a figure."""

    ours: str
    theirs: str | None
    limit: float
    is_aim: bool = False
    """Whether it is only hoped for."""


@dataclass
class Plan:
    """A race that is ready to begin."""

    title: str
    unit: str
    better: Better
    ways: list[Way]
    bars: list[Bar] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Ways that can not take part, and why."""


class Race(NamedTuple):
    """A race that can be planned. One with short runs has its rounds multiplied."""

    name: str
    about: str
    plan: Callable[[Ground], Plan]
    place: Place = Place.MEMORY
    times: int = 1


def run(race: Race, ground: Ground, rounds: int) -> RaceResult:
    """Plan a race and run it: so many rounds after one to warm up."""
    rounds *= race.times
    where = ground.describe()
    try:
        plan = race.plan(ground)
    except FailedError as error:
        return left_out(race, where, str(error))
    figures = _take_turns(plan, rounds)
    ways = [WayResult(way.label, way.is_ours, rounded(figures[way.label])) for way in plan.ways if way.label in figures]
    bars = [_judge(bar, plan, figures) for bar in plan.bars]
    failed = any(way.is_ours and way.label in plan.left_out for way in plan.ways)
    return RaceResult(race.name, plan.title, plan.unit, plan.better, where, rounds, ways, bars, plan.left_out, failed)


def left_out(race: Race, where: str, reason: str) -> RaceResult:
    """Give the result of a race that can not be run."""
    reasons = {"the whole race": reason}
    return RaceResult(race.name, race.about, "", Better.MORE, where, 0, left_out=reasons, has_failed=True)


def _take_turns(plan: Plan, rounds: int) -> dict[str, list[float]]:
    """Run all ways in every round, every other time backwards, so that nobody always comes after the same one."""
    figures: dict[str, list[float]] = {way.label: [] for way in plan.ways}
    for number in range(rounds + 1):
        for way in _order(plan.ways, number):
            if way.label not in figures:
                continue
            try:
                way.prepare()
                figure = way.run()
                if number == 0:
                    way.check()
                else:
                    figures[way.label].append(figure)
            except FailedError as error:
                plan.left_out[way.label] = str(error)
                del figures[way.label]
    return figures


def _order(ways: list[Way], number: int) -> Iterator[Way]:
    return reversed(ways) if number % 2 else iter(ways)


def _judge(bar: Bar, plan: Plan, figures: dict[str, list[float]]) -> BarResult:
    """Compare round by round, so that what slows down a whole round slows down neither way more than the other."""
    ours, theirs = figures.get(bar.ours), figures.get(bar.theirs or bar.ours)
    values = []
    if ours and theirs:
        values = ours if bar.theirs is None else [a / b for a, b in zip(ours, theirs, strict=True)]
    return BarResult(bar.ours, bar.theirs, plan.better, bar.limit, bar.is_aim, rounded(values))
