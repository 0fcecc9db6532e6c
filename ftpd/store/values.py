"""What goes into a store and what comes out of it: plain values."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from ftpd.wire.digests import Buffer, Tree
from ftpd.wire.paths import RemotePath
from ftpd.wire.terms import EntryType, IfExists


class Details(NamedTuple):
    """What is known of a name without reading its content."""

    type: EntryType
    size: int
    mtime: int
    """Whole seconds since 1970; what is older than 1970 counts as 1970."""
    mtime_ns: int
    """Nanoseconds on top of `mtime`, below 1,000,000,000."""
    mode: int
    """Permission bits, at most 0o777."""


class UploadPlan(NamedTuple):
    """What is announced of an upload before its first byte."""

    path: RemotePath
    size: int | None
    """None while nobody knows."""
    if_exists: IfExists = IfExists.OVERWRITE
    mtime: int | None = None
    mtime_ns: int = 0
    mode: int | None = None
    chunk_size: int | None = None
    """How the file is cut, if its chunks are to be kept across a break. Only for a known `size`."""


class SmallFile(NamedTuple):
    """A whole file in memory, whose digests are right."""

    plan: UploadPlan
    data: Buffer
    tree: Tree


class WholeFile(NamedTuple):
    """A small file as it was when it was read."""

    details: Details
    tree: Tree
    data: Buffer


class Twin(NamedTuple):
    """A file that somebody has, and may have stored before."""

    path: RemotePath
    size: int
    root: str
    """In small letters."""
    details: tuple[int, int, int] | None = None
    """Modification time in seconds, nanoseconds on top of it, and mode, if they have to be the same as well."""


class Likeness(Enum):
    """What a store has in the place of a file."""

    SAME = 0
    """The very same content."""
    OTHER = 1
    """Something else, nothing, or what it would have to read first."""
    NO_FOLDER = 2
    """Not even the folder; or whoever asks may know of nothing that is in it."""


class Space(NamedTuple):
    """How much room there is, in bytes. What is None is not limited."""

    total: int
    free: int
    used: int | None = None
    """Of the quota of whoever asks."""
    quota: int | None = None
    files: int | None = None
    quota_files: int | None = None


class Growth(NamedTuple):
    """What a file would add to a store."""

    size: int
    replaced: int
    """Bytes of the file whose place it would take."""
    files: int
    """1 if its name is new, else 0."""


NO_GROWTH = Growth(0, 0, 0)


class Usage(NamedTuple):
    """What lies beneath a folder."""

    size: int
    files: int
    unfinished: Mapping[str, int]
    """Sizes of the uploads that can be resumed, by their names."""


def growth_of(plan: UploadPlan, old: int | None) -> Growth:
    """Give what an upload adds where a file of `old` bytes has its name, or none has."""
    if old is None or plan.if_exists is IfExists.RENAME:
        return Growth(plan.size or 0, 0, 1)
    return NO_GROWTH if plan.size is None else Growth(plan.size, old, 0)
