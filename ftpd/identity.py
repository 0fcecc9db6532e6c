"""What the server shows, and whose certificates it believes: files that may change while it serves."""

import asyncio
import hashlib
import logging
import math
import ssl
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ftpd.access.door import Door, UsersDoor
from ftpd.access.watched import beside
from ftpd.tls import IdentityError, ask_for_certificates, pin_of, server_context

if TYPE_CHECKING:
    from ftpd.access.certificates import Revocations

RETRY_S = 1.0
"""How often new lists are tried that could not be used with the server's certificate, which may be on its way too."""

log = logging.getLogger(__name__)


class _Read(NamedTuple):
    """What was in the files."""

    context: ssl.SSLContext
    certificate: bytes
    authorities: bytes
    """The SHA-256 of each of the two."""
    lists: "Revocations | None"
    version: int
    """Of the lists that are in the context."""


class Identity:
    """Gives each new connection what it is to be met with. Those that are there go on with what they have met."""

    def __init__(
        self, door: Door, certificate: Path, key: Path, authorities: Path | None = None, revoked: Path | None = None
    ) -> None:
        """Read the files, and tell the door what they mean for it.

        Raises:
            IdentityError: with what is wrong with them.
        """
        self._door = door
        self._certificate, self._key = certificate, key
        self._authorities, self._revoked = authorities, revoked
        self._making: Future[_Read] | None = None
        """What new connections will be met with, if that is another than now."""
        self._failed = -math.inf
        self._turn = asyncio.Lock()
        """Who reads all of it again."""
        self._use(self._read(self._read_lists(None)))

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read again while the server runs."""
        files = (self._certificate, self._key, self._authorities, self._revoked)
        return tuple(file for file in files if file is not None)

    @property
    def pin(self) -> str:
        """What clients know the certificate by."""
        return pin_of(self._certificate)

    async def reload(self) -> None:
        """Read all files again, in a thread.

        Raises:
            IdentityError: they can not be used. What was read before stays in use.
        """
        async with self._turn:  # or what is being read now would not be what was used before
            before = self._used.lists
            self._use(await asyncio.wrap_future(beside.submit(lambda: self._read(self._read_lists(before)))))

    def context(self) -> ssl.SSLContext:
        """Give the context for a new connection; one with the new lists as soon as they are read."""
        if self._making is not None and self._making.done():
            self._renew(self._making)
        lists = self._used.lists
        if lists is not None:
            lists.look()
            is_new = lists.version != self._used.version and time.monotonic() - self._failed >= RETRY_S
            if is_new and self._making is None:  # OpenSSL keeps what it has, and a context forgets nothing
                self._making = beside.submit(self._read, lists)
        return self._used.context

    def _renew(self, making: "Future[_Read]") -> None:
        self._making = None
        try:
            self._use(making.result())
        except IdentityError as exc:  # the door does not let in whom the new lists name
            self._failed = time.monotonic()
            log.error("handshakes go on with the old lists: %s", exc)  # noqa: TRY400 (nothing to trace)

    def _read(self, lists: "Revocations | None") -> "_Read":
        version = lists.version if lists is not None else 0
        context, authorities = server_context(self._certificate, self._key), b""
        try:
            if self._authorities is not None:  # another file between these two has another content than is kept
                authorities = hashlib.sha256(self._authorities.read_bytes()).digest()
                ask_for_certificates(context, self._authorities, self._revoked)
            return _Read(context, bytes.fromhex(self.pin), authorities, lists, version)
        except OSError as exc:
            raise IdentityError(f"{exc.filename}: {exc.strerror}") from exc

    def _use(self, read: "_Read") -> None:
        self._used, self._making = read, None
        self._door.certificate, self._door.authorities = read.certificate, read.authorities
        if isinstance(self._door, UsersDoor):
            self._door.revocations = read.lists

    def _read_lists(self, before: "Revocations | None") -> "Revocations | None":
        if self._authorities is None or self._revoked is None:
            return None
        from ftpd.access.certificates import RevocationError, Revocations  # noqa: PLC0415 (as in the door)

        try:
            return Revocations(self._revoked, self._authorities)
        except RevocationError as exc:
            if before is None:
                raise IdentityError(str(exc)) from exc
            # One that has expired keeps nobody from a new certificate of the server.
            log.error("the old lists of revoked certificates hold: %s", exc)  # noqa: TRY400 (nothing to trace)
            return before
