"""What somebody may do, and where."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath


class Right(StrEnum):
    """What somebody may be allowed to do."""

    NONE = "none"
    """Needed for what tells nothing about files."""
    LIST = "list"
    """See names, sizes and times."""
    READ = "read"
    """Fetch files and their digests."""
    WRITE = "write"
    """Store files and make folders under names that are not taken."""
    OVERWRITE = "overwrite"
    """Replace files."""
    DELETE = "delete"
    """Remove and rename."""
    ADMIN = "admin"
    """Manage users and shares."""


Rights = frozenset[Right]

ALL: Rights = frozenset(Right) - {Right.NONE}
PRESETS: dict[str, Rights] = {
    "full": ALL - {Right.ADMIN},
    "read-only": frozenset({Right.LIST, Right.READ}),
    "upload-only": frozenset({Right.WRITE}),
}
"""Rights that are given together, by a name of their own."""

ROOT = RemotePath(())


class Grant(NamedTuple):
    """Rights below a folder, in place of those that hold further up."""

    path: RemotePath
    rights: Rights


class Quota(NamedTuple):
    """How much somebody may store. What is None is not limited."""

    size: int | None = None
    files: int | None = None


class Principal(NamedTuple):
    """Who is asking."""

    name: str
    grants: tuple[Grant, ...]
    """On paths as this user sees them."""
    home: RemotePath = ROOT
    """The folder that is the root for this user."""
    quota: Quota = Quota()
    rate: int | None = None
    """Bytes in a second, each way."""
    connections: int | None = None
    """How many at a time."""

    @property
    def rights(self) -> Rights:
        """All rights that hold anywhere."""
        return frozenset({Right.NONE}).union(*(grant.rights for grant in self.grants))

    def rights_at(self, path: RemotePath) -> Rights:
        """Give the rights on a path: those of the grant that is nearest to it."""
        holding = [grant for grant in self.grants if path.parts[: len(grant.path.parts)] == grant.path.parts]
        return max(holding, key=lambda grant: len(grant.path.parts)).rights if holding else frozenset()

    def refusal(self, right: Right, what: str = "") -> FtpdError:
        """Say in plain words that a right is missing; `what` for, if it is not what the right is named after."""
        message = f"{self.name} may not {what or _DOING[right]} here: the right `{right}` is missing"
        return FtpdError(ErrorCode.FORBIDDEN, message)

    def sees_below(self, folder: RemotePath) -> bool:
        """Tell whether something below a folder is granted, so that the way there has to be seen."""
        depth = len(folder.parts)
        return any(grant.rights and grant.path.parts[:depth] == folder.parts for grant in self.grants)


_DOING = {
    Right.LIST: "list files",
    Right.READ: "read files",
    Right.WRITE: "store files",
}

ANONYMOUS = Principal("anonymous", (Grant(ROOT, ALL),))
"""Everybody, where nobody has to log in."""

NOBODY = Principal("nobody", ())
"""Who has not logged in yet, where that is needed."""


def narrowed(principal: Principal, folder: RemotePath, rights: Rights | None) -> Principal:
    """Give what is left of somebody's rights below a folder, and of those only some."""
    grants = [grant for grant in principal.grants if grant.path.parts[: len(folder.parts)] == folder.parts]
    grants = [Grant(folder, principal.rights_at(folder)), *(grant for grant in grants if grant.path != folder)]
    if rights is not None:
        grants = [Grant(path, held & rights) for path, held in grants]
    return principal._replace(grants=tuple(grants))


def parse_rights(words: Iterable[str] | str) -> Rights:
    """Read rights: words of `Right`, or one of `PRESETS`.

    Raises:
        ValueError: with the word that is neither.
    """
    if isinstance(words, str):
        words = [words] if words in PRESETS else words.replace(",", " ").split()
    rights: set[Right] = set()
    for word in words:
        if word in PRESETS:
            rights |= PRESETS[word]
        elif word in set(ALL):
            rights.add(Right(word))
        else:
            known = ", ".join([*PRESETS, *sorted(ALL)])
            raise ValueError(f"{word!r} is no right; there are: {known}")
    return frozenset(rights)
