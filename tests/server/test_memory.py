"""`keep_freed_memory`: what is freed is used again."""

import subprocess
import sys

import pytest

from ftpd.wire.limits import KIB

_PROGRAM = """
import resource, sys
from ftpd.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for turn in range(110):
    if turn == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [bytearray(256 * 1024) for _ in range(4)]
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Give the page faults of 400 buffers of 256 KiB that are used and freed, four at a time."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, how], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told")
def test_buffers_are_used_again() -> None:
    """The pages of freed buffers are not fetched from the kernel again."""
    pages = 400 * 256 * KIB // 4096
    if faults("as it is") < pages // 2:
        pytest.skip("this C library keeps them by itself")
    assert faults("kept") < pages // 100
