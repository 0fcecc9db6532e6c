"""Several connections for one file: where the round trip is long, one can not have enough on its way."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from ftpc.connection import Connection


class Streams(NamedTuple):
    """How to get more connections for a file."""

    lend: Callable[[], AbstractAsyncContextManager[Connection]]
    most: int
    """For one file, the first included."""
