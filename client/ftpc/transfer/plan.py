"""What is to be done with a file, and with how many connections."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from ftpc.connection import Connection
from ftpc.pool import Pool
from ftpd.wire.terms import IfExists


class Streams(NamedTuple):
    """How to get more connections for a file: one can not have enough on its way, or not do enough at a time."""

    lend: Callable[[], AbstractAsyncContextManager[Connection]]
    most: int
    """For one file, the first included."""
    may_lend: Callable[[], bool]
    """Tells whether one would be lent at once, as far as is known."""
    in_use: Callable[[], int]
    """Tells how many there are that move something, of all files."""


def streams_of(pool: Pool) -> Streams:
    """Give a file what the pool has beside the connection of each."""
    return Streams(pool.lend_beside, pool.streams, pool.may_lend_beside, pool.in_use)


class Plan(NamedTuple):
    """Where an upload goes and what happens there."""

    remote: str
    if_exists: IfExists
    preserve: bool
    """Whether modification time and mode go along."""
    streams: Streams | None = None
    """How to get more connections for it."""
