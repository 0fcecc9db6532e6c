"""Progress as plain lines, for logs and for terminals that can do nothing else."""

import time
from typing import TextIO

from ftpc.progress import Item, Phase
from ftpc.ui.base import Display
from ftpc.ui.rate import Rate
from ftpc.ui.text import rate_text, safe_text
from ftpd.amounts import size_text

EVERY_S = 5.0
"""Seconds between two lines."""


class PlainDisplay(Display):
    """A line every few seconds, as long as something happens; and one when a connection is lost, or back."""

    def __init__(self, stream: TextIO, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._stream = stream
        self._every_s = every_s
        self._waiting: list[Item] = []
        self._last = time.monotonic()
        self._rate = Rate(self._last, 0)

    def update(self, item: Item) -> None:
        """See `Progress.update`."""
        now = time.monotonic()
        if self.begins_anew(item):
            self._rate = Rate(now, self.moved)
        has_changed = (item.phase is Phase.WAITING) != (item in self._waiting)
        if has_changed:
            (self._waiting.remove if item in self._waiting else self._waiting.append)(item)
        if now - self._last < self._every_s and not has_changed:
            return
        self._last = now
        whole = self.total
        total = f" of {size_text(whole)}" if whole else ""
        share = f" ({self._percent(whole)} %)" if whole else ""
        self._rate.note(now, self.moved)
        rate = rate_text(*self._rate.span())
        files = f"{self.files_done:,} of {self.files_text} files done"
        line = f"{size_text(self.done)}{total}{share}, {rate}, {files}, {safe_text(item.state)}: {safe_text(item.name)}"
        print(line, file=self._stream, flush=True)

    def _percent(self, whole: int) -> int:
        """Of the bytes, rounded down; all are done when all files are."""
        return min(100 * self.done // whole, 99 if self.files_done < self.files else 100)
