"""Where races are run: folders in memory and on a disk, the files that are moved, and whether they have arrived."""

import filecmp
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path

from benchmarks.processes import FailedError

MIB = 2**20
GIB = 2**30

FILES_IN_FOLDER = 100


class Place(StrEnum):
    """What kind of file system."""

    MEMORY = "memory"
    DISK = "disk"


class Ground:
    """A fresh folder for one race. All that is in it goes with the stack."""

    def __init__(self, stack: ExitStack, parent: Path, place: Place, scale: float) -> None:
        self.stack = stack
        self.place = place
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=parent)).resolve()
        self._scale = scale
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)

    def describe(self) -> str:
        """Say what file system it is."""
        return file_system(self.folder)

    def size(self, size: int) -> int:
        """Give a size in the scale of this run, in whole MiB."""
        return max(1, round(size * self._scale / MIB)) * MIB

    def count(self, count: int) -> int:
        """Give a number of things in the scale of this run."""
        return max(2, round(count * self._scale))

    def need(self, size: int) -> None:
        """Make sure that there is room.

        Raises:
            FailedError: there is not.
        """
        free = shutil.disk_usage(self.folder).free
        if free < size:
            raise FailedError(f"needs {size / GIB:.1f} GiB in {self.folder.parent}, which has {free / GIB:.1f} free")

    def make_file(self, name: str, size: int) -> Path:
        """Make a file that can not be compressed."""
        path = self.folder / name
        with path.open("wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
        return path

    def make_tree(self, name: str, count: int, size: int) -> Path:
        """Make a folder of small files, a hundred in each folder."""
        tree = self.folder / name
        for number in range(count):
            path = tree / f"{number // FILES_IN_FOLDER}" / f"{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(size))
        return tree

    def clear(self, *paths: Path) -> None:
        """Remove what was written before; on a disk, also let it forget.

        Every run writes new files: replacing some would also measure giving their memory back. The old ones go at the
        last moment: a virtual machine gives free memory to its host, and waits when it takes it again.
        """
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if self.place is Place.DISK:
            os.sync()


def same(source: Path, made: Path) -> None:
    """Make sure that a file, or a folder with all files in it, is what it should be.

    Raises:
        FailedError: it is not.
    """
    if not source.is_dir():
        if not (made.is_file() and filecmp.cmp(source, made, shallow=False)):
            raise FailedError("what arrived is not what was sent")
        return
    names = {path.relative_to(source) for path in source.rglob("*")}
    if names != {path.relative_to(made) for path in made.rglob("*")}:
        raise FailedError("other files arrived than were sent")
    for name in names:
        if (source / name).is_file():
            same(source / name, made / name)


def memory_folder() -> Path:
    """Give the folder that is most likely in memory."""
    folder = Path("/dev/shm")  # noqa: S108 (folders in it are made by mkdtemp)
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else Path(tempfile.gettempdir())


def disk_folder() -> Path | None:
    """Give a folder that is on a disk, if one is found."""
    for folder in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()):  # noqa: S108 (as above)
        if folder.is_dir() and os.access(folder, os.W_OK) and file_system(folder) not in {"tmpfs", "ramfs"}:
            return folder
    return None


def file_system(folder: Path) -> str:
    """Give the kind of a folder's file system."""
    if sys.platform != "linux":
        return "unknown file system"
    found, kind = -1, "unknown file system"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        point, kind_here = line.split()[1:3]
        mounted = Path(point.encode().decode("unicode_escape"))
        if folder.resolve().is_relative_to(mounted) and len(mounted.parts) >= found:
            found, kind = len(mounted.parts), kind_here
    return kind
