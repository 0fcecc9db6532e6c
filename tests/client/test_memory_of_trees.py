"""What folders of many files cost in memory, on either side: no more than those of a few."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.client.command import Ftpc
from tests.peer import ServerProcess

GROWTH_KIB = 16 * 1024
"""How much more ten times as many files may take. Twenty bytes kept of each of 200,000 would be 4 MiB."""

CLIENT = """\
import sys
from pathlib import Path
from ftpc.cli import run

status = run()
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
raise SystemExit(status)
"""
"""The command, and the most memory it has had. (What `wait4` tells is never less than what we have, who fork it.)"""


class Peaks(NamedTuple):
    """The most memory, in KiB."""

    client: int
    server: int


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, where there is one: there are many files."""
    shared = Path("/dev/shm")  # noqa: S108 (a folder of our own in it)
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("folders", [200, 1])
@pytest.mark.parametrize(
    ("few", "many"),
    [
        (2000, 20_000),
        pytest.param(20_000, 200_000, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_many_files_take_no_memory(
    memory: Path, tell: Callable[[str], None], few: int, many: int, folders: int
) -> None:
    """`put -r` and `get -r` of ten times as many files take no more memory, in the client and in the server."""
    before, after = (peaks(memory / str(count), count, folders) for count in (few, many))
    for way in before:
        grown = Peaks(*(last - first for first, last in zip(before[way], after[way], strict=True)))
        tell(
            f"{way}, {many:,} files in {folders}: client {after[way].client / 1024:.1f} MiB"
            f" ({grown.client / 1024:+.1f} since {few:,}), server {after[way].server / 1024:.1f}"
            f" ({grown.server / 1024:+.1f})"
        )
        assert grown.client < GROWTH_KIB
        assert grown.server < GROWTH_KIB


def peaks(folder: Path, count: int, folders: int) -> dict[str, Peaks]:
    """Send and fetch a folder; give the most memory that took."""
    root = folder / "root"
    root.mkdir(parents=True)
    for number in range(folders):
        inner = folder / "tree" / f"folder{number:03}"
        inner.mkdir(parents=True)
        for each in range(count // folders):
            (inner / f"file{each:06}").touch()
    found = {}
    with ServerProcess(root, "-q", "--durability", "none") as server:
        user = Ftpc(f"127.0.0.1:{server.port}", folder, root)
        for way in ("put -r", "get -r"):
            server.forget_peak()
            found[way] = Peaks(peak(user, *way.split(), "tree"), server.memory_kib("VmHWM"))
            if way == "put -r":
                shutil.rmtree(folder / "tree")
    assert count == sum(len(files) for _, _, files in os.walk(folder / "tree"))
    shutil.rmtree(folder)
    return found


def peak(user: Ftpc, *arguments: str) -> int:
    """Run a command; give the most memory that it had, in KiB."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *arguments, "-q"],
        cwd=user.folder, env=user.environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert (0, b"") == (done.returncode, done.stderr), done
    return int(done.stdout)
