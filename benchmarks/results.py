"""What a run gives, as it stands in its JSON file."""

import statistics
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from msgspec import Struct, field, json

FORMAT = 1


class Better(StrEnum):
    """Which figures are good."""

    MORE = "more"
    LESS = "less"


class WayResult(Struct):
    """The figures of one way, one a round."""

    label: str
    is_ours: bool
    values: list[float]

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.values)


class BarResult(Struct):
    """What a bar asked for and what was reached: a ratio a round, or a figure a round if there is nobody to beat."""

    ours: str
    theirs: str | None
    better: Better
    limit: float
    is_aim: bool
    values: list[float]
    """Empty: it was not measured."""

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether it was reached; None if it was not measured."""
        if not self.values:
            return None
        return self.median >= self.limit if self.better is Better.MORE else self.median <= self.limit


class RaceResult(Struct):
    """One race."""

    name: str
    title: str
    unit: str
    better: Better
    where: str
    rounds: int
    ways: list[WayResult] = field(default_factory=list)
    bars: list[BarResult] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Reasons by label."""
    has_failed: bool = False
    """Whether ours is among them: others may be missing, ours may not."""


class Machine(Struct):
    """What it was measured on."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    load: float
    """The load average before it began: above 0.3 or so, others were at work."""


class Results(Struct):
    """One run."""

    format: int
    date: str
    version: str
    revision: str
    is_quick: bool
    machine: Machine
    peers: dict[str, str]
    """Version by name."""
    missing: dict[str, str]
    """Reason by name."""
    races: list[RaceResult]


def read(path: Path) -> Results:
    """Read a run."""
    return json.decode(path.read_bytes(), type=Results)


def write(results: Results, path: Path) -> None:
    """Write a run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.format(json.encode(results)) + b"\n")


def rounded(values: Sequence[float]) -> list[float]:
    """Leave out digits that mean nothing."""
    return [float(f"{value:.5g}") for value in values]


def figure_text(value: float) -> str:
    """Write a figure with three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
