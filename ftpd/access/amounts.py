"""Bytes, as people write them."""

import re

_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)([kMGT]i?|)B?")
_FACTORS = {"": 1, **{unit: 1000**power for power, unit in enumerate("kMGT", 1)}}
_FACTORS |= {unit + "i": 1024**power for power, unit in enumerate("kMGT", 1)}


def parse_amount(text: str) -> int:
    """Read a number of bytes: `10G` is 10,000,000,000 and `10Gi` 10 x 1024 x 1024 x 1024.

    Raises:
        ValueError: it is none.
    """
    found = _AMOUNT.fullmatch("k".join(text.split("K")))
    if found is None:
        raise ValueError(f"{text!r} is no amount; write 500M, 10G or 2Ti")
    return int(float(found[1]) * _FACTORS[found[2]]) if "." in found[1] else int(found[1]) * _FACTORS[found[2]]
