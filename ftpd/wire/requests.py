"""Requests: what the keys of their headers are called and which types they have.

Every request may carry an `id`, which its reply echoes.
"""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from ftpd.wire.limits import MAX_CHECKED, MAX_ID
from ftpd.wire.terms import VERSION, Algorithm, AuthMethod, IfExists, Mode, Nanoseconds, RequestId


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
