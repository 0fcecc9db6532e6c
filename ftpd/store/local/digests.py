"""Digests of stored files, kept in SQLite so that nothing is hashed twice.

A cache: whatever is wrong with it, it is thrown away and filled again. An entry holds for one state of one file, told
by size, mtime, ctime and inode. A program can set mtime back, but not ctime, so a changed file never keeps its digests.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftpd.wire.digests import Tree, chunk_count
from ftpd.wire.limits import DIGEST_SIZE
from ftpd.wire.messages import Algorithm
from ftpd.wire.paths import RemotePath

log = logging.getLogger(__name__)

SETTLED_NS = 50_000_000
"""A file that changed this recently could change again without its ctime showing it (timestamps follow a clock that
ticks every 1 to 10 ms), so what was read from it is not kept. git calls such files racily clean."""

_SAME_STATE = "size = ? AND mtime_ns = ? AND ctime_ns = ? AND inode = ?"

_SCHEMA = """
PRAGMA synchronous = OFF;
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL, chunk_size INTEGER, leaves BLOB, root TEXT, md5 TEXT, sha1 TEXT, sha256 TEXT, blake3 TEXT
) WITHOUT ROWID;
"""


class State(NamedTuple):
    """What tells one state of a file from every other."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> "State":
        """Take the state from a `stat`."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def is_settled(self) -> bool:
        """Tell whether a later change would be seen."""
        return time.time_ns() - self.ctime_ns > SETTLED_NS


def was_written_to(before: os.stat_result, after: os.stat_result) -> bool:
    """Tell whether an open file may have been written to between two looks at it.

    Losing a name (being replaced or removed) changes its ctime too, and is told by the number of its links.
    """
    if after.st_nlink < before.st_nlink:
        return State.of(after)[:2] != State.of(before)[:2]
    return State.of(after) != State.of(before)


class DigestCache:
    """Digests by path and state. Usable from any thread; calls take microseconds but may wait for the disk."""

    def __init__(self, file: Path | None) -> None:
        """Open the cache in `file`, or in memory."""
        self._file = file
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        with self._lock:
            self._open()

    def tree(self, path: RemotePath, state: State) -> Tree | None:
        """Give the tree of a file in this state, if it is known."""
        row = self._row("chunk_size, leaves, root", path, state)
        if row is None or row[2] is None:
            return None
        tree = Tree(state.size, row[0], row[1])
        # Damage that SQLite does not notice would make a good file look damaged to everybody who fetches it.
        if len(tree.leaves) != DIGEST_SIZE * chunk_count(tree.size, tree.chunk_size) or tree.root != row[2]:
            self._execute("DELETE FROM files WHERE path = ?", (str(path),))
            return None
        return tree

    def prefix(self, path: RemotePath, state: State) -> bytes:
        """Give the leaves of the first chunks of a file in this state whose tree is not known."""
        row = self._row("leaves, root", path, state)
        return row[0] if row is not None and row[0] is not None and row[1] is None else b""

    def checksum(self, path: RemotePath, state: State, algorithm: Algorithm) -> str | None:
        """Give a digest over the content of a file in this state, if it is known."""
        row = self._row(algorithm.value, path, state)
        return row[0] if row else None

    def keep_tree(self, path: RemotePath, state: State, tree: Tree) -> None:
        """Keep the tree of a file in this state."""
        self._keep(path, state, {"chunk_size": tree.chunk_size, "leaves": tree.leaves, "root": tree.root})

    def keep_prefix(self, path: RemotePath, state: State, leaves: bytes) -> None:
        """Keep the leaves of the first chunks of a file in this state, unless more is known."""
        if self.tree(path, state) is None and len(leaves) > len(self.prefix(path, state)):
            self._keep(path, state, {"leaves": leaves})

    def keep_trees(self, files: Sequence[tuple[RemotePath, State, Tree]]) -> None:
        """Keep the trees of files that have just been stored, in one transaction."""
        if len(files) < 2:
            for file in files:
                self.keep_tree(*file)
            return
        rows = [(str(path), *state, tree.chunk_size, tree.leaves, tree.root) for path, state, tree in files]
        self._do(lambda database: _replace_all(database, rows))

    def keep_checksum(self, path: RemotePath, state: State, algorithm: Algorithm, digest: str) -> None:
        """Keep a digest of a file in this state."""
        self._keep(path, state, {algorithm.value: digest})

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _row(self, columns: str, path: RemotePath, state: State) -> tuple[Any, ...] | None:
        query = f"SELECT {columns} FROM files WHERE path = ? AND {_SAME_STATE}"  # noqa: S608 (columns are ours)
        return self._execute(query, (str(path), *state))

    def _keep(self, path: RemotePath, state: State, values: dict[str, object]) -> None:
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        # What is known of another state of the file goes, what is known of this one stays.
        self._execute(f"DELETE FROM files WHERE path = ? AND NOT ({_SAME_STATE})", (str(path), *state))  # noqa: S608
        self._execute(
            f"INSERT INTO files (path, size, mtime_ns, ctime_ns, inode, {names}) VALUES (?, ?, ?, ?, ?, {marks}) "  # noqa: S608
            f"ON CONFLICT (path) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in values)}",
            (str(path), *state, *values.values()),
        )

    def _execute(self, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        return self._do(lambda database: database.execute(query, values).fetchone())

    def _do(self, work: Callable[[sqlite3.Connection], tuple[Any, ...] | None]) -> tuple[Any, ...] | None:
        with self._lock:
            if self._database is None:
                return None
            try:
                return work(self._database)
            except OverflowError:  # a time beyond the year 2262, in nanoseconds: such a file has no place in the cache
                return None
            except sqlite3.Error as exc:
                if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:  # no damage: this entry has no room
                    return None
                log.warning("the digest cache is damaged or can not be written, starting a new one", exc_info=True)
                self._start_anew()
                return None

    def _open(self) -> None:
        try:
            # "" is a private temporary database that may spill to the disk.
            self._database = _connect(str(self._file) if self._file else "")
        except sqlite3.Error:
            log.warning("the digest cache can not be used, starting a new one", exc_info=True)
            self._start_anew()

    def _start_anew(self) -> None:
        if self._database is not None:
            self._database.close()
        for suffix in ("", "-wal", "-shm") if self._file else ():
            with contextlib.suppress(OSError):
                Path(f"{self._file}{suffix}").unlink()
        self._file = None  # the next start tries it again; a disk that breaks files gets no second chance now
        self._database = _connect("")


def _replace_all(database: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    database.execute("BEGIN")
    try:
        database.executemany(
            "INSERT OR REPLACE INTO files (path, size, mtime_ns, ctime_ns, inode, chunk_size, leaves, root) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _connect(name: str) -> sqlite3.Connection:
    # Autocommit: no lock is held between calls.
    database = sqlite3.connect(name, check_same_thread=False, isolation_level=None)
    try:
        database.executescript(_SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database
