"""Requests and replies: what the keys of a header are called and which types they have.

Both sides parse with the same types. Unknown keys are ignored, so that old and new can talk; a known key of the wrong
type is refused. Every request may carry an `id`, which its reply echoes.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from ftpd.wire.errors import BadFrameError, BadRequestError, ErrorCode, Fact
from ftpd.wire.frames import Header, encode_frame
from ftpd.wire.limits import MAX_CHECKED, MAX_ID

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


class Request(Struct, kw_only=True, omit_defaults=True, tag_field="cmd"):
    """What every request may carry."""

    PAYLOAD: ClassVar[str] = ""
    """The key that says how many bytes of payload follow the header, if any do."""

    id: RequestId | None = None


class Hello(Request, tag="hello"):
    """Ask what the server is and can do. Optional."""

    version: int = VERSION
    client: str = ""


class Ping(Request, tag="ping"):
    """Ask for a sign of life."""


class AuthMethod(StrEnum):
    """Ways to log in."""

    TOKEN = "token"  # noqa: S105 (a word of the protocol)
    PASSWORD = "password"  # noqa: S105 (likewise)
    KEY = "key"


class Auth(Request, tag="auth"):
    """Log in: with a `token`, with `user` and `password`, or with a key.

    With a key in two steps: `user`, `key` and `nonce` ask for a nonce of the server, `signature` proves that one
    has the key.
    """

    method: AuthMethod = AuthMethod.TOKEN
    token: str = ""
    user: str = ""
    password: str = ""
    session: Annotated[str, Meta(max_length=MAX_ID)] = ""
    key: str = ""
    nonce: str = ""
    signature: str = ""


class Whoami(Request, tag="whoami"):
    """Ask who is logged in."""


class Share(Request, tag="share"):
    """Make a token for somebody else: for one path, to fetch, or with `upload` to bring something new."""

    path: str
    upload: bool = False
    expires: int = 7 * 24 * 3600
    count: int | None = None
    label: str = ""


class ListShares(Request, tag="shares"):
    """List one's shares; `after` asks for those behind that one."""

    after: str = ""


class Unshare(Request, tag="unshare"):
    """Make a share invalid."""

    share: str


class Df(Request, tag="df"):
    """Ask how much room there is."""


class Check(Request, tag="check"):
    """Ask what would speak against uploads: names, each with its size or None, all with the same `if_exists`."""

    files: Annotated[list[tuple[str, int | None]], Meta(min_length=1, max_length=MAX_CHECKED)]
    if_exists: IfExists = IfExists.OVERWRITE


class Same(Request, tag="same"):
    """Ask which files are there already: names, each with its size and root.

    With `details`, one for each, these have to be the same as well: mtime, its nanoseconds, mode.
    """

    files: Annotated[list[tuple[str, int, str]], Meta(min_length=1, max_length=MAX_CHECKED)]
    details: Annotated[list[tuple[int, Nanoseconds, Mode]], Meta(min_length=1, max_length=MAX_CHECKED)] | None = None


class Put(Request, tag="put"):
    """Store one file whose bytes follow at once."""

    PAYLOAD = "filesize"

    filename: str
    filesize: int
    blake3: str | None = None
    md5: str | None = None
    sha256: str | None = None
    if_exists: IfExists = IfExists.OVERWRITE
    mtime: int | None = None
    mtime_ns: Nanoseconds = 0
    mode: Mode | None = None


class Begin(Request, tag="begin"):
    """Open an upload that is sent in chunks, or go on with one; `filesize` is absent while nobody knows it."""

    filename: str
    filesize: int | None = None
    upload: str | None = None
    if_exists: IfExists = IfExists.OVERWRITE
    mtime: int | None = None
    mtime_ns: Nanoseconds = 0
    mode: Mode | None = None


class Join(Request, tag="join"):
    """Bring chunks of an upload that another connection has begun; `lease` is from its `begin`."""

    upload: str
    lease: str


class Chunk(Request, tag="chunk"):
    """Send one chunk of an upload."""

    PAYLOAD = "size"

    upload: str
    index: int
    size: int
    digest: str


class Commit(Request, tag="commit"):
    """Publish an upload, all chunks of which are confirmed; or, with `wait`, are going to be."""

    upload: str
    chunks: int
    root: str
    wait: bool = False


class Abort(Request, tag="abort"):
    """Drop an upload and what was stored of it."""

    upload: str


class Mkdir(Request, tag="mkdir"):
    """Make a folder, and its parents where they are missing."""

    path: str


class Get(Request, tag="get"):
    """Fetch a file, or `length` bytes of it from `offset`; with `resume`, proven to be of one file."""

    filename: str
    offset: int = 0
    length: int | None = None
    resume: bool = False
    if_root: str | None = None


class Ls(Request, tag="ls"):
    """List a folder, page by page; `long` adds sizes and times."""

    path: str = ""
    long: bool = False
    cursor: str | None = None


class Stat(Request, tag="stat"):
    """Ask what a name is; with `leaves`, also for what tells whether it is the same as another file."""

    filename: str
    leaves: bool = False


class Md5(Request, tag="md5"):
    """Ask for the MD5 of a file."""

    filename: str


class Sum(Request, tag="sum"):
    """Ask for a digest of a file."""

    filename: str
    algo: Algorithm = Algorithm.SHA256


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


AnyStruct = TypeVar("AnyStruct", bound=Struct)


def parse(header: Header, kind: type[AnyStruct]) -> AnyStruct:
    """Turn a header into a message.

    Raises:
        BadRequestError: a key is missing or has the wrong type; the message names it.
    """
    try:
        return msgspec.convert(header, kind)
    except msgspec.ValidationError as exc:
        command = header.get("cmd")
        where = f"{command}: " if isinstance(command, str) else ""
        raise BadRequestError(f"{where[:MAX_ID]}{_shorten(str(exc))}") from exc


def _shorten(reason: str) -> str:
    # It quotes what was sent, and has to fit in a frame; its end says which key it was.
    return reason if len(reason) <= 300 else f"{reason[:150]} … {reason[-150:]}"


def encode_request(request: Request) -> bytes:
    """Turn a request into a frame, without its payload."""
    return encode_frame(msgspec.json.encode(request))


def encode_reply(reply: Reply, request_id: RequestId | None = None) -> bytes:
    """Turn a reply into a frame, without its payload."""
    # Put together as bytes: the way through a dictionary showed with thousands of small files.
    body = msgspec.json.encode(reply)
    tail = b"}" if request_id is None else b',"id":%b}' % msgspec.json.encode(request_id)
    return encode_frame(b'{"ok":true%b%b%b' % (b"," if len(body) > 2 else b"", body[1:-1], tail))


def encode_refusal(
    code: ErrorCode, message: str, facts: dict[str, Fact] | None = None, request_id: RequestId | None = None
) -> bytes:
    """Turn a refusal into a frame."""
    header: Header = {"ok": False, "error": {**(facts or {}), "code": code.value, "message": message}}
    if request_id is not None:
        header["id"] = request_id
    return encode_frame(msgspec.json.encode(header))


def request_id_of(header: Header) -> RequestId | None:
    """Give the id of a request, before anything else of it is looked at.

    Raises:
        BadRequestError: the id is neither a short string nor an integer.
    """
    return parse(header, _Identified).id


def payload_size_of(header: Header, kind: type[Request]) -> int:
    """Give the bytes of payload behind a header, even if the rest of it is wrong.

    Raises:
        BadFrameError: nobody can tell where the next frame starts.
    """
    if not kind.PAYLOAD:
        return 0
    size = header.get(kind.PAYLOAD)
    if isinstance(size, bool) or not isinstance(size, int):
        raise BadFrameError(
            f"{kind.__name__.lower()}: `{kind.PAYLOAD}` must be the number of bytes that follow, got {size!r:.80}"
        )
    return size


class _Identified(Struct):
    id: RequestId | None = None
