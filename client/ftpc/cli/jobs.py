"""A job: several files at the same time, one display, one summary."""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, Self, TypeVar

from ftpc.cli.exits import Exit, exit_of_all
from ftpc.cli.terminal import Terminal
from ftpc.errors import FtpcError, PipeClosedError
from ftpc.results import GetResult, Objection, PutResult, TreeResult
from ftpc.ui.base import Display
from ftpc.ui.text import count_text, rate_text, seconds_text
from ftpd.amounts import size_text

T = TypeVar("T")


class Outcome(NamedTuple):
    """What became of one file, or of a folder."""

    size: int = 0
    """Bytes of what is stored now."""
    files: int = 1
    resumed: int = 0
    """Bytes of it that were there already."""
    skipped: int = 0
    """Files that were not sent."""
    identical: int = 0
    """Those of them that the server has already, the same to the last byte."""
    identical_size: int = 0
    errors: Sequence[tuple[str | None, FtpcError]] = ()
    """What is wrong with files, and with which; None for what is wrong with a folder as a whole."""
    told: Sequence[FtpcError] = ()
    """What is wrong with others, of which it was said when that was known."""
    folders: int = 0
    """Folders that were made by themselves, having no files."""
    not_sent: int = 0
    """Files of a folder that was given up, beside those with an error."""
    end: str = ""
    """What is to be said after the errors."""

    @classmethod
    def of_get(cls, result: GetResult) -> Self:
        """Give that of one file."""
        if result.identical:
            return cls(files=0, skipped=1, identical=1, identical_size=result.size)
        return cls(result.size, resumed=result.resumed)

    @classmethod
    def of_put(cls, result: PutResult) -> Self:
        """Give that of one file."""
        if result.skipped:
            same = result.size if result.identical else 0
            return cls(files=0, skipped=1, identical=result.identical, identical_size=same)
        return cls(size=result.size, resumed=result.resumed)

    @classmethod
    def of_many(
        cls,
        done: TreeResult,
        errors: Sequence[tuple[str | None, FtpcError]],
        end: str = "",
        told: Sequence[FtpcError] = (),
    ) -> Self:
        """Give that of many files."""
        keys = ("size", "files", "resumed", "skipped", "identical", "identical_size", "folders", "not_sent")
        return cls(**{key: getattr(done, key) for key in keys}, errors=errors, end=end, told=told)


class Tasks(Generic[T]):
    """What a job is to work on; more may be found while it does."""

    def __init__(self, tasks: Iterable[T]) -> None:
        self._waiting = deque(tasks)
        self.count = len(self._waiting)
        """How many there have been."""
        self._hire: Callable[[], None] = lambda: None

    def add(self, task: T) -> None:
        """Have something worked on as soon as there is room."""
        self._waiting.append(task)
        self.count += 1
        self._hire()

    async def work_off(self, work: Callable[[T], Awaitable[None]], jobs: int) -> None:
        """Work on all, `jobs` at a time."""
        free = jobs

        async def work_on() -> None:
            nonlocal free
            while self._waiting:
                await work(self._waiting.popleft())
            free += 1

        def hire() -> None:
            nonlocal free
            for _ in range(min(free, len(self._waiting))):
                free -= 1
                group.create_task(work_on())

        async with asyncio.TaskGroup() as group:
            self._hire = hire
            hire()


async def run_job(
    tasks: Iterable[T] | Tasks[T],
    work: Callable[[T, Display], Awaitable[Outcome]],
    jobs: int,
    terminal: Terminal,
    display: Display,
) -> Exit:
    """Work on all tasks, `jobs` at a time, and sum up. An error of one does not keep the others from being done."""
    started = time.monotonic()
    outcomes: list[Outcome] = []
    errors: list[FtpcError] = []
    all_tasks = tasks if isinstance(tasks, Tasks) else Tasks(tasks)

    async def work_on(task: T) -> None:
        try:
            outcomes.append(await work(task, display))
        except PipeClosedError as exc:
            raise BrokenPipeError from exc  # for the others as well, there is nobody to write to
        except FtpcError as exc:
            errors.append(exc)
            terminal.complain(exc, name=str(task), is_one_of_many=all_tasks.count > 1)

    display.open()
    try:
        await all_tasks.work_off(work_on, jobs)
    except* BrokenPipeError as pipes:
        raise BrokenPipeError from pipes
    finally:
        display.close()
    for outcome in outcomes:
        errors += [*outcome.told, *(error for _, error in outcome.errors)]
        _tell_of_folder(outcome, terminal)
    _sum_up(outcomes, errors, time.monotonic() - started, terminal)
    return exit_of_all(errors)


@contextlib.contextmanager
def none_lost(errors: Sequence[tuple[str | None, FtpcError]], terminal: Terminal) -> Iterator[None]:
    """Tell the errors in a folder also if it is broken off."""
    try:
        yield
    except BaseException:
        _tell_of_folder(Outcome(0, errors=errors), terminal)
        raise


def _tell_of_folder(outcome: Outcome, terminal: Terminal) -> None:
    files = Counter(id(error) for _, error in outcome.errors)
    for name, error in outcome.errors:  # one that is about many files is said once, and programs are told of each
        terminal.complain(error, name=name, files=files.pop(id(error), 0), is_one_of_many=True)
    if outcome.end:
        terminal.say(outcome.end)


def refuse_job(objections: Sequence[Objection], terminal: Terminal) -> Exit:
    """Say what speaks against a job that is not begun for it."""
    for local, error in objections:
        terminal.complain(error, name=local, is_one_of_many=True)
    errors = [error for _, error in objections]
    if terminal.json:
        _tell_sum(Outcome(0, files=0), errors, 0.0, terminal)
    terminal.say("nothing was sent")
    return exit_of_all(errors)


def pick_display(choice: str, terminal: Terminal) -> Display:
    """Choose how progress is shown."""
    terminal.display = _make_display(choice, terminal)
    return terminal.display


def _make_display(choice: str, terminal: Terminal) -> Display:
    if terminal.json:
        from ftpc.ui.events import EventDisplay

        return EventDisplay(terminal.stdout)
    if choice == "none" or terminal.quiet:
        return Display()
    if choice == "bar" or (choice == "auto" and terminal.can_draw):
        from ftpc.ui.bars import BarDisplay

        bars = BarDisplay(terminal.stderr)
        terminal.print = bars.print
        return bars
    from ftpc.ui.plain import PlainDisplay

    return PlainDisplay(terminal.stderr)


def _sum_up(outcomes: Sequence[Outcome], errors: Sequence[FtpcError], seconds: float, terminal: Terminal) -> None:
    keys = ("size", "files", "resumed", "skipped", "identical", "identical_size", "folders", "not_sent")
    total = Outcome(**{key: sum(getattr(outcome, key) for outcome in outcomes) for key in keys})
    if terminal.json:
        _tell_sum(total, errors, seconds, terminal)
    if errors and not outcomes and len(errors) == 1:
        return  # the error says it all
    extras = [count_text(total.folders, "folder") + " without files"] if total.folders else []
    if total.identical:
        extras += [f"{total.identical:,} the same already ({size_text(total.identical_size)})"]
    if taken := total.skipped - total.identical:
        extras += [f"{taken:,} skipped, the name being taken"]
    extras += ["verified" if total.files or total.identical else "nothing to verify"]
    rest = f" and {total.not_sent:,} {'was' if total.not_sent == 1 else 'were'} not sent" if total.not_sent else ""
    extras += [f"but {_count(errors):,} failed{rest}"] if errors else []
    rate = rate_text(total.size - total.resumed, seconds)
    figures = f"{size_text(total.size)} in {seconds_text(seconds)} ({rate})"
    terminal.say(", ".join((count_text(total.files, "file"), figures, *extras)))


def _tell_sum(sums: Outcome, errors: Sequence[FtpcError], seconds: float, terminal: Terminal) -> None:
    terminal.json_data(
        event="summary",
        files=sums.files,
        skipped=sums.skipped,
        identical=sums.identical,
        identical_bytes=sums.identical_size,
        failed=_count(errors),
        not_sent=sums.not_sent,
        bytes=sums.size,
        seconds=round(seconds, 3),
        verified=not errors,
    )


def _count(errors: Sequence[FtpcError]) -> int:
    """Count the files that have failed."""
    return sum(error.count for error in errors)
