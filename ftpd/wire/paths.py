"""Remote names: the one parser through which every name from the wire goes."""

import unicodedata
from collections.abc import Iterable, Iterator

from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import MAX_COMPONENT, MAX_PATH

STATE_FOLDER = ".ftpd"
"""Where the server keeps its own state beneath the root. No command can name it."""

_IGNORABLE = frozenset(
    map(chr, (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)))
)
"""Invisible characters that are not of category Cf (Unicode's Default_Ignorable_Code_Point)."""


_NO_NAMES = frozenset(("", ".", ".."))


class BadPathError(FtpdError):
    """A remote name that is refused wherever it appears."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        """What is wrong, without the name."""
        super().__init__(ErrorCode.BAD_PATH, f"{reason}: {text[:MAX_COMPONENT]!r}")


class RemotePath:
    """A name beneath the served root, as a tuple of parts. Immutable, hashable, ordered by `str`.

    Parts are separated by `/`; one leading `/` is allowed and means the same. There are no empty parts, no `.`
    and no `..`, no control characters, nothing longer than the limits, and the state folder can not be named.
    """

    __slots__ = ("parts",)
    parts: tuple[str, ...]

    def __init__(self, parts: tuple[str, ...]) -> None:
        self.parts = parts

    @classmethod
    def parse(cls, text: str) -> "RemotePath":
        """Parse the name of a file or folder; the root itself has none.

        Raises:
            BadPathError: with the reason and the name.
        """
        path = cls.parse_folder(text)
        if not path.parts:
            raise BadPathError("the name is empty", text)
        return path

    @classmethod
    def parse_folder(cls, text: str) -> "RemotePath":
        """Parse the name of a folder, where "" and "/" mean the root.

        Raises:
            BadPathError: with the reason and the name.
        """
        body = text.removeprefix("/")
        if not body:
            return cls(())
        parts = tuple(body.split("/"))
        # Nothing else can be wrong with a short name of printable ASCII, as most are.
        if not (body.isascii() and body.isprintable() and len(body) <= MAX_COMPONENT and _NO_NAMES.isdisjoint(parts)):
            _check_parts(parts, text, body)
        if _looks_like_state(parts[0]):
            raise BadPathError("the name is reserved for the server", text)
        return cls(parts)

    @property
    def name(self) -> str:
        """The last part, or "" for the root."""
        return self.parts[-1] if self.parts else ""

    @property
    def parent(self) -> "RemotePath":
        """The folder this name is in; the root's is the root."""
        return RemotePath(self.parts[:-1])

    def with_name(self, name: str) -> "RemotePath":
        """Replace the last part, with all checks.

        Raises:
            BadPathError: the new name is not allowed.
        """
        return RemotePath.parse("/".join((*self.parts[:-1], name)))

    def __str__(self) -> str:
        return "/".join(self.parts)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)


def is_nameable(name: str, *, at_root: bool) -> bool:
    """Tell whether a name found on disk could be asked for by a client."""
    try:
        _check_part(name, name)
        name.encode("utf-8", "strict")
    except (BadPathError, UnicodeEncodeError):
        return False
    return not (at_root and _looks_like_state(name))


def _check_parts(parts: Iterable[str], text: str, body: str) -> None:
    try:
        size = len(body.encode("utf-8", "strict"))
    except UnicodeEncodeError:
        raise BadPathError("the name is not valid Unicode", text) from None
    if size > MAX_PATH:
        raise BadPathError(f"the name has {size} bytes, {MAX_PATH} are allowed", text)
    for part in parts:
        _check_part(part, text)


def _check_part(part: str, text: str) -> None:
    if part in _NO_NAMES:
        raise BadPathError(f"a part of the name is {part!r}", text)
    if not part.isprintable() and any(unicodedata.category(char) == "Cc" for char in part):
        raise BadPathError("the name has a control character", text)
    if len(part) * 4 > MAX_COMPONENT and (size := len(part.encode("utf-8", "surrogatepass"))) > MAX_COMPONENT:
        raise BadPathError(f"a part of the name has {size} bytes, {MAX_COMPONENT} are allowed", text)


def _looks_like_state(part: str) -> bool:
    # File systems that fold case or drop invisible characters (HFS+, APFS, exFAT) would open the state folder under
    # other spellings; git had to learn this for `.git` (CVE-2014-9390).
    if part.isascii():  # nothing to fold but case, and nothing invisible: most names, at a tenth of the cost
        return part.lower().rstrip(". ") == STATE_FOLDER
    folded = unicodedata.normalize("NFKC", part).casefold()
    visible = "".join(char for char in folded if unicodedata.category(char) != "Cf" and char not in _IGNORABLE)
    return visible.rstrip(". ") == STATE_FOLDER
