"""Meeting a server for the first time: whether to trust it is asked once, before anything is sent to it."""

import asyncio
import sys

from ftpc.cli.state import config_folder
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.errors import UnknownServerError
from ftpc.trust import KnownServers


async def meet(client: Client, terminal: Terminal) -> None:
    """Connect to the server, and ask whether it is to be trusted if nobody vouches for it.

    Raises:
        UnknownServerError: the answer was no, or there is nobody to be asked.
        FtpcError: it is not the server that was trusted; there is nobody.
    """
    try:
        await client.hello()
    except UnknownServerError as exc:
        if sys.stdin is None or not sys.stdin.isatty() or terminal.json:
            raise
        terminal.say(f"{exc.place} was never seen before. Its certificate is sha256:{exc.pin}")
        terminal.say("Is that what the server itself shows? yes or no:")
        answer = await asyncio.to_thread(sys.stdin.readline)
        if answer.strip().lower() not in {"y", "yes"}:
            raise
        KnownServers(config_folder() / "known_servers").remember(exc.place, exc.pin)
