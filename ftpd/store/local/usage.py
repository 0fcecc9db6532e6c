"""What lies beneath a folder of a local store. For a thread: it may take a while."""

import contextlib
import os
import stat

from ftpd.payload.journal import Journal
from ftpd.store.local.beneath import NAME_FLAGS, Beneath
from ftpd.store.local.partials import JOURNAL
from ftpd.store.values import Space, Usage
from ftpd.wire.limits import KIB
from ftpd.wire.paths import STATE_FOLDER, RemotePath

_LONGEST_HEAD = 16 * KIB


def space_of(root: Beneath) -> Space:
    """Give the space of the file system."""
    found = os.fstatvfs(root.fd)
    return Space(total=found.f_blocks * found.f_frsize, free=found.f_bavail * found.f_frsize)


def usage_of(root: Beneath, folder: RemotePath, partials: int | None) -> Usage:
    """Count files beneath a folder, one with several names once, and the uploads for it that were broken off.

    Raises:
        OSError: the folder can not be read. One that is not there is empty.
    """
    size, files = 0, 0
    seen: set[tuple[int, int]] = set()
    with contextlib.suppress(FileNotFoundError):
        fd = root.open_folder(folder)
        try:
            for path, folders, names, inner in os.fwalk(".", dir_fd=fd, follow_symlinks=False):
                if path == "." and not folder.parts and STATE_FOLDER in folders:
                    folders.remove(STATE_FOLDER)
                for name in names:
                    found = _stat(name, inner)
                    if found is None or (found.st_dev, found.st_ino) in seen:
                        continue
                    if found.st_nlink > 1:
                        seen.add((found.st_dev, found.st_ino))
                    size += found.st_size
                    files += 1
        finally:
            os.close(fd)
    return Usage(size, files, {} if partials is None else _unfinished(folder, partials))


def _stat(name: str, folder: int) -> os.stat_result | None:
    with contextlib.suppress(OSError):  # removed since its name was read
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        return found if stat.S_ISREG(found.st_mode) else None
    return None


def _unfinished(folder: RemotePath, partials: int) -> dict[str, int]:
    """Find uploads by what their journals say in the first line."""
    sizes: dict[str, int] = {}
    for entry in os.listdir(partials):
        if not entry.endswith(JOURNAL):
            continue
        with contextlib.suppress(OSError):
            fd = os.open(entry, os.O_RDONLY | NAME_FLAGS, dir_fd=partials)
            try:
                head = Journal.head_of(os.pread(fd, _LONGEST_HEAD, 0).partition(b"\n")[0])
            finally:
                os.close(fd)
            path = RemotePath.parse(str(head["path"])) if head else None
            if head and path and path.parts[: len(folder.parts)] == folder.parts:
                sizes[entry.removesuffix(JOURNAL)] = int(head["size"] or 0)
    return sizes
