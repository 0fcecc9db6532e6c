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
from typing import Any, NamedTuple, TypeVar

from ftpd.wire.digests import Tree, chunk_count
from ftpd.wire.limits import DIGEST_SIZE
from ftpd.wire.paths import RemotePath
from ftpd.wire.terms import Algorithm

T = TypeVar("T")

log = logging.getLogger(__name__)

SETTLED_NS = 50_000_000
"""A file that changed this recently could change again without its ctime showing it (timestamps follow a clock that
ticks every 1 to 10 ms), so what was read from it is not kept. git calls such files racily clean."""

_MEMORY = ":memory:"
MEMORY_PAGES = 16 * 1024
"""How large a cache in memory may become, in pages of 4 KiB: a third of a million small files. What comes later has
no room. A database that may go on in a temporary file is none for a process that may write nowhere but in its root."""

_STATE = "size, mtime_ns, ctime_ns, inode"
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

    def is_settled(self, at: int | None = None) -> bool:
        """Tell whether a change after that time, or from now on, would be seen."""
        return (at or time.time_ns()) - self.ctime_ns > SETTLED_NS

    def has_place(self) -> bool:
        """Tell whether the cache can hold it: a time beyond the year 2262 is too large, in nanoseconds."""
        return max(self) < 2**63


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
        return self._checked(path, state, *row) if row is not None else None

    def trees(self, files: Sequence[tuple[RemotePath, State]]) -> list[Tree | None]:
        """Give the trees of files as `tree` does, with one query for all."""
        names = [str(path) for path, _ in files]
        query = f"SELECT path, {_STATE}, chunk_size, leaves, root FROM files WHERE path IN ({_marks(len(names))})"  # noqa: S608 (marks)
        found = {row[0]: row for row in self._do(lambda database: database.execute(query, names).fetchall()) or ()}
        trees: list[Tree | None] = []
        for (path, state), name in zip(files, names, strict=True):
            row = found.get(name)
            trees.append(self._checked(path, state, *row[5:]) if row is not None and row[1:5] == state else None)
        return trees

    def _checked(
        self, path: RemotePath, state: State, chunk_size: int, leaves: bytes | None, root: str | None
    ) -> Tree | None:
        if leaves is None or root is None:
            return None
        tree = Tree(state.size, chunk_size, leaves)
        # Damage that SQLite does not notice would make a good file look damaged to everybody who fetches it.
        if len(tree.leaves) != DIGEST_SIZE * chunk_count(tree.size, tree.chunk_size) or tree.root != root:
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
        self.learn_trees([(path, state, tree)])

    def keep_prefix(self, path: RemotePath, state: State, leaves: bytes) -> None:
        """Keep the leaves of the first chunks of a file in this state, unless more is known."""
        if self.tree(path, state) is None and len(leaves) > len(self.prefix(path, state)):
            self._keep_all(("leaves",), [(path, state, (leaves,))])

    def keep_trees(self, files: Sequence[tuple[RemotePath, State, Tree]]) -> None:
        """Keep the trees of files that have just been stored, in one transaction."""
        if len(files) < 2:
            for file in files:
                self.keep_tree(*file)
            return
        rows = [
            (str(path), *state, tree.chunk_size, tree.leaves, tree.root)
            for path, state, tree in files
            if state.has_place()
        ]
        if rows:
            self._do(lambda database: _replace_all(database, rows))

    def learn_trees(self, files: Sequence[tuple[RemotePath, State, Tree]]) -> None:
        """Keep the trees of files that were there already, in one transaction."""
        rows = [
            (path, state, (tree.chunk_size, tree.leaves, tree.root)) for path, state, tree in files if state.has_place()
        ]
        if rows:
            self._keep_all(("chunk_size", "leaves", "root"), rows)

    def keep_checksum(self, path: RemotePath, state: State, algorithm: Algorithm, digest: str) -> None:
        """Keep a digest of a file in this state."""
        self._keep_all((algorithm.value,), [(path, state, (digest,))])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _row(self, columns: str, path: RemotePath, state: State) -> tuple[Any, ...] | None:
        query = f"SELECT {columns} FROM files WHERE path = ? AND {_SAME_STATE}"  # noqa: S608 (columns are ours)
        return self._execute(query, (str(path), *state))

    def _keep_all(self, columns: Sequence[str], rows: Sequence[tuple[RemotePath, State, tuple[object, ...]]]) -> None:
        # What is known of another state of the file goes, what is known of this one stays.
        forget = f"DELETE FROM files WHERE path = ? AND NOT ({_SAME_STATE})"  # noqa: S608 (columns are ours)
        keep = (
            f"INSERT INTO files (path, {_STATE}, {', '.join(columns)}) VALUES ({_marks(5 + len(columns))}) "  # noqa: S608
            f"ON CONFLICT (path) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in columns)}"
        )

        def work(database: sqlite3.Connection) -> None:
            database.executemany(forget, [(str(path), *state) for path, state, _ in rows])
            database.executemany(keep, [(str(path), *state, *values) for path, state, values in rows])

        self._do(lambda database: _at_once(database, work))

    def _execute(self, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        return self._do(lambda database: database.execute(query, values).fetchone())

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
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
            self._database = _connect(str(self._file) if self._file else _MEMORY)
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
        self._database = _connect(_MEMORY)


def _replace_all(database: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    # One statement: `executemany` lets go of the interpreter lock, and waits for it again, with every row.
    marks = ", ".join([f"({_marks(8)})"] * len(rows))
    query = f"INSERT OR REPLACE INTO files (path, {_STATE}, chunk_size, leaves, root) VALUES {marks}"  # noqa: S608 (marks)
    database.execute(query, [value for row in rows for value in row])


def _at_once(database: sqlite3.Connection, work: Callable[[sqlite3.Connection], object]) -> None:
    """Do something in one transaction."""
    database.execute("BEGIN")
    try:
        work(database)
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # some errors have ended it already
            database.execute("ROLLBACK")
        raise


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _connect(name: str) -> sqlite3.Connection:
    # Autocommit: no lock is held between calls.
    database = sqlite3.connect(name, check_same_thread=False, isolation_level=None)
    try:
        database.executescript(_SCHEMA)
        if name == _MEMORY:
            database.execute(f"PRAGMA max_page_count = {MEMORY_PAGES}")
    except sqlite3.Error:
        database.close()
        raise
    return database
