"""How much memory there is (`memory_limit`), and that what is freed is used again (`keep_freed_memory`)."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ftpd.memory import memory_limit
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


def group(folder: Path, **limits: str) -> Path:
    """Write down the limits of a group of processes, as the kernel shows them."""
    folder.mkdir(parents=True)
    for name, text in limits.items():
        (folder / f"memory.{name}").write_text(f"{text}\n")
    return folder


def test_memory_of_the_machine(tmp_path: Path) -> None:
    """Where nothing limits it, the process may use what the machine has, and no more than `RLIMIT_AS`."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    expected = machine if allowed == resource.RLIM_INFINITY else min(machine, allowed)
    assert expected == memory_limit(tmp_path / "absent", tmp_path)
    (tmp_path / "mine").write_text("0::/\n")
    assert expected == memory_limit(tmp_path / "mine", group(tmp_path / "groups", max="max", limit_in_bytes=str(2**62)))


@pytest.mark.parametrize(
    ("mine", "where"),
    [
        ("0::/system.slice/ftpd.service", "system.slice/ftpd.service"),
        ("0::/system.slice/ftpd.service", "system.slice"),
        ("0::/../elsewhere", ""),
        ("9:cpu:/other\n4:memory:/docker/0a1b\n0::/", "memory/docker/0a1b"),
        ("9:cpu:/other\n4:memory:/docker/0a1b\n0::/", "memory"),
    ],
)
@pytest.mark.parametrize("name", ["max", "high", "limit_in_bytes"])
def test_memory_of_a_group(tmp_path: Path, mine: str, where: str, name: str) -> None:
    """The limit of our group, or of one around it, holds; in a container the outermost that can be seen may be ours."""
    (tmp_path / "mine").write_text(f"{mine}\n")
    group(tmp_path / "groups" / "memory" / "other", **{name: "4096"})
    (tmp_path / "groups" / where).mkdir(parents=True, exist_ok=True)
    (tmp_path / "groups" / where / f"memory.{name}").write_text("8388608\n")
    assert 8 * 2**20 == memory_limit(tmp_path / "mine", tmp_path / "groups")


def test_a_small_address_space() -> None:
    """`RLIMIT_AS` holds as well."""
    program = "from ftpd.memory import memory_limit; print(memory_limit())"
    limited = ["sh", "-c", 'ulimit -v 1000000; exec "$@"', "sh", sys.executable, "-c", program]
    assert 1_000_000 * KIB == int(subprocess.run(limited, check=True, capture_output=True, text=True).stdout)
