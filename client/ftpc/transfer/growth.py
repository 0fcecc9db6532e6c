"""More connections for a file on a short path: tried where a processor is the limit, kept where they pay.

There one connection moves what one thread does on either side: it hashes, copies and encrypts. Where that is the limit
here, and other processors have nothing to do, one more connection brings a thread of its own. Whether that pays can not
be known beforehand, as the next limit may be the disk or the other side: so it is tried and measured.

That the other side is the limit is no reason to try: it may be a limit on the rate, of which one more connection would
take a larger share from others.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ftpc.pool import Pool
from ftpc.progress import Item
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

IDLE = 0.9
"""Processors that must have nothing to do, so that one more connection does not take from those that there are."""

GAIN = 1.1
"""How many times faster it must become with one more connection, so that it stays."""

PROC_STAT = Path("/proc/stat")

Starter = Callable[[asyncio.Event | None], None]
"""Begins to use one more connection, until there is nothing left or the event is set."""


class Measured(NamedTuple):
    """What happened during a while."""

    rate: float
    """Bytes per second, of one file."""
    busy: float
    """Processors that this process used, for all files."""
    idle: float
    """Processors that it could have used as well, for nobody did."""


async def opportunity(item: Item, pool: Pool) -> Measured:
    """Wait until one more connection may pay. Gives what was measured until then."""
    while (measured := await measure(item)) is None or not _may_gain(measured, item, pool):
        pass
    return measured


async def grow(item: Item, pool: Pool, start: Starter) -> None:
    """Start one more connection after the other, until one does not pay: that one is let go."""
    before = await opportunity(item, pool)
    while True:
        enough = asyncio.Event()
        start(enough)
        await asyncio.sleep(SETTLE_S)
        after = await measure(item)
        if after is None:  # it is nearly over
            return
        if after.rate < GAIN * before.rate:
            enough.set()
            return
        before = after if _may_gain(after, item, pool) else await opportunity(item, pool)


async def measure(item: Item) -> Measured | None:
    """Look at what happens for a while; at nothing if there is little left."""
    if _left(item) < WORTH_SIZE:
        await asyncio.sleep(LOOK_S)
        return None
    moved, used, idle, began = item.moved, time.process_time(), _idle_s(), time.monotonic()
    await asyncio.sleep(LOOK_S)
    took = time.monotonic() - began
    busy = (time.process_time() - used) / took
    return Measured((item.moved - moved) / took, busy, min((_idle_s() - idle) / took, _processors() - busy))


def _may_gain(measured: Measured, item: Item, pool: Pool) -> bool:
    """Tell whether one more connection may help with what is left."""
    is_limited = measured.busy >= BUSY * pool.in_use() and measured.idle >= IDLE
    return is_limited and _left(item) > WORTH_S * measured.rate > 0 and pool.may_lend_beside()


def _left(item: Item) -> int:
    return (item.total or 0) - item.done


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
