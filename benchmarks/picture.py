"""The picture: the medians of all races as bars, with whiskers from minimum to maximum, as SVG."""

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.results import RaceResult, Results, WayResult, figure_text

WIDTH = 920
MARGIN = 24
GAP = 32
COLUMN = (WIDTH - 2 * MARGIN - GAP) / 2
LABEL, FIGURE = 172, 52
"""What labels and figures take from a column's width."""
ROW = 19
HEAD = 46
TOP = 64
FOOT = 40

_STYLE = """\
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; fill: #1f2328; }
.title { font-size: 18px; font-weight: 600; }
.race { font-size: 13px; font-weight: 600; }
.soft { font-size: 11px; fill: #59636e; }
.strong { font-weight: 600; }
.back { fill: #ffffff; stroke: #d0d7de; }
.ours { fill: #0969da; }
.theirs { fill: #afb8c1; }
.whisker { stroke: #1f2328; stroke-opacity: 0.55; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .soft { fill: #9198a1; }
  .back { fill: #0d1117; stroke: #30363d; }
  .ours { fill: #4493f8; }
  .theirs { fill: #57606a; }
  .whisker { stroke: #e6edf3; }
}"""


def draw(results: Results) -> str:
    """Draw a run. The picture brings its own background, light or dark as the reader's system has it."""
    body: list[str] = []
    heights = [float(TOP), float(TOP)]
    for race in results.races:
        if race.ways:
            column = 0 if heights[0] <= heights[1] else 1
            body += _race(race, MARGIN + column * (COLUMN + GAP), heights[column])
            heights[column] += HEAD + ROW * len(race.ways) + 14
    height = max(heights) + FOOT
    machine = results.machine
    foot = f"{machine.processor}, {machine.cores} cores, {machine.system}, Python {machine.python}"
    quick = " · quick run: small sizes" if results.is_quick else ""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}">',
        f"<title>Benchmarks of ftpd {escape(results.version)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="back" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:g}" rx="8"/>',
        _text(MARGIN, 34, f"ftpd {results.version} and others, in turns, whole commands", "title"),
        _text(MARGIN, 52, "Medians; the thin lines go from the lowest to the highest figure. Ours are blue.", "soft"),
        *body,
        _text(MARGIN, height - 16, f"{results.date[:10]} · {results.revision}{quick} · {foot}", "soft"),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _race(race: RaceResult, left: float, top: float) -> Iterator[str]:
    yield _text(left, top + 18, race.title, "race")
    yield _text(left, top + 34, f"{race.unit}, {race.better} is better · {race.where}", "soft")
    longest = max(max(way.values) for way in race.ways)
    for number, way in enumerate(race.ways):
        yield from _way(way, left, top + HEAD + number * ROW, (COLUMN - LABEL - FIGURE) / longest)


def _way(way: WayResult, left: float, top: float, scale: float) -> Iterator[str]:
    start, middle, width = left + LABEL, top + 7, max(way.median * scale, 1)
    low, high = start + min(way.values) * scale, start + max(way.values) * scale
    kind, weight = ("ours", "strong") if way.is_ours else ("theirs", "")
    yield _text(start - 8, top + 11, way.label, weight, "end")
    yield f'<rect class="{kind}" x="{start:.1f}" y="{top:.1f}" width="{width:.1f}" height="14" rx="2"/>'
    yield f'<path class="whisker" d="{_whisker(low, high, middle)}"/>'
    yield _text(max(start + width, high) + 6, top + 11, figure_text(way.median), weight)


def _whisker(low: float, high: float, middle: float) -> str:
    ends = (f"M{at:.1f} {middle - 3:.1f}v6" for at in (low, high))
    return " ".join([f"M{low:.1f} {middle:.1f}H{high:.1f}", *ends])


def _text(left: float, base: float, text: str, kind: str = "", anchor: str = "start") -> str:
    attributes: Sequence[str] = [f'x="{left:.1f}" y="{base:.1f}"']
    attributes = [*attributes, f'class="{kind}"'] if kind else attributes
    attributes = [*attributes, f'text-anchor="{anchor}"'] if anchor != "start" else attributes
    return f"<text {' '.join(attributes)}>{escape(text)}</text>"
