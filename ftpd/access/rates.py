"""How fast bytes may move: token buckets, one per user and direction, and one per direction for all."""

import time
from collections.abc import Callable

LOWEST_RATE = 64_000
"""Bytes in a second: with less a buffer would take longer than peers wait for a sign of life."""

BURST_S = 0.25
"""Unused rate is kept for so long."""

SMALL = 64 * 1024
"""What is not larger never waits behind what is: it is paid for by the large ones, up to the rate."""


class Bucket:
    """One rate. Pure: the clock is passed in, and nothing waits here."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = max(rate, LOWEST_RATE)
        self._clock = clock
        self._free_at = clock()
        self._small_at = clock()

    def take(self, size: int) -> float:
        """Take bytes that have been moved. Returns how many seconds to wait before more are."""
        now = self._clock()
        self._free_at = max(self._free_at, now - BURST_S) + size / self.rate
        if size > SMALL:
            return max(0.0, self._free_at - now)
        self._small_at = max(self._small_at, now - BURST_S) + size / self.rate
        return max(0.0, self._small_at - now)


class Pace:
    """The rates that hold for one user."""

    def __init__(self, up: list[Bucket], down: list[Bucket]) -> None:
        self._up = up
        self._down = down

    @property
    def is_limited(self) -> bool:
        """Whether there are any."""
        return bool(self._up)

    def came(self, size: int) -> float:
        """Note bytes that were received. Returns how long to wait before more are."""
        return max((bucket.take(size) for bucket in self._up), default=0.0)

    def went(self, size: int) -> float:
        """Note bytes that were sent, likewise."""
        return max((bucket.take(size) for bucket in self._down), default=0.0)


class Rates:
    """The rates of all users."""

    def __init__(self, total: int | None = None) -> None:
        self._total = (Bucket(total), Bucket(total)) if total else None
        self._users: dict[tuple[str, int], tuple[Bucket, Bucket]] = {}

    def of(self, name: str, rate: int | None) -> Pace:
        """Give the rates of a user: his own, and that of all."""
        pairs = [self._total] if self._total else []
        if rate:
            if (name, rate) not in self._users:
                self._users[name, rate] = Bucket(rate), Bucket(rate)
            pairs.append(self._users[name, rate])
        return Pace([up for up, _ in pairs], [down for _, down in pairs])
