"""Progress as plain lines, for logs and for terminals that can do nothing else."""

import time
from typing import TextIO

from ftpc.progress import Item, Phase
from ftpc.ui.base import Display
from ftpc.ui.text import rate_text, safe_text, size_text

EVERY_S = 5.0
"""Seconds between two lines."""


class PlainDisplay(Display):
    """A line every few seconds, as long as something happens; and one when a connection is lost, or back."""

    def __init__(self, stream: TextIO, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._stream = stream
        self._every_s = every_s
        self._waiting: list[Item] = []
        self._started = self._last = time.monotonic()

    def update(self, item: Item) -> None:
        """See `Progress.update`."""
        now = time.monotonic()
        has_changed = (item.phase is Phase.WAITING) != (item in self._waiting)
        if has_changed:
            (self._waiting.remove if item in self._waiting else self._waiting.append)(item)
        if now - self._last < self._every_s and not has_changed:
            return
        self._last = now
        whole = self.total
        total = f" of {size_text(whole)}" if whole else ""
        share = f" ({100 * self.done // whole} %)" if whole else ""
        rate = rate_text(self.done, now - self._started)
        files = f"{self.files_done:,} of {self.files_text} files done"
        line = f"{size_text(self.done)}{total}{share}, {rate}, {files}, {safe_text(item.state)}: {safe_text(item.name)}"
        print(line, file=self._stream, flush=True)
