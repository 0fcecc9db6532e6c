"""The folders of a download: which of them are listed next, and how far one is that has several pages."""

import os
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ftpc.files import is_path
from ftpc.transfer.saving import Wanted
from ftpd.wire.messages import encode_request
from ftpd.wire.paths import BadPathError, RemotePath
from ftpd.wire.replies import Entry, Page
from ftpd.wire.requests import Ls

if TYPE_CHECKING:
    from ftpc.transfer.seen import Seen

PAGES_AHEAD = 16
"""Folders whose listing is asked for at the same time: on a long path each would cost a round trip."""


class Listing(NamedTuple):
    """A page of the listing of a folder."""

    folder: Wanted
    cursor: str | None

    @property
    def frame(self) -> bytes:
        """The request for it."""
        return encode_request(Ls(path=self.folder.remote, long=True) if self.cursor is None else Ls(cursor=self.cursor))


class Listings:
    """What is to be listed."""

    def __init__(self, folders: Iterable[Wanted]) -> None:
        self._folders = deque(folders)
        """Those that no listing has been asked of yet."""
        self._partly: Wanted | None = None
        """One that has more than one page. These come by themselves, for a server ends a listing when it is asked for
        another one."""
        self._seen: Seen | None = None
        """How far that one is."""
        self._cursor: str | None = None
        self._asked = 0
        """Pages that have been asked for, and have not come."""
        self._ahead = PAGES_AHEAD
        """How many they may be. Where folders have several pages the listings asked for ahead are for nothing: asking
        for one ends another."""

    @property
    def are_left(self) -> bool:
        """Whether there is anything that has not been asked for yet."""
        return bool(self._folders or self._partly)

    @property
    def are_over(self) -> bool:
        """Whether all has been listed."""
        return not (self.are_left or self._asked)

    def add(self, folder: Wanted) -> None:
        """Have a folder listed as well."""
        self._folders.append(folder)

    def next(self) -> Listing | None:
        """Give what is to be asked for, if anything may be for now."""
        if self._partly is not None:
            listing = None if self._asked else Listing(self._partly, self._cursor)
        else:
            may_ask = self._folders and self._asked < self._ahead
            listing = Listing(self._folders.popleft(), None) if may_ask else None
        self._asked += listing is not None
        return listing

    def give_back(self, listings: Iterable[Listing]) -> None:
        """Ask again for what did not come: the connection is lost."""
        folders = [listing.folder for listing in listings if listing.folder is not self._partly]
        self._folders.extendleft(reversed(folders))
        self._asked = 0
        self._cursor = None

    def take(self, folder: Wanted, page: Page) -> dict[str, Entry]:
        """Take note of how far a folder is listed. Gives the entries that are new."""
        self._asked -= 1
        entries = {entry.name: entry for entry in page.entries}
        if page.cursor is not None and self._partly is None:
            from ftpc.transfer.seen import Seen  # not before a folder is as large as that

            self._partly, self._seen = folder, Seen()
        if folder is not self._partly or self._seen is None:
            if page.cursor is None:
                self._ahead = min(self._ahead + 1, PAGES_AHEAD)
                return entries
            self._ahead = 1
            self._folders.appendleft(folder)  # another one with several pages: in its turn, from its beginning
            return {}
        new = self._seen.add(entries)
        self._cursor = None if self._asked else page.cursor  # listings asked for since have ended this one
        if page.cursor is None:
            self.close()
        return {name: entries[name] for name in new}

    def close(self) -> None:
        """Forget how far the folder is that has several pages."""
        if self._seen is not None:
            self._seen.close()
        self._partly = self._seen = None


def inside(folder: Wanted, entry: Entry) -> Wanted:
    """Give an entry of a folder as what is wanted."""
    remote = f"{folder.remote}/{entry.name}" if folder.remote else entry.name
    local = os.path.join(folder.local, entry.name)  # noqa: PTH118 (a string is all that is needed)
    return Wanted(remote, local, entry.size or 0)


def is_harmless(name: str) -> bool:
    """Tell whether a name from the wire is one name here too, and no path (`..`, or `C:x` on Windows)."""
    try:
        parts = RemotePath.parse(f"x/{name}").parts  # not the first: what is reserved there is none here
    except BadPathError:
        return False
    return parts[1:] == (name,) and not is_path(name)
