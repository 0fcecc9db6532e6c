"""The one door through which errors of the operating system leave the local store."""

import contextlib
import errno
from collections.abc import Iterator

from ftpd.store.local.beneath import Beneath
from ftpd.wire.errors import ErrorCode, FtpdError

_CODES = {
    errno.ENOENT: (ErrorCode.NOT_FOUND, "there is no such file or folder"),
    errno.ESTALE: (ErrorCode.UNAVAILABLE, "the server's file system has gone away"),
    errno.EEXIST: (ErrorCode.EXISTS, "the name is taken"),
    errno.EISDIR: (ErrorCode.IS_DIRECTORY, "it is a folder"),
    errno.ENOTDIR: (ErrorCode.NOT_DIRECTORY, "a part of the name is not a folder"),
    errno.ELOOP: (ErrorCode.SYMLINK, "a part of the name is a symbolic link, which is not followed"),
    errno.ENAMETOOLONG: (ErrorCode.BAD_PATH, "the name is too long for the server's file system"),
    errno.EINVAL: (ErrorCode.BAD_PATH, "the server's file system can not hold such a name"),
    errno.EILSEQ: (ErrorCode.BAD_PATH, "the server's file system can not hold such a name"),
    errno.ENXIO: (ErrorCode.NOT_REGULAR, "it is not a regular file"),
    errno.ENODEV: (ErrorCode.NOT_REGULAR, "it is not a regular file"),
    errno.ENOSPC: (ErrorCode.NO_SPACE, "the server's disk is full"),
    errno.EDQUOT: (ErrorCode.NO_SPACE, "the server's disk quota is used up"),
    errno.EFBIG: (ErrorCode.NO_SPACE, "the file is too large for the server's file system"),
    errno.EACCES: (ErrorCode.FORBIDDEN, "the server's operating system does not allow it"),
    errno.EPERM: (ErrorCode.FORBIDDEN, "the server's operating system does not allow it"),
    errno.EROFS: (ErrorCode.READ_ONLY, "the server's file system is read-only"),
    errno.EMFILE: (ErrorCode.BUSY, "the server has too many files open, try again later"),
    errno.ENFILE: (ErrorCode.BUSY, "the server has too many files open, try again later"),
    errno.ENOMEM: (ErrorCode.BUSY, "the server is short of memory, try again later"),
    errno.EXDEV: (ErrorCode.FORBIDDEN, "another file system is mounted there, uploads into it are not possible"),
}


ROOT_GONE = "the served folder was removed while the server was running"


def from_os_error(exc: OSError, what: object = "") -> FtpdError:
    """Say an error of the operating system in the protocol's words."""
    code, sentence = _CODES.get(exc.errno or 0, (ErrorCode.IO_ERROR, f"the server's disk failed: {exc.strerror}"))
    return FtpdError(code, f"{what}: {sentence}" if str(what) else sentence)


@contextlib.contextmanager
def os_errors(what: object = "", root: Beneath | None = None) -> Iterator[None]:
    """Let an `OSError` out as the `FtpdError` it means; `what` is the name it was about.

    With `root`, the block is not even tried if the root is gone, and what is not found because of that is told so.
    """
    try:
        if root is not None and root.is_gone():
            raise FtpdError(ErrorCode.UNAVAILABLE, ROOT_GONE)
        yield
    except OSError as exc:
        if root is not None and root.is_gone():
            raise FtpdError(ErrorCode.UNAVAILABLE, ROOT_GONE) from exc
        raise from_os_error(exc, what) from exc
