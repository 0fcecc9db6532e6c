"""What the server shows, and whose certificates it believes: files that may change while it serves."""

import logging
import math
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ftpd.access.door import Door, UsersDoor
from ftpd.tls import IdentityError, ask_for_certificates, pin_of, server_context

if TYPE_CHECKING:
    from ftpd.access.certificates import Revocations

RETRY_S = 1.0
"""How often new lists are tried that could not be used with the server's certificate, which may be on its way too."""

log = logging.getLogger(__name__)


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
        self._revocations: Revocations | None = None
        self._version = 0
        self._failed = -math.inf
        self.reload()

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read again while the server runs."""
        files = (self._certificate, self._key, self._authorities, self._revoked)
        return tuple(file for file in files if file is not None)

    @property
    def pin(self) -> str:
        """What clients know the certificate by."""
        return pin_of(self._certificate)

    def reload(self) -> None:
        """Read all files again.

        Raises:
            IdentityError: they can not be used. What was read before stays in use.
        """
        revocations = self._read_lists()
        self._make()
        if isinstance(self._door, UsersDoor):
            self._door.knows_certificates = self._authorities is not None
            self._door.revocations = revocations
        self._revocations, self._version = revocations, revocations.version if revocations is not None else 0

    def context(self) -> ssl.SSLContext:
        """Give the context for a new connection; one with the new lists if some have come."""
        if self._revocations is not None:
            self._revocations.look()
            if self._version != self._revocations.version:
                self._renew(self._revocations.version)
        return self._context

    def _renew(self, version: int) -> None:
        """Make a context with the new lists: OpenSSL keeps those it has, and a context forgets nothing."""
        if time.monotonic() - self._failed < RETRY_S:
            return
        try:
            self._make()
            self._version = version
        except IdentityError as exc:  # the door does not let in whom the new lists name
            self._failed = time.monotonic()
            log.error("handshakes go on with the old lists: %s", exc)  # noqa: TRY400 (nothing to trace)

    def _make(self) -> None:
        context = server_context(self._certificate, self._key)
        if self._authorities is not None:
            ask_for_certificates(context, self._authorities, self._revoked)
        try:
            self._door.certificate = bytes.fromhex(self.pin)
        except OSError as exc:
            raise IdentityError(f"{self._certificate}: {exc.strerror}") from exc
        self._context = context

    def _read_lists(self) -> "Revocations | None":
        if self._authorities is None or self._revoked is None:
            return None
        from ftpd.access.certificates import RevocationError, Revocations  # noqa: PLC0415 (as in the door)

        try:
            return Revocations(self._revoked, self._authorities)
        except RevocationError as exc:
            if self._revocations is None:
                raise IdentityError(str(exc)) from exc
            # One that has expired keeps nobody from a new certificate of the server.
            log.error("the old lists of revoked certificates hold: %s", exc)  # noqa: TRY400 (nothing to trace)
            return self._revocations
