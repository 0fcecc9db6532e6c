"""Logging in with a key of SSH: it is read where it lies, and stays there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ftpc.errors import LocalFileError, LocalNotFoundError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    Private = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey


class Key:
    """A private key in a file: Ed25519, ECDSA on P-256, or RSA."""

    def __init__(self, file: Path, ask: Callable[[str], str] | None = None) -> None:
        """Name it; it is read by `load`.

        Args:
            file: as ssh-keygen makes it, or PEM.
            ask: is called with a question for its passphrase, if it is encrypted.
        """
        self.file = file
        self._ask = ask
        self._private: Private | None = None

    def __repr__(self) -> str:
        return f"<Key {self.file}>"

    def load(self) -> "Private":
        """Read it, once.

        Raises:
            LocalFileError: it can not be read or used.
        """
        if self._private is None:
            self._private = self._checked(self._read())
        return self._private

    @property
    def public(self) -> str:
        """The public key, in one line. Raises as `load` does."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self.load().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def sign(self, data: bytes) -> bytes:
        """Sign. Raises as `load` does."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

        private = self.load()
        if isinstance(private, ec.EllipticCurvePrivateKey):
            return private.sign(data, ec.ECDSA(hashes.SHA256()))
        if isinstance(private, rsa.RSAPrivateKey):
            return private.sign(data, padding.PKCS1v15(), hashes.SHA512())
        return private.sign(data)

    def _read(self) -> object:
        try:
            text = self.file.read_bytes()
            mode = self.file.stat().st_mode & 0o777
        except FileNotFoundError as exc:
            raise LocalNotFoundError(f"{self.file}: there is no such key") from exc
        except OSError as exc:
            raise LocalFileError(f"{self.file}: {exc.strerror}") from exc
        if os.name == "posix" and mode & 0o077:
            raise LocalFileError(f"{self.file}: others can read it (mode {mode:o}); run: chmod 600 {self.file}")
        try:
            return _parsed(text, None)
        except TypeError as exc:  # it is encrypted
            if self._ask is None:
                raise LocalFileError(f"{self.file}: it is encrypted, and there is nobody to ask") from exc
        except ValueError as exc:
            raise LocalFileError(f"{self.file}: it is no private key, or damaged") from exc
        try:
            return _parsed(text, self._ask(f"passphrase of {self.file}: ").encode())
        except (ValueError, TypeError) as exc:
            raise LocalFileError(f"{self.file}: that is not its passphrase") from exc

    def _checked(self, private: object) -> "Private":
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        is_p256 = isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name == "secp256r1"
        if is_p256 or isinstance(private, ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
            return private  # type: ignore[return-value] # P-256 is checked above
        raise LocalFileError(f"{self.file}: keys that log in are Ed25519, ECDSA on P-256, or RSA")


def _parsed(text: bytes, passphrase: bytes | None) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    load = load_ssh_private_key if b"BEGIN OPENSSH" in text else load_pem_private_key
    try:
        return load(text, passphrase)
    except UnsupportedAlgorithm as exc:
        raise ValueError(str(exc)) from exc
