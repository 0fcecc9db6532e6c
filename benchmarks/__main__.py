"""Races against other tools: the same files on the same file system, in turns in one run, the first round thrown away.

`make bench` runs all of them, which takes some 20 minutes; `--list` shows which there are and who takes part. Nothing
is left behind, also after Ctrl-C. See docs/benchmarks.md.
"""

import argparse
import datetime as dt
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from benchmarks.document import publish
from benchmarks.ground import Ground, Place, disk_folder, memory_folder
from benchmarks.machine import REPOSITORY, look_for_tools, machine, revision
from benchmarks.picture import draw
from benchmarks.race import Race, left_out, run
from benchmarks.races import RACES
from benchmarks.results import FORMAT, RaceResult, Results, write
from benchmarks.table import lines_of, race_lines, summary
from ftpd import __version__

ROUNDS, QUICK_ROUNDS = 5, 3
QUICK = 1 / 16

RESULTS = REPOSITORY / "benchmarks/results"

_SETTINGS = ("FTPC_", "FTPD_", "PYTHONDONTWRITEBYTECODE", "RSYNC_")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; give the exit status."""
    args = _parse(arguments)
    if args.list:
        print(*_inventory(), sep="\n")
        return 0
    if args.docs:
        publish(args.json, REPOSITORY / "docs")
        return 0
    signal.signal(signal.SIGTERM, _stop)
    try:
        results = _run(args)
    except KeyboardInterrupt:
        print("broken off", file=sys.stderr)
        return 130
    write(results, args.json)
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    args.picture.write_text(draw(results), encoding="utf-8")
    print(f"\nwritten: {args.json}, {args.picture}")
    return 1 if any(race.has_failed for race in results.races) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [race.name for race in RACES]
    add = parser.add_argument
    add("--list", action="store_true", help="show the races and which peers are installed, and measure nothing")
    add("--only", nargs="+", choices=names, default=names, metavar="RACE", help="run these races only")
    add("--rounds", type=_positive, metavar="N", help=f"rounds that count (default: {ROUNDS}; quick: {QUICK_ROUNDS})")
    add("--quick", action="store_true", help="a sixteenth of all sizes: whether it works, not how fast it is")
    add("--scale", type=float, metavar="X", help="another part of all sizes (default: 1; quick: 0.0625)")
    add(
        "--folder",
        type=_folder,
        metavar="DIR",
        default=memory_folder(),
        help="a folder in memory (default: %(default)s)",
    )
    add("--disk", type=_folder, metavar="DIR", default=disk_folder(), help="a folder on a disk (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", default=RESULTS / "bench.json", help="where figures go (%(default)s)")
    add("--picture", type=Path, metavar="FILE", default=RESULTS / "bench.svg", help="where bars go (%(default)s)")
    add("--docs", action="store_true", help="bring the figures of --json into docs/, and measure nothing")
    return parser.parse_args(arguments)


def _folder(text: str) -> Path:
    folder = Path(text)
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return folder


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("one round at least")
    return number


def _run(args: argparse.Namespace) -> Results:
    versions, missing = look_for_tools()
    scale = args.scale or (QUICK if args.quick else 1)
    results = Results(
        format=FORMAT,
        date=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        version=__version__,
        revision=revision(),
        is_quick=scale < 1,
        machine=machine(),
        peers=versions,
        missing=missing,
        races=[],
    )
    print(*lines_of(results), sep="\n", flush=True)
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    folders: dict[Place, Path | None] = {Place.MEMORY: args.folder, Place.DISK: args.disk}
    for race in RACES:
        if race.name in args.only:
            result = _run_one(race, folders[race.place], scale, rounds)
            results.races.append(result)
            print(*race_lines(result), sep="\n", flush=True)
    print(*summary(results.races), sep="\n")
    return results


def _run_one(race: Race, folder: Path | None, scale: float, rounds: int) -> RaceResult:
    if folder is None:
        return left_out(race, "", "no folder on a disk was found; name one with --disk")
    with ExitStack() as stack:
        ground = Ground(stack, folder, race.place, scale)
        stack.enter_context(_settings_of_nobody(ground.folder / "home"))
        return run(race, ground, rounds)


@contextmanager
def _settings_of_nobody(home: Path) -> Iterator[None]:
    """Keep the settings of whoever runs this away from all tools, and what tools remember away from them."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(_SETTINGS) or name.lower().endswith("_proxy"):
            del os.environ[name]
    home.mkdir()
    os.environ.update(HOME=str(home), XDG_STATE_HOME=str(home), XDG_CONFIG_HOME=str(home), LC_ALL="C.UTF-8")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _inventory() -> Sequence[str]:
    versions, missing = look_for_tools()
    return [
        *(f"{race.name:18} {race.about}" for race in RACES),
        "",
        *(f"{name:18} {version}" for name, version in versions.items()),
        *(f"{name:18} MISSING: {reason}" for name, reason in missing.items()),
    ]


def _stop(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
