"""Going on after a break: which errors are temporary, and how long to wait before the next try."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ftpc.errors import (
    ConnectError,
    ConnectionLostError,
    DamagedError,
    FtpcError,
    GarbledError,
    ProtocolError,
    RefusedError,
    TurnedAwayError,
)
from ftpc.progress import Item, Phase, Progress, Retry
from ftpd.wire.errors import ErrorCode

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 30.0

FEW = 3
"""Tries in a row after damage: if it does not go away, it is not the line that damages, but what is at its end."""

_TEMPORARY = {ErrorCode.BUSY, ErrorCode.GOING_AWAY, ErrorCode.TIMEOUT, ErrorCode.BAD_FRAME}
"""Refusals that say nothing about the request. We send no bad frames: one that arrived was damaged on its way."""

T = TypeVar("T")


async def persist(attempt: Callable[[], Awaitable[T]], retries: int, item: Item, progress: Progress) -> T:
    """Try until it works, fails for good, or has failed `retries` times in a row without any progress.

    The first try has to reach the server: nobody waits for minutes to hear of a wrong address. Cancelling is safe.
    From a break on the item counts as waiting until a try says that it goes on.

    Raises:
        FtpcError: the last error, if it is not temporary or there were too many.
    """
    phase, most, failures = item.phase, 0, 0
    has_met = False
    while True:
        try:
            result = await attempt()
        except TurnedAwayError:
            continue  # nothing was tried: the next connection is one of those that go on
        except FtpcError as exc:
            has_met |= (
                item.moved > 0 or isinstance(exc, GarbledError) or not isinstance(exc, (ConnectError, ProtocolError))
            )
            if not has_met or not is_temporary(exc):
                raise
            if item.done > most:
                most, failures = item.done, 0
            failures += 1
            reason = exc.message if isinstance(exc, RefusedError) else ""
            tries = min(retries, FEW) if isinstance(exc, (ProtocolError, DamagedError)) else retries
            if failures > tries:
                raise
        else:
            item.go_on()
            return result
        longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (failures - 1))
        wait_s = longest * random.uniform(0.5, 1)  # noqa: S311 (so that not all come back at once)
        item.wait(Retry(failures, tries, time.monotonic() + wait_s, phase, reason))
        progress.update(item)
        await asyncio.sleep(wait_s)


def go_on(item: Item, progress: Progress) -> None:
    """Show that the server is there, if it was waited for."""
    if item.phase is Phase.WAITING:
        item.go_on()
        progress.update(item)


def is_temporary(exc: FtpcError) -> bool:
    """Tell whether doing the same again may work."""
    if isinstance(exc, RefusedError):
        return exc.code in _TEMPORARY
    return isinstance(exc, (ConnectError, ConnectionLostError, ProtocolError, DamagedError))
