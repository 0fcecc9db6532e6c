"""What `stat(2)` tells of a name, in the words of the store."""

import os
import stat

from ftpd.store.values import Details
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath
from ftpd.wire.terms import EntryType

_TYPES = {stat.S_IFREG: EntryType.FILE, stat.S_IFDIR: EntryType.DIRECTORY, stat.S_IFLNK: EntryType.SYMLINK}


def details_of(found: os.stat_result) -> Details:
    """Turn a `stat` into what is told of a name."""
    kind = _TYPES.get(stat.S_IFMT(found.st_mode), EntryType.OTHER)
    mtime, mtime_ns = divmod(max(found.st_mtime_ns, 0), 1_000_000_000)
    return Details(kind, found.st_size, mtime, mtime_ns, found.st_mode & 0o777)


def check_regular(found: os.stat_result, path: RemotePath) -> None:
    """Refuse what is open, but no regular file.

    Raises:
        FtpdError: `is_directory`, `not_regular`.
    """
    if stat.S_ISDIR(found.st_mode):
        raise FtpdError(ErrorCode.IS_DIRECTORY, f"{path}: it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise FtpdError(ErrorCode.NOT_REGULAR, f"{path}: it is not a regular file")
