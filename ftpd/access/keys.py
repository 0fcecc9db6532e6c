"""SSH keys that log in: which kinds, how they are written down, and how a signature is checked."""

import base64
import binascii
import hashlib
from typing import NamedTuple

KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")
"""Ed25519; ECDSA on P-256 with SHA-256; RSA with SHA-512."""

RSA_BITS = range(2048, 8193)
"""Sizes of RSA keys: smaller ones are weak, larger ones slow."""


class PublicKey(NamedTuple):
    """A key, as a line of `id_ed25519.pub` has it."""

    kind: str
    blob: str
    comment: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.blob} {self.comment}".rstrip()

    @property
    def fingerprint(self) -> str:
        """What `ssh-keygen -l` calls it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def parse_key(line: str) -> PublicKey:
    """Read a public key.

    Raises:
        ValueError: it is none, or of another kind.
    """
    kind, _, rest = line.strip().partition(" ")
    blob, _, comment = rest.strip().partition(" ")
    if kind not in KINDS:
        raise ValueError(
            f"this is no public key of SSH that can be used; it is one line that begins: {', '.join(KINDS)}"
        )
    try:
        raw = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if raw[:4] != len(kind).to_bytes(4, "big") or raw[4 : 4 + len(kind)] != kind.encode():
        raise ValueError(f"this {kind} key is damaged")
    # As base64 is written, not as it was given: the same key is the same text.
    return PublicKey(kind, base64.b64encode(raw).decode(), comment if comment.isprintable() else "")


def check_key(key: PublicKey) -> None:
    """Look whether a key can be used, as far as that can be seen.

    Raises:
        ValueError: with what is wrong with it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 (slow to import, and not always needed)
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 (likewise)
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key  # noqa: PLC0415 (likewise)

    try:
        public = load_ssh_public_key(f"{key.kind} {key.blob}".encode())
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ValueError(f"this {key.kind} key is damaged") from exc
    if isinstance(public, rsa.RSAPublicKey) and public.key_size not in RSA_BITS:
        raise ValueError(f"an RSA key has {RSA_BITS[0]} to {RSA_BITS[-1]} bits here, this has {public.key_size}")


def is_signed(key: PublicKey, signature: bytes, data: bytes) -> bool:
    """Tell whether whoever has the private key has signed these bytes. Takes a moment: not for the event loop."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415 (as above)
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 (likewise)
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa  # noqa: PLC0415 (likewise)
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key  # noqa: PLC0415 (likewise)

    try:
        public = load_ssh_public_key(f"{key.kind} {key.blob}".encode())
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, data)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        elif isinstance(public, rsa.RSAPublicKey) and public.key_size in RSA_BITS:
            public.verify(signature, data, padding.PKCS1v15(), hashes.SHA512())
        else:
            return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True
