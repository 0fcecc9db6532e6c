"""Making a key and a certificate of the server's own."""

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ftpd.private import write_private

VALID_DAYS = 3650
"""How long a certificate of our own is valid. Clients trust its pin, so all that the end of it does is break them."""


def make(certificate: Path, key: Path, host: str) -> None:
    """Make a P-256 key and a certificate that it signs itself."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ftpd")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))  # clocks differ
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_dns_name(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    write_private(certificate, made.public_bytes(pem))
    # The key last: where there is one, there is a certificate that fits.
    write_private(key, private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def _dns_name(host: str) -> str:
    return host if host.isascii() and host.replace(".", "").replace("-", "").isalnum() else "localhost"
