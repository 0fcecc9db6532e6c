"""What a transfer tells about itself: a protocol of three verbs, which every display implements."""

import contextlib
import math
import time
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import NamedTuple, Protocol

SMALL_FILES = "small files"
"""The name of the item for those that were named one by one."""


class Phase(StrEnum):
    """What is being done to an item right now."""

    COMPARING = "comparing"
    """What is here is compared with what the server has already; `done` are the bytes that are the same."""
    SENDING = "sending"
    COMMITTING = "committing"
    """All bytes are confirmed; the server makes the file durable and gives it its name."""
    WAITING = "connection lost, trying again"
    RECEIVING = "receiving"
    SAVING = "saving"
    """All bytes are here and verified; the file is made durable and gets its name."""


class Retry(NamedTuple):
    """A try to go on after a break."""

    number: int
    """Which one it is since there was any progress, from 1."""
    most: int
    """How many of them there will be."""
    at: float
    """When it begins, or began (`time.monotonic`). From then on the server is waited for."""
    phase: Phase
    """What is gone on with."""
    reason: str = ""
    """What the server has said for which it is waiting; empty if the connection was lost."""

    def __str__(self) -> str:
        """Tell it to people, with the whole seconds that are left."""
        left = math.ceil(self.at - time.monotonic())
        which = f"try {self.number} of {self.most}" + (f" in {left} s" if left > 0 else "")
        if self.reason:
            return f"{which}: {self.reason}"
        return f"connection lost, {which}" if left > 0 else f"connecting, {which}"


class Contents:
    """What is in a folder on its way, and how much of that is over."""

    __slots__ = ("done", "files", "is_whole", "size", "skipped")

    def __init__(self) -> None:
        self.files = 0
        """Files, as far as the folder has been looked through: that is ahead by a bounded number only."""
        self.size = 0
        """Bytes in them."""
        self.is_whole = False
        """Whether these are all."""
        self.done = 0
        """Those that are done, or can not be."""
        self.skipped = 0
        """Those of `done` for which nothing was moved: they were the same already, or failed."""


class Item:
    """One file on its way, or many small ones. The engine changes it, a display reads it."""

    __slots__ = (
        "_moved", "contents", "counts", "done", "is_idle", "lost", "name", "phase", "repaired", "restarted", "resumed",
        "retry", "total",
    )  # fmt: skip

    def __init__(self, name: str, total: int | None, phase: Phase, *, counts: bool = True) -> None:
        self.name = name
        self.total = total
        """Bytes in all; None while nobody knows."""
        self.done = 0
        """Bytes the other side has confirmed as verified and stored (put), or that are written here (get)."""
        self._moved = 0
        self.phase = phase
        self.counts = counts
        """Whether it is a file of the job: not if each file in it is an item as well, nor if it is in a folder."""
        self.is_idle = False
        """Whether there is nothing to do for it at this moment, so that it need not be shown."""
        self.retry: Retry | None = None
        """The last try to go on after a break; what counts in the phase `WAITING`."""
        self.resumed = 0
        """Bytes of `done` that were there before this transfer, or this connection, began."""
        self.restarted = False
        """Whether nothing could be used of what was there before."""
        self.lost = False
        """Whether that is because what was here is gone."""
        self.repaired = 0
        """Chunks that arrived damaged and were sent again."""
        self.contents: Contents | None = None
        """Of a folder: all that is in it, large files too, which are items of their own."""

    @property
    def moved(self) -> int:
        """Bytes that came over the line for it; never less than before, and nothing that was there already."""
        return self._moved

    @moved.setter
    def moved(self, size: int) -> None:
        if size > self._moved:
            self.go_on()  # a connection alone says nothing: the server may not answer on it
        self._moved = size

    @property
    def state(self) -> str:
        """The phase, for people."""
        return str(self.retry) if self.phase is Phase.WAITING and self.retry is not None else self.phase.value

    def wait(self, retry: Retry) -> None:
        """Take note that it waits for another try, and that this is no success before it is said (`go_on`)."""
        self.phase, self.retry = Phase.WAITING, retry

    def go_on(self) -> None:
        """Take note that the server is there again, if it has waited for that."""
        if self.phase is Phase.WAITING and self.retry is not None:
            self.phase = self.retry.phase


class Progress(Protocol):
    """A display of transfers. Called from the event loop; must not block it."""

    def start(self, item: Item) -> None:
        """Take note that an item begins."""

    def update(self, item: Item) -> None:
        """Take note that `done`, `total` or `phase` of an item has changed."""

    def stop(self, item: Item) -> None:
        """Take note that an item is over, done or not."""


class Parts:
    """Shows large files of a folder, as such."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.update = progress.update
        self.stop = progress.stop

    def start(self, item: Item) -> None:
        """See `Progress.start`."""
        item.counts = False
        self._progress.start(item)


class NoProgress:
    """Shows nothing."""

    def start(self, item: Item) -> None:
        """Do nothing."""

    def update(self, item: Item) -> None:
        """Do nothing."""

    def stop(self, item: Item) -> None:
        """Do nothing."""


@contextlib.asynccontextmanager
async def shown(item: Item, progress: Progress) -> AsyncIterator[None]:
    """Show an item for as long as it is on its way."""
    progress.start(item)
    try:
        yield
    finally:
        progress.stop(item)
