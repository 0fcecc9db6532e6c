"""Addresses of servers: `HOST`, `HOST:PORT`, `[::1]:PORT`, `ftpd://HOST[:PORT][/FOLDER]`."""

import re
from typing import NamedTuple

from ftpc.errors import AddressError

DEFAULT_PORT = 9527
DEFAULT_SERVER = f"127.0.0.1:{DEFAULT_PORT}"

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]/@]+))(?::(?P<port>\d+))?")


class Address(NamedTuple):
    """Where a server is, and the folder on it that names are relative to."""

    host: str
    port: int
    folder: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read the address of a server.

    Raises:
        AddressError: with what is wrong and what would be right.
    """
    place, folder = text, ""
    if "://" in text:
        place, folder = _split_url(text)
    found = _HOST_PORT.fullmatch(place)
    if found is None:
        raise AddressError(f"{text!r} is not the address of a server; use HOST, HOST:PORT or ftpd://HOST:PORT/FOLDER")
    port = int(found["port"] or DEFAULT_PORT)
    if not 0 < port <= 65_535:
        raise AddressError(f"{text!r}: port {port} is not within 1 to 65535")
    return Address(found["v6"] or found["host"], port, folder)


def _split_url(text: str) -> tuple[str, str]:
    from urllib.parse import unquote, urlsplit

    try:
        url = urlsplit(text)
    except ValueError as exc:
        raise AddressError(f"{text!r} is not a URL: {exc}") from exc
    if url.scheme == "ftpds":
        raise AddressError(f"{text!r}: encryption (ftpds) is not available yet; use ftpd:// on a trusted network only")
    if url.scheme != "ftpd":
        raise AddressError(f"{text!r}: the scheme must be ftpd, not {url.scheme}")
    if url.username is not None or url.password is not None:
        raise AddressError(f"the address of {url.hostname} has a user in it; there is no log-in yet")
    if url.query or url.fragment:
        raise AddressError(f"{text!r}: an address has no ? or # part; write them as %3F and %23 in a folder's name")
    return url.netloc, unquote(url.path).strip("/")
