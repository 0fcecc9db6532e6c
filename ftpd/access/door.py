"""Who comes in: what was shown on a connection is compared with the users file, now and as long as it lasts."""

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import NamedTuple

from ftpd.access.credentials import PasswordChecker, is_token, token_id
from ftpd.access.rights import ANONYMOUS, NOBODY, Principal
from ftpd.access.users import ANONYMOUS_NAME, Users, UsersError, load
from ftpd.wire.errors import ErrorCode, FtpdError

WRONG_S = 1.0
"""How long an answer to wrong credentials takes at least. Nobody else waits for it."""

LOOK_S = 0.5
"""How often the users file is looked at, at most."""

log = logging.getLogger(__name__)


class Login(NamedTuple):
    """What somebody has shown."""

    user: str
    token: str | None = None
    """The id of the token, if it was one."""
    password: str | None = None
    """What was kept of the password, if it was one: another one ends the log-in."""


class Door:
    """Lets everybody do everything: the door of a server that only its own machine can reach."""

    methods: tuple[str, ...] = ()
    """Ways to log in; none where nobody has to."""

    def principal(self, login: Login | None) -> Principal:
        """Say what somebody may do at this moment, who has logged in like this or not at all."""
        del login
        return ANONYMOUS

    async def by_token(self, token: str) -> Login:
        """Compare a token.

        Raises:
            FtpdError: `unauthorized`.
        """
        del token
        raise wrong()

    async def by_password(self, user: str, password: str) -> Login:
        """Compare a password. Raises as `by_token` does."""
        del user, password
        raise wrong()


class UsersDoor(Door):
    """Lets in whoever is in a file of users. Changes to it hold at once; a file with a mistake changes nothing."""

    methods = ("token", "password")

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            UsersError: it has a mistake.
        """
        self._file = file
        self._users = load(file)
        self._seen = self._state()
        self._looked = time.monotonic()
        self._passwords = PasswordChecker()

    @property
    def has_credentials(self) -> bool:
        """Whether anybody can log in."""
        users = self._current()
        has_token = any(not token.is_expired for token in users.tokens.values())
        return has_token or any(user.password for user in users.users.values())

    def principal(self, login: Login | None) -> Principal:
        """See `Door.principal`."""
        users = self._current()
        if login is None:
            return users.principal(ANONYMOUS_NAME) or NOBODY
        if login.token is None:
            user = users.users.get(login.user)
            is_valid = user is not None and user.password == login.password
            return (users.principal(login.user) if is_valid else None) or NOBODY
        token = users.tokens.get(login.token)
        if token is None or token.is_expired or token.user != login.user:
            return NOBODY
        return users.principal(token.user, token) or NOBODY

    async def by_token(self, token: str) -> Login:
        """See `Door.by_token`."""
        started, name = time.monotonic(), token_id(token)
        found = self._current().tokens.get(name) if name else None
        if name is None or found is None or not is_token(token, found.sha256) or found.is_expired:
            await _wait(started)
            raise wrong()
        return Login(found.user, token=name)

    async def by_password(self, user: str, password: str) -> Login:
        """See `Door.by_password`."""
        started, found = time.monotonic(), self._current().users.get(user)
        kept = found.password if found else None
        if not await self._passwords.is_right(password, kept):
            await _wait(started)
            raise wrong()
        return Login(user, password=kept)

    def _current(self) -> Users:
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return self._users
        self._looked = now
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._users = load(self._file)
                log.info("the users file was read again")
            except UsersError as exc:
                log.error("the users file has a mistake, the old one holds: %s", exc)  # noqa: TRY400 (nothing to trace)
        return self._users

    def _state(self) -> tuple[int, ...]:
        try:
            found = os.stat(self._file)  # noqa: PTH116 (called for every request)
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)


def wrong() -> FtpdError:
    """Say that what was shown is not valid, and not what of it."""
    return FtpdError(ErrorCode.UNAUTHORIZED, "these credentials are wrong, expired or revoked")


async def _wait(started: float) -> None:
    await asyncio.sleep(max(0.0, WRONG_S - (time.monotonic() - started)))
