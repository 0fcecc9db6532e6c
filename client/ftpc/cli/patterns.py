"""Patterns that the shell has not expanded, for it knows only the files here."""

import contextlib
import re
from collections.abc import Iterator

from ftpc.errors import FtpcError, RefusedError
from ftpd.wire.errors import ErrorCode

_SIGNS = re.compile(r"[*?[]")


@contextlib.contextmanager
def hint_at_patterns(name: str) -> Iterator[None]:
    """Let an error out with what helps, if there is nothing of a name that looks like a pattern."""
    try:
        yield
    except RefusedError as exc:
        raise hinted(exc, name) from exc


def hinted(error: FtpcError, name: str) -> FtpcError:
    """Give an error with what helps, if there is nothing of a name that looks like a pattern."""
    if not isinstance(error, RefusedError) or error.code != ErrorCode.NOT_FOUND or not _SIGNS.search(name):
        return error
    hint = "there are no patterns on the server; get -r FOLDER fetches a folder"
    return RefusedError(error.code, f"{error.message}; {hint}", error.facts)
