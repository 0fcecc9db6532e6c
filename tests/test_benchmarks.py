"""The benchmarks: they run with what is installed, judge rightly and leave nothing behind; the documents show them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.document import DOCUMENT, FIGURES, PICTURE, with_figures
from benchmarks.ground import Ground, Place, same
from benchmarks.peers.tools import TOOLS
from benchmarks.picture import draw
from benchmarks.processes import FailedError, cpu_s, family, seconds
from benchmarks.race import Bar, Plan, Race, Way, run
from benchmarks.races import RACES
from benchmarks.results import Better, RaceResult, Results, read
from tests.peer import REPOSITORY, eventually

TINY = ("--quick", "--scale", "0.001", "--rounds", "1")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="some races read /proc")


def bench(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the benchmarks; all they write goes to the folder."""
    (folder / "in").mkdir()
    where = ("--folder", "in", "--disk", "in", "--json", "bench.json", "--picture", "bench.svg")
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *where, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end, which must be a good one, and give what was said."""
    said, _ = process.communicate()
    assert 0 == process.returncode, said
    return said


def check_nothing_is_left(folder: Path) -> None:
    """Neither a file, nor a process, which would be one that was started there or with something there."""
    assert [] == [*(folder / "in").iterdir()]
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            if (process / "cwd").readlink().is_relative_to(folder) or str(folder) in command:
                left.append(command)
    assert [] == left


def check_shape(results: Results, said: str) -> None:
    """Every tool is named as there or as missing; every race has figures of ours, and of others figures or a reason."""
    assert {*TOOLS} == results.peers.keys() | results.missing.keys()
    assert not results.peers.keys() & results.missing.keys()
    assert results.is_quick
    for race in results.races:
        assert race.name in said
        assert any(way.is_ours for way in race.ways), race
        assert all(len(way.values) == race.rounds and min(way.values) > 0 for way in race.ways), race
        for bar in race.bars:
            assert bar.values or bar.theirs in race.left_out, race
    for reason in (*results.missing.values(), *(why for race in results.races for why in race.left_out.values())):
        assert reason in said


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["put", "get", "put-tree", "get-tree"], id="usual"),
        pytest.param(["put-durable", "at-once", "cpu", "memory"], id="server"),
        pytest.param([race.name for race in RACES], id="all", marks=pytest.mark.long),
    ],
)
def test_tiny_run(tmp_path: Path, names: list[str]) -> None:
    """Races run with what is installed, say what they found, write JSON and a picture, and leave nothing else."""
    said = finish(bench(tmp_path, *TINY, "--only", *names))
    results = read(tmp_path / "bench.json")
    check_shape(results, said)
    assert names == [race.name for race in results.races]
    left_out = {label: why for race in results.races for label, why in race.left_out.items()}
    assert {*left_out.values()} <= {*results.missing.values()}, "what is installed takes part"
    picture = ET.parse(tmp_path / "bench.svg")  # noqa: S314 (our own)
    texts = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {way.label for race in results.races for way in race.ways} <= texts
    assert ["bench.json", "bench.svg", "in"] == sorted(path.name for path in tmp_path.iterdir())
    check_nothing_is_left(tmp_path)


def test_missing_peers(tmp_path: Path) -> None:
    """Where no other tool is found, ours is measured, and each way that is missing is named with the reason."""
    said = finish(bench(tmp_path, *TINY, "--only", "put", "get-tree", environment={"PATH": str(tmp_path)}))
    results = read(tmp_path / "bench.json")
    check_shape(results, said)
    put, get_tree = results.races
    assert ["raw TCP copy", "ftpc put"] == [way.label for way in put.ways]
    assert {"rsync -W", "curl -T, vsftpd", "scp, default cipher"} <= put.left_out.keys()
    assert {"rsync -a", "lftp mirror -P 8, vsftpd", "scp -r, default cipher"} == get_tree.left_out.keys()
    assert "rsync is not installed" == put.left_out["rsync -W"]
    assert "bar: ftpc put: at least 1.60 x rsync -W: not measured" in said
    check_nothing_is_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_breaking_off(tmp_path: Path, number: signal.Signals) -> None:
    """Broken off in the middle of a race, no file and no process stays behind."""
    with bench(tmp_path, "--only", "put", "--scale", "0.01", "--rounds", "1000000") as process:
        try:
            eventually(lambda: [*(tmp_path / "in").glob("bench-*/ftpd/root/up")], "a race is under way")
        finally:
            process.send_signal(number)
            process.communicate()
    assert 130 == process.returncode
    check_nothing_is_left(tmp_path)


def test_documents_show_what_was_measured() -> None:
    """The figures and the picture in the documents are those of the run that lies beside them."""
    docs = REPOSITORY / "docs"
    results, text = read(docs / FIGURES), (docs / DOCUMENT).read_text(encoding="utf-8")
    assert with_figures(text, results) == text, "run `make bench-docs`"
    assert draw(results) == (docs / PICTURE).read_text(encoding="utf-8")
    assert results.date[:10] in text
    assert {race.name for race in results.races} == {race.name for race in RACES}


def run_plan(tmp_path: Path, plan: Plan, rounds: int) -> RaceResult:
    """Run a race that is planned already."""
    with ExitStack() as stack:
        return run(Race("name", "about", lambda _: plan), Ground(stack, tmp_path, Place.MEMORY, 1), rounds)


def test_turns(tmp_path: Path) -> None:
    """Ways take turns, backwards every other round; the first round does not count; bars compare within a round."""
    order: list[str] = []

    def way(label: str, *figures: float) -> Way:
        left = iter(figures)

        def measure() -> float:
            order.append(label)
            return next(left)

        return Way(label, measure, is_ours=label == "a")

    ways = [way("a", 99, 2, 4, 90), way("b", 1, 1, 1, 100)]
    bars = [Bar("a", "b", 2.0), Bar("a", "b", 2.1), Bar("a", None, 5), Bar("a", "c", 1)]
    result = run_plan(tmp_path, Plan("t", "u", Better.MORE, ways, bars), 3)
    assert ["a", "b", "b", "a", "a", "b", "b", "a"] == order
    assert [[2, 4, 90], [1, 1, 100]] == [way.values for way in result.ways]
    assert [2, 4, 0.9] == result.bars[0].values
    assert [True, False, False, None] == [bar.is_met for bar in result.bars]
    assert not result.has_failed


def test_less_is_better(tmp_path: Path) -> None:
    """Where less is better, a bar is the most that is allowed."""
    ways = [Way("a", lambda: 8.0), Way("b", lambda: 10.0)]
    bars = [Bar("a", "b", 0.8), Bar("a", "b", 0.7), Bar("a", None, 8.0)]
    result = run_plan(tmp_path, Plan("t", "u", Better.LESS, ways, bars), 1)
    assert [True, False, True] == [bar.is_met for bar in result.bars]


@pytest.mark.parametrize("is_ours", [True, False])
def test_way_that_fails(tmp_path: Path, *, is_ours: bool) -> None:
    """A way that does not do its work is left out with the reason, and the others go on; if it is ours, all fails."""

    def refuse() -> None:
        raise FailedError("what arrived is not what was sent")

    ways = [Way("a", lambda: 1.0, check=refuse, is_ours=is_ours), Way("b", lambda: 1.0)]
    result = run_plan(tmp_path, Plan("t", "u", Better.MORE, ways, [Bar("a", "b", 1)]), 2)
    assert ["b"] == [way.label for way in result.ways]
    assert {"a": "what arrived is not what was sent"} == result.left_out
    assert (None, is_ours) == (result.bars[0].is_met, result.has_failed)


def test_comparing(tmp_path: Path) -> None:
    """A folder is the same only if all its files are there, no others, and with the same bytes."""
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "file").write_bytes(b"1234")
    same(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "sub" / "file").write_bytes(b"1235")
    with pytest.raises(FailedError):
        same(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "sub" / "file").write_bytes(b"1234")
    (tmp_path / "b" / "more").touch()
    with pytest.raises(FailedError):
        same(tmp_path / "a", tmp_path / "b")


def test_failing_command() -> None:
    """A command that fails gives no time, but its status and the last thing it said."""
    with pytest.raises(FailedError, match=r"^sh failed with status 3: why$"):
        seconds(["sh", "-c", "echo first >&2; echo why >&2; exit 3"])


def test_processor_time_of_a_family() -> None:
    """The time of a process includes that of its children, of those that run and of those that have ended."""
    burn = "import time\nwhile time.process_time() < 0.2: pass\n"
    program = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nprint(flush=True)\ninput()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert {parent.pid} == family(parent.pid)
        assert parent.pid in family(os.getpid())
        assert cpu_s({parent.pid}) >= 0.19
        parent.communicate("\n")
