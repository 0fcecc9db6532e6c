"""Many small files at once: the same steps in the same order as for one upload, each step for all of them.

A hop to a thread, a look at the root, a walk to the folder and a sync of it, and a transaction of the digest cache are
done once and not per file; and the files' syncs wait together, which a journaling file system commits as one.
"""

import contextlib
import itertools
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from ftpd.payload.files import sync_all, write_all
from ftpd.store.local.digests import State
from ftpd.store.local.errors import from_os_error, os_errors
from ftpd.store.local.publish import Landing, give_name, open_temporary, set_mtime
from ftpd.store.values import SmallFile
from ftpd.wire.digests import Tree
from ftpd.wire.errors import FtpdError
from ftpd.wire.paths import RemotePath

Result = RemotePath | FtpdError | None

_names = (f"{prefix}{number:x}" for prefix in (secrets.token_hex(8),) for number in itertools.count())


class _Hidden:
    """A file of the batch on its way."""

    __slots__ = ("data", "fd", "name", "plan", "result", "tree")

    def __init__(self, file: SmallFile) -> None:
        self.plan, self.data, self.tree = file
        self.name = next(_names)
        self.fd = -1
        self.result: Result = None


class Batch:
    """Small files that are stored together, by one thread."""

    def __init__(self, landing: Landing, files: Sequence[SmallFile]) -> None:
        self._landing = landing
        self._files = [_Hidden(file) for file in files]
        self._folders: dict[tuple[str, ...], int] = {}
        """The folders of the batch, by the parts of their names."""
        self._kept: list[tuple[RemotePath, State, Tree]] = []

    def store(self, syncers: Executor) -> list[Result]:
        """Store them, and say for each what became of it.

        Raises:
            FtpdError: `unavailable`, the root is gone.
        """
        try:
            with os_errors("", self._landing.root):
                self._for_all(self._write)
            if self._landing.sync:
                self._sync(syncers)
            self._for_all(self._publish)
            if self._landing.sync:
                self._sync_folders()
            self._landing.digests.keep_trees(self._kept)
        finally:
            self._clean_up()
        return [hidden.result for hidden in self._files]

    def _for_all(self, step: Callable[[_Hidden], None]) -> None:
        for hidden in self._files:
            if not isinstance(hidden.result, FtpdError):
                try:
                    step(hidden)
                except FtpdError as exc:
                    hidden.result = exc
                except OSError as exc:
                    hidden.result = from_os_error(exc, hidden.plan.path)

    def _write(self, hidden: _Hidden) -> None:
        hidden.fd = open_temporary(hidden.name, self._landing.temporary, create=True)
        write_all(hidden.fd, hidden.data, 0)
        os.fchmod(hidden.fd, self._landing.mode if hidden.plan.mode is None else hidden.plan.mode)
        set_mtime(hidden.fd, hidden.plan)

    def _sync(self, syncers: Executor) -> None:
        waiting = [hidden for hidden in self._files if not isinstance(hidden.result, FtpdError)]
        for hidden, exc in zip(waiting, sync_all([hidden.fd for hidden in waiting], syncers), strict=True):
            if exc is not None:
                hidden.result = from_os_error(exc, hidden.plan.path)

    def _publish(self, hidden: _Hidden) -> None:
        plan = hidden.plan
        hidden.result = path = give_name(plan, hidden.name, self._landing.temporary, self._folder(plan.path.parts[:-1]))
        if path is not None:
            self._kept.append((path, State.of(os.fstat(hidden.fd)), hidden.tree))

    def _folder(self, parts: tuple[str, ...]) -> int:
        folder = self._folders.get(parts)
        if folder is None:
            folder = self._landing.root.make_folder(RemotePath(parts), sync=self._landing.sync)
            self._folders[parts] = folder
        return folder

    def _sync_folders(self) -> None:
        for parts, folder in self._folders.items():
            try:
                with os_errors(RemotePath(parts)):
                    os.fsync(folder)
            except FtpdError as exc:
                for hidden in self._files:
                    if hidden.plan.path.parts[:-1] == parts and not isinstance(hidden.result, FtpdError):
                        hidden.result = exc

    def _clean_up(self) -> None:
        for hidden in self._files:
            if hidden.fd >= 0:
                with contextlib.suppress(OSError):  # of no consequence: what was acknowledged has been synced
                    os.close(hidden.fd)
            if not isinstance(hidden.result, RemotePath):
                with contextlib.suppress(OSError):
                    os.unlink(hidden.name, dir_fd=self._landing.temporary)
        for folder in self._folders.values():
            os.close(folder)
