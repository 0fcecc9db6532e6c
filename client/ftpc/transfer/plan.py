"""What is to be done with a file, and with how many connections."""

from typing import NamedTuple

from ftpc.pool import Pool
from ftpd.wire.terms import IfExists


class Plan(NamedTuple):
    """Where an upload goes and what happens there."""

    remote: str
    if_exists: IfExists
    preserve: bool
    """Whether modification time and mode go along."""
    pool: Pool | None = None
    """Where more connections for it come from."""
