"""`ls` and `stat`: what is there."""

import secrets

from ftpd.commands.exchange import Exchange, OpenListing
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import KIB, MAX_COMPONENT, MAX_HEADER, PAGE_ENTRIES
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Entry, Page, Status
from ftpd.wire.requests import Ls, Stat

_PAGE_BYTES = MAX_HEADER - 4 * KIB
STEP_ENTRIES = 64
"""Entries fetched at once at least: what does not fit in a page is kept for the next, by a connection that may be idle.
"""

_ENTRY_BYTES = 120
"""An entry without its name, with the longest numbers."""


async def ls(request: Ls, exchange: Exchange) -> Page:
    """Give the first or the next page of a folder. A conversation has one listing open at a time."""
    opened = await _open(request, exchange)
    listing, rest = opened.listing, opened.rest
    unnameable = listing.unnameable
    page: list[Entry] = []
    room = _PAGE_BYTES
    while len(page) < PAGE_ENTRIES:
        if not rest:
            rest = [] if listing.is_over else await listing.next(_step(room))
            if not rest:
                break
        room -= _size(rest[0])
        if room < 0:
            break
        page.append(rest.pop(0))
    unnameable = listing.unnameable - unnameable
    if not rest and (listing.is_over or len(page) < PAGE_ENTRIES):
        await exchange.close_listing()
        return Page(entries=page, unnameable=unnameable)
    cursor = secrets.token_hex(8)
    exchange.listing = OpenListing(cursor, listing, rest, opened.principal)
    return Page(entries=page, cursor=cursor, unnameable=unnameable)


async def _open(request: Ls, exchange: Exchange) -> OpenListing:
    opened = exchange.listing
    if request.cursor is not None:
        if opened is None or (opened.cursor, opened.principal) != (request.cursor, exchange.principal):
            raise FtpdError(ErrorCode.BAD_CURSOR, "the listing of that cursor is over or never was; start again")
        return opened
    path = RemotePath.parse_folder(request.path)
    await exchange.close_listing()
    if not exchange.budget.take():
        raise FtpdError(ErrorCode.BUSY, "the server has as many files open as it can; try again later")
    try:
        listing = await exchange.store.list(path, long=request.long)
    except BaseException:
        exchange.budget.give_back()
        raise
    exchange.listing = OpenListing("", listing, [], exchange.principal)  # so that it is closed whatever happens next
    return exchange.listing


def _step(room: int) -> int:
    """Tell how many entries to fetch at once: as many as have room whatever their names are. Each step is a hop."""
    return max(STEP_ENTRIES, room // (_ENTRY_BYTES + MAX_COMPONENT))


def _size(entry: Entry) -> int:
    # JSON escapes nothing but quotes and backslashes in a name that can be asked for.
    return len(entry.name.encode()) + entry.name.count('"') + entry.name.count("\\") + _ENTRY_BYTES


async def stat(request: Stat, exchange: Exchange) -> Status | None:
    """Tell what a name is."""
    details, tree = await exchange.store.stat(RemotePath.parse_folder(request.filename), sync=request.leaves)
    status = Status(
        type=details.type,
        filesize=details.size,
        mtime=details.mtime,
        mtime_ns=details.mtime_ns,
        mode=details.mode,
        root=tree.root if tree else None,
    )
    if tree is None or not request.leaves:
        return status
    status.chunk_size, status.leaves = tree.chunk_size, tree.leaf_count
    await exchange.send_all(status, tree.leaves)
    return None
