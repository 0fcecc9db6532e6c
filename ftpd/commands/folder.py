"""`mkdir`: a folder that nothing has to be put into."""

from ftpd.commands.exchange import Exchange
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Made
from ftpd.wire.requests import Mkdir


async def mkdir(request: Mkdir, exchange: Exchange) -> Made:
    """Make a folder and its parents. One that is there already will do: who has lost the reply asks again."""
    return Made(created=await exchange.store.make_folder(RemotePath.parse_folder(request.path)))
