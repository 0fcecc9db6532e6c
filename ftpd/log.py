"""Log lines on standard error, for people or as JSON."""

import json
import logging
import re
import select
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TextIO

FIELDS = ("peer", "user", "command", "path", "bytes", "seconds", "outcome")
"""What a record may carry beside its message, in this order."""

EACH = "each"
"""What a record carries that stands for several lines: the fields of each of them, in the same order."""

Fields = Mapping[str, str | int | float]


class LogFormat(StrEnum):
    """How a log line looks."""

    TEXT = "text"
    JSON = "json"


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00Z INFO transfer peer=127.0.0.1:40000 command=put path="a b.txt" …`."""

    default_time_format = "%Y-%m-%dT%H:%M:%SZ"
    default_msec_format = None

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self.converter = time.gmtime
        self._second = 0, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 (logging's name)
        """Write the time, once for all records of a second: it was a quarter of the work."""
        second = int(record.created)
        if self._second[0] != second:
            self._second = second, super().formatTime(record, datefmt)
        return self._second[1]

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """Put the fields behind the message, on a line for each."""
        message = super().formatMessage(record)
        lines = ([message, *(f"{name}={_quote(value)}" for name, value in each.items())] for each in _fields(record))
        return "\n".join(map(" ".join, lines))


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Turn the record into JSON, its traceback included."""
        head = {"time": round(record.created, 3), "level": record.levelname.lower(), "message": record.getMessage()}
        tail = {"traceback": self.formatException(record.exc_info)} if record.exc_info else {}
        return "\n".join(json.dumps({**head, **each, **tail}) for each in _fields(record))


_PIECE = 1000
"""Characters that are written at once: what a pipe takes without waiting if it takes anything (PIPE_BUF, pipe(7))."""


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines as long as they are taken. What would have to be waited for is counted instead, and that is said.

    The event loop writes the log, and a collector that hangs must not stop the server.
    """

    def __init__(self) -> None:
        super().__init__()
        self._missing = 0
        self._is_torn = False
        """Whether the last line that was written has no end."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the lines of a record, or count them."""
        try:
            if self._missing:
                self._write_missing()
            lines = self.format(record)
            self._missing += self._write(lines) if not self._missing else lines.count("\n") + 1
        except Exception:  # noqa: BLE001 (as every handler does, see `logging.Handler.handleError`)
            self.handleError(record)

    def _write_missing(self) -> None:
        notice = logging.LogRecord(
            __name__, logging.WARNING, "", 0, "%d lines are missing here: nobody read the log", (self._missing,), None
        )
        if not self._write(self.format(notice)):
            self._missing = 0

    def _write(self, lines: str) -> int:
        """Write lines; give how many were not taken."""
        text = f"\n{lines}\n" if self._is_torn else f"{lines}\n"
        for at in range(0, len(text), _PIECE):
            if not select.select([], [self.stream], [], 0)[1]:
                self._is_torn = self._is_torn or at > 0
                return text[at:].lstrip("\n").count("\n")
            self.stream.write(text[at : at + _PIECE])
            self.stream.flush()
        self._is_torn = False
        return 0


def set_up(log_format: LogFormat, level: int) -> None:
    """Send everything from `level` up to standard error."""
    handler = LineHandler()
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())
    # What no line of ours shows is not looked up for each of them: "Optimization" in logging's HOWTO.
    logging._srcfile = None  # noqa: SLF001 (the documented way)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # asyncio tells of every slow callback and unready socket; what matters to an operator we say ourselves.
    logging.getLogger("asyncio").setLevel(max(level, logging.WARNING))


def _fields(record: logging.LogRecord) -> Sequence[Fields]:
    """Give the fields of each line that a record stands for."""
    known = record.__dict__
    each: Sequence[Fields] | None = known.get(EACH)
    return each or [{name: known[name] for name in FIELDS if name in known}]


_PLAIN = re.compile(r"[!#-<>-~]+")
"""Printable ASCII without blanks, quotes and equals signs."""


def _quote(value: str | float) -> str:
    # JSON escapes control characters and all that is not ASCII, so a name can not forge a line or move a cursor.
    text = str(value)
    return text if not isinstance(value, str) or _PLAIN.fullmatch(text) else json.dumps(text)
