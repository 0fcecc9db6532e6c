"""Replies: what the keys of their headers are called and which types they have."""

from typing import Literal

import msgspec
from msgspec import Struct

from ftpd.wire.terms import Algorithm, Durability, EntryType, Mode, Nanoseconds, RequestId


class Reply(Struct, kw_only=True, omit_defaults=True):
    """What the replies have in common: `ok`, and the `id` of the request, are added when they are encoded."""


class Done(Reply):
    """The reply that has nothing to say but that it is done."""


class Greeting(Reply):
    """What the server is and can do."""

    version: int
    server: str
    features: list[str]
    limits: dict[str, int]
    durability: Durability
    read_only: bool
    auth: list[str]


class Pong(Reply):
    """The server's clock, in whole seconds since 1970."""

    time: int


class Identity(Reply):
    """Who is logged in, and what he may do somewhere; `nonce` if it has to be signed first."""

    user: str
    rights: list[str]
    nonce: str = ""


class Shared(Reply):
    """A share that has just been made. The server can not tell the token again."""

    share: str
    token: str
    rights: list[str]
    expires: int


class SharedPath(Struct, kw_only=True, omit_defaults=True):
    """One share of a list."""

    share: str
    user: str
    path: str
    rights: list[str]
    expires: int
    count: int | None = None
    used: int = 0
    label: str = ""


class SharePage(Reply):
    """Shares, in the order of their names; if there are `more`, ask with `after`."""

    shares: list[SharedPath]
    more: bool = False


class Disk(Reply):
    """How much room there is on the server's disk; and of the quota of whoever asks, if he has one."""

    total: int
    free: int
    used: int | None = None
    quota: int | None = None
    files: int | None = None
    quota_files: int | None = None


class Refused(Struct, kw_only=True):
    """One upload of several that would be refused, and how: `index` says which."""

    index: int
    code: str
    message: str


class Checked(Reply):
    """What would become of uploads, and how much room there is for them, as in `Disk`.

    `refused` are as many as fit in a header, and then there are so many `more`. All others together have `size` bytes,
    take `new_files` names, and take the place of files of `replaced` bytes.
    """

    size: int
    replaced: int
    new_files: int
    free: int
    used: int | None = None
    quota: int | None = None
    files: int | None = None
    quota_files: int | None = None
    refused: list[Refused] = msgspec.field(default_factory=list)
    more: int = 0


class Twins(Reply):
    """Which of some files are there, the same to the last byte: ranges, first and last.

    `digest` is over their names and roots, as the server has understood them (`ftpd.wire.digests.digest_of_twins`).
    `no_folder` says that none of the folders is there that they would be in, or nothing in them may be known.
    """

    same: list[tuple[int, int]] = []
    digest: str | None = None
    no_folder: bool = False


class Stored(Reply):
    """What an upload became. `filename` differs from the request's after `if_exists: rename`."""

    filename: str
    filesize: int
    root: str | None = None
    skipped: bool = False


class Begun(Reply):
    """An open upload, or `skipped`. `have` are ranges of chunks, first and last, that need not be sent.

    `lease` lets other connections join. It is there if the size is known, and not 0.
    """

    upload: str = ""
    chunk_size: int = 0
    have: list[tuple[int, int]] = []
    lease: str | None = None
    skipped: bool = False
    filename: str = ""


class Confirmed(Reply):
    """A chunk that is verified and stored."""

    index: int


class Made(Reply):
    """A folder that is there now; `created` if it was not before."""

    created: bool


class Content(Reply, kw_only=True):
    """What precedes the bytes of a `get`.

    `leaves` leaf digests follow, back to back, then `length` bytes, then, if `trailer`, a `Trailer` frame.
    """

    filesize: int
    offset: int
    length: int
    chunk_size: int
    leaves: int
    trailer: bool
    root: str | None = None
    mtime: int
    mtime_ns: Nanoseconds
    mode: Mode


class Trailer(Reply):
    """The root over the bytes that were sent, as if they were a file of their own; of the whole file with `resume`."""

    root: str


class Entry(Struct, kw_only=True, omit_defaults=True):
    """One name of a listing. Size and time are there when `long` was asked for."""

    name: str
    type: EntryType
    size: int | None = None
    mtime: int | None = None
    mtime_ns: Nanoseconds = 0
    mode: Mode | None = None


class Page(Reply):
    """One page of a listing, in no particular order; `cursor` asks for the next.

    `unnameable` counts entries that no request could name (not UTF-8, or with control characters).
    """

    entries: list[Entry]
    cursor: str | None = None
    unnameable: int = 0


class Status(Reply):
    """What a name is; `root` where the server knows it without reading the file. `leaves` digests follow."""

    type: EntryType
    filesize: int
    mtime: int
    mtime_ns: Nanoseconds
    mode: Mode
    root: str | None = None
    chunk_size: int = 0
    leaves: int = 0


class Checksum(Reply):
    """A digest over the whole content of a file, in hex."""

    algo: Algorithm
    digest: str


class ErrorBody(Struct, kw_only=True):
    """The `error` of a refusal: a stable code, a sentence for people. Facts stand beside them as further keys."""

    code: str
    message: str


class Refusal(Struct, kw_only=True):
    """The reply to a request that was not done."""

    error: ErrorBody
    ok: Literal[False]
    id: RequestId | None = None
