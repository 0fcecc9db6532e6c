"""The document: figures between two markers, made from a run's JSON file, so that they are what was measured."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.picture import draw
from benchmarks.results import BarResult, Better, RaceResult, Results, figure_text, read
from benchmarks.table import machine_text, subtitle

BEGIN = "<!-- figures: made by `make bench-docs` from benchmarks.json, do not edit -->"
END = "<!-- figures: end -->"

DOCUMENT, FIGURES, PICTURE = "benchmarks.md", "benchmarks.json", "benchmarks.svg"


def publish(measured: Path, docs: Path) -> None:
    """Bring a run into the documents."""
    results = read(measured)
    (docs / FIGURES).write_bytes(measured.read_bytes())
    (docs / PICTURE).write_text(draw(results), encoding="utf-8")
    document = docs / DOCUMENT
    text = document.read_text(encoding="utf-8")
    document.write_text(with_figures(text, results), encoding="utf-8")


def with_figures(text: str, results: Results) -> str:
    """Put figures into a document, in place of those that are there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document has no place for figures: {BEGIN} … {END}")
    return "".join([before, BEGIN, "\n\n", "\n".join(_lines(results)), "\n\n", END, after])


def _lines(results: Results) -> Iterator[str]:
    quick = ", **quick: small sizes, few rounds**" if results.is_quick else ""
    yield f"ftpd {results.version} ({results.revision}), {results.date}{quick}, on"
    yield f"{machine_text(results.machine)}."
    yield "Peers: " + ", ".join(f"{name} {version}" for name, version in results.peers.items()) + "."
    if results.missing:
        yield "Missing: " + "; ".join(results.missing.values()) + "."
    yield ""
    yield f"![The medians as bars]({PICTURE})"
    yield ""
    yield "### What is wanted, and what was reached"
    yield ""
    yield "| race | ours | wanted | reached: median (min to max) | |"
    yield "|---|---|---|---|---|"
    for race in results.races:
        for bar in race.bars:
            yield _bar(race, bar)
    for race in results.races:
        yield from _race(race)


def _race(race: RaceResult) -> Iterator[str]:
    yield ""
    yield f"### {race.title}"
    yield ""
    yield f"`--only {race.name}`: {subtitle(race)}."
    if race.ways:
        yield ""
        yield "| | min | median | max |"
        yield "|---|---:|---:|---:|"
    for way in race.ways:
        figures = (min(way.values), way.median, max(way.values))
        label = f"**{way.label}**" if way.is_ours else way.label
        yield f"| {label} | {' | '.join(figure_text(value) for value in figures)} |"
    for label, reason in race.left_out.items():
        yield ""
        yield f"Left out: {label}: {reason}."


def _bar(race: RaceResult, bar: BarResult) -> str:
    sign = "≥" if bar.better is Better.MORE else "≤"
    what = f"{sign} {bar.limit:.2f} x {bar.theirs}" if bar.theirs is not None else f"{sign} {figure_text(bar.limit)}"
    wanted = f"{what} (aim)" if bar.is_aim else what
    if bar.is_met is None:
        return f"| {race.name} | {bar.ours} | {wanted} | not measured | |"
    low, middle, high = (figure_text(value) for value in (min(bar.values), bar.median, max(bar.values)))
    return f"| {race.name} | {bar.ours} | {wanted} | {middle} ({low} to {high}) | {'yes' if bar.is_met else '**no**'} |"
