"""Where a command prints: data to standard output, talk to standard error."""

import os
import sys
from collections.abc import Callable
from io import StringIO, TextIOWrapper
from typing import TYPE_CHECKING, TextIO

from ftpc.errors import FtpcError, OthersRefusedError, RefusedError

_NAMELESS = {"no_space", "forbidden", "busy", "timeout"}
"""What servers refuse without saying which file it is about: mostly they are asked for one only."""

if TYPE_CHECKING:
    from ftpc.jobs import Task
    from ftpc.ui.base import Display


def _usable(stream: TextIO | None) -> TextIO:
    """Give a stream that takes every name, also where the locale or the caller (`>&-`) does not."""
    if stream is None:
        return StringIO()
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


class Terminal:
    """The streams of a command, and what the user wants to see on them."""

    def __init__(self, *, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.stdout = _usable(sys.stdout)
        self.stderr = _usable(sys.stderr)
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.explain: Callable[[FtpcError], str] = lambda error: error.message
        """Gives the message of an error, with what is to be done about it."""
        self.print: Callable[[str], None] = self._print
        """Prints a line of talk; as long as bars are drawn, that has to go through them."""
        self.display: Display | None = None
        """Where the files of the command are shown, if it moves any."""
        self.stored = 0
        """Files of those that have been told of as stored, or the same already."""
        self.unfinished: set[Task] = set()
        """What is not, and may be gone on with one by one."""

    @property
    def can_draw(self) -> bool:
        """Whether standard error is a terminal that can move its cursor."""
        return self.stderr.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", ""}

    def data(self, line: str) -> None:
        """Print a line of what was asked for."""
        print(line, file=self.stdout)

    def json_data(self, **fields: object) -> None:
        """Print an object for a program."""
        from ftpc.ui.events import write_json

        write_json(self.stdout, **fields)

    def say(self, line: str) -> None:
        """Tell something, unless the user wants quiet."""
        if not self.quiet:
            from ftpc.ui.text import safe_text

            self.print(safe_text(line))

    def notice(self, line: str) -> None:
        """Tell something that is about the command and no file, unless the user wants quiet."""
        self.say(f"ftpc: {line}")

    def complain(
        self, error: FtpcError, name: str | None = None, files: int = 1, *, is_one_of_many: bool = False
    ) -> None:
        """Tell of an error in one line, and to programs as an object with the name of what it was about.

        If it is about many files people are told how many; with none they have been told already. If it is about one of
        many they are told which.
        """
        from ftpc.ui.text import safe_text

        message = self.explain(error)
        if files:
            many = f"; {files:,} files are not stored, or nobody knows" if files > 1 else ""
            which = f"{name}: " if name and files == 1 and is_one_of_many and _is_nameless(error, name) else ""
            self.print(f"ftpc: {safe_text(which + message)}{many}")
        if self.json:
            facts = error.facts if isinstance(error, RefusedError) else {}
            self.json_data(event="error", name=name, error={**facts, "code": error.code, "message": message})

    def _print(self, line: str) -> None:
        print(line, file=self.stderr, flush=True)


def _is_nameless(error: FtpcError, name: str) -> bool:
    """Tell whether an error does not begin with the name of the file that it is about."""
    if not isinstance(error, RefusedError) or isinstance(error, OthersRefusedError) or error.code not in _NAMELESS:
        return False
    return error.message.partition(": ")[0].rpartition("/")[2] != name.rpartition("/")[2]
