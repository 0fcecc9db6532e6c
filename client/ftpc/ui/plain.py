"""Progress as plain lines, for logs and for terminals that can do nothing else."""

import time
from typing import TextIO

from ftpc.progress import Item, Phase, Retry
from ftpc.ui.base import Display
from ftpc.ui.rate import Rate
from ftpc.ui.text import rate_text, safe_text
from ftpd.amounts import size_text

EVERY_S = 5.0
"""Seconds between two lines."""


class PlainDisplay(Display):
    """A line every few seconds, as long as something happens; and one for each try after a break, and its success."""

    def __init__(self, stream: TextIO, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._stream = stream
        self._every_s = every_s
        self._retries: dict[Item, Retry | None] = {}
        self._last = time.monotonic()
        self._rate = Rate(self._last, 0)

    def update(self, item: Item) -> None:
        """See `Progress.update`."""
        now = time.monotonic()
        if self.begins_anew(item):
            self._rate = Rate(now, self.moved)
        if not self._is_news(item) and now - self._last < self._every_s:
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

    def stop(self, item: Item) -> None:
        """See `Progress.stop`."""
        super().stop(item)
        self._retries.pop(item, None)

    def _is_news(self, item: Item) -> bool:
        """Tell whether it waits for another try than when it was last looked at, or does not wait any more."""
        retry = item.retry if item.phase is Phase.WAITING else None
        is_news = self._retries.get(item) is not retry
        self._retries[item] = retry
        return is_news

    def _percent(self, whole: int) -> int:
        """Of the bytes, rounded down; all are done when all files are."""
        return min(100 * self.done // whole, 99 if self.files_done < self.files else 100)
