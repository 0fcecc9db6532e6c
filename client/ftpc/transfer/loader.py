"""Reading what is uploaded, a folder or files that were named, and the small files of it, a load at a time."""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from ftpc.errors import ChangedError, FtpcError
from ftpc.files import is_torn, local_error
from ftpc.progress import Contents
from ftpc.results import TreeFile
from ftpc.transfer.walk import Local
from ftpd.wire.digests import tree_of
from ftpd.wire.limits import KIB, SMALL_FILE
from ftpd.wire.messages import encode_request
from ftpd.wire.replies import Made, Stored
from ftpd.wire.requests import Mkdir, Put
from ftpd.wire.terms import IfExists

LOAD_BYTES = 256 * KIB
LOAD_FILES = 256
"""What is read and sent at once: a hop to a thread and a write for all of it."""


class Sent(NamedTuple):
    """A small file, or a folder, that is on its way."""

    local: Local
    root: str | None
    """None of a folder."""
    frame: bytes
    put: Put | None = None
    """What was announced of it; None of a folder."""
    kind: type[Stored | Made] = Stored
    """What the reply will be."""

    @property
    def size(self) -> int:
        """Bytes of the file; 0 of a folder."""
        return self.put.filesize if self.put is not None else 0


class Load(NamedTuple):
    """What one look at what there is to send has brought."""

    small: list[Sent]
    folders: list[Sent]
    """Behind the small files and not between them: the server stores files together that nothing parts."""
    large: list[Local]
    """What goes by itself: large files, and what turns out to be none."""
    other: list[TreeFile]
    """What can not be sent."""


class Loader:
    """Reads the small files of what was found. Used by one thread at a time."""

    def __init__(
        self, found: Iterator[Local | TreeFile], if_exists: IfExists, *, preserve: bool, follows: bool = False
    ) -> None:
        """Read what is found; with `follows` also what symbolic links lead to."""
        self._found = found
        self._flags = _READ_ONLY if follows else _READ_ONLY | getattr(os, "O_NOFOLLOW", 0)
        self._if_exists = if_exists
        self._preserve = preserve
        self.is_repeatable = if_exists in {IfExists.OVERWRITE, IfExists.SKIP}
        """Whether a file may be sent again of which nobody knows whether it was stored."""
        self.contents = Contents()
        """What was found so far."""

    def next(self) -> Load | None:
        """Read on; None at the end."""
        load, size = Load([], [], [], []), 0
        for count, found in enumerate(self._found, start=1):
            if isinstance(found, TreeFile):
                load.other.append(found)
                self.contents.files += found.error is not None and not found.is_folder
            elif found.is_folder:
                load.folders.append(Sent(found, None, encode_request(Mkdir(path=found.remote)), kind=Made))
            else:
                size += self._take(found, load)
            if size >= LOAD_BYTES or count >= LOAD_FILES:
                return load
        self.contents.is_whole = True
        return load if any(load) else None

    def _take(self, local: Local, load: Load) -> int:
        """Add a file to the load; give the bytes of it that are in memory."""
        self.contents.files += 1
        try:
            sent = self._read(local)
        except FtpcError as exc:
            load.other.append(failed(local, exc))
        except (OSError, ValueError) as exc:
            load.other.append(failed(local, local_error(exc, local.path)))
        else:
            if isinstance(sent, Sent):
                self.contents.size += sent.size
                load.small.append(sent)
                return len(sent.frame)
            self.contents.size += sent
            load.large.append(local)
        return 0

    def _read(self, local: Local) -> Sent | int:
        """Read a file; give its size if it is not small, or none that could be read at once."""
        fd = os.open(local.path, self._flags)
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode) or before.st_size > SMALL_FILE:
                return before.st_size
            data = os.read(fd, before.st_size + 1)
            if data and not before.st_size:  # as those of /proc
                return before.st_size
            after = os.fstat(fd)
            has_changed = (len(data), before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
            has_changed = has_changed or is_torn(fd, data, before.st_ctime_ns)
        finally:
            os.close(fd)
        if has_changed:
            raise ChangedError(f"{local.path}: the file changed while it was being read; nothing was sent")
        tree = tree_of(data)
        request = Put(filename=local.remote, filesize=len(data), blake3=tree.leaf(0).hex(), if_exists=self._if_exists)
        if self._preserve:
            request.mtime, request.mtime_ns = divmod(max(before.st_mtime_ns, 0), 1_000_000_000)
            request.mode = before.st_mode & 0o777
        return Sent(local, tree.root, encode_request(request) + data, request)


_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)


def failed(local: Local, error: FtpcError) -> TreeFile:
    """Give what became of a file that could not be sent, or a folder."""
    return TreeFile(local.path, local.remote, 0, error=error, is_folder=local.is_folder)
