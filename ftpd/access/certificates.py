"""Client certificates: whom they name, and which of them their authorities have taken back.

Handshakes are OpenSSL's, lists of revoked certificates included. What is here is for connections that are there
already: a certificate that was good once is compared with the latest lists as long as somebody is logged in by it.
"""

import datetime as dt
import functools
import logging
import math
import re
import time
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from ftpd.access.watched import State, Watched, beside

MOST_KEPT = 2**15
"""Signatures that were found good or bad: with fewer than there are log-ins, times authorities, none would be kept
until it is asked for again. Each takes some KB."""

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
    certificate: x509.Certificate


class _Revoked(NamedTuple):
    """A list of one authority."""

    serials: frozenset[int]
    until: float


_Lists = dict[x509.Certificate, _Revoked]


def read_certificate(der: bytes) -> Shown | None:
    """Read a certificate that has been verified; None for one that only OpenSSL can read."""
    try:
        found = x509.load_der_x509_certificate(der)
        names = tuple(str(part.value) for part in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
        return Shown(names, found.not_valid_after_utc.timestamp(), found)
    except Exception:  # noqa: BLE001 (cryptography has several that are no ValueError)
        return None


class Revocations:
    """The lists in one file, which is read again when it has changed. One with a mistake leaves the old ones in force.

    Like OpenSSL it believes nobody whose authority has no list, only one that has expired, or is itself revoked.
    """

    def __init__(self, file: Path, authorities: Path) -> None:
        """Read the lists that these authorities have signed.

        Raises:
            RevocationError: there is a mistake in the file, or a list in it has expired.
        """
        self.file = file
        self._authorities = authorities
        self._watched = Watched(file)
        self._lists = _load(file, authorities)
        self._reading: tuple[State, Future[_Lists]] | None = None
        """What will be in force, and the state of the file that it is from."""
        self._looked = time.monotonic()
        self._said = set[str]()
        """What has been said to be wrong."""
        self.version = 0
        """Grows when other lists are in force."""

    def look(self) -> None:
        """See whether the file has changed, unless that was done a moment ago. A thread reads it."""
        if self._reading is not None and self._reading[1].done():
            self._take_over(*self._reading)
        now = time.monotonic()
        if self._reading is not None or now - self._looked < LOOK_S:
            return
        self._looked = now
        if (state := self._watched.changed()) is not None:
            self._reading = state, beside.submit(_load, self.file, self._authorities)
        if any(found.until <= time.time() for found in self._lists.values()):
            self._say(f"{self.file}: a list has expired, and with it log-ins by certificate until there is a new one")

    def _take_over(self, state: State, read: "Future[_Lists]") -> None:
        self._reading = None
        try:
            self._lists = read.result()
        except RevocationError as exc:  # perhaps only for a moment: it is tried again until it is good
            self._watched.refuse(state)
            self._say(f"the old lists of revoked certificates hold: {exc}")
        else:
            self._watched.use(state)
            self.version += 1
            self._said.clear()
            log.info("the lists of revoked certificates were read again")

    @property
    def end(self) -> float:
        """When the next list expires, by the wall clock."""
        now = time.time()
        return min((found.until for found in self._lists.values() if found.until > now), default=math.inf)

    def holds(self, shown: Shown) -> bool:
        """Tell whether a certificate is good as far as its authorities have said."""
        self.look()
        return self._is_good(shown.certificate, ())

    def _is_good(self, certificate: x509.Certificate, below: tuple[x509.Certificate, ...]) -> bool:
        """Look for authorities with lists, from one to the next up to a root, of which none has revoked the one below.

        Authorities may have the same name: what counts is who has signed.
        """
        return any(
            time.time() < found.until
            and _is_issued_by(certificate, authority)
            and certificate.serial_number not in found.serials
            and (authority in below or self._is_good(authority, (*below, authority)))
            for authority, found in self._lists.items()
        )

    def _say(self, what: str) -> None:
        """Log what is wrong, once."""
        if what not in self._said:
            self._said.add(what)
            log.error(what)


@functools.lru_cache(maxsize=MOST_KEPT)
def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Compare names and signature; kept, because it is asked for every request, and of all log-ins in turn."""
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 (for a name, for a kind of key, for a signature)
        return False
    return True


def _load(file: Path, authorities: Path) -> _Lists:
    """Read the newest list of each authority."""
    try:
        text = file.read_bytes()
        signers = x509.load_pem_x509_certificates(authorities.read_bytes())
    except OSError as exc:
        raise RevocationError(f"{exc.filename}: {exc.strerror}") from exc
    except Exception as exc:
        raise RevocationError(f"{authorities}: there are no certificates in it") from exc
    newest = _newest(file, text, signers)
    try:
        lists = {signer: _Revoked(_serials_of(found), _end_of(found)) for signer, found in newest.items()}
    except Exception as exc:
        raise RevocationError(f"{file}: a list in it is damaged") from exc
    if any(found.until <= time.time() for found in lists.values()):
        raise RevocationError(f"{file}: a list has expired; fetch a new one from the authority")
    return lists


def _newest(
    file: Path, text: bytes, signers: list[x509.Certificate]
) -> dict[x509.Certificate, x509.CertificateRevocationList]:
    blocks = _LIST.findall(text)
    if not blocks or len(blocks) != text.count(b"-----BEGIN"):
        raise RevocationError(f"{file}: there is no list of revoked certificates in it, or something else (PEM)")
    newest: dict[x509.Certificate, x509.CertificateRevocationList] = {}
    for number, block in enumerate(blocks, 1):
        try:
            found, by = _read(block, signers)
        except RevocationError as exc:
            raise RevocationError(f"{file}: list {number}: {exc}") from exc
        except Exception as exc:  # cryptography has several that are no ValueError
            raise RevocationError(f"{file}: list {number} is damaged") from exc
        for signer in by:
            if signer not in newest or newest[signer].last_update_utc < found.last_update_utc:
                newest[signer] = found
    return newest


def _read(
    block: bytes, signers: list[x509.Certificate]
) -> tuple[x509.CertificateRevocationList, list[x509.Certificate]]:
    """Read a list, but not yet who is on it; with the certificates of whoever has signed it."""
    found = x509.load_pem_x509_crl(block)
    by = [signer for signer in signers if signer.subject == found.issuer and _is_signed_by(found, signer)]
    if not by:
        raise RevocationError("no certificate in --client-ca has signed it")
    if found.last_update_utc > dt.datetime.now(dt.UTC):
        raise RevocationError("it is not valid yet")
    if _is_partial(found.extensions):
        raise RevocationError("it has only some of the revoked certificates; a whole list is needed")
    return found, by


def _is_signed_by(found: x509.CertificateRevocationList, signer: x509.Certificate) -> bool:
    return found.is_signature_valid(signer.public_key())  # type: ignore[arg-type] # others raise TypeError


def _serials_of(found: x509.CertificateRevocationList) -> frozenset[int]:
    return frozenset(entry.serial_number for entry in found)


def _end_of(found: x509.CertificateRevocationList) -> float:
    until = found.next_update_utc
    return float("inf") if until is None else until.timestamp()


def _is_partial(extensions: x509.Extensions) -> bool:
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            return True
        if isinstance(value, x509.IssuingDistributionPoint):
            shard = value.full_name or value.relative_name  # one of several lists, each of which has some of them
            other = value.only_contains_ca_certs or value.only_contains_attribute_certs
            if shard or other or value.indirect_crl or value.only_some_reasons:
                return True
    return False
