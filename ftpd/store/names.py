"""Names for `IfExists.RENAME`."""

import contextlib
from collections.abc import Iterator

from ftpd.wire.limits import MAX_COMPONENT
from ftpd.wire.paths import BadPathError, RemotePath

MAX_EXTENSION = 32
"""Longest extension in characters that is kept when a name is cut."""

MAX_RENAMES = 10_000
"""Names that are tried before an upload is refused with `exists`."""


def free_names(path: RemotePath) -> Iterator[RemotePath]:
    """Give the name itself, then `name (1).ext`, `name (2).ext`, …, cut so that they are not too long."""
    yield path
    stem, dot, extension = path.name.rpartition(".")
    if not stem or len(extension) > MAX_EXTENSION:  # no dot, only a leading one, or one that ends no extension
        stem, dot, extension = path.name, "", ""
    for number in range(1, MAX_RENAMES):
        tail = f" ({number}){dot}{extension}"
        with contextlib.suppress(BadPathError):
            yield path.with_name(_cut(stem, MAX_COMPONENT - len(tail.encode())) + tail)


def _cut(text: str, size: int) -> str:
    return text.encode()[: max(size, 1)].decode(errors="ignore")
