"""Cutting questions about many files into what fits in one request."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ftpd.wire.limits import KIB, MAX_CHECKED, MAX_HEADER

_PAGE_BYTES = MAX_HEADER - 4 * KIB

T = TypeVar("T")


def pages(files: Iterable[T], name_of: Callable[[T], str], beside: int, first: int = MAX_CHECKED) -> Iterator[list[T]]:
    """Cut files, each with its name and up to so many bytes beside it; the first page has at most `first` of them."""
    page: list[T] = []
    room, most = _PAGE_BYTES, first
    for file in files:
        name = name_of(file)
        # JSON escapes nothing but quotes and backslashes in a name that is possible.
        size = len(name.encode()) + name.count('"') + name.count("\\") + beside
        if page and (len(page) == most or size > room):
            yield page
            page, room, most = [], _PAGE_BYTES, MAX_CHECKED
        page.append(file)
        room -= size
    if page:
        yield page
