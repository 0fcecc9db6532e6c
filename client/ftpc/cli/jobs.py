"""A job: several files at the same time, one display, one summary."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from ftpc.cli.exits import Exit, exit_of_all
from ftpc.cli.terminal import Terminal
from ftpc.errors import FtpcError, PipeClosedError
from ftpc.results import Objection
from ftpc.ui.base import Display
from ftpc.ui.text import count_text, rate_text, seconds_text, size_text

T = TypeVar("T")


class Outcome(NamedTuple):
    """What became of one file, or of a folder."""

    size: int
    skipped: bool = False
    resumed: int = 0
    """Bytes of it that were there already."""
    files: int = 1
    skipped_files: int = 0
    errors: Sequence[FtpcError] = ()
    """What is wrong with files of a folder."""
    folders: int = 0
    """Folders that were made by themselves, having no files."""


async def run_job(
    tasks: Sequence[T],
    work: Callable[[T, Display], Awaitable[Outcome]],
    jobs: int,
    terminal: Terminal,
    display: Display,
) -> Exit:
    """Work on all tasks, `jobs` at a time, and sum up. An error of one does not keep the others from being done."""
    started = time.monotonic()
    outcomes: list[Outcome] = []
    errors: list[FtpcError] = []
    failed: list[T] = []
    rest = iter(tasks)

    async def work_off() -> None:
        for task in rest:
            try:
                outcomes.append(await work(task, display))
            except PipeClosedError as exc:
                raise BrokenPipeError from exc  # for the others as well, there is nobody to write to
            except FtpcError as exc:
                errors.append(exc)
                failed.append(task)

    display.open()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(jobs, len(tasks))):
                group.create_task(work_off())
    except* BrokenPipeError as pipes:
        raise BrokenPipeError from pipes
    finally:
        display.close()
    for task, error in zip(failed, errors, strict=True):
        terminal.complain(error, name=str(task))
    for outcome in outcomes:
        for error in outcome.errors:
            terminal.complain(error)
        errors += outcome.errors
    _sum_up(outcomes, errors, time.monotonic() - started, terminal)
    return exit_of_all(errors)


def refuse_job(objections: Sequence[Objection], terminal: Terminal) -> Exit:
    """Say what speaks against a job that is not begun for it."""
    for local, error in objections:
        terminal.complain(error, name=local)
    errors = [error for _, error in objections]
    if terminal.json:
        _tell_sum(Outcome(0, files=0), errors, 0.0, terminal)
    terminal.say("nothing was sent")
    return exit_of_all(errors)


def pick_display(choice: str, terminal: Terminal) -> Display:
    """Choose how progress is shown."""
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
    moved = sum(outcome.files for outcome in outcomes if not outcome.skipped)
    skipped = sum(outcome.skipped or outcome.skipped_files for outcome in outcomes)
    size = sum(outcome.size for outcome in outcomes if not outcome.skipped)
    if terminal.json:
        _tell_sum(Outcome(size, files=moved, skipped_files=skipped), errors, seconds, terminal)
    if errors and not outcomes and len(errors) == 1:
        return  # the error says it all
    folders = sum(outcome.folders for outcome in outcomes)
    extras = [count_text(folders, "folder") + " without files"] if folders else []
    extras += [f"{skipped} skipped"] if skipped else []
    extras += ["verified" if moved else "nothing to verify"]
    extras += [f"but {_count(errors)} failed"] if errors else []
    moved_size = size - sum(outcome.resumed for outcome in outcomes if not outcome.skipped)
    figures = f"{size_text(size)} in {seconds_text(seconds)} ({rate_text(moved_size, seconds)})"
    terminal.say(", ".join((count_text(moved, "file"), figures, *extras)))


def _tell_sum(sums: Outcome, errors: Sequence[FtpcError], seconds: float, terminal: Terminal) -> None:
    terminal.json_data(
        event="summary",
        files=sums.files,
        skipped=sums.skipped_files,
        failed=_count(errors),
        bytes=sums.size,
        seconds=round(seconds, 3),
        verified=not errors,
    )


def _count(errors: Sequence[FtpcError]) -> int:
    """Count the files that have failed."""
    return sum(error.count for error in errors)
