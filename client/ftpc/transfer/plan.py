"""What is to be done with a file, and with how many connections."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from ftpc.connection import Connection
from ftpd.wire.terms import IfExists


class Streams(NamedTuple):
    """How to get more connections for a file: one can not have enough on its way, or not do enough at a time."""

    lend: Callable[[], AbstractAsyncContextManager[Connection]]
    most: int
    """For one file, the first included."""
    may_lend: Callable[[], bool]
    """Tells whether one would be lent at once."""


class Plan(NamedTuple):
    """Where an upload goes and what happens there."""

    remote: str
    if_exists: IfExists
    preserve: bool
    """Whether modification time and mode go along."""
    streams: Streams | None = None
    """How to get more connections for it."""
