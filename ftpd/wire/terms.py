"""The words of the protocol: values that several messages share, and their types."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from ftpd.wire.limits import MAX_ID

VERSION = 1
"""The version of the protocol that this code speaks."""


RequestId = Annotated[str, Meta(max_length=MAX_ID)] | int


Mode = Annotated[int, Meta(le=0o777)]


Nanoseconds = Annotated[int, Meta(le=999_999_999)]


class IfExists(StrEnum):
    """What an upload does when its name is taken."""

    OVERWRITE = "overwrite"
    """Replace the file as a whole; readers of the old one keep it."""
    FAIL = "fail"
    """Refuse with `exists`; of many at once exactly one wins."""
    SKIP = "skip"
    """Leave what is there and say `skipped`."""
    RENAME = "rename"
    """Store under the first free name of the form `name (1).ext`."""


class Algorithm(StrEnum):
    """What `sum` can compute over the whole content of a file."""

    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"
    BLAKE3 = "blake3"


class EntryType(StrEnum):
    """What a name in a listing is."""

    FILE = "file"
    DIRECTORY = "dir"
    SYMLINK = "link"
    OTHER = "other"


class Durability(StrEnum):
    """What the reply to a finished upload means."""

    FULL = "full"
    """It is on the disk: it survives a power cut."""
    NONE = "none"
    """The operating system has it: it survives a crash of the server, not of the machine."""


class AuthMethod(StrEnum):
    """Ways to log in."""

    TOKEN = "token"  # noqa: S105 (a word of the protocol)
    PASSWORD = "password"  # noqa: S105 (likewise)
    KEY = "key"
