"""The names in a folder of a local store."""

import os
from collections.abc import Iterator
from contextlib import suppress

from ftpd.payload.workers import Workers
from ftpd.store.base import Listing
from ftpd.store.local.details import details_of
from ftpd.store.local.errors import os_errors
from ftpd.wire.paths import STATE_FOLDER, is_nameable
from ftpd.wire.replies import Entry
from ftpd.wire.terms import EntryType


class LocalListing(Listing):
    """The names in one open folder. Takes the descriptor."""

    def __init__(self, folder: int, workers: Workers, *, long: bool, is_root: bool) -> None:
        self._folder = folder
        self.workers = workers
        self._read = _long_entry if long else _short_entry
        self._is_root = is_root
        self._found: Iterator[os.DirEntry[str]] = os.scandir(folder)

    async def next(self, limit: int) -> list[Entry]:
        """See `Listing.next`."""
        return await self.workers.disk(self._next, limit)

    async def close(self) -> None:
        """See `Listing.close`."""
        if not self.is_over:
            await self.workers.finish(self.release)

    def release(self) -> None:
        """Close the folder."""
        if self._folder >= 0:
            self._found.close()  # type: ignore[attr-defined] # scandir's iterator has it, its type does not
            os.close(self._folder)
            self._folder = -1

    def _next(self, limit: int) -> list[Entry]:
        page: list[Entry] = []
        with os_errors():
            for found in self._found:
                if self._is_root and found.name == STATE_FOLDER:
                    continue
                if not is_nameable(found.name, at_root=self._is_root):
                    self.unnameable += 1
                    continue
                with suppress(FileNotFoundError):  # removed since its name was read
                    page.append(self._read(found))
                if len(page) == limit:
                    return page
        self.release()  # here and not in another hop to a thread: most folders are listed in one step
        self.is_over = True
        return page


def _short_entry(found: os.DirEntry[str]) -> Entry:
    if found.is_symlink():
        kind = EntryType.SYMLINK
    elif found.is_dir(follow_symlinks=False):
        kind = EntryType.DIRECTORY
    elif found.is_file(follow_symlinks=False):
        kind = EntryType.FILE
    else:
        kind = EntryType.OTHER
    return Entry(name=found.name, type=kind)


def _long_entry(found: os.DirEntry[str]) -> Entry:
    details = details_of(found.stat(follow_symlinks=False))
    return Entry(
        name=found.name,
        type=details.type,
        size=details.size,
        mtime=details.mtime,
        mtime_ns=details.mtime_ns,
        mode=details.mode,
    )
