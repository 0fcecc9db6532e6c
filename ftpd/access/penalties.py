"""What wrong credentials cost the place they come from. Pure: the clock is passed in.

As PerSourcePenalties of OpenSSH (sshd_config(5)), except for what a penalty is: there a time, here a score that decays,
so that the rate of guesses is bounded and not only their number at a time.
"""

import asyncio
import contextlib
import ipaddress
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.terms import AuthMethod

MOST_SOURCES = 65_536
"""Sources with a score. Those that come when the table is full have none: who fills it locks nobody out."""

MOST_KNOWN = 65_536
"""Sources that somebody has logged in from: the newest so many."""

FREE_SCORE = 10.0
"""A source with this score, or one that a further wrong password would bring above it, has to wait."""

HALF_LIFE_S = 3600.0
"""How long it takes until half of a score is forgotten. With 10 to begin with that is 17 passwords in the first hour,
and 7 in each one after it."""

TOKEN_SCORE = 0.1
"""What a wrong token costs: nobody guesses 256 bits, so it is one that has expired, in a job that tries again."""

FORGOTTEN = 0.05
"""A score below that is none."""

PURGE_S = 60.0
"""How often a full table is looked through, at most."""

SOURCE_BITS = 64
"""Of an IPv6 address: what one customer of a network has at least (RFC 6177)."""


class Score(NamedTuple):
    """What a source had at a time."""

    value: float
    at: float


class Penalties:
    """Scores of sources, and which of them somebody has logged in from."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, size: int = MOST_SOURCES) -> None:
        self._clock = clock
        self._size = size
        self._scores: dict[str, Score] = {}
        self._purged = -math.inf
        self._known: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._scores)

    def score(self, source: str) -> float:
        """Give the score of a source at this moment."""
        found = self._scores.get(source)
        return 0.0 if found is None else self._decayed(found)

    def add(self, source: str, value: float) -> None:
        """Add to the score of a source, or take away from it."""
        score = max(0.0, self.score(source) + value)
        if score < FORGOTTEN:
            self._scores.pop(source, None)
        elif source in self._scores or self._has_room():
            self._scores[source] = Score(score, self._clock())

    def wait_s(self, source: str) -> float:
        """Tell how long a source has to wait before it may show anything."""
        score = self.score(source)
        most = FREE_SCORE - 1
        return HALF_LIFE_S * math.log2(score / most) if score > most else 0.0

    def check(self, source: str) -> None:
        """Let a source go on, or not.

        Raises:
            FtpdError: `busy`, with the time it has to wait.
        """
        wait_s = math.ceil(self.wait_s(source))
        if wait_s:
            message = f"too many wrong credentials came from {source}; try again in {wait_s} s"
            raise FtpdError(ErrorCode.BUSY, message, retry_after=wait_s)

    def welcome(self, source: str) -> None:
        """Note that somebody has logged in from there."""
        self._known.pop(source, None)
        self._known[source] = None
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def is_known(self, source: str) -> bool:
        """Tell whether somebody has logged in from there: in a flood of others such a source is served before them."""
        return source in self._known

    def _decayed(self, score: Score) -> float:
        return float(score.value * 0.5 ** ((self._clock() - score.at) / HALF_LIFE_S))

    def _has_room(self) -> bool:
        if len(self._scores) >= self._size and self._clock() - self._purged >= PURGE_S:
            self._purged = self._clock()
            self._scores = {name: score for name, score in self._scores.items() if self._decayed(score) >= FORGOTTEN}
        return len(self._scores) < self._size


class Caller:
    """Where a connection comes from, and what it costs to be wrong there."""

    def __init__(self, source: str, penalties: Penalties) -> None:
        self.source = source
        self._penalties = penalties

    @property
    def is_known(self) -> bool:
        """See `Penalties.is_known`."""
        return self._penalties.is_known(self.source)

    @contextlib.contextmanager
    def trying(self, method: AuthMethod) -> Iterator[None]:
        """Compare credentials within. What is not right counts as wrong, also when nobody waits for the answer.

        Who is cancelled was not wrong: what was found to be wrong by then is to be raised nevertheless.

        Raises:
            FtpdError: `busy`, without looking at them.
        """
        self._penalties.check(self.source)
        cost = 1.0 if method is AuthMethod.PASSWORD else TOKEN_SCORE
        self._penalties.add(self.source, cost)  # before: others from there are trying at the same time
        try:
            yield
        except asyncio.CancelledError:
            self._penalties.add(self.source, -cost)
            raise
        except FtpdError as exc:
            if exc.code is not ErrorCode.UNAUTHORIZED:  # nothing was compared
                self._penalties.add(self.source, -cost)
            raise
        self._penalties.add(self.source, -cost)
        self._penalties.welcome(self.source)


def source_of(host: str) -> str:
    """Give what stands for one customer: an IPv4 address or the /64 of an IPv6 address; what is none is itself."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_loopback:
        return str(address)
    return str(ipaddress.ip_network((address, SOURCE_BITS), strict=False))
