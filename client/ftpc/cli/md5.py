"""`ftpc md5`: print MD5 digests as md5sum does, or check a list of them."""

import re
import sys
from argparse import Namespace
from collections.abc import AsyncIterator
from typing import NamedTuple

import aiofiles

from ftpc.cli.exits import Exit, exit_of_all
from ftpc.cli.options import new_parser
from ftpc.cli.sum import print_sums
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.errors import FtpcError
from ftpc.files import local_errors
from ftpc.ui.text import count_text, safe_text
from ftpd.arguments import Parser
from ftpd.wire.terms import Algorithm

EXAMPLES = """\
  ftpc md5 big.mp4            the same line md5sum prints
  ftpc md5 *.iso > MD5SUMS    a list
  ftpc md5 -c MD5SUMS         check the files on the server against a list
"""

_LINE = re.compile(r"(?P<escaped>\\)?(?P<digest>[0-9a-fA-F]{32}) [ *](?P<name>.+)")
_TAGGED = re.compile(r"(?P<escaped>\\)?MD5 \((?P<name>.+)\) = (?P<digest>[0-9a-fA-F]{32})")
_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\\\": "\\"}


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    parser = new_parser(verb, "Print MD5 digests of remote files, as md5sum does, or check a list of them.", EXAMPLES)
    parser.add_argument("remotes", nargs="*", metavar="REMOTE", help="a remote file")
    parser.add_argument("-c", "--check", metavar="FILE", help="check the list in FILE, or - for standard input")
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Print or check."""
    if bool(args.remotes) == (args.check is not None):
        make_parser("md5").error("name remote files, or a list with -c FILE, but not both")
    if args.check is None:
        return await print_sums(args.remotes, Algorithm.MD5, client, terminal)
    return await _check(args.check, client, terminal)


class _Line(NamedTuple):
    digest: str
    name: str


async def _check(file: str, client: Client, terminal: Terminal) -> Exit:
    checked = differ = malformed = 0
    errors: list[FtpcError] = []
    async for line in _lines(file):
        if line is None:
            malformed += 1
            continue
        checked += 1
        verdict = "OK"
        try:
            if await client.md5(line.name) != line.digest:
                differ += 1
                verdict = "FAILED"
        except FtpcError as exc:
            errors.append(exc)
            terminal.complain(exc, name=line.name)
            verdict = "FAILED open or read"
        if terminal.json:
            terminal.json_data(path=line.name, ok=verdict == "OK", digest=line.digest)
        else:
            terminal.data(f"{safe_text(line.name)}: {verdict}")
    _warn(terminal, {"line": malformed, "file": len(errors), "digest": differ})
    if not checked:
        terminal.say(f"ftpc: {file}: there is no MD5 line in it")
    if errors and not differ:
        return exit_of_all(errors)
    return Exit.OTHER if differ or not checked else Exit.OK


def _warn(terminal: Terminal, counts: dict[str, int]) -> None:
    troubles = {"line": "improperly formatted", "file": "could not be read", "digest": "did NOT match"}
    for what, count in counts.items():
        if count:
            terminal.say(f"ftpc: WARNING: {count_text(count, what)} {troubles[what]}")


async def _lines(file: str) -> AsyncIterator[_Line | None]:
    """Read a list of digests; None stands for a line that is none."""
    with local_errors(file):
        async with aiofiles.open(
            sys.stdin.fileno() if file == "-" else file, encoding="utf-8", errors="replace"
        ) as lines:
            async for text in lines:
                line = text.rstrip("\r\n")
                if line and not line.startswith("#"):
                    yield _parse(line)


def _parse(line: str) -> _Line | None:
    found = _LINE.fullmatch(line) or _TAGGED.fullmatch(line)
    if found is None:
        return None
    name = found["name"]
    if found["escaped"]:
        name = re.sub(r"\\[nr\\]", lambda match: _ESCAPES[match[0]], name)
    return _Line(found["digest"].lower(), name)
