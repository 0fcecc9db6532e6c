"""What is shown to log in, and where it is kept: the system's keyring if there is one, else a file of our own (0600).

Nothing of it is ever printed, logged, or handed to another program.
"""

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from ftpc.ask import ask_secret, can_ask
from ftpc.errors import LocalFileError, ProtocolError
from ftpc.keys import Key
from ftpd.private import exposure, write_private
from ftpd.wire.proof import NONCE_SIZE, proof_of
from ftpd.wire.requests import Auth
from ftpd.wire.terms import AuthMethod

SERVICE = "ftpc"
"""Under which name the keyring has our entries."""


class Credentials(NamedTuple):
    """A token, or a user's password."""

    secret: str
    user: str = ""
    """Whose password it is; empty for a token."""
    session: str = ""
    """Log-ins with a token that is good for a few of them count as one if they have the same of these."""

    key: Key | None = None
    """A key of that user, instead of a password."""

    def __repr__(self) -> str:
        if self.key is not None:
            return f"<Credentials {self.key} of {self.user}>"
        return f"<Credentials {'password of ' + self.user if self.user else 'token'}>"

    @property
    def is_share(self) -> bool:
        """Whether it is from a share code."""
        return bool(self.session)

    @property
    def request(self) -> Auth:
        """What is sent to log in; with a key, only to begin with."""
        if self.key is not None:
            nonce = secrets.token_hex(NONCE_SIZE)
            return Auth(method=AuthMethod.KEY, user=self.user, key=self.key.public, nonce=nonce)
        if self.user:
            return Auth(method=AuthMethod.PASSWORD, user=self.user, password=self.secret)
        return Auth(token=self.secret, session=self.session)

    def prove(self, begun: Auth, nonce: str, certificate: bytes) -> Auth:
        """Give the second half of a log-in with a key: what the server said is signed, with its certificate.

        Raises:
            ProtocolError: it did not say what can be signed.
        """
        assert self.key is not None
        try:
            theirs = bytes.fromhex(nonce)
            if len(theirs) != NONCE_SIZE:
                raise ValueError(nonce)
        except ValueError as exc:
            raise ProtocolError("the server sent no nonce to sign") from exc
        proof = proof_of(self.user, bytes.fromhex(begun.nonce), theirs, certificate)
        return Auth(method=AuthMethod.KEY, signature=self.key.sign(proof).hex())


class _Keyring(Protocol):
    def get_password(self, service: str, name: str) -> str | None: ...
    def set_password(self, service: str, name: str, secret: str) -> None: ...
    def delete_password(self, service: str, name: str) -> None: ...


class CredentialStore:
    """The credentials of one user of this machine, by server (`ftpds://HOST:PORT`, or `HOST:PORT` in the clear)."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "credentials.json"

    def get(self, server: str) -> Credentials | None:
        """Give what logs in to a server.

        Raises:
            LocalFileError: the file can not be read, or others can read it.
        """
        entry = self._read().get(server)
        if entry is None:
            return None
        user, secret = entry.get("user", ""), entry.get("secret")
        if key := entry.get("key"):
            return Credentials("", user, key=Key(Path(key), ask_secret if can_ask() else None))
        if secret is None and (keyring := _keyring()) is not None:
            with contextlib.suppress(Exception):  # whatever a keyring raises: it is locked, or gone
                secret = keyring.get_password(SERVICE, server)
        return Credentials(secret, user) if secret else None

    def keep(self, server: str, credentials: Credentials) -> str:
        """Keep them; say where. Raises as `get` does."""
        entry = {"user": credentials.user}
        if credentials.key is not None:  # which is where it is
            entry["key"] = str(credentials.key.file.absolute())
            self._write({**self._read(), server: entry})
            return str(self._file)
        where = "the system's keyring"
        keyring = _keyring()
        try:
            if keyring is None:
                raise LookupError
            keyring.set_password(SERVICE, server, credentials.secret)
        except Exception:  # noqa: BLE001 (whatever a keyring raises)
            where = str(self._file)
            entry["secret"] = credentials.secret
        self._write({**self._read(), server: entry})
        return where

    def forget(self, server: str) -> bool:
        """Drop them. Returns whether there were any. Raises as `get` does."""
        entries = self._read()
        entry = entries.pop(server, None)
        if entry is None:
            return False
        if "secret" not in entry and (keyring := _keyring()) is not None:
            with contextlib.suppress(Exception):  # as above
                keyring.delete_password(SERVICE, server)
        self._write(entries)
        return True

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            fd = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return {}
        except OSError as exc:
            raise LocalFileError(f"{self._file}: {exc.strerror}") from exc
        with open(fd, encoding="utf-8") as file:  # noqa: PTH123 (a descriptor)
            fault = exposure(self._file, os.fstat(fd).st_mode)
            if fault is not None:
                raise LocalFileError(fault)
            try:
                entries = json.load(file)
                if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
                    raise ValueError("not what we write")
                return cast("dict[str, dict[str, str]]", entries)
            except ValueError as exc:
                raise LocalFileError(f"{self._file}: it is damaged; remove it and log in again") from exc

    def _write(self, entries: dict[str, dict[str, str]]) -> None:
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._file, json.dumps(entries, indent=1).encode())
        except OSError as exc:
            raise LocalFileError(f"{self._file}: {exc.strerror}") from exc


def _keyring() -> _Keyring | None:
    """Give the system's keyring, if the package `keyring` is installed and finds one."""
    try:
        import keyring
        from keyring.backends import fail

        return None if isinstance(keyring.get_keyring(), fail.Keyring) else cast("_Keyring", keyring)
    except Exception:  # noqa: BLE001 (not installed, no D-Bus, no session: there is none)
        return None
