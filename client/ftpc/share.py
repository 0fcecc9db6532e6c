"""Share codes: one line with all that somebody needs to have or bring a file: where, from whom, and a token.

    ftpds://HOST:PORT/PATH#sha256:PIN&token=ftk_…

Whoever reads it can use it. So it is not for command lines, which others on the same machine see.
"""

import re
import secrets
from typing import NamedTuple

from ftpc.address import Address, parse_address
from ftpc.credentials import Credentials
from ftpc.errors import AddressError

_TOKEN = re.compile(r"[#&]token=(ftk_[A-Za-z0-9_-]+)$")


class ShareCode(NamedTuple):
    """A share, as it is handed over."""

    address: Address
    """The folder of it is what is shared."""
    token: str

    def __repr__(self) -> str:
        return f"<ShareCode {self.address}>"

    @property
    def text(self) -> str:
        """Write it down. This is a secret."""
        mark = "&" if self.address.pin else "#"
        return f"{url_of(self.address)}{mark}token={self.token}"

    @property
    def credentials(self) -> Credentials:
        """What is shown; all connections of one command count as one use."""
        return Credentials(self.token, session=secrets.token_hex(16))


def url_of(address: Address) -> str:
    """Write down an address with its folder and its pin."""
    from urllib.parse import quote

    scheme = "ftpds" if address.is_encrypted else "ftpd"
    pin = f"#sha256:{address.pin}" if address.pin else ""
    return f"{scheme}://{address.place}/{quote(address.folder)}{pin}"


def parse_share(text: str) -> ShareCode:
    """Read a share code. What it says is not repeated in errors.

    Raises:
        AddressError: it is none, or would send its token in the clear.
    """
    text = text.strip()
    found = _TOKEN.search(text)
    if found is None or "://" not in text:
        raise AddressError("this is no share code; it is one line: ftpds://HOST:PORT/PATH#…token=ftk_…")
    address = parse_address(text[: found.start()])
    if not address.is_private:
        raise AddressError(f"{address}: a secret is not sent in the clear; the share code must begin with ftpds://")
    return ShareCode(address, found[1])
