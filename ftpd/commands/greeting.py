"""`hello` and `ping`: the commands that touch no file."""

import time

from ftpd import __version__
from ftpd.commands.exchange import Exchange
from ftpd.wire.replies import Greeting, Pong
from ftpd.wire.requests import Hello, Ping
from ftpd.wire.terms import VERSION, Algorithm

FEATURES = [
    "check", "chunks", "if_exists", "join", "mkdir", "same", "sum",
    *(f"sum:{algorithm.value}" for algorithm in Algorithm),
]  # fmt: skip


async def hello(request: Hello, exchange: Exchange) -> Greeting:
    """Say what the server is and can do."""
    del request
    return Greeting(
        version=VERSION,
        server=f"ftpd/{__version__}",
        features=FEATURES,
        limits=exchange.limits,
        durability=exchange.store.durability,
        read_only=exchange.store.read_only,
        auth=list(exchange.door.methods),
    )


async def ping(request: Ping, exchange: Exchange) -> Pong:
    """Give a sign of life."""
    del request, exchange
    return Pong(time=int(time.time()))
