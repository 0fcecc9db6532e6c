"""Small file systems that can be full: what only root can have."""

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1024 * 1024
PATIENCE_S = 20.0
"""How long a tool of the system may take before a test counts as hung."""
FILES = 256
LARGEST = 256 * MIB
"""No disk that a test fills is larger."""

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")


def run(*command: str | Path) -> None:
    """Run a tool of the system, or skip the test where it does not work."""
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"{command[0]} does not work here: {getattr(exc, 'stderr', exc)!r}")


@contextlib.contextmanager
def mounted(*how: str | Path, at: Path) -> Iterator[Path]:
    """Mount something for a moment."""
    run("mount", *how, at)
    try:
        yield at
    finally:
        # Lazily: a test that fails may have files open there, and must not leave the mount behind for that.
        subprocess.run(["umount", "--lazy", at], check=True, capture_output=True, timeout=PATIENCE_S)


@contextlib.contextmanager
def small_disk(kind: str, image: Path, at: Path, size: int) -> Iterator[Path]:
    """Mount a file system of its own, `tmpfs` or `ext4`, with room for few files, on an empty folder."""
    if kind == "tmpfs":
        how: tuple[str | Path, ...] = ("-t", "tmpfs", "-o", f"size={size},nr_inodes={FILES}", "tmpfs")
    else:
        with image.open("wb") as file:
            file.truncate(size)
        run("mkfs.ext4", "-q", "-m", "0", "-N", str(FILES), image)
        how = ("-o", "loop", image)
    with mounted(*how, at=at):
        yield at


def check_small(folder: Path) -> None:
    """Refuse to fill what is not one of the disks made here: a mount that failed must not cost the machine its disk."""
    space = os.statvfs(folder)
    assert space.f_blocks * space.f_frsize <= LARGEST, f"{folder} is not on a small disk made for a test"


@contextlib.contextmanager
def full(folder: Path, spare: int = 0) -> Iterator[None]:
    """Use up the space of a file system, all but `spare` bytes, for a while."""
    check_small(folder)
    ballast = folder / ".ballast"
    space = os.statvfs(folder)
    size = max(space.f_bavail * space.f_frsize - spare, 0)
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while size > 0:
            size -= file.write(bytes(min(size, MIB)))
        while not spare:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def without_names(folder: Path) -> Iterator[None]:
    """Use up the inodes of a file system for a while: a file can grow, but no file or folder be made."""
    check_small(folder)
    ballast = folder / ".many"
    ballast.mkdir()
    try:
        with contextlib.suppress(OSError):
            for number in itertools.count():
                (ballast / str(number)).touch()
        yield
    finally:
        shutil.rmtree(ballast)
