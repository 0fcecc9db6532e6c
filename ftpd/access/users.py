"""The file of users: one TOML document that programs write and people can read.

    [users.build]
    home = "build"
    rights = ["list", "read", "write", "overwrite", "delete"]
    password = "$argon2id$…"
    keys = ["ssh-ed25519 AAAA… build@laptop"]
    quota = "10G"
    quota_files = 100000
    rate = "5M"
    connections = 16

    [users.build.paths]
    "inbox" = ["write"]

    [tokens.0a1b2c3d4e]
    user = "build"
    sha256 = "…"
    label = "laptop"
    expires = 2027-01-01T00:00:00Z

A token with `share = true` was made by a user for somebody else (`ftpd.access.shares`). `anonymous` is whoever has not
logged in. A file with a mistake is refused as a whole, with the line it is in.
"""

import contextlib
import datetime as dt
import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from ftpd.access.keys import parse_key
from ftpd.access.rights import ROOT, Grant, Principal, Quota, narrowed, parse_rights
from ftpd.amounts import parse_amount
from ftpd.private import exposure, write_private
from ftpd.wire.errors import FtpdError
from ftpd.wire.paths import RemotePath

USER_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")

_SHA256 = re.compile(r"[0-9a-f]{64}")

ANONYMOUS_NAME = "anonymous"


Count = Annotated[int, msgspec.Meta(ge=0)]
"""How many of something; 0 is any number."""


class UsersError(Exception):
    """The file can not be used, or not changed like this; the message says what to do."""


class User(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Somebody, as the file has it."""

    rights: list[str] = []
    home: str = ""
    paths: dict[str, list[str]] = {}
    password: str | None = None
    keys: list[str] = []
    quota: str = ""
    quota_files: Count = 0
    rate: str = ""
    connections: Count = 0


class Token(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A token of a user; `rights` and `path` leave only some of what the user may do.

    `maker` is the token that made a share: it is good for no more than that one is. `count` is how many log-ins it is
    good for, and `used` has a mark of each.
    """

    user: str
    sha256: str
    label: str = ""
    created: dt.datetime | None = None
    expires: dt.datetime | None = None
    rights: list[str] | None = None
    path: str = ""
    share: bool = False
    maker: str = ""
    count: int | None = None
    used: list[str] = []

    @property
    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= dt.datetime.now(dt.UTC)


class Users(msgspec.Struct, forbid_unknown_fields=True):
    """All users and tokens."""

    users: dict[str, User] = {}
    tokens: dict[str, Token] = {}

    def is_valid(self, token: Token) -> bool:
        """Whether a token holds at this moment, and the one that made it."""
        maker = self.tokens.get(token.maker)
        is_made = not token.maker or (maker is not None and maker.user == token.user and not maker.is_expired)
        return is_made and not token.is_expired

    def end_of(self, token: Token) -> float:
        """Say when a token ends by itself, by the wall clock, and with it those that it has made."""
        ends = [one.expires for one in (token, self.tokens.get(token.maker)) if one is not None]
        return min((end.timestamp() for end in ends if end is not None), default=math.inf)

    def principal(self, name: str, token: Token | None = None) -> Principal | None:
        """Say what a user may do, with a token perhaps less; None if there is no such user."""
        user = self.users.get(name)
        if user is None:
            return None
        grants = [Grant(ROOT, parse_rights(user.rights))]
        grants += [Grant(RemotePath.parse(path), parse_rights(words)) for path, words in user.paths.items()]
        rate = parse_amount(user.rate) if user.rate else None
        home = RemotePath.parse_folder(user.home)
        principal = Principal(name, tuple(grants), home, _quota(user), rate, user.connections or None)
        for limit in (token and self.tokens.get(token.maker), token):
            if limit is not None and (limit.rights is not None or limit.path):
                rights = None if limit.rights is None else parse_rights(limit.rights)
                principal = narrowed(principal, RemotePath.parse_folder(limit.path), rights)
        return principal


def _quota(user: User) -> Quota:
    return Quota((parse_amount(user.quota) or None) if user.quota else None, user.quota_files or None)


def load(file: Path) -> Users:
    """Read the file. If it is not there, there are no users.

    Raises:
        UsersError: it can not be read, others can, or it has a mistake; the message has the line.
    """
    text = ""
    try:
        if not file.exists():
            return Users()
        fault = exposure(file, file.stat().st_mode)
        if fault is not None:
            raise UsersError(fault)
        text = file.read_text(encoding="utf-8")
        users = _convert(tomllib.loads(text))
    except (OSError, UnicodeError) as exc:
        raise UsersError(f"{file}: {getattr(exc, 'strerror', None) or exc}") from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:  # the latter for tables in tables without end
        raise UsersError(f"{file}: {exc}") from exc
    except msgspec.ValidationError as exc:
        raise UsersError(f"{file}: {_with_line(text, str(exc))}") from exc
    _check(users, file, text)
    return users


def _convert(document: dict[str, object]) -> Users:
    """Read the tables one by one, so that a mistake can be said to be in one of them."""
    users = Users()
    for kind, rows in document.items():
        if kind not in {"users", "tokens"} or not isinstance(rows, dict):
            raise msgspec.ValidationError(f"there are tables [users.NAME] and [tokens.ID], no {kind!r}")
        for name, row in rows.items():
            try:
                if kind == "users":
                    users.users[name] = msgspec.convert(row, User)
                else:
                    users.tokens[name] = msgspec.convert(row, Token)
            except msgspec.ValidationError as exc:
                raise msgspec.ValidationError(f"{exc} - at `$.{kind}.{name}`") from exc
    return users


def _check_credentials(name: str, user: User) -> None:
    for line in user.keys:
        parse_key(line)
    if user.password is not None and not user.password.startswith("$argon2id$"):
        raise ValueError(f"`password` is not the password itself; run: ftpd user passwd {name}")


def _check(users: Users, file: Path, text: str) -> None:
    for name, user in users.users.items():
        try:
            if USER_NAME.fullmatch(name) is None:
                raise ValueError(f"{name!r} is no name for a user: a-z, 0-9, _ . and -, at most 32")
            users.principal(name)
            _check_credentials(name, user)
        except (ValueError, FtpdError) as exc:
            raise UsersError(f"{file}: {_with_line(text, f'{exc} - at `$.users.{name}`')}") from exc
    for name, token in users.tokens.items():
        try:
            if users.principal(token.user, token) is None:
                raise ValueError(f"there is no user {token.user!r}")
            if _SHA256.fullmatch(token.sha256) is None:
                raise ValueError("`sha256` is 64 digits of 0-9 and a-f; ftpd token create makes them")
            if token.expires is not None and token.expires.tzinfo is None:
                raise ValueError("`expires` needs a time zone, as in 2027-01-01T00:00:00Z")
        except (ValueError, FtpdError) as exc:
            raise UsersError(f"{file}: {_with_line(text, f'{exc} - at `$.tokens.{name}`')}") from exc


def _with_line(text: str, message: str) -> str:
    """Add the line of the table that a message is about, which it names by its path: `$.users.build.home`."""
    found = re.search(r"\$\.(users|tokens)\.([^.`\[]+)", message)
    if found is None:
        return message
    head = re.compile(rf'\s*\[{found[1]}\."?{re.escape(found[2])}"?[.\]]')
    line = next((number for number, line in enumerate(text.splitlines(), 1) if head.match(line)), None)
    return message if line is None else f"line {line}: {message}"


@contextlib.contextmanager
def edit(file: Path) -> Iterator[Users]:
    """Change the file: what the block does to the users is written when it ends well. One process at a time.

    Raises:
        UsersError: the file has a mistake, or can not be written.
    """
    import fcntl  # noqa: PLC0415 (only where there are such locks is there a server)

    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(file.parent / "users.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise UsersError(f"{file.parent}: {exc.strerror}") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        users = load(file)
        yield users
        try:
            write_private(file, dump(users).encode())
        except OSError as exc:
            raise UsersError(f"{file}: {exc.strerror}") from exc
    finally:
        os.close(lock)


def dump(users: Users) -> str:
    """Write users as TOML."""
    parts = ["# Users and tokens of ftpd. Change it with `ftpd user` and `ftpd token`, or by hand.\n"]
    for kind, table in (("users", users.users), ("tokens", users.tokens)):
        for name, row in sorted(table.items()):
            parts.append(f"\n[{kind}.{_value(name)}]\n")
            fields: Mapping[str, object] = msgspec.to_builtins(row, builtin_types=(dt.datetime,))
            parts += [f"{key} = {_value(value)}\n" for key, value in fields.items() if value is not None]
    return "".join(parts)


def _value(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_value(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    # The strings of TOML are those of JSON, but for halves of characters (\ud83d\ude00) and a bare DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
