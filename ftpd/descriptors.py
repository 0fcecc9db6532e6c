"""How the files that a process may have open are shared out between connections and what is done on them."""

import contextlib
import resource
from typing import NamedTuple

MAX_CONNECTIONS = 4096
"""Connections at the same time, where nothing else is said."""

RESERVED_FILES = 64
"""Descriptors kept for what is not a connection: the listening sockets, the store's own, farewells, the log."""

BATCH_FILES = 192
"""And for small files that are being stored, unless descriptors are very few."""

FEW_FILES = 1024

FILES_PER_CONNECTION = 4
"""Descriptors a busy connection needs: its socket, that of the thread that receives, an upload in chunks and its
journal, or a file and for moments its folder. With TLS one more: threads that send have their own as well."""

WORKING_SHARE = 8
"""Where more connections are wanted than could all be busy at once, at least the 8th of them can be."""


class Shares(NamedTuple):
    """What there is enough for."""

    connections: int
    working: int
    """Of these may be busy with files at the same time; others wait for their turn."""


def share_out(wanted: int | None, *, is_encrypted: bool) -> Shares:
    """Raise the limit of open files as far as we may, and share it out between as many connections as are wanted.

    All of them can be busy, unless more are asked for than that would allow: an idle connection is one descriptor.
    """
    files, each = _available(), FILES_PER_CONNECTION + is_encrypted
    enough_for_all = max(1, files // each)
    if wanted is None or wanted <= enough_for_all:
        connections = min(wanted or MAX_CONNECTIONS, enough_for_all)
        return Shares(connections, connections)
    connections = min(wanted, max(enough_for_all, files * WORKING_SHARE // (WORKING_SHARE + each)))
    return Shares(connections, max(1, (files - connections) // each))


def _available() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS says that it has no limit, and refuses it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft - RESERVED_FILES - (BATCH_FILES if soft >= FEW_FILES else 0)
