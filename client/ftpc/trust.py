"""Whom a client trusts: by a certificate authority, or by the pin of a server it knows.

A pin is the SHA-256 of the server's certificate. It is compared before a byte of ours is sent. Whether to trust a
server for whose certificate nobody vouches is a question for people; what they answered is remembered, one line
`HOST:PORT sha256:HEX` each, as in `known_hosts` of OpenSSH.
"""

import contextlib
import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path

from ftpc.address import Address
from ftpc.errors import LocalFileError, TrustError, UnknownServerError
from ftpd.payload.channel import Channel, connect


class KnownServers:
    """The pins of servers, in a file that need not be there yet."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def pin(self, place: str) -> str | None:
        """Give the pin of the server at `HOST:PORT`, if it is known.

        Raises:
            LocalFileError: the file can not be read.
        """
        return self._read().get(place)

    def remember(self, place: str, pin: str) -> None:
        """Keep a pin, in place of another one. Raises as `pin` does."""
        pins = {**self._read(), place: pin}
        hidden = self.file.with_suffix(".part")
        with self._errors():
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            hidden.write_text("".join(f"{where} sha256:{known}\n" for where, known in sorted(pins.items())))
            hidden.replace(self.file)

    def _read(self) -> dict[str, str]:
        try:
            with self._errors():
                lines = self.file.read_text(encoding="utf-8").splitlines()
        except LocalFileError as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                return {}
            raise
        found = (line.split(" sha256:") for line in lines if not line.startswith("#"))
        return {parts[0]: parts[1].strip().lower() for parts in found if len(parts) == 2}

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeError) as exc:
            raise LocalFileError(f"{self.file}: {getattr(exc, 'strerror', None) or exc}") from exc


class Trust:
    """How the servers of one client prove who they are."""

    def __init__(
        self,
        authority: Path | None = None,
        known: KnownServers | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        """Say what counts.

        Args:
            authority: certificates (PEM) of the only authorities that count; then no pin does.
            known: where pins are remembered.
            certificate: our own (PEM), to log in with.
            key: its key; by default in the same file.
        """
        self._authority = authority
        self._known = known
        self._certificate = certificate
        self._key = key

    @property
    def has_certificate(self) -> bool:
        """Whether we show who we are in the handshake."""
        return self._certificate is not None

    async def open(self, address: Address) -> Channel:
        """Connect to a server, encrypted, and make sure that it is the right one.

        Raises:
            UnknownServerError: nobody vouches for it.
            TrustError: it is not the one that is known.
            OSError: there is nobody, or he does not speak TLS.
        """
        pin = None
        if self._authority is None:
            pin = address.pin or (self._known.pin(address.place) if self._known else None)
        if pin is not None:
            # Whoever is there learns whose certificate ours is, and can do nothing with it.
            channel = await _encrypted(address, self._with_own(_unchecked()))
            found = pin_of(channel)
            if found == pin:
                return channel
            channel.abort()
            raise self._other_pin(address, pin, found)
        try:
            return await _encrypted(address, self._with_own(self._checked()))
        except ssl.SSLCertVerificationError as exc:
            why = exc.verify_message
            if self._authority is not None:
                raise TrustError(f"{address.place}: its certificate is not valid: {why}; nothing was sent") from exc
        channel = await _encrypted(address, _unchecked())
        channel.abort()
        raise UnknownServerError(address.place, pin_of(channel), why)

    def _other_pin(self, address: Address, expected: str, found: str) -> TrustError:
        where = f" (remembered in {self._known.file})" if self._known and not address.pin else ""
        return TrustError(
            f"{address.place}: this is NOT the server that was trusted: somebody may be in between, or it has a new "
            f"certificate. Expected sha256:{expected}{where}, found sha256:{found}. Nothing was sent"
        )

    def _with_own(self, context: ssl.SSLContext) -> ssl.SSLContext:
        if self._certificate is not None:
            try:
                context.load_cert_chain(self._certificate, self._key, password=_no_password)
            except (OSError, ssl.SSLError, ValueError) as exc:
                files = f"{self._certificate} and {self._key}" if self._key else f"{self._certificate}"
                why = exc.strerror if isinstance(exc, FileNotFoundError) else getattr(exc, "reason", None) or exc
                raise LocalFileError(f"{files}: no certificate with its key: {why}") from exc
        return context

    def _checked(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=str(self._authority) if self._authority else None)
        except OSError as exc:
            raise LocalFileError(f"{self._authority}: no certificates can be read from it: {exc}") from exc
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal, in the middle of a display.
    raise ValueError("the key is encrypted")


_NO_TLS = {"WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "HTTP_REQUEST"}
"""What OpenSSL calls answers that are no TLS, or an older one."""


async def _encrypted(address: Address, context: ssl.SSLContext) -> Channel:
    try:
        return await connect(address.host, address.port, context)
    except ssl.SSLError as exc:
        if exc.reason not in _NO_TLS:
            raise
        raise TrustError(
            f"{address.place}: what answers there does not speak TLS 1.3; is it ftpd:// without the s? Nothing was sent"
        ) from exc


def _unchecked() -> ssl.SSLContext:
    """Make a context for a server whose certificate is compared afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def pin_of(channel: Channel) -> str:
    """Give the SHA-256 of the certificate that a server has shown, in hex."""
    encrypted: ssl.SSLObject = channel.writer.get_extra_info("ssl_object")
    certificate = encrypted.getpeercert(binary_form=True)
    assert certificate is not None
    return hashlib.sha256(certificate).hexdigest()
