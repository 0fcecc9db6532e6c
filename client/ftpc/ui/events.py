"""Progress as JSON, one object per line, for programs. Documented in `docs/json.md`."""

import json
import time
from typing import TextIO

from ftpc.progress import Item, Phase
from ftpc.ui.base import Display

EVERY_S = 0.5
"""Seconds between two events of the same item."""

SCHEMA = 1
"""The version of all JSON that `ftpc` prints."""


def write_json(stream: TextIO, **fields: object) -> None:
    """Print one object on one line."""
    print(json.dumps({"schema": SCHEMA, **fields}), file=stream, flush=True)


class EventDisplay(Display):
    """Events `start` and `progress`; what became of an item is told by the command."""

    def __init__(self, stream: TextIO, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._stream = stream
        self._every_s = every_s
        self._last: dict[int, float] = {}

    def start(self, item: Item) -> None:
        """See `Progress.start`."""
        super().start(item)
        if item.counts or item.contents is not None or item.total is not None:  # else each file in it has its own
            write_json(self._stream, event="start", name=item.name, size=item.total)

    def update(self, item: Item) -> None:
        """See `Progress.update`."""
        now = time.monotonic()
        if item.phase is Phase.WAITING or now - self._last.get(id(item), 0.0) >= self._every_s:
            self._last[id(item)] = now
            fields = {"name": item.name, "size": item.total, "done": item.done, "phase": item.phase.value}
            write_json(self._stream, event="progress", **fields, **_retry(item, now), **_contents(item))

    def stop(self, item: Item) -> None:
        """See `Progress.stop`."""
        super().stop(item)
        self._last.pop(id(item), None)


def _retry(item: Item, now: float) -> dict[str, object]:
    """Give the next try after a break, or the one that has no answer yet; nothing of what is not broken."""
    if item.phase is not Phase.WAITING or item.retry is None:
        return {}
    wait_s = round(max(0.0, item.retry.at - now), 1)
    return {"retry": {"number": item.retry.number, "of": item.retry.most, "wait": wait_s}}


def _contents(item: Item) -> dict[str, object]:
    """Give what is known of a folder; nothing of a file."""
    if (found := item.contents) is None:
        return {}
    return {
        "files_done": found.done,
        "files_found": found.files,
        "bytes_found": found.size,
        "all_found": found.is_whole,
    }
