"""Client certificates: whom they name, and which of them their authorities have taken back.

Handshakes are OpenSSL's, lists of revoked certificates included. What is here is for connections that are there
already: a certificate that was good once is compared with the latest lists as long as somebody is logged in by it.
"""

import datetime as dt
import logging
import re
import time
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

LOOK_S = 0.5
"""How often the file of lists is looked at, at most."""

_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)

log = logging.getLogger(__name__)


class RevocationError(Exception):
    """The lists can not be used; the message says what is wrong with them."""


class Shown(NamedTuple):
    """What a certificate says that has been verified."""

    names: tuple[str, ...]
    """The common names of its subject."""
    until: float
    """When it ends, by the wall clock."""
    issuer: bytes
    serial: int


class _Revoked(NamedTuple):
    """The list of one authority."""

    serials: frozenset[int]
    made: dt.datetime
    until: float


def read_certificate(der: bytes) -> Shown | None:
    """Read a certificate that has been verified; None for one that only OpenSSL can read."""
    try:
        found = x509.load_der_x509_certificate(der)
        names = tuple(str(part.value) for part in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
        until = found.not_valid_after_utc.timestamp()
        return Shown(names, until, found.issuer.public_bytes(), found.serial_number)
    except ValueError:
        return None


class Revocations:
    """The lists in one file, which is read again when it has changed. One with a mistake leaves the old ones in force.

    Like OpenSSL it believes nobody whose authority has no list, or only one that has expired.
    """

    def __init__(self, file: Path, authorities: Path) -> None:
        """Read the lists that these authorities have signed.

        Raises:
            RevocationError: there is a mistake in the file, or a list in it has expired.
        """
        self.file = file
        self._authorities = authorities
        self._seen = self._state()
        self._lists = _load(file, authorities)
        self._looked = time.monotonic()
        self._is_warned = False
        self.version = 0
        """Grows when other lists are in force."""

    def look(self) -> None:
        """See whether the file has changed, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._lists = _load(self.file, self._authorities)
                self.version += 1
                self._is_warned = False
                log.info("the lists of revoked certificates were read again")
            except RevocationError as exc:
                log.error("the old lists of revoked certificates hold: %s", exc)  # noqa: TRY400 (nothing to trace)
        if not self._is_warned and any(found.until <= time.time() for found in self._lists.values()):
            self._is_warned = True
            log.error("%s: a list has expired, and with it log-ins by certificate until there is a new one", self.file)

    def holds(self, shown: Shown) -> bool:
        """Tell whether a certificate is good as far as its authority has said."""
        self.look()
        found = self._lists.get(shown.issuer)
        return found is not None and time.time() < found.until and shown.serial not in found.serials

    def _state(self) -> tuple[int, ...]:
        try:
            found = self.file.stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)


def _load(file: Path, authorities: Path) -> dict[bytes, _Revoked]:
    """Read the newest list of each authority."""
    try:
        text = file.read_bytes()
        signers = x509.load_pem_x509_certificates(authorities.read_bytes())
    except OSError as exc:
        raise RevocationError(f"{exc.filename}: {exc.strerror}") from exc
    except ValueError as exc:
        raise RevocationError(f"{authorities}: there are no certificates in it") from exc
    blocks = _LIST.findall(text)
    if not blocks or len(blocks) != text.count(b"-----BEGIN"):
        raise RevocationError(f"{file}: there is no list of revoked certificates in it, or something else (PEM)")
    lists: dict[bytes, _Revoked] = {}
    for number, block in enumerate(blocks, 1):
        try:
            issuer, found = _read(block, signers)
        except RevocationError as exc:
            raise RevocationError(f"{file}: list {number}: {exc}") from exc
        except (ValueError, TypeError) as exc:
            raise RevocationError(f"{file}: list {number} is damaged") from exc
        if issuer not in lists or lists[issuer].made < found.made:
            lists[issuer] = found
    if any(found.until <= time.time() for found in lists.values()):
        raise RevocationError(f"{file}: a list has expired; fetch a new one from the authority")
    return lists


def _read(block: bytes, signers: list[x509.Certificate]) -> tuple[bytes, _Revoked]:
    found = x509.load_pem_x509_crl(block)
    keys = [signer.public_key() for signer in signers if signer.subject == found.issuer]
    if not any(found.is_signature_valid(key) for key in keys):  # type: ignore[arg-type] # others raise TypeError
        raise RevocationError("no certificate in --client-ca has signed it")
    if found.last_update_utc > dt.datetime.now(dt.UTC):
        raise RevocationError("it is not valid yet")
    if _is_partial(found.extensions):
        raise RevocationError("it has only some of the revoked certificates; a whole list is needed")
    until = found.next_update_utc
    serials = frozenset(entry.serial_number for entry in found)
    ends = float("inf") if until is None else until.timestamp()
    return found.issuer.public_bytes(), _Revoked(serials, found.last_update_utc, ends)


def _is_partial(extensions: x509.Extensions) -> bool:
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            return True
        if isinstance(value, x509.IssuingDistributionPoint):
            other = value.only_contains_ca_certs or value.only_contains_attribute_certs
            return bool(other or value.indirect_crl or value.only_some_reasons)
    return False
