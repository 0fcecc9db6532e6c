"""More connections for a file on a short path: tried where a processor is the limit, kept where they pay.

There one connection moves what one thread does on either side: it hashes, copies and encrypts. Where that is the limit
and other processors have nothing to do, one more connection brings a thread of its own, here and there. Whether that
pays can not be known beforehand, as the next limit may be the disk or the other side: so it is tried and measured.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ftpc.progress import Item
from ftpc.transfer.plan import Streams
from ftpd.wire.limits import MIB

LOOK_S = 2.0
"""How long is measured. Uploads move by whole chunks: in this there are so many that one more or less says little."""

SETTLE_S = 0.5
"""How long a new connection is not measured: until it is open and its first chunk is there."""

WORTH_S = 10.0
"""What is over sooner is left alone."""

WORTH_SIZE = 128 * MIB
"""And so is what is less than this: looking costs little, but there may be thousands of files."""

BUSY = 0.75
"""Processors that we use for each connection, from which they count as the limit."""

WAITED = 0.5
"""Share of the time in which the server was not ready to take more, from which it counts as the limit."""

IDLE = 0.9
"""Processors that must have nothing to do, so that one more connection does not take from those that there are."""

GAIN = 1.1
"""How many times faster it must become with one more connection, so that it stays."""

PROC_STAT = Path("/proc/stat")

Starter = Callable[[asyncio.Event], None]
"""Begins to use one more connection, until there is nothing left or the event is set."""


class Measured(NamedTuple):
    """What happened during a while."""

    rate: float
    """Bytes per second."""
    busy: float
    """Processors that this process used."""
    idle: float
    """Processors that it could have used as well, for nobody did."""
    waited: float
    """Share of the time in which the server was not ready to take more of what was sent."""

    def may_gain(self, left: int, count: int) -> bool:
        """Tell whether one more connection than `count` may help with so many bytes that are left."""
        is_limited = self.busy >= BUSY * count or self.waited >= WAITED
        return is_limited and self.idle >= IDLE and left > WORTH_S * self.rate > 0


def no_wait() -> float:
    """Say that a connection has never waited for the server to take more: nothing is sent."""
    return 0.0


async def opportunity(
    item: Item,
    streams: Streams,
    count: int = 1,
    waited_s: Callable[[], float] = no_wait,
    measured: Measured | None = None,
) -> Measured:
    """Wait until one more connection than `count` may pay, by what was measured last. Gives that."""
    while measured is None or not (streams.may_lend() and measured.may_gain((item.total or 0) - item.done, count)):
        measured = await measure(item, waited_s)
    return measured


async def grow(item: Item, streams: Streams, start: Starter, waited_s: Callable[[], float] = no_wait) -> None:
    """Start one more connection after the other, up to the limit, until one does not pay: that one is let go.

    `waited_s` tells for how many seconds the first connection has waited for the server to take more, in all.
    """
    measured = None
    for count in range(1, streams.most):
        before = await opportunity(item, streams, count, waited_s, measured)
        enough = asyncio.Event()
        start(enough)
        await asyncio.sleep(SETTLE_S)
        measured = await measure(item, waited_s)
        if measured.rate < GAIN * before.rate:
            enough.set()
            return


async def measure(item: Item, waited_s: Callable[[], float]) -> Measured:
    """Look at what happens for a while; at nothing if there is little left."""
    if (item.total or 0) - item.done < WORTH_SIZE:
        await asyncio.sleep(LOOK_S)
        return Measured(0, 0, 0, 0)
    moved, waited = item.moved, waited_s()
    used, idle, began = time.process_time(), _idle_s(), time.monotonic()
    await asyncio.sleep(LOOK_S)
    took = time.monotonic() - began
    busy = (time.process_time() - used) / took
    free = min((_idle_s() - idle) / took, _processors() - busy)
    return Measured((item.moved - moved) / took, busy, free, (waited_s() - waited) / took)


def _idle_s() -> float:
    """Give the seconds in which processors had nothing to do, all added up (proc_stat(5)); 0 where that is not told."""
    try:
        first = PROC_STAT.read_text(encoding="ascii").partition("\n")[0].split()
        return (int(first[4]) + int(first[5])) / os.sysconf("SC_CLK_TCK")  # waiting for a disk is nothing to do, too
    except (OSError, ValueError, IndexError):
        return 0.0


def _processors() -> int:
    """Give how many of them this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
