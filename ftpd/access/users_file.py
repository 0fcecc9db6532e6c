"""The users as their file has them, which is read again when it has changed. One with a mistake changes nothing."""

import asyncio
import logging
import time
from concurrent.futures import Future
from pathlib import Path

from ftpd.access.aside import Aside
from ftpd.access.users import Users, UsersError, load
from ftpd.access.watched import State, Watched

LOOK_S = 0.5
"""How often the file is looked at, at most, by those who need not have the newest."""

reader = Aside("users")
"""While it reads a large file others are served; lists of certificates do not wait for it."""

log = logging.getLogger(__name__)


class UsersFile:
    """A file of users, and what it said when it was last read. From one event loop."""

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            UsersError: it has a mistake.
        """
        self._file = file
        self._watched = Watched(file)
        self._users = load(file)
        self._said = ""
        """What was last said to be wrong with it."""
        self._reading: tuple[State, Future[Users]] | None = None
        """What will be in force, and the state of the file that it is from."""
        self._ending: asyncio.Future[Users] | None = None
        """The end of that for all who wait for it: while the file hangs, others come and go."""
        self._looked = time.monotonic()

    @property
    def users(self) -> Users:
        """What is known by now. If the file has changed it is being read, and known the next time or the one after."""
        if time.monotonic() - self._looked >= LOOK_S:
            self.glance()
        return self._users

    def glance(self) -> None:
        """Have the file read if it has changed, and take over what has been read."""
        self._looked = time.monotonic()
        if self._reading is not None and self._reading[1].done():
            self._take_over(self._reading)
        if self._reading is None and (state := self._watched.changed()) is not None:
            self._reading, self._ending = (state, reader.submit(load, self._file)), None

    async def look(self) -> Users:
        """Give what the file says at this moment, or has said later."""
        for _ in range(2):  # what is being read may be older
            self.glance()
            if (reading := self._reading) is None:
                break
            if self._ending is None:
                self._ending = asyncio.wrap_future(reading[1])
                self._ending.add_done_callback(lambda read: read.exception())  # not lost: said when taken over
            await asyncio.wait([self._ending])  # which does not cancel it for others
            if self._reading is reading:
                self._take_over(reading)
        return self._users

    def _take_over(self, reading: tuple[State, Future[Users]]) -> None:
        self._reading = None
        state, read = reading
        try:
            self._users = read.result()
        except UsersError as exc:  # perhaps only for a moment: it is tried again until it is good
            self._watched.refuse(state)
            if str(exc) != self._said:
                self._said = str(exc)
                log.error("the users file has a mistake, the old one holds: %s", exc)  # noqa: TRY400 (nothing to trace)
        else:
            self._watched.use(state)
            self._said = ""
            log.info("the users file was read again")
