"""Patterns that the shell has not expanded, for it knows only the files here."""

import contextlib
import re
from collections.abc import Iterator

from ftpc.errors import RefusedError
from ftpd.wire.errors import ErrorCode

_SIGNS = re.compile(r"[*?[]")


@contextlib.contextmanager
def hint_at_patterns(name: str) -> Iterator[None]:
    """Let an error out with what helps, if there is nothing of a name that looks like a pattern."""
    try:
        yield
    except RefusedError as exc:
        if exc.code != ErrorCode.NOT_FOUND or not _SIGNS.search(name):
            raise
        hint = "there are no patterns on the server; get -r FOLDER fetches a folder"
        raise RefusedError(exc.code, f"{exc.message}; {hint}", exc.facts) from exc
