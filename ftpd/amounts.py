"""Bytes and times, as people write and read them."""

import re

_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)([kMGT]i?|)B?")
_FACTORS = {"": 1, **{unit: 1000**power for power, unit in enumerate("kMGT", 1)}}
_FACTORS |= {unit + "i": 1024**power for power, unit in enumerate("kMGT", 1)}

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

_TIME = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}


def parse_amount(text: str) -> int:
    """Read a number of bytes: `10G` is 10,000,000,000 and `10Gi` 10 x 1024 x 1024 x 1024.

    Raises:
        ValueError: it is none.
    """
    found = _AMOUNT.fullmatch("k".join(text.split("K")))
    if found is None:
        raise ValueError(f"{text!r} is no amount; write 500M, 10G or 2Ti")
    return int(float(found[1]) * _FACTORS[found[2]]) if "." in found[1] else int(found[1]) * _FACTORS[found[2]]


def size_text(size: float) -> str:
    """Write a number of bytes: `0 B`, `1023 B`, `1.5 KiB`, `12.0 GiB`."""
    unit = 0
    while size >= 1023.95 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.0f} B" if not unit else f"{size:.1f} {_UNITS[unit]}"


def parse_time(text: str) -> int:
    """Read a time in seconds. It has a unit always: of `7` nobody knows what it is.

    Raises:
        ValueError: it is none.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time; write 90s, 45m, 12h or 7d")
    return int(found[1]) * _SECONDS[found[2]]
