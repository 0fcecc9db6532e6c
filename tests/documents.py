"""Documents that are run: finds the commands and programs in Markdown, and does what they say.

A block fenced as `console` is run line by line where a line starts with `$ `, one fenced as `python` as a program. A
block is left out if the line before its fence is a comment `<!-- not run: REASON -->`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PATIENCE_S = 60.0
"""How long a command may take before it counts as hung."""

DEFAULT_ADDRESS = "127.0.0.1:9527"

_NOT_RUN = re.compile(r"\s*<!--\s*not run:(?P<reason>.*?)-->\s*")
_FILE = re.compile(r"(?<![\w/.*-])(?:[\w-]+/)*[\w-]+\.(?!py\b)[A-Za-z]\w*(?![\w/.*:-])")


class Step(NamedTuple):
    """A command or a program, and where it stands."""

    document: str
    line: int
    text: str
    is_program: bool = False

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


class BadDocumentError(Exception):
    """A document that can not be run as it is."""


def steps_of(document: str, text: str) -> Iterator[Step]:
    """Find what is to be run.

    Raises:
        BadDocumentError: a block is not closed, or is left out for no reason.
    """
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].startswith("```"):
            at += 1
            continue
        kind, start = lines[at][3:].strip(), at + 1
        try:
            at = start + [line.rstrip() for line in lines[start:]].index("```") + 1
        except ValueError:
            raise BadDocumentError(f"{document}:{start}: the block is not closed") from None
        if not _is_left_out(document, start, lines[start - 2] if start > 1 else ""):
            block = lines[start : at - 1]
            if kind == "console":
                yield from _commands(document, start + 1, block)
            elif kind == "python":
                yield Step(document, start + 1, "\n".join(block), is_program=True)


def _is_left_out(document: str, line: int, before: str) -> bool:
    found = _NOT_RUN.fullmatch(before)
    if found is None:
        return False
    if not found["reason"].strip():
        raise BadDocumentError(f"{document}:{line - 1}: `not run:` needs a reason")
    return True


def _commands(document: str, first: int, block: Sequence[str]) -> Iterator[Step]:
    if not any(line.startswith("$ ") for line in block):
        raise BadDocumentError(f"{document}:{first}: a console block without a line that starts with `$ `")
    command: list[str] = []
    start = first
    for number, line in enumerate(block, first):
        if not command and not line.startswith("$ "):
            continue  # what the command before it prints
        start = start if command else number
        command.append(line if command else line.removeprefix("$ "))
        if not line.endswith("\\"):
            yield Step(document, start, "\n".join(command))
            command = []


def prepare(steps: Sequence[Step], here: Path, root: Path) -> None:
    """Make the files that the commands speak of: all of them here, and on the server those that no put brings there."""
    brought: set[str] = set()
    for step in steps:
        if step.is_program:
            continue
        for name in _FILE.findall(step.text):
            _make(here / name)
            if re.search(r"\bput\b", step.text):
                brought.add(name)
            elif name not in brought:
                _make(root / name)


def _make(path: Path) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {path.name}\n")


def run(step: Step, here: Path, address: str) -> None:
    """Do one step, in a folder, with a server that stands for the default one.

    Raises:
        AssertionError: it fails; the message says where it stands and what it printed.
    """
    text = step.text.replace(DEFAULT_ADDRESS, address)
    command = [sys.executable, "-"] if step.is_program else ["bash", "-o", "pipefail", "-c", text]
    bin_folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        command,
        input=text if step.is_program else "",
        cwd=here,
        env={**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "FTPC_SERVER": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=PATIENCE_S,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{step}: exit status {done.returncode} from\n\n{text}\n\nIt printed:\n{done.stdout}")
