"""A terminal for the command line: a pseudo terminal on its standard error, and what has been drawn there."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.client.command import Ftpc, command
from tests.client.support import PATIENCE_S

HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"
ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A command whose standard error is a terminal, and whose standard input the test holds open."""

    def __init__(self, ftpc: Ftpc, *arguments: str, columns: int = 100, env: Mapping[str, str] | None = None) -> None:
        self.drawn = b""
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=slave,
            cwd=ftpc.folder,
            env=ftpc.environment({"TERM": "xterm-256color", **(env or {})}),
            start_new_session=True,
        )
        os.close(slave)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        self.stdin.close()
        self.stdout.close()
        os.close(self._master)

    def feed(self, data: bytes) -> None:
        """Write to its standard input."""
        self.stdin.write(data)
        self.stdin.flush()

    def read_until(self, what: bytes) -> None:
        """Wait until something has been drawn."""
        deadline = time.monotonic() + PATIENCE_S
        while what not in self.drawn:
            assert time.monotonic() < deadline, f"{what!r} was not drawn: {self.drawn!r}"
            assert self._read(0.1), f"the command ended without drawing {what!r}: {self.drawn!r}"

    def read_until_line(self, pattern: str, after: int = 0) -> None:
        """Wait until a line has been drawn, after so many others."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(re.search(pattern, line) for line in self.lines[after:]):
            assert time.monotonic() < deadline, f"{pattern!r} was not drawn: {self.lines[-8:]}"
            assert self._read(0.1), f"the command ended without drawing {pattern!r}: {self.lines[-8:]}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, patience_s: float = PATIENCE_S) -> int:
        """Wait for its end, and give the exit status."""
        deadline = time.monotonic() + patience_s
        while self._read(0.1):
            assert time.monotonic() < deadline, f"the command does not end: {self.drawn!r}"
        assert b"Traceback" not in self.drawn, self.drawn
        return self.process.wait(PATIENCE_S)

    @property
    def left(self) -> str:
        """What stands behind the bars when they have gone."""
        return ESCAPE.sub(b"", self.drawn.rpartition(SHOW)[2]).decode().lstrip("\r")

    @property
    def lines(self) -> list[str]:
        """What the bars have drawn, without the escape sequences."""
        drawn = ESCAPE.sub(b"", self.drawn.rpartition(SHOW)[0] or self.drawn).decode(errors="replace")
        return [line for line in drawn.replace("\r", "\n").split("\n") if line]

    def _read(self, patience_s: float) -> bool:
        """Read what is there; False at the end."""
        if not select.select([self._master], [], [], patience_s)[0]:
            return True
        try:
            data = os.read(self._master, 2**16)
        except OSError:  # EIO: nobody has the other end open any more
            return False
        self.drawn += data
        return bool(data)


def visible(drawn: str) -> list[str]:
    """Give the lines that a person sees: after all moves of the cursor, and without what was erased."""
    rows, row, column = [""], 0, 0
    for move, text in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|[\r\n])|([^\x1b\r\n]+)", drawn):
        if move == "\n":  # a terminal adds the carriage return
            row, column = row + 1, 0
            rows += [""] * (row == len(rows))
        elif move == "\r":
            column = 0
        elif move.endswith("A"):
            row -= int(move[2:-1] or 1)
        elif move.endswith("2K"):
            rows[row] = ""
        elif text:
            rows[row] = f"{rows[row][:column]:{column}}{text}{rows[row][column + len(text) :]}"
            column += len(text)
    return [line for line in rows if line]
