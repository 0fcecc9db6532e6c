"""How fast a job is, and how long it will still take."""

from collections import deque

WINDOW_S = 15.0
"""What the rate is taken over: long enough to be calm, short enough to follow a link that becomes slow."""

LONGEST_S = 360_000.0
"""From 100 hours on nothing is said: what has just begun knows no better."""


class Rate:
    """A rate over the last `WINDOW_S` seconds. Pure: the time is given to it."""

    def __init__(self, now: float, done: int) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now, done)])

    def note(self, now: float, done: int) -> None:
        """Take note of how much is done now."""
        self._samples.append((now, done))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW_S:
            self._samples.popleft()

    def per_second(self) -> float:
        """Give bytes per second, 0.0 as long as nothing is known."""
        size, seconds = self.span()
        return max(0.0, size / seconds) if seconds > 0 else 0.0

    def span(self) -> tuple[int, float]:
        """Give what was done in the window, and its seconds."""
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return after - before, end - start

    def seconds_left(self, left: int | None) -> float | None:
        """Give the seconds that the rest takes at this rate, or None if that can not be told."""
        rate = self.per_second()
        seconds = left / rate if left is not None and rate else LONGEST_S
        return seconds if 0 <= seconds < LONGEST_S else None
