"""What is stored beneath somebody's home, and what is promised to uploads under way.

Never less than there is: where two things could be counted once or twice, they are counted twice until the next count.
All methods are for the event loop.
"""

import asyncio
import logging
import time
from typing import NamedTuple

from ftpd.access.rights import Quota
from ftpd.amounts import size_text
from ftpd.store.base import Store
from ftpd.store.values import Usage
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath

RECOUNT_S = 600.0
"""How old a count may become: files come and go by other means."""

SOON_S = 1.0
"""How old it may be before somebody is refused; and ten times as long as counting took."""

log = logging.getLogger(__name__)


class Held(NamedTuple):
    """What is promised to an upload."""

    size: int
    files: int


class Account:
    """The files beneath one folder."""

    def __init__(self, store: Store, home: RemotePath) -> None:
        self._store = store
        self._home = home
        self._stored = Held(0, 0)
        self._asleep: dict[str, int] = {}
        """Uploads that somebody may go on with, by their names."""
        self._held: dict[object, Held] = {}
        self.owners: dict[str, object] = {}
        """Who has each upload now: one that was taken over has its space no more."""
        self._publishing: list[RemotePath] = []
        self._counting: asyncio.Task[None] | None = None
        self._missed = Held(0, 0)
        self._gone: set[str] = set()
        """Uploads that have ended since a count began."""
        self._is_exact = False
        self._counted: float | None = None
        self._took_s = 0.0

    @property
    def size(self) -> int:
        """Bytes in files, in uploads that were broken off, and promised."""
        held = sum(one.size for one in self._held.values())
        return self._stored.size + held + sum(self._asleep.values())

    @property
    def files(self) -> int:
        """Files, likewise."""
        return self._stored.files + sum(one.files for one in self._held.values()) + len(self._asleep)

    async def look(self) -> None:
        """Count if nobody has, or if that was long ago."""
        if self._counted is None or time.monotonic() - self._counted > RECOUNT_S:
            await self._count()

    async def check(self, wanted: Held, quota: Quota) -> None:
        """Refuse what would not fit.

        Raises:
            FtpdError: `no_space`, with the figures.
        """
        await self.look()
        if not self._fits(wanted, quota) and self._is_worth_counting():
            await self._count()
        if not self._fits(wanted, quota):
            raise self._refusal(wanted, quota)

    async def hold(self, key: object, wanted: Held, quota: Quota) -> None:
        """Promise space to an upload. Raises as `check` does."""
        await self.check(wanted, quota)
        before = self._held.get(key, Held(0, 0))
        self._held[key] = Held(before.size + wanted.size, before.files + wanted.files)

    def rename(self, key: object, name: str) -> None:
        """Call a promise by the name of its upload."""
        self._held[name] = self._held.pop(key)

    def wake(self, name: str) -> bool:
        """Tell whether there is a promise to an upload that somebody goes on with: it is his now."""
        if name in self._asleep:
            self._held[name] = Held(self._asleep.pop(name), 1)
        return name in self._held

    def sleep(self, name: str) -> None:
        """Keep what an upload takes for whoever goes on with it."""
        if name in self._held:
            self.keep(name, self._held.pop(name).size)

    def keep(self, name: str, size: int) -> None:
        """Count an upload that was broken off."""
        self._asleep[name] = size
        self._gone.discard(name)

    def release(self, key: object) -> None:
        """Take a promise back: nothing was stored."""
        self._held.pop(key, None)
        if isinstance(key, str):
            self._asleep.pop(key, None)
            self._gone.add(key)

    def begin_publishing(self, path: RemotePath) -> bool:
        """Note that a name is about to be given. Returns whether nobody else is giving it."""
        is_alone = path not in self._publishing
        self._publishing.append(path)
        return is_alone

    def end_publishing(self, path: RemotePath, key: object, added: Held | None) -> None:
        """Note what has become of it; None: that is not known."""
        self._publishing.remove(path)
        self.release(key)
        if added is None:
            self._counted = None
            return
        self._stored = Held(self._stored.size + added.size, self._stored.files + added.files)
        if self._counting is not None:
            self._missed = Held(self._missed.size + max(0, added.size), self._missed.files + max(0, added.files))
            self._is_exact = False

    def doubt(self) -> None:
        """Note that something was counted more than once."""
        self._is_exact = False

    def _fits(self, wanted: Held, quota: Quota) -> bool:
        return (quota.size is None or self.size + wanted.size <= quota.size) and (
            quota.files is None or self.files + wanted.files <= quota.files
        )

    def _refusal(self, wanted: Held, quota: Quota) -> FtpdError:
        if quota.size is not None and self.size + wanted.size > quota.size:
            whole, free = size_text(quota.size), size_text(max(0, quota.size - self.size))
            text = f"it needs {size_text(wanted.size)}, and of the quota of {whole} {free} are free"
            return FtpdError(ErrorCode.NO_SPACE, text, quota=quota.size, used=self.size)
        text = f"the quota is {quota.files:,} files, and there are {self.files:,}"
        return FtpdError(ErrorCode.NO_SPACE, text, quota_files=quota.files or 0, files=self.files)

    def _is_worth_counting(self) -> bool:
        age_s = time.monotonic() - (self._counted or 0)
        return age_s > max(SOON_S if self._is_exact else 0.0, 10 * self._took_s)

    async def _count(self) -> None:
        """Count once, for all who wait for it."""
        if self._counting is None:
            self._counting = asyncio.create_task(self._walk())
            self._counting.add_done_callback(self._end_count)
        await asyncio.shield(self._counting)

    def _end_count(self, done: asyncio.Task[None]) -> None:
        self._counting = None
        if not done.cancelled() and done.exception() is not None:
            log.warning("%s can not be counted: %s", self._home, done.exception())

    async def _walk(self) -> None:
        started, self._missed, self._gone = time.monotonic(), Held(0, 0), set()
        before = set(self._asleep)
        self._is_exact = not self._publishing
        found: Usage = await self._store.usage(self._home)
        self._is_exact = self._is_exact and not self._publishing
        self._stored = Held(found.size + self._missed.size, found.files + self._missed.files)
        new = {name: size for name, size in self._asleep.items() if name not in before}
        old = {name: size for name, size in found.unfinished.items() if name not in self._gone}
        self._asleep = {name: size for name, size in (old | new).items() if name not in self._held}
        self._counted = time.monotonic()
        self._took_s = self._counted - started
