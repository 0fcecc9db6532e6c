"""Which names of a folder have been seen, however many there are."""

import sqlite3
from collections.abc import Iterable

from ftpc.errors import LocalFileError


class Seen:
    """The names in one folder. Of millions most are in a temporary file: SQLite keeps 2 MiB of them in memory.

    It needs no file while there are few, and has no name in any case (https://sqlite.org/inmemorydb.html, "Temporary
    Databases"): nothing of it is left behind, however the process ends.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=OFF")  # it is never rolled back
        self._database.execute("CREATE TABLE seen (name TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, names: Iterable[str]) -> list[str]:
        """Give those that are new, in their order, and take note of them.

        Raises:
            LocalFileError: there is no room for them.
        """
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        try:
            return [name for name in names if self._database.execute(insert, (name,)).rowcount]
        except sqlite3.Error as exc:
            msg = f"names of a folder can not be kept in a temporary file (TMPDIR says where): {exc}"
            raise LocalFileError(msg) from exc

    def close(self) -> None:
        """Forget them."""
        self._database.close()
