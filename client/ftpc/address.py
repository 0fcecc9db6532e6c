"""Addresses of servers: `HOST`, `HOST:PORT`, `[::1]:PORT`, `ftpd://HOST[:PORT][/FOLDER]`.

`ftpds://` is encrypted, and may end in the pin of the server's certificate: `#sha256:HEX`.
"""

import re
from typing import NamedTuple

from ftpc.errors import AddressError

DEFAULT_PORT = 9527
DEFAULT_SERVER = f"127.0.0.1:{DEFAULT_PORT}"

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]/@]+))(?::(?P<port>\d+))?")
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts that are this machine, whatever is between."""

IS_ADDRESS = re.compile(r"\s*ftpds?://", re.IGNORECASE)
"""Begins all that is an address and can be no name: with a share code taken for a name, its token would be sent."""

_PIN = re.compile(r"sha256:([0-9a-fA-F]{64})")


class Address(NamedTuple):
    """Where a server is, and the folder on it that names are relative to."""

    host: str
    port: int
    folder: str = ""
    is_encrypted: bool = False
    pin: str = ""
    """The SHA-256 of the certificate that the server has to have, in hex; "" if it has to prove itself otherwise."""

    def __str__(self) -> str:
        return f"ftpds://{self.place}" if self.is_encrypted else self.place

    @property
    def place(self) -> str:
        """Where to connect."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can listen: a secret may be sent."""
        return self.is_encrypted or self.host in LOOPBACK

    @property
    def url(self) -> str:
        """All that is needed to find the same server again, whatever is remembered of it."""
        return f"{self}#sha256:{self.pin}" if self.pin else str(self)


def parse_address(text: str) -> Address:
    """Read the address of a server.

    Raises:
        AddressError: with what is wrong and what would be right.
    """
    place, folder, is_encrypted, pin = text, "", False, ""
    if "@" in text.partition("://")[2].partition("/")[0] or ("@" in text and "://" not in text):
        # Not repeated: there may be a password in it.
        raise AddressError("the address of a server is HOST or HOST:PORT, without a user; log in with: ftpc login")
    if "://" in text:
        place, folder, is_encrypted, pin = _split_url(text)
    found = _HOST_PORT.fullmatch(place)
    if found is None:
        raise AddressError(f"{text!r} is not the address of a server; use HOST, HOST:PORT or ftpd://HOST:PORT/FOLDER")
    port = int(found["port"] or DEFAULT_PORT)
    if not 0 < port <= 65_535:
        raise AddressError(f"{text!r}: port {port} is not within 1 to 65535")
    return Address(found["v6"] or found["host"], port, folder, is_encrypted, pin)


def _split_url(text: str) -> tuple[str, str, bool, str]:
    from urllib.parse import unquote, urlsplit

    try:
        url = urlsplit(text)
    except ValueError as exc:
        raise AddressError(f"{text!r} is not a URL: {exc}") from exc
    if "token=" in url.fragment:
        raise AddressError(f"{url.netloc}: others can see a command line; give a share code to: ftpc get --share")
    if url.scheme not in {"ftpd", "ftpds"}:
        raise AddressError(f"{text!r}: the scheme must be ftpd or ftpds, not {url.scheme}")
    is_encrypted, pin = url.scheme == "ftpds", ""
    if is_encrypted and (found := _PIN.fullmatch(url.fragment)) is not None:
        pin = found[1].lower()
    elif is_encrypted and url.fragment.startswith("sha256:"):
        raise AddressError(f"{url.netloc}: the pin behind sha256: is cut off, or mistyped: it has 64 hex digits")
    elif url.query or url.fragment:
        raise AddressError(f"{text!r}: an address has no ? or # part; write them as %3F and %23 in a folder's name")
    return url.netloc, unquote(url.path).strip("/"), is_encrypted, pin
