"""`df`: how much room there is."""

from ftpd.commands.exchange import Exchange
from ftpd.wire.replies import Disk
from ftpd.wire.requests import Df


async def df(request: Df, exchange: Exchange) -> Disk:
    """Tell the room on the disk, and in the quota of whoever asks."""
    del request
    space = await exchange.store.space()
    return Disk(space.total, space.free, space.used, space.quota, space.files, space.quota_files)
