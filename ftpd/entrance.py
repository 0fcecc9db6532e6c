"""How clients come in: which key and certificate the server shows, and who is let in. Safe without being asked to be.

Where only this machine can connect, and nobody has made a user, everybody may do everything. Where others can, there is
TLS, and somebody has to log in; what is missing for that at the first start is made.
"""

import os
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from ftpd.access.credentials import new_token
from ftpd.access.door import Door, UsersDoor
from ftpd.access.users import Token, User, UsersError, edit
from ftpd.config import Config, ConfigError
from ftpd.identity import Identity
from ftpd.tls import CERTIFICATE, KEY, IdentityError, own_identity
from ftpd.wire.paths import STATE_FOLDER

USERS = "users.toml"
FIRST_TOKEN = "first-token"  # noqa: S105 (a name)
OWNER = "owner"
"""The user that is made at the first start."""


class Entrance(NamedTuple):
    """What clients meet."""

    door: Door
    identity: Identity | None = None
    """None if it is not encrypted."""
    token: str | None = None
    """A token that has just been made, for the person who starts the server."""


def open_entrance(config: Config, undo: ExitStack) -> Entrance:
    """Make what is missing, and read what is there; `undo` removes what was made.

    Raises:
        ConfigError: with what to change.
    """
    is_open = config.is_public and not config.insecure
    _keep_secrets_out_of(config.root, config)
    for name in (USERS, FIRST_TOKEN, KEY, CERTIFICATE):
        if not (file := config.access_folder / name).exists():
            undo.callback(file.unlink, missing_ok=True)
    try:
        users = config.access_folder / USERS
        token = _make_owner(config, users) if is_open and not users.exists() else None
        is_fixed = config.read_only and config.access is None
        door = UsersDoor(users, is_fixed=is_fixed) if users.exists() else Door()
        if is_open and isinstance(door, UsersDoor) and not door.has_credentials and config.client_ca is None:
            first = f"make a token first: ftpd token create USER {_where(config)}"
            raise ConfigError(f"--host {config.host}: nobody could log in; {first}")
        return _with_tls(config, door, token, is_open=is_open)
    except (IdentityError, UsersError) as exc:
        raise ConfigError(str(exc)) from exc


def _with_tls(config: Config, door: Door, token: str | None, *, is_open: bool) -> Entrance:
    if config.client_crl is not None and config.client_ca is None:
        raise ConfigError("--client-crl: it says which certificates of --client-ca are revoked; add that")
    if config.tls_cert is not None or config.tls_key is not None:
        if config.tls_cert is None or config.tls_key is None:
            raise ConfigError("--tls-cert and --tls-key belong together")
        certificate, key = config.tls_cert, config.tls_key
    elif config.tls or is_open:
        _make_state_folder(config)
        certificate, key = own_identity(config.access_folder, config.host)
    elif config.client_ca is not None:
        raise ConfigError("--client-ca: certificates are shown to encrypted servers; add --tls")
    else:
        return Entrance(door)
    if config.client_ca is not None and not isinstance(door, UsersDoor):
        raise ConfigError(f"--client-ca: there are no users; make them first: ftpd user add NAME {_where(config)}")
    return Entrance(door, Identity(door, certificate, key, config.client_ca, config.client_crl), token)


def _where(config: Config) -> str:
    """Give the option with which `ftpd user` and `ftpd token` find the same users."""
    option, place = ("--root", config.root) if config.access is None else ("--access", config.access)
    return f"{option} {shlex.quote(str(place))}"


def _keep_secrets_out_of(root: Path, config: Config) -> None:
    """Refuse to keep what decides who is let in where clients can fetch and replace it."""
    for option, place in (
        ("--access", config.access),
        ("--tls-key", config.tls_key),
        ("--tls-cert", config.tls_cert),
        ("--client-ca", config.client_ca),
        ("--client-crl", config.client_crl),
    ):
        if place is None or not place.resolve().is_relative_to(root.resolve()):
            continue
        if place.resolve().relative_to(root.resolve()).parts[:1] != (STATE_FOLDER,):
            raise ConfigError(f"{option} {place}: it lies in the served folder, where clients could get at it")


def _make_owner(config: Config, users: Path) -> str:
    """Make a first user who may do everything, and a token."""
    _make_state_folder(config)
    token = new_token()
    with edit(users) as found:
        found.users[OWNER] = User(rights=["full", "admin"])
        found.tokens[token.id] = Token(user=OWNER, sha256=token.sha256, label="first start")
    return token.text


def _make_state_folder(config: Config) -> None:
    if config.access is not None:
        return
    state = config.root / STATE_FOLDER
    if config.read_only and not config.access_folder.exists():
        raise ConfigError("--read-only changes nothing in the root; say with --access DIR where keys are to be kept")
    try:
        state.mkdir(mode=0o700, exist_ok=True)
        os.makedirs(config.access_folder, mode=0o700, exist_ok=True)  # noqa: PTH103 (one line, as above)
    except OSError as exc:
        raise ConfigError(f"{state}: {exc.strerror}") from exc
