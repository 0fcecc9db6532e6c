"""Who comes in: what was shown on a connection is compared with the users file, now and as long as it lasts."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ftpd.access import shares
from ftpd.access.aside import Aside
from ftpd.access.credentials import PasswordChecker, is_token, token_id
from ftpd.access.keys import PublicKey, is_signed, parse_key
from ftpd.access.rights import ANONYMOUS, NOBODY, Principal
from ftpd.access.users import ANONYMOUS_NAME, User, Users, UsersError, edit
from ftpd.access.users_file import UsersFile
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.proof import proof_of

if TYPE_CHECKING:  # it takes a tenth of a second, and most servers know no certificates
    from ftpd.access.certificates import Revocations, Shown

WRONG_S = 1.0
"""How long an answer to wrong credentials takes at least. Nobody else waits for it."""

editor = Aside("editor")
"""Changes the users file. It may have to wait for another process, which has its lock."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class Login(NamedTuple):
    """What somebody has shown."""

    user: str
    token: str | None = None
    """The id of the token, if it was one."""
    password: str | None = None
    """What was kept of the password, if it was one: another one ends the log-in."""
    key: PublicKey | None = None
    """The key, if it was one."""
    shown: "Shown | None" = None
    """The certificate, if it was one."""
    authorities: bytes = b""
    """By what it was verified then: what `Door.authorities` was."""


class Challenge(NamedTuple):
    """What has to be signed to log in with a key: once, on one connection."""

    user: str
    key: str
    client_nonce: bytes
    server_nonce: bytes


class Door:
    """Lets everybody do everything: the door of a server that only its own machine can reach."""

    certificate: bytes = b""
    """The SHA-256 of the certificate that new connections are shown; empty if they are not encrypted."""
    authorities: bytes = b""
    """The SHA-256 of what certificates of clients are verified by; empty if they are not looked at."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Ways to log in; none where nobody has to."""
        return ()

    def principal(self, login: Login | None) -> Principal:
        """Say what somebody may do at this moment, who has logged in like this or not at all."""
        del login
        return ANONYMOUS

    def ended(self, login: Login) -> FtpdError | None:
        """Say why a log-in does not hold any more, if it does not: `unauthorized`, or to be tried again."""
        del login
        return None

    def has_changed(self) -> bool:
        """Tell whether log-ins may have ended since this was last asked. Each has to be asked for then (`ended`)."""
        return False

    @property
    def users(self) -> Users:
        """Who there is."""
        return Users()

    async def look(self) -> None:
        """Wait until what has changed is read, which can take long: nobody has shown anything wrong by then."""

    async def change(self, action: Callable[[Users], T]) -> T:
        """Change the users, in a thread; nothing is changed if the action raises something.

        Raises:
            FtpdError: they can not be changed.
        """
        del action
        raise FtpdError(ErrorCode.FORBIDDEN, "nobody logs in here, so there is nothing to share but the address")

    async def by_token(self, token: str, session: str = "") -> Login:
        """Compare a token. If it is good for a number of log-ins, those with the same session count as one.

        Raises:
            FtpdError: `unauthorized`.
        """
        del token, session
        raise wrong()

    async def by_password(self, user: str, password: str, *, is_known: bool = False) -> Login:
        """Compare a password; that of a known source does not wait behind those of others. Raises as `by_token` does.

        Raises:
            FtpdError: also `busy`, too many are being compared.
        """
        del user, password, is_known
        raise wrong()

    async def by_certificate(self, certificate: bytes, authorities: bytes) -> Login | None:
        """Say whose certificate (DER) a handshake has verified by some authorities; None if nobody's who is known."""
        del certificate, authorities
        return None

    async def by_key(self, challenge: Challenge | None, signature: str, certificate: bytes) -> Login:
        """Check a signature, on a connection that was shown that certificate. Raises as `by_token` does."""
        del challenge, signature, certificate
        raise wrong()


class UsersDoor(Door):
    """Lets in whoever is in a file of users. Who comes after a change is met by it; others as soon as it is read."""

    def __init__(self, file: Path, *, is_fixed: bool = False) -> None:
        """Read the file; if it is fixed, nothing is written to it.

        Raises:
            UsersError: it has a mistake.
        """
        self._file = file
        self._is_fixed = is_fixed
        self.revocations: Revocations | None = None
        """Which certificates of clients hold no more, where that is to be looked at."""
        self._users_file = UsersFile(file)
        self._known: tuple[object, ...] = ()
        """What log-ins depended on when `has_changed` was last asked."""
        self._end = math.inf
        """When the first of the log-ins that were asked for since then ends by itself, by the wall clock."""
        self._passwords, self._passwords_of_known = PasswordChecker(), PasswordChecker()

    @property
    def methods(self) -> tuple[str, ...]:
        """See `Door.methods`. What is signed names the certificate, so that it is good for nobody in between."""
        by_certificate = ("certificate",) if self.authorities else ()
        return ("token", "password", *(("key",) if self.certificate else ()), *by_certificate)

    @property
    def has_credentials(self) -> bool:
        """Whether anybody can log in."""
        users = self.users
        has_token = any(not token.is_expired for token in users.tokens.values())
        return has_token or any(user.password or user.keys for user in users.users.values())

    def principal(self, login: Login | None) -> Principal:
        """See `Door.principal`."""
        if login is None:
            return self.users.principal(ANONYMOUS_NAME) or NOBODY
        if self.ended(login) is not None:
            return NOBODY
        users = self.users
        return users.principal(login.user, users.tokens[login.token] if login.token is not None else None) or NOBODY

    def ended(self, login: Login) -> FtpdError | None:
        """See `Door.ended`."""
        if login.authorities != self.authorities and login.shown is not None:
            return FtpdError(ErrorCode.GOING_AWAY, "the server believes other authorities than before; log in again")
        end = self._end_of(login)
        if end is None:
            return FtpdError(ErrorCode.UNAUTHORIZED, "what was shown to log in is expired or revoked")
        self._end = min(self._end, end)
        return None

    def _end_of(self, login: Login) -> float | None:
        """Say when a log-in ends by itself, by the wall clock; None if it does not hold any more."""
        users = self.users
        if login.token is not None:
            token = users.tokens.get(login.token)
            is_valid = token is not None and token.user == login.user and users.is_valid(token)
            return users.end_of(token) if token is not None and is_valid else None
        if not self._is_held(users.users.get(login.user), login):
            return None
        if login.shown is None:
            return math.inf
        return min(login.shown.until, self.revocations.end if self.revocations is not None else math.inf)

    def has_changed(self) -> bool:
        """See `Door.has_changed`."""
        lists = self.revocations
        if lists is not None:
            lists.look()
        before, version = self._known, lists.version if lists is not None else 0
        self._users_file.glance()
        self._known = (self.users, self.authorities, lists, version)
        if self._known == before and time.time() < self._end:
            return False
        self._end = math.inf
        return True

    @property
    def users(self) -> Users:
        """See `Door.users`."""
        return self._users_file.users

    async def look(self) -> None:
        """See `Door.look`."""
        await self._users_file.look()

    async def change(self, action: Callable[[Users], T]) -> T:
        """See `Door.change`."""
        if self._is_fixed:
            raise FtpdError(ErrorCode.READ_ONLY, "this server changes nothing, and that is where its users are kept")
        try:
            result = await asyncio.wrap_future(editor.submit(self._edit, action))
        except UsersError as exc:
            log.error("the users file can not be changed: %s", exc)  # noqa: TRY400 (nothing to trace)
            raise FtpdError(ErrorCode.IO_ERROR, "the server's file of users can not be changed") from exc
        await self._users_file.look()
        return result

    def _edit(self, action: Callable[[Users], T]) -> T:
        with edit(self._file) as users:
            return action(users)

    async def by_token(self, token: str, session: str = "") -> Login:
        """See `Door.by_token`."""
        started, name = time.monotonic(), token_id(token)
        users = await self._users_file.look()
        found = users.tokens.get(name) if name else None
        is_right = found is not None and is_token(token, found.sha256) and users.is_valid(found)
        if is_right and found is not None and name is not None and not shares.is_counted(found, session):
            is_right = await self.change(lambda users: shares.count(users, name, session))
        if not is_right or found is None or name is None:
            raise await _refusal(started)
        return Login(found.user, token=name)

    async def by_password(self, user: str, password: str, *, is_known: bool = False) -> Login:
        """See `Door.by_password`."""
        started = time.monotonic()
        found = (await self._users_file.look()).users.get(user)
        kept = found.password if found else None
        checker = self._passwords_of_known if is_known else self._passwords
        if not await checker.is_right(password, kept):
            raise await _refusal(started)
        return Login(user, password=kept)

    async def by_certificate(self, certificate: bytes, authorities: bytes) -> Login | None:
        """See `Door.by_certificate`. Its name is that of a user, and it has only one."""
        if not certificate or not authorities:
            return None
        from ftpd.access.certificates import read_certificate  # noqa: PLC0415 (as above)

        shown = read_certificate(certificate)
        if shown is None or len(shown.names) != 1 or shown.names[0] == ANONYMOUS_NAME:
            return None
        login = Login(shown.names[0], shown=shown, authorities=authorities)
        user = (await self._users_file.look()).users.get(login.user)
        return login if self._is_held(user, login) else None

    async def by_key(self, challenge: Challenge | None, signature: str, certificate: bytes) -> Login:
        """See `Door.by_key`."""
        started = time.monotonic()
        login = challenge and await self._signed(challenge, signature, certificate)
        if login is None:
            raise await _refusal(started)
        return login

    async def _signed(self, challenge: Challenge, signature: str, certificate: bytes) -> Login | None:
        try:
            key, raw = parse_key(challenge.key), bytes.fromhex(signature)
        except ValueError:
            return None
        login = Login(challenge.user, key=key)
        # Only keys that somebody has vouched for are computed with: others might be made to take long.
        user = (await self._users_file.look()).users.get(challenge.user)
        if not certificate or not self._is_held(user, login):
            return None
        proof = proof_of(challenge.user, challenge.client_nonce, challenge.server_nonce, certificate)
        return login if await asyncio.to_thread(is_signed, key, raw, proof) else None

    def _is_held(self, user: User | None, login: Login) -> bool:
        """Tell whether a user still has the key, the certificate or the password that somebody has logged in with."""
        if user is None:
            return False
        if login.key is not None:
            return any(parse_key(line)[:2] == login.key[:2] for line in user.keys)
        if login.shown is not None:
            is_revoked = self.revocations is not None and not self.revocations.holds(login.shown)
            return time.time() < login.shown.until and not is_revoked
        return login.password is not None and user.password == login.password


def wrong() -> FtpdError:
    """Say that what was shown is not valid, and not what of it."""
    return FtpdError(ErrorCode.UNAUTHORIZED, "these credentials are wrong, expired or revoked")


async def _refusal(started: float) -> FtpdError:
    with contextlib.suppress(asyncio.CancelledError):  # who is cut meanwhile was wrong nevertheless
        await asyncio.sleep(max(0.0, WRONG_S - (time.monotonic() - started)))
    return wrong()
