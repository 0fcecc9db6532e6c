"""Progress as bars on a terminal: one line for the job, and a few for the files that are on their way."""

import time
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ftpc.progress import Item, Phase
from ftpc.ui.base import Display
from ftpc.ui.rate import Rate
from ftpc.ui.text import safe_text, seconds_text
from ftpd.amounts import size_text

MAX_ROWS = 8
"""Files shown at the same time; more of them flicker and push the total out of sight."""

REFRESH_HZ = 10

FILE_COST = 16 * 1024
"""The bytes that could be moved in the time that a file takes by itself: many small ones are more than their bytes."""

SHORTEST_S = 0.1
"""As long as a file is left, there is this much to do."""


class BarDisplay(Display):
    """Bars that are gone when the job is over."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._console = Console(file=stream, force_terminal=True)  # which heeds NO_COLOR by itself
        self._live = Live(self, console=self._console, refresh_per_second=REFRESH_HZ, transient=True)
        self._begin()

    def _begin(self) -> None:
        now, work = time.monotonic(), self._work
        self._rate, self._pace = Rate(now, self.moved), Rate(now, work)

    def open(self) -> None:
        """See `Display.open`."""
        self._live.start()

    def close(self) -> None:
        """See `Display.close`."""
        self._live.stop()

    def update(self, item: Item) -> None:
        """See `Display.update`."""
        if self.begins_anew(item):
            self._begin()

    def print(self, line: str) -> None:
        """Print a line above the bars, where it stays."""
        self._console.print(Text(line), soft_wrap=True)

    def __rich__(self) -> RenderableType:
        """Draw the job as it is now (called by rich, from its own thread)."""
        now = time.monotonic()
        self._rate.note(now, self.moved)
        self._pace.note(now, self._work)
        active = [item for item in list(self.active) if not item.is_idle]  # the event loop changes it meanwhile
        items = active[:MAX_ROWS]
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(ratio=2, no_wrap=True, overflow="ellipsis" if self._console.encoding == "utf-8" else "crop")
        table.add_column(ratio=3, min_width=4)
        for _ in range(3 if self._console.width >= 60 else 1):
            table.add_column(justify="right", no_wrap=True)
        table.add_row(*self._total_row(active))
        if len(active) > 1 or self.files_expected > 1:
            for item in items:
                table.add_row(*self._item_row(item))
        more = len(active) - len(items)
        return Group(table, Text(f"and {more} more", style="dim")) if more else table

    def _total_row(self, active: list[Item]) -> tuple[RenderableType, ...]:
        done, total = self.done, self.total
        phase, name = "", "total"
        if self.files_expected == 1 and active:
            name, phase = safe_text(active[0].name), safe_text(active[0].state)
        if self.files_expected > 1 or self.has_folders:
            name = f"{self.files_done:,}/{self.files_text} files"
        rate = self._rate.per_second()
        if phase and active[0].phase is Phase.WAITING:
            return self._row(name, done, total, phase, "")
        middle = f"{size_text(rate)}/s" if rate else phase
        last = self._last_cell(done, total, phase)
        return self._row(name, done, total, middle, last if last != middle else "", is_total=True)

    def _last_cell(self, done: int, total: int | None, phase: str) -> str:
        if phase and total is not None and done >= total and self._files_left < 2:
            return phase  # the bar is full and the work is not over: say what is being done
        files = self._files_left
        left = self._pace.seconds_left(total - done + FILE_COST * files if total is not None else None)
        return seconds_text(max(left, SHORTEST_S if files else 0.0)) if left is not None else phase

    @property
    def _work(self) -> int:
        """What was done until now, in bytes and what is as much."""
        return self.moved + FILE_COST * self.files_moved

    @property
    def _files_left(self) -> int:
        return max(0, self.files - self.files_done)

    def _item_row(self, item: Item) -> tuple[RenderableType, ...]:
        return self._row(safe_text(item.name), item.done, item.total, safe_text(item.state), "")

    def _row(
        self, name: str, done: int, total: int | None, middle: str, last: str, *, is_total: bool = False
    ) -> tuple[RenderableType, ...]:
        size = size_text(done) if total is None else f"{size_text(done)}/{size_text(total)}"
        # Where the total is not known the bar stays empty: a full one would be a lie.
        # Nor is that of all full as long as a file is left.
        files_done, files = (self.files_done, self.files) if is_total else (0, 0)
        bar = ProgressBar(
            total=(total or 1) + FILE_COST * files, completed=done + FILE_COST * files_done if total else 0
        )
        cells = (Text(name), bar, Text(size, style="cyan"), Text(middle, style="green"), Text(last, style="yellow"))
        return cells if self._console.width >= 60 else (*cells[:2], Text(last or middle))
