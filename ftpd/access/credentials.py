"""Tokens and passwords: how they are made, kept and compared. Nothing here is ever logged."""

import asyncio
import hashlib
import hmac
import re
import secrets
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ftpd.payload.workers import settle
from ftpd.wire.errors import ErrorCode, FtpdError

MAX_PASSWORD = 1024
"""Longest password in bytes: hashing takes time in proportion."""

PASSWORDS_AT_ONCE = 1
"""Passwords that one checker compares at the same time: each takes 64 MiB and, with its lanes, every processor."""

MOST_PASSWORDS = 32
"""Passwords that are being compared or wait for it: a few seconds' work. Others are told `busy`."""

_TOKEN = re.compile(r"ftk_([0-9a-f]{10})_[A-Za-z0-9_-]{43}")

# RFC 9106, section 4, second recommended option (low memory): 64 MiB, 3 passes, 4 lanes.
_hasher = PasswordHasher()
_decoy = _hasher.hash(secrets.token_hex(16))


class NewToken(NamedTuple):
    """A token that has just been made; its text is known now and never again."""

    id: str
    text: str
    sha256: str


def new_token() -> NewToken:
    """Make a token of 256 random bits. It names itself, so that it can be found and revoked."""
    name = secrets.token_hex(5)
    text = f"ftk_{name}_{secrets.token_urlsafe(32)}"
    return NewToken(name, text, digest_of(text))


def token_id(text: str) -> str | None:
    """Give the name of a token, or None if it is none."""
    found = _TOKEN.fullmatch(text)
    return found[1] if found else None


def digest_of(token: str) -> str:
    """Give what is kept of a token. It has more entropy than can be guessed, so a fast hash is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_token(text: str, sha256: str) -> bool:
    """Compare a token with what was kept of it, in a time that tells nothing."""
    return hmac.compare_digest(digest_of(text), sha256)


def hash_password(password: str) -> str:
    """Give what is kept of a password (argon2id).

    Raises:
        ValueError: it is empty or too long.
    """
    if not 0 < len(password.encode()) <= MAX_PASSWORD:
        raise ValueError(f"a password has 1 to {MAX_PASSWORD} bytes")
    return _hasher.hash(password)


class PasswordChecker:
    """Compares passwords, few at a time, in threads of their own: who gives up waiting does not make room for more."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(PASSWORDS_AT_ONCE, "password")
        self._pending: set[Future[bool]] = set()

    async def is_right(self, password: str, kept: str | None) -> bool:
        """Compare a password with what was kept of it. Takes as long where there is nothing to compare with.

        Cancelling is safe: if it has begun it is waited for, and what is wrong is told nevertheless. So who only waits
        for others is not to blame, and nobody tries a password for nothing.

        Raises:
            FtpdError: `busy`, too many wait already.
        """
        if len(password.encode()) > MAX_PASSWORD:
            return False
        if len(self._pending) >= MOST_PASSWORDS:
            raise FtpdError(ErrorCode.BUSY, "too many passwords are being compared; try again in a moment")
        comparing = self._threads.submit(_verify, kept or _decoy, password)
        self._pending.add(comparing)
        comparing.add_done_callback(self._pending.discard)
        try:
            return await asyncio.wrap_future(comparing) and kept is not None
        except asyncio.CancelledError:
            if not comparing.cancel():
                await settle(comparing)
                if not comparing.result() or kept is None:
                    return False
            raise


def _verify(kept: str, password: str) -> bool:
    try:
        return _hasher.verify(kept, password)
    except (VerificationError, InvalidHashError):
        return False
