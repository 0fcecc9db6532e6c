"""How replies write down which of many things they mean."""

from collections.abc import Iterable


def ranges_of(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Write ascending numbers as ranges, first and last."""
    ranges: list[tuple[int, int]] = []
    for index in indexes:
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1] = (ranges[-1][0], index)
        else:
            ranges.append((index, index))
    return ranges
