"""Encryption: the server's key and certificate, and the contexts that the two sides speak TLS 1.3 with.

A certificate that the server has made itself proves nothing by its signature. Clients know it by its pin, the SHA-256
of the whole certificate, as Syncthing's device ids are.
"""

import hashlib
import re
import ssl
from pathlib import Path

from ftpd.private import exposure

HANDSHAKE_S = 10.0
"""How long a handshake may take: a few round trips and a signature."""

CERTIFICATE, KEY = "cert.pem", "key.pem"

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


class IdentityError(Exception):
    """Key or certificate can not be used; the message says what to change."""


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Make what a server answers with.

    Raises:
        IdentityError: the files can not be read, do not fit together, or others can read the key.
    """
    try:
        fault = exposure(key, key.stat().st_mode)
    except OSError as exc:
        raise IdentityError(f"{key}: {exc.strerror}") from exc
    if fault is not None:
        raise IdentityError(fault)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Tickets would let a client come back without showing who it is, and are bytes that nobody waits for.
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError) as exc:
        what = (
            exc.strerror if isinstance(exc, FileNotFoundError) else exc.reason if isinstance(exc, ssl.SSLError) else exc
        )
        raise IdentityError(f"{certificate} and {key}: they are no certificate with its key: {what}") from exc
    return context


def ask_for_certificates(context: ssl.SSLContext, authorities: Path, revoked: Path | None = None) -> None:
    """Let clients show a certificate that one of these authorities has signed. Who shows another one is cut.

    So is, where there are lists of what is `revoked`, who shows one from it, or of an authority that is revoked or has
    no list there: each up to the root needs one.

    Raises:
        IdentityError: a file can not be read.
    """
    try:
        context.load_verify_locations(authorities)
    except (OSError, ssl.SSLError) as exc:
        what = exc.strerror if isinstance(exc, FileNotFoundError) else "there are no certificates in it"
        raise IdentityError(f"{authorities}: {what}") from exc
    context.verify_mode = ssl.CERT_OPTIONAL
    if revoked is not None:
        try:
            context.load_verify_locations(revoked)
        except (OSError, ssl.SSLError) as exc:
            raise IdentityError(f"{revoked}: it can not be read as lists of revoked certificates") from exc
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def own_identity(folder: Path, host: str) -> tuple[Path, Path]:
    """Give certificate and key of a folder, and make them when there are none.

    Raises:
        IdentityError: they can not be made.
    """
    certificate, key = folder / CERTIFICATE, folder / KEY
    if not key.exists():
        from ftpd.certificate import make  # noqa: PLC0415 (needed once in a server's life)

        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            make(certificate, key, host)
        except OSError as exc:
            raise IdentityError(f"{folder}: no key can be kept there: {exc.strerror}") from exc
    return certificate, key


def pin_of(certificate: Path) -> str:
    """Give what clients know a certificate by: the SHA-256 of its DER form, in hex.

    Raises:
        IdentityError: there is none.
    """
    # Tools write what they like before and between the certificates of a chain, of which the first is the server's own.
    first = _PEM.search(certificate.read_bytes())
    if first is None:
        raise IdentityError(f"{certificate}: there is no certificate in it")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[0].decode())).hexdigest()


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    msg = "the key is encrypted"
    raise IdentityError(msg)
