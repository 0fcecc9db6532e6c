"""Which of many files are the same here and there: what a server answers to `same`, looked at before it is believed."""

from collections.abc import Sequence

from ftpc.errors import DamagedError
from ftpd.wire.digests import digest_of_twins
from ftpd.wire.replies import Twins

FILE_BYTES = 128
"""A file in the question without its name, with its root and the longest numbers."""


def twins_in(files: Sequence[tuple[str, str]], reply: Twins) -> set[int]:
    """Give the indexes of those that are the same, of files that were asked about by their names and roots.

    Raises:
        DamagedError: the server means other files than those that it was asked about.
    """
    same = {index for first, last in reply.same for index in range(first, min(last + 1, len(files)))}
    there = [file for index, file in enumerate(files) if index in same]
    if reply.same and digest_of_twins(there) != reply.digest:
        raise DamagedError(f"{files[0][0]}: the server speaks of other files than it was asked about")
    return same
