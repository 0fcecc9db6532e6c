"""Swaps two names of a folder as fast as it can, until it is stopped. Arguments: the folder, the two names."""

import ctypes
import os
import sys

RENAME_EXCHANGE = 2


def main(folder: str, one: str, other: str) -> None:
    """Swap for ever; says a line once the first swap has worked."""
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    names = os.fsencode(one), os.fsencode(other)
    if renameat2(fd, names[0], fd, names[1], RENAME_EXCHANGE):
        sys.exit(os.strerror(ctypes.get_errno()))
    print("swapping", flush=True)  # noqa: T201 (the test waits for it)
    while True:
        renameat2(fd, names[0], fd, names[1], RENAME_EXCHANGE)
        for _ in range(300):  # some time in between, so that both states are met
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
