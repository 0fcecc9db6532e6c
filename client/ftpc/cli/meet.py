"""Meeting a server for the first time: whether to trust it is asked once, before anything is sent to it."""

import asyncio
import sys

from ftpc.cli.state import config_folder
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.errors import RefusedError, UnknownServerError
from ftpc.trust import KnownServers
from ftpd.wire.errors import ErrorCode


async def meet(client: Client, terminal: Terminal) -> None:
    """Connect to the server, and ask whether it is to be trusted if nobody vouches for it.

    Raises:
        UnknownServerError: the answer was no, or there is nobody to be asked.
        FtpcError: it is not the server that was trusted; there is nobody.
    """
    try:
        await client.hello()
    except UnknownServerError as exc:
        if sys.stdin is None or not sys.stdin.isatty() or not terminal.stderr.isatty() or terminal.json:
            raise
        question = f"{exc.place} was never seen before. Its certificate is sha256:{exc.pin}\n"
        question += "Is that what the server itself shows? yes or no: "
        print(question, end="", file=terminal.stderr, flush=True)
        if (await _line(terminal)).strip().lower() not in {"y", "yes"}:
            raise
        KnownServers(config_folder() / "known_servers").remember(exc.place, exc.pin)
    except RefusedError as exc:
        if exc.code != ErrorCode.BUSY:  # else it is the right one: transfers go on trying, and others are told again
            raise


async def _line(terminal: Terminal) -> str:
    """Read a line that somebody types. No thread waits for it, which nothing could interrupt."""
    loop, typed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, typed.set)
    try:
        await typed.wait()
    except asyncio.CancelledError:
        print(file=terminal.stderr)  # the cursor still stands behind the question
        raise
    finally:
        loop.remove_reader(sys.stdin)
    line = sys.stdin.readline()
    if not line.endswith("\n"):  # Ctrl-D
        print(file=terminal.stderr)
    return line
