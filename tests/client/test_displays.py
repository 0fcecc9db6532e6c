"""The displays by themselves: what they show of items that the test moves."""

import io
import json
import re
import time

import pytest
from rich.progress_bar import ProgressBar

from ftpc import Item, Phase
from ftpc.cli.jobs import pick_display
from ftpc.cli.terminal import Terminal
from ftpc.progress import Contents, Retry
from ftpc.results import TreeFile
from ftpc.transfer.tasks import Tally
from ftpc.ui.bars import MAX_ROWS, BarDisplay
from ftpc.ui.base import Display
from ftpc.ui.events import EventDisplay
from ftpc.ui.plain import PlainDisplay
from ftpc.ui.rate import WINDOW_S, Rate
from ftpc.ui.text import count_text, rate_text, safe_text, seconds_text
from ftpd.amounts import size_text
from tests.client.screen import visible
from tests.client.support import MIB

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def item(name: str, total: int | None = MIB, done: int = 0, phase: Phase = Phase.SENDING) -> Item:
    """Make an item."""
    made = Item(name, total, phase)
    made.done = made.moved = done
    return made


def draw(items: list[Item], files: int, size: int | None, columns: int = 100, folders: int = 0) -> list[str]:
    """Draw bars once, and give the lines."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COLUMNS", str(columns))
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        display = BarDisplay(stream)
        display.expect(files, size, folders)
        display.open()
        for each in items:
            display.start(each)
        display.close()
        stream.seek(0)
        drawn = ESCAPE.sub("", stream.read()).replace("\r", "\n")
    return [line for line in drawn.split("\n") if line.strip()]


def test_one_file_is_one_line() -> None:
    """Of one file there is one line with its name and how far it is."""
    [line] = draw([item("a.txt", 4 * MIB, MIB)], 1, 4 * MIB)
    assert line.startswith("a.txt ")
    assert "1.0 MiB/4.0 MiB" in line


class Clock:
    """The time that displays go by, which the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


def one_line(display: BarDisplay) -> str:
    """Draw bars as they are now, and give the first line without its bar."""
    with display._console.capture() as drawn:
        display._console.print(display)
    return " ".join(re.sub(r"[━╸╺]", "", ESCAPE.sub("", drawn.get())).splitlines()[0].split())


def bars(monkeypatch: pytest.MonkeyPatch) -> BarDisplay:
    """Make bars to be drawn by hand."""
    monkeypatch.setenv("COLUMNS", "100")
    return BarDisplay(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))


def test_what_was_there_is_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there before counts for the bar, and not for the rate and the time that is left."""
    clock, display = Clock(monkeypatch), bars(monkeypatch)
    display.expect(1, 100 * MIB)
    display.start(moving := item("a", 100 * MIB))
    clock.now += 2  # looking at what is here
    moving.done = moving.resumed = 80 * MIB
    display.update(moving)
    clock.now += 1
    moving.done, moving.moved = 85 * MIB, 5 * MIB
    display.update(moving)
    assert "a 85.0 MiB/100.0 MiB 5.0 MiB/s 3.0 s" == one_line(display)


def test_a_break_is_not_in_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time without a connection says nothing of how fast it goes when there is one."""
    clock, display = Clock(monkeypatch), bars(monkeypatch)
    stream = io.StringIO()
    plain = PlainDisplay(stream, every_s=1)
    moving = item("a", 100 * MIB)
    for each in (display, plain):
        each.expect(1, 100 * MIB)
        each.start(moving)
    for passed, moved, phase in ((2, 20, Phase.SENDING), (0, 20, Phase.WAITING), (8, 20, Phase.SENDING)):
        clock.now += passed
        moving.phase, moving.done, moving.moved = phase, moved * MIB, moved * MIB
        moving.retry = Retry(1, 8, clock.now + 8, Phase.SENDING)
        for each in (display, plain):
            each.update(moving)
        one_line(display)
    clock.now += 1
    moving.done = moving.moved = 30 * MIB
    plain.update(moving)
    assert "a 30.0 MiB/100.0 MiB 10.0 MiB/s 7.0 s" == one_line(display)
    assert [" 10.0 MiB/s", " -", " -", " 10.0 MiB/s"] == [line.split(",")[1] for line in stream.getvalue().splitlines()]


def test_files_that_are_left_take_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nearly all bytes of a folder are there and most of its files are not, it is not nearly over."""
    clock, display = Clock(monkeypatch), bars(monkeypatch)
    display.expect(1, 0, folders=1)
    display.start(moving := folder(5003, 100 * MIB, is_whole=True))
    moving.done, moving.moved = 0, 0
    display.update(moving)
    assert moving.contents is not None
    clock.now += 1
    moving.contents.done, moving.done, moving.moved = 3, 100 * MIB - 5000, 100 * MIB - 5000
    assert 0.7 < float(one_line(display).split()[-2]) < 0.9  # 80 MiB would take as long
    clock.now += WINDOW_S
    one_line(display)
    for _ in range(16):
        moving.contents.done += 100
        clock.now += 1
        one_line(display)
    assert one_line(display).endswith(" 34 s")
    moving.contents.done, moving.done = 5001, 100 * MIB
    assert one_line(display).endswith(" 0.1 s")
    drawn = display._row("", moving.done, moving.done, "", "", is_total=True)[1]
    assert isinstance(drawn, ProgressBar)
    assert drawn.completed < (drawn.total or 0)
    moving.contents.done += 2
    drawn = display._row("", moving.done, moving.done, "", "", is_total=True)[1]
    assert isinstance(drawn, ProgressBar)
    assert drawn.completed == drawn.total


def test_what_is_the_same_already_is_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files that are skipped are done, and neither their bytes nor they themselves say how fast it goes."""
    clock, display = Clock(monkeypatch), bars(monkeypatch)
    display.expect(1, 0, folders=1)
    display.start(moving := folder(1000, 4 * MIB, is_whole=True))
    moving.moved = 0
    tally = Tally(moving, display, None)
    clock.now += 1
    tally.take_small([TreeFile("a", "a", MIB, "root", skipped=True)] * 2)
    assert "2/1,000 files 3.0 MiB/4.0 MiB sending" == one_line(display)
    tally.take_small([TreeFile("a", "a", MIB // 2)])
    assert one_line(display).startswith("3/1,000 files 3.5 MiB/4.0 MiB 512.0 KiB/s ")


def test_not_all_before_the_last_file() -> None:
    """Plain lines do not say that all is done as long as a file is not."""
    stream = io.StringIO()
    display = PlainDisplay(stream, every_s=0)
    display.expect(1, MIB)
    display.start(moving := item("a", MIB, MIB))
    display.update(moving)
    assert "1.0 MiB of 1.0 MiB (99 %)" in stream.getvalue()


def test_several_files_are_a_line_each() -> None:
    """Of several files the total comes first, and of many only some are shown."""
    lines = draw([item(str(number)) for number in range(MAX_ROWS + 3)], 20, 20 * MIB)
    assert "0/20 files" == lines[0][:10]
    assert [str(number) for number in range(MAX_ROWS)] == [line.split()[0] for line in lines[1:-1]]
    assert "and 3 more" == lines[-1].strip()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_notices_stay(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """What is said while bars are drawn stands above them and stays, each on its line; of the bars nothing is left."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline=""))
    terminal = Terminal()
    display = pick_display("bar", terminal)
    assert isinstance(display, BarDisplay)
    display.expect(count, count * MIB)
    display.open()
    items = [item(f"bar {number}") for number in range(count)]
    for each in items:
        display.start(each)
    said = []
    for each in items:
        display._live.refresh()
        terminal.say(f"{each.name}: a [b]notice[/b] \x1b[2J" + "long " * 40)
        said.append(f"{each.name}: a [b]notice[/b] \\x1b[2J" + "long " * 40)
        display._live.refresh()
        display.stop(each)
    display.close()
    terminal.say("the sum")
    terminal.stderr.seek(0)
    assert [*said, "the sum"] == visible(terminal.stderr.read())


@pytest.mark.parametrize("phase", [Phase.COMMITTING, Phase.SAVING])
def test_full_bar_says_what_is_still_being_done(phase: Phase) -> None:
    """When all bytes are there, the last phase has a name."""
    [line] = draw([item("a", MIB, MIB, phase)], 1, MIB)
    assert phase.value in line


@pytest.mark.parametrize("columns", [1, 2, 5, 10, 20, 40, 59, 60, 61, 200])
@pytest.mark.parametrize("total", [None, 0, 2**50])
def test_no_line_is_too_long(columns: int, total: int | None) -> None:
    """Whatever the terminal and the names, a line of bars is never longer than the terminal is wide."""
    names = ["a" * 300, "\x1b[2J\r\nx", "ü" * 100, "文" * 50]
    lines = draw([item(name, total) for name in names], 4, total, columns)
    assert lines or columns < 5
    assert [] == [line for line in lines if len(line) > columns]


def test_plain_lines() -> None:
    """Plain lines say bytes, share, rate, files and the phase, and not more often than they should."""
    stream = io.StringIO()
    display = PlainDisplay(stream, every_s=0)
    display.expect(2, 4 * MIB)
    moving = item("x\x1b[2J", 4 * MIB, MIB)
    display.start(moving)
    display.update(moving)
    assert re.fullmatch(
        r"1\.0 MiB of 4\.0 MiB \(25 %\), \S+ \S+/s, 0 of 2 files done, sending: x\\x1b\[2J\n", stream.getvalue()
    )
    patient = PlainDisplay(quiet := io.StringIO())
    patient.start(moving)
    patient.update(moving)
    assert "" == quiet.getvalue()


def folder(files: int, size: int, *, is_whole: bool, done: int = 0) -> Item:
    """Make an item of a folder in which so much was found."""
    made = item("photos", None, size // 4)
    made.contents = contents = Contents()
    contents.files, contents.size, contents.is_whole, contents.done = files, size, is_whole, done
    return made


def test_folder_that_is_looked_through() -> None:
    """Of a folder there are the files done and those found so far; a total when it has been looked through."""
    [line] = draw([folder(3010, 4 * MIB, is_whole=False, done=1204)], 1, 0, folders=1)
    assert line.startswith("1,204/3,010+ files ")
    assert ("1.0 MiB", False) == (line[line.index("1.0") :].strip()[:7], "4.0 MiB" in line)
    [line] = draw([folder(3010, 4 * MIB, is_whole=True, done=1204)], 1, 0, folders=1)
    assert line.startswith("1,204/3,010 files ")
    assert "1.0 MiB/4.0 MiB" in line


def test_large_files_of_a_folder_count_once() -> None:
    """A large file is a part of its folder, and no file more; files beside the folder are."""
    display = Display()
    display.expect(3, MIB, folders=2)
    whole, part, single = folder(12, 4 * MIB, is_whole=True, done=2), item("a", MIB, MIB), item("b", MIB, MIB)
    part.counts = False
    for each in (whole, part, single):
        display.start(each)
    assert (None, "13+") == (display.total, display.files_text)  # the second folder has not begun
    display.start(folder(1, MIB, is_whole=True))
    for each in (part, single, whole):
        display.stop(each)
    assert (6 * MIB, "14", 3) == (display.total, display.files_text, display.files_done)


def test_folder_to_be_fetched() -> None:
    """Where nobody has said that it is a folder the total is known all the same; with a file beside it it is not."""
    display = Display()
    display.expect(1, None)
    display.start(folder(12, 4 * MIB, is_whole=True))
    assert (4 * MIB, "12") == (display.total, display.files_text)
    display.expect(2, None)
    assert (None, "13") == (display.total, display.files_text)


def test_plain_lines_of_a_folder() -> None:
    """Plain lines say so as well."""
    stream = io.StringIO()
    display = PlainDisplay(stream, every_s=0)
    display.expect(1, 0, folders=1)
    display.start(moving := folder(3010, 4 * MIB, is_whole=False, done=1204))
    display.update(moving)
    assert moving.contents is not None
    moving.contents.is_whole = True
    display.update(moving)
    before, after = stream.getvalue().splitlines()
    assert (True, True) == (before.startswith("1.0 MiB, "), "1,204 of 3,010+ files done" in before)
    assert (True, True) == (after.startswith("1.0 MiB of 4.0 MiB (25 %), "), "1,204 of 3,010 files done" in after)


def test_events_of_a_folder() -> None:
    """Programs are told what was found of a folder, and whether that is all."""
    stream = io.StringIO()
    display = EventDisplay(stream)
    display.start(moving := folder(3010, 4 * MIB, is_whole=False, done=1204))
    display.update(moving)
    found = json.loads(stream.getvalue().splitlines()[1])
    assert {
        "files_done": 1204,
        "files_found": 3010,
        "bytes_found": 4 * MIB,
        "all_found": False,
    }.items() <= found.items()


def test_events() -> None:
    """Events are one object per line, the first progress at once, further ones not too often."""
    stream = io.StringIO()
    display = EventDisplay(stream)
    moving = item("a\n", None)
    display.start(moving)
    for _ in range(5):
        moving.done += 1
        display.update(moving)
    display.stop(moving)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {"schema": 1, "event": "start", "name": "a\n", "size": None} == found[0]
    assert [("progress", 1, "sending")] == [(each["event"], each["done"], each["phase"]) for each in found[1:]]


def test_events_of_a_break() -> None:
    """Each try after a break is an event with its number, even just after another event."""
    stream = io.StringIO()
    display = EventDisplay(stream)
    moving = item("a")
    display.start(moving)
    display.update(moving)
    moving.wait(Retry(2, 8, 0.0, Phase.SENDING))
    display.update(moving)
    *_, sending, lost = map(json.loads, stream.getvalue().splitlines())
    assert ("sending", False) == (sending["phase"], "retry" in sending)
    assert ("connection lost, trying again", {"number": 2, "of": 8, "wait": 0.0}) == (lost["phase"], lost["retry"])


def test_every_display_counts() -> None:
    """What is done is the sum over finished and active items."""
    display = Display()
    first, second = item("a", 10, 10), item("b", 10, 3)
    for each in (first, second):
        display.start(each)
    display.stop(first)
    assert (13, 1, [second]) == (display.done, display.files_done, display.active)


def test_what_stands_for_many_is_no_file() -> None:
    """An item that stands for files which are items as well adds its bytes, and is not one of the files."""
    display = Display()
    together = Item("to", None, Phase.SENDING, counts=False)
    display.start(together)
    for name in "abc":
        display.start(one := item(name, 10))
        display.stop(one)
        together.done += 10
    assert (30, 3) == (display.done, display.files_done)
    display.stop(together)
    assert (30, 3) == (display.done, display.files_done)


def test_rate_is_taken_over_a_window() -> None:
    """The rate follows a change within the window, and the rest is reckoned from it."""
    rate = Rate(0.0, 0)
    assert (0.0, None) == (rate.per_second(), rate.seconds_left(100))
    for second in range(1, 101):
        rate.note(float(second), second * 100)
    assert 100.0 == rate.per_second()
    assert 10.0 == rate.seconds_left(1000)
    assert None is rate.seconds_left(None)
    assert None is rate.seconds_left(2**50)
    for second in range(101, 102 + int(WINDOW_S)):
        rate.note(float(second), 10_000)
    assert 0.0 == rate.per_second()


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (size_text(0), "0 B"),
        (size_text(1023), "1023 B"),
        (size_text(1024), "1.0 KiB"),
        (size_text(1024**2 - 1), "1.0 MiB"),
        (size_text(1536 * 1024**2), "1.5 GiB"),
        (size_text(2**80), "1048576.0 EiB"),
        (seconds_text(0), "0.0 s"),
        (seconds_text(9.94), "9.9 s"),
        (seconds_text(9.96), "10 s"),
        (seconds_text(59.6), "1:00"),
        (seconds_text(3725), "1:02:05"),
        (rate_text(1024, 0), "-"),
        (rate_text(2048, 2), "1.0 KiB/s"),
        (count_text(1, "file"), "1 file"),
        (count_text(0, "file"), "0 files"),
        (count_text(5003, "file"), "5,003 files"),
        (safe_text("a ü€文 b\u00a0"), "a ü€文 b\u00a0"),
        (safe_text("\x1b[1m\x9b\r\n\t\x7f"), "\\x1b[1m\\x9b\\r\\n\\t\\x7f"),
        (safe_text("\u202ex\u2028\u200b\ufeff"), "\\u202ex\\u2028\\u200b\\ufeff"),
        (safe_text("\udcff"), "\\udcff"),
    ],
)
def test_text(actual: str, expected: str) -> None:
    """Numbers are written as people read them, and names so that they do no harm."""
    assert expected == actual


def test_plain_lines_tell_of_a_lost_connection() -> None:
    """Each try after a connection is lost is told at once, and once; so is its return, and not before it is there."""
    stream = io.StringIO()
    display = PlainDisplay(stream)
    moving = item("a.bin")
    display.expect(1, MIB)
    display.start(moving)
    for number in (1, 2):
        moving.wait(Retry(number, 8, time.monotonic() + 3.5, Phase.SENDING))
        for _ in range(2):
            display.update(moving)
    for _ in range(2):
        moving.go_on()
        display.update(moving)
    first, second, back = stream.getvalue().splitlines()
    assert first.endswith(", connection lost, try 1 of 8 in 4 s: a.bin")
    assert second.endswith(", connection lost, try 2 of 8 in 4 s: a.bin")
    assert back.endswith(", sending: a.bin")


@pytest.mark.parametrize("count", [1, 2])
def test_why_it_waits(count: int) -> None:
    """A server that has said why it is to wait is not a connection that is lost."""
    waiting = [item(f"{n}.bin") for n in range(count)]
    for each in waiting:
        each.wait(Retry(1, 3, 0.0, each.phase, "full\x1b[2J"))
    assert "try 1 of 3: full\\x1b[2J" in draw(waiting, count, MIB)[-1]
    stream = io.StringIO()
    display = PlainDisplay(stream)
    display.start(waiting[0])
    display.update(waiting[0])
    assert stream.getvalue().endswith("try 1 of 3: full\\x1b[2J: 0.bin\n")
    waiting[0].wait(Retry(1, 3, 0.0, Phase.SENDING, "very " * 50))
    assert 100 >= max(map(len, draw(waiting, count, MIB)))


def test_bars_count_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waits for a try the bar says which it is and, every second anew, when; then that it is under way."""
    clock, display = Clock(monkeypatch), bars(monkeypatch)
    display.expect(1, 100 * MIB)
    display.start(moving := item("a", 100 * MIB, 10 * MIB))
    moving.wait(Retry(2, 8, clock.now + 3.5, moving.phase))
    display.update(moving)
    shown = []
    for _ in range(5):
        shown.append(one_line(display).removeprefix("a 10.0 MiB/100.0 MiB "))
        clock.now += 1
    lost = "connection lost, try 2 of 8"
    assert [*(f"{lost} in {left} s" for left in (4, 3, 2, 1)), "connecting, try 2 of 8"] == shown
    moving.go_on()
    display.update(moving)
    assert one_line(display).startswith("a 10.0 MiB/100.0 MiB sending")
