"""What there is to send: in a local folder and below, or of files that are named one by one."""

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ftpc.errors import FtpcError, LocalFileError, RemoteNameError
from ftpc.files import local_errors
from ftpc.results import TreeFile
from ftpd.wire.paths import BadPathError, RemotePath


class Local(NamedTuple):
    """A file, or a folder that nothing in it would make."""

    path: str
    remote: str
    is_folder: bool = False


def named(local: str, remote: str, full_name: Callable[[str], str]) -> Local | TreeFile:
    """Find a file by its name; or tell what becomes of it, if no server has such a name as it is to get."""
    try:
        return Local(local, full_name(remote))
    except RemoteNameError as exc:
        return TreeFile(local, remote, 0, error=exc)


def common_folder(files: Iterable[Local | TreeFile]) -> str:
    """Give the remote folder that all files are in or below; "" is the root."""
    folders = {file.remote.rpartition("/")[0] for file in files if isinstance(file, Local)}
    return posixpath.commonpath(folders) if folders else ""


def walk(folder: str, remote: str) -> Iterator[Local | TreeFile]:
    """Find all files, the folders that none of them makes, and what can not be sent. Links are not followed.

    Raises:
        FtpcError: the folder can not be read.
    """
    folders = [_Folder(folder, remote, None)]
    while folders:
        if folders[-1].is_entered:  # and all that is in it has been left
            yield from folders.pop().leave()
        else:
            yield from folders[-1].enter(folders)


def count_files(folder: str) -> int:
    """Count the files in a folder and below that are to be sent, and what is wrong there.

    Raises:
        FtpcError: the folder can not be read.
    """
    found = walk(folder, "x")
    return sum(one.error is not None if isinstance(one, TreeFile) else not one.is_folder for one in found)


class _Folder:
    """A folder that is to be walked through, or is just being."""

    __slots__ = ("_around", "_has_failed", "_is_made", "_path", "_remote", "is_entered")

    def __init__(self, path: str, remote: str, around: "_Folder | None") -> None:
        self.is_entered = False
        self._path = path
        self._remote = remote
        self._around = around
        self._is_made = not remote  # where names are relative to, the server has a folder
        """Whether something is sent that makes it on the server."""
        self._has_failed = False

    def enter(self, folders: "list[_Folder]") -> Iterator[Local | TreeFile]:
        """Find the files in it; add the folders in it to those that are walked through before it is left."""
        self.is_entered = True
        try:
            with local_errors(self._path), os.scandir(self._path) as entries:
                for entry in entries:
                    inner = f"{self._remote}/{entry.name}" if self._remote else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(_Folder(entry.path, inner, self))
                    else:
                        found = _look_at(entry, inner)
                        self._is_made = self._is_made or isinstance(found, Local)
                        yield found
        except FtpcError as exc:
            if self._around is None:
                raise
            self._has_failed = True
            yield TreeFile(self._path, self._remote, 0, error=exc, is_folder=True)

    def leave(self) -> Iterator[Local | TreeFile]:
        """Give the folder itself, if nothing in it makes it."""
        if not self._is_made and not self._has_failed:
            try:
                yield Local(self._path, str(RemotePath.parse(self._remote)), is_folder=True)
                self._is_made = True
            except BadPathError as exc:
                yield TreeFile(self._path, self._remote, 0, error=_name_error(self._path, exc), is_folder=True)
        if self._is_made and self._around is not None:
            self._around._is_made = True  # noqa: SLF001 (one of us)


def _look_at(entry: "os.DirEntry[str]", name: str) -> Local | TreeFile:
    try:
        if not entry.is_file(follow_symlinks=False):
            what = "a symbolic link" if entry.is_symlink() else "neither a file nor a folder"
            return TreeFile(entry.path, name, 0, left_out=what)
        return Local(entry.path, str(RemotePath.parse(name)))
    except BadPathError as exc:
        return TreeFile(entry.path, name, 0, error=_name_error(entry.path, exc))
    except OSError as exc:
        return TreeFile(entry.path, name, 0, error=LocalFileError(f"{entry.path}: {exc.strerror}"))


def _name_error(path: str, exc: BadPathError) -> RemoteNameError:
    return RemoteNameError(f"{path}: {exc.reason}; rename it")
