"""Opening names beneath a folder, so that the kernel keeps us there.

A check of the path before the open can always be raced by somebody who swaps a folder for a symbolic link in between
(rsync CVE-2024-12747). So nothing is checked: `openat2(2)` with RESOLVE_BENEATH opens inside the folder or not at all,
and where the kernel or a sandbox does not have it, each part is opened from the descriptor of the part before it,
never following a link.
"""

import contextlib
import ctypes
import errno
import os
import struct
import sys
import threading
from collections.abc import Callable

from ftpd.wire.paths import RemotePath

_SYS_OPENAT2 = 437  # the same on every architecture, openat2(2) is younger than their tables
_RESOLVE = 0x08 | 0x04 | 0x02  # RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS, linux/openat2.h
_HOW = struct.Struct("@QQQ")
_TRIES = 100
"""openat2 answers EAGAIN when a rename elsewhere kept it from being sure; so many in a row do not happen by chance."""

NAME_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
"""For a name in a folder that is open: never follows a link, never waits, never takes a terminal."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Beneath:
    """A folder that is held open, and what is beneath it.

    All methods raise `OSError`: ELOOP where a part of the path is a symbolic link.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._openat2 = _find_openat2(self.fd)
        self._making = threading.Lock()

    def is_gone(self) -> bool:
        """Tell whether the folder has been removed. It stays open, and empty, for ever."""
        return os.fstat(self.fd).st_nlink == 0

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.fd)

    def open(self, path: RemotePath, flags: int) -> int:
        """Open a name; never follows a link, never waits (O_NONBLOCK), never takes a terminal."""
        flags |= NAME_FLAGS
        if not path.parts:
            return os.open(".", flags, dir_fd=self.fd)
        if self._openat2 is not None:
            # RESOLVE_NO_SYMLINKS refuses links in every part; with O_NOFOLLOW as well, O_DIRECTORY would say ENOTDIR.
            return self._openat2(self.fd, os.fsencode(str(path)), flags & ~os.O_NOFOLLOW)
        folder = self._walk(path.parts[:-1])
        try:
            return os.open(path.name, flags, dir_fd=folder)
        except NotADirectoryError:
            raise _link_or_not(folder, path.name) from None
        finally:
            os.close(folder)

    def open_folder(self, path: RemotePath) -> int:
        """Open a folder; the descriptor stays in the tree whatever happens to its name."""
        return self.open(path, _FOLDER)

    def make_folder(self, path: RemotePath, *, sync: bool) -> int:
        """Open a folder, making it and its parents where they are missing; `sync` makes the new names durable."""
        return self.open_or_make(path, sync=sync)[0]

    def open_or_make(self, path: RemotePath, *, sync: bool) -> tuple[int, bool]:
        """Do as `make_folder`, and tell whether the folder is new."""
        with contextlib.suppress(FileNotFoundError):
            fd = self.open_folder(path)
            if self._making.locked():  # somebody may have made this very folder, and its name not be durable yet
                with self._making:
                    pass
            return fd, False
        with self._making:
            return self._make(path, sync=sync)

    def _make(self, path: RemotePath, *, sync: bool) -> tuple[int, bool]:
        fd, is_new = os.open(".", _FOLDER, dir_fd=self.fd), False
        try:
            for part in path.parts:
                inner, is_new = _enter(fd, part, sync=sync)
                os.close(fd)
                fd = inner
        except BaseException:
            os.close(fd)
            raise
        return fd, is_new

    def _walk(self, parts: tuple[str, ...]) -> int:
        fd = os.open(".", _FOLDER, dir_fd=self.fd)
        for part in parts:
            try:
                inner = os.open(part, _FOLDER, dir_fd=fd)
            except NotADirectoryError:
                raise _link_or_not(fd, part) from None
            finally:
                os.close(fd)
            fd = inner
        return fd


def _enter(fd: int, part: str, *, sync: bool) -> tuple[int, bool]:
    is_new = False
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, dir_fd=fd)
        is_new = True
    if is_new and sync:
        _sync_or_remove(fd, part)
    try:
        return os.open(part, _FOLDER, dir_fd=fd), is_new
    except NotADirectoryError:
        raise _link_or_not(fd, part) from None


def _sync_or_remove(fd: int, part: str) -> None:
    try:
        os.fsync(fd)
    except OSError:
        # The next upload would find the folder and take its name for durable.
        with contextlib.suppress(OSError):
            os.rmdir(part, dir_fd=fd)
        raise


def _link_or_not(fd: int, part: str) -> OSError:
    # O_DIRECTORY | O_NOFOLLOW says ENOTDIR for a link; openat2 says ELOOP, and that is what is meant.
    code = errno.ENOTDIR
    try:
        if os.readlink(part, dir_fd=fd):
            code = errno.ELOOP
    except OSError:
        pass
    return OSError(code, os.strerror(code), part)


def _find_openat2(fd: int) -> Callable[[int, bytes, int], int] | None:
    """Give `openat2(2)` if this kernel has it and lets us."""
    if sys.platform != "linux":
        return None
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long

    def openat2(folder: int, name: bytes, flags: int) -> int:
        how = _HOW.pack(flags, 0, _RESOLVE)
        code = errno.EAGAIN
        for _ in range(_TRIES):
            opened: int = syscall(
                ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(folder), name, how, ctypes.c_size_t(len(how))
            )
            if opened >= 0:
                return opened
            code = ctypes.get_errno()
            if code not in (errno.EAGAIN, errno.EINTR):
                break
        raise OSError(code, os.strerror(code), os.fsdecode(name))

    try:
        os.close(openat2(fd, b".", _FOLDER))
    except OSError:  # ENOSYS before Linux 5.6; EPERM or EACCES under a sandbox that does not know the call
        return None
    return openat2
