"""The table on the terminal."""

from collections.abc import Iterator, Sequence

from benchmarks.results import BarResult, Better, Machine, RaceResult, Results, figure_text


def lines_of(results: Results) -> Iterator[str]:
    """Say what was measured where, and who is missing."""
    yield f"ftpd {results.version} ({results.revision}), {results.date}{', QUICK: small sizes' * results.is_quick}"
    yield machine_text(results.machine)
    yield "with " + ", ".join(f"{name} {version}" for name, version in results.peers.items())
    if results.missing:
        yield "WITHOUT " + "; ".join(results.missing.values())


def machine_text(machine: Machine) -> str:
    """Describe a machine in a line."""
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gib:g} GiB, {machine.system}, "
        f"Python {machine.python}; load before it began {machine.load:g}"
    )


def race_lines(race: RaceResult) -> Iterator[str]:
    """Show one race: our ways are marked with a star."""
    yield ""
    yield f"{race.name}: {race.title} ({subtitle(race)})"
    width = max((len(way.label) for way in race.ways), default=0)
    if race.ways:
        yield f"  {'':{width}}  {'min':>9} {'median':>9} {'max':>9}"
    for way in race.ways:
        figures = (min(way.values), way.median, max(way.values))
        text = " ".join(f"{figure_text(value):>9}" for value in figures)
        yield f"{'* ' if way.is_ours else '  '}{way.label:{width}}  {text}"
    for bar in race.bars:
        yield f"  {bar_text(bar)}: {verdict(bar)}"
    for label, reason in race.left_out.items():
        yield f"  left out: {label}: {reason}"


def summary(races: Sequence[RaceResult]) -> Iterator[str]:
    """Say how many bars were reached, and name those that were not."""
    bars = [(race, bar) for race in races for bar in race.bars]
    others = [(race, bar) for race, bar in bars if not bar.is_met]
    yield ""
    yield f"{len(bars) - len(others)} of {len(bars)} bars and aims are reached{'; not these:' if others else ''}"
    for race, bar in others:
        yield f"  {race.name}: {bar_text(bar)}: {verdict(bar)}"


def subtitle(race: RaceResult) -> str:
    """Say how a race is to be read."""
    if not race.ways:
        return race.where
    return f"{race.unit}, {race.better} is better; {race.rounds} rounds in turns; {race.where}"


def bar_text(bar: BarResult) -> str:
    """Say what a bar asks for."""
    word = "least" if bar.better is Better.MORE else "most"
    what = f"{bar.limit:.2f} x {bar.theirs}" if bar.theirs is not None else figure_text(bar.limit)
    return f"{'aim' if bar.is_aim else 'bar'}: {bar.ours}: at {word} {what}"


def verdict(bar: BarResult) -> str:
    """Say what was reached."""
    if bar.is_met is None:
        return "not measured"
    low, middle, high = (figure_text(value) for value in (min(bar.values), bar.median, max(bar.values)))
    return f"{middle} ({low} to {high}), {'reached' if bar.is_met else 'MISSED'}"
