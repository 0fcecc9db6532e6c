"""Buffers for payload on its way in: a pool for all transfers of a process, within a budget.

When the budget is spent nobody waits for what others hold, who may be slow: everybody still gets a buffer of `LEAST`
bytes. So all of them together take at most the budget, and `LEAST` for each transfer.
"""

import contextlib
import threading
from collections.abc import Iterator

from ftpd.wire.limits import KIB, MIB

BUFFER_SIZES = (8 * MIB, 4 * MIB, 2 * MIB, MIB, MIB // 2, MIB // 4, MIB // 8, MIB // 16)
"""Of one transfer, of a few, of many: a read, a thread hop and an acknowledgement per buffer, and the fewer of them the
faster (`make bench`); but thousands have to fit in memory."""

LEAST = 16 * KIB
"""A buffer that is there in any case."""

BUFFER_BUDGET = 128 * MIB
"""Memory for all transfers, unless there is little (`Buffers.budget`)."""


class Buffers:
    """A pool of buffers. Every method may be called by any thread."""

    def __init__(self, budget: int = BUFFER_BUDGET) -> None:
        """Give out at most `budget` bytes but for buffers of `LEAST`. It may be changed at any time."""
        self.budget = budget
        self.waiting = 0
        """Bytes of all connections that lie in their streams: what is no payload yet. Counted by the event loop."""
        self._used = 0
        self._unused: dict[int, list[bytearray]] = {size: [] for size in (*BUFFER_SIZES, LEAST)}
        self._kept = 0
        self._lock = threading.Lock()

    @property
    def kept(self) -> int:
        """Bytes that nobody uses. Fresh memory costs a page fault per 4 KiB, so half of the budget is kept."""
        return self._kept

    @property
    def used(self) -> int:
        """Bytes that are given out."""
        return self._used

    @property
    def are_short(self) -> bool:
        """Whether connections are to be read in small steps."""
        return self._used > self.budget or self.waiting > self.budget // 4

    def take(self, most: int) -> bytearray:
        """Give the largest buffer of at most `most` bytes, and at least `LEAST`, that the budget allows."""
        with self._lock:
            room = min(most, self.budget - self._used)
            size = next((size for size in BUFFER_SIZES if size <= room), LEAST)
            unused = self._unused[size]
            if unused:
                buffer = unused.pop()
                self._kept -= size
            else:
                self._shrink(self.budget - self._used - size)
                buffer = bytearray(size)
            self._used += size
            return buffer

    def give_back(self, buffer: bytearray) -> None:
        """Take a buffer back, which nobody may use any more."""
        size = len(buffer)
        with self._lock:
            self._used -= size
            room = min(self.budget // 2, self.budget - self._used) - size
            if room >= 0:
                self._shrink(room, size)
                if self._kept <= room:
                    self._unused[size].append(buffer)
                    self._kept += size

    @contextlib.contextmanager
    def lent(self, most: int) -> Iterator[memoryview]:
        """Take a buffer, and give it back in the end."""
        buffer = self.take(most)
        try:
            yield memoryview(buffer)
        finally:
            self.give_back(buffer)

    @contextlib.contextmanager
    def promised(self, most: int) -> Iterator[int]:
        """Count bytes that are taken elsewhere: `most`, or as many as the budget allows, but `LEAST` in any case."""
        with self._lock:
            size = max(min(most, self.budget - self._used), LEAST)
            self._used += size
        try:
            yield size
        finally:
            with self._lock:
                self._used -= size

    def _shrink(self, most: int, spared: int = 0) -> None:
        """Free what nobody uses until it is `most` bytes, but none of one size: what was used last is used next."""
        for size, unused in self._unused.items():
            while self._kept > most and unused and size != spared:
                unused.pop()
                self._kept -= size


buffers = Buffers()
"""Those of this process."""
