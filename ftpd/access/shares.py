"""Shares: tokens that users make for others. One path, some rights, an end.

A share is a token of the user who made it, narrowed; if that user was logged in by a token, by that one as well, and it
ends with it. So it can at no time do more than its maker can.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from ftpd.access.credentials import NewToken, new_token
from ftpd.access.rights import Right, Rights
from ftpd.access.users import Token, Users
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import MAX_SHARES
from ftpd.wire.paths import RemotePath


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to share."""

    path: RemotePath
    rights: Rights
    expires_s: int
    count: int | None
    label: str


class Maker(NamedTuple):
    """Who shares."""

    user: str
    token: str = ""
    """The token that he has logged in with, if it was one."""


def add(users: Users, maker: Maker, wish: Wish) -> tuple[NewToken, Token]:
    """Make a share.

    Raises:
        FtpdError: its maker may not do himself what it is for, came with a share himself, or has made too many.
    """
    shown = users.tokens.get(maker.token)
    principal = users.principal(maker.user, shown)
    if principal is None or (maker.token and (shown is None or not users.is_valid(shown))):
        raise FtpdError(ErrorCode.UNAUTHORIZED, "log in before you share")
    if shown is not None and shown.share:
        raise FtpdError(ErrorCode.FORBIDDEN, "what was shared can not be shared again; ask whoever shared it")
    if missing := wish.rights - principal.rights_at(wish.path):
        what = ", ".join(sorted(missing))
        raise FtpdError(ErrorCode.FORBIDDEN, f"{wish.path}: {maker.user} can not give away a right he has not: {what}")
    _sweep(users)
    if sum(token.share and token.user == maker.user for token in users.tokens.values()) >= MAX_SHARES:
        raise FtpdError(ErrorCode.FORBIDDEN, f"{maker.user} has {MAX_SHARES} shares; revoke some")
    secret, now = new_token(), dt.datetime.now(dt.UTC).replace(microsecond=0)
    expires = now + dt.timedelta(seconds=wish.expires_s)
    if shown is not None and shown.expires is not None:
        expires = min(expires, shown.expires)
    token = users.tokens[secret.id] = Token(
        user=maker.user,
        sha256=secret.sha256,
        label=wish.label,
        created=now,
        expires=expires,
        rights=sorted(wish.rights),
        path=str(wish.path),
        share=True,
        maker=maker.token,
        count=wish.count,
    )
    return secret, token


def remove(users: Users, name: str, user: str, rights: Rights) -> None:
    """Make a share invalid: one of one's own, or anybody's for who manages users.

    Raises:
        FtpdError: there is none of that name.
    """
    if name not in visible(users, user, rights):
        raise FtpdError(ErrorCode.NOT_FOUND, f"there is no share {name:.64}")
    del users.tokens[name]


def visible(users: Users, user: str, rights: Rights) -> dict[str, Token]:
    """Give the shares that somebody may see and revoke, in the order of their names."""
    is_admin = Right.ADMIN in rights
    found = {name: token for name, token in users.tokens.items() if token.share and (is_admin or token.user == user)}
    return {name: found[name] for name in sorted(found) if users.is_valid(found[name])}


def is_counted(token: Token, session: str) -> bool:
    """Tell whether a log-in with a token needs no counting: it is good for any number, or this one has been counted."""
    return token.count is None or (bool(session) and _mark(session) in token.used)


def count(users: Users, name: str, session: str) -> bool:
    """Count a log-in with a token; tell whether it was good for one more."""
    token = users.tokens.get(name)
    if token is None or not users.is_valid(token):
        return False
    if is_counted(token, session):
        return True
    if token.count is not None and len(token.used) < token.count:
        token.used.append(_mark(session))
        return True
    return False


def _mark(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()[:16] if session else "-"


def _sweep(users: Users) -> None:
    """Drop shares that are good for nothing any more."""
    for name in [name for name, token in users.tokens.items() if token.share and not users.is_valid(token)]:
        del users.tokens[name]
