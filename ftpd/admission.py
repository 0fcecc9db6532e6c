"""Who is let in at all: so many from one place, so many who have not logged in, nobody who guesses."""

import ipaddress
import random
from collections import Counter
from collections.abc import Callable

from ftpd.access.penalties import Caller, Penalties, source_of
from ftpd.wire.errors import Fact, FtpdError

DROP_FROM, DROP_SHARE, MOST_STRANGERS = 10, 0.3, 100
"""Connections from one source that have not logged in, where that is needed: from the first figure on a new one is
refused with the chance that the second says, which grows in a straight line to 1 at the third (MaxStartups of OpenSSH,
10:30:100, see sshd_config(5)). Who only waits can not keep all others there out then, as he could with a mere limit."""

ALL_STRANGERS = 256
"""Such connections from all sources together. One more is let in, and the oldest from the most crowded source has to
go: a crowd keeps nobody out who comes from elsewhere."""

MAX_PER_SOURCE = 64
"""Connections from one source, where nothing else is said."""


class Visit:
    """A connection, from the moment it is accepted to its end."""

    def __init__(self, source: str, penalties: Penalties) -> None:
        self.source = source
        self.caller = Caller(source, penalties)
        self.refusal: str | None = None
        """Why it is not let in, if it is not."""
        self.facts: dict[str, Fact] = {}
        """What is added to that for programs."""
        self.is_admitted = False
        self.is_stranger: Callable[[], bool] = lambda: False
        """Whether it can talk to us, and nobody has logged in yet."""
        self.expel: Callable[[], object] = lambda: None
        """End it."""


class Admission:
    """Counts visits."""

    def __init__(
        self,
        max_per_source: int | None = None,
        *,
        needs_login: bool = False,
        penalties: Penalties | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """With None for a maximum it is `MAX_PER_SOURCE`, and none for this very machine; 0 is no limit."""
        self._max_per_source = max_per_source
        self._needs_login = needs_login
        self._penalties = Penalties() if penalties is None else penalties  # one without scores is false
        self._draw = draw
        self._by_source: Counter[str] = Counter()
        self._strangers: dict[Visit, None] = {}
        """The oldest first."""

    def enter(self, host: str) -> Visit:
        """Note a connection. One that is refused has to `leave` as well."""
        visit = Visit(source_of(host), self._penalties)
        try:
            visit.refusal = self._refusal(visit.source)
        except FtpdError as exc:
            visit.refusal, visit.facts = exc.message, exc.facts
        if visit.refusal is None:
            self._by_source[visit.source] += 1
        return visit

    def let_in(self, visit: Visit, is_stranger: Callable[[], bool], expel: Callable[[], object]) -> None:
        """Note that a conversation begins, and what ends it. During the handshake of TLS nobody is a stranger."""
        visit.is_admitted = True
        visit.is_stranger, visit.expel = is_stranger, expel
        if self._needs_login:
            self._strangers[visit] = None
            if len(self._strangers) > ALL_STRANGERS:
                self._make_room()

    def _make_room(self) -> None:
        """Expel a stranger. Where somebody has logged in before, it is the last to suffer from crowds elsewhere."""
        crowds = Counter(visit.source for visit in self._strangers)
        odd = max(self._strangers, key=lambda visit: (not visit.caller.is_known, crowds[visit.source]))
        del self._strangers[odd]
        odd.expel()

    def leave(self, visit: Visit) -> None:
        """Note that it has ended."""
        self._strangers.pop(visit, None)
        if visit.refusal is None:
            self._by_source[visit.source] -= 1
            if not self._by_source[visit.source]:
                del self._by_source[visit.source]

    def _refusal(self, source: str) -> str | None:
        """Say why a connection is not let in, if it is not; raises what there is more to say of."""
        limit = self._limit(source)
        if limit and self._by_source[source] >= limit:
            return f"there are {limit} connections from {source}, which is the limit (--max-per-source)"
        if not self._needs_login:
            return None
        self._penalties.check(source)
        self._strangers = {visit: None for visit in self._strangers if visit.is_stranger()}
        crowd = sum(visit.source == source for visit in self._strangers)
        if self._draw() < drop_chance(crowd):
            return f"{crowd} connections from {source} have not logged in yet; try again in a moment"
        return None

    def _limit(self, source: str) -> int:
        if self._max_per_source is not None:
            return self._max_per_source
        return 0 if _is_this_machine(source) else MAX_PER_SOURCE


def drop_chance(strangers: int) -> float:
    """Give the chance that one more is refused."""
    if strangers < DROP_FROM:
        return 0.0
    return min(1.0, DROP_SHARE + (1 - DROP_SHARE) * (strangers - DROP_FROM) / (MOST_STRANGERS - DROP_FROM))


def _is_this_machine(source: str) -> bool:
    try:
        return ipaddress.ip_address(source).is_loopback
    except ValueError:  # the /64 of others
        return False
