"""Options that every verb has, and what is shared in reading the command line."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from enum import StrEnum

from ftpc.address import DEFAULT_SERVER, IS_ADDRESS
from ftpc.connection import CONNECT_S, RETRIES, STALL_S, STREAMS
from ftpd.arguments import Parser

_ADDRESS = re.compile(rf"(?!--server=)(-[-a-z]*=?)?{IS_ADDRESS.pattern}", re.IGNORECASE)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Knows its width without importing `shutil` for it, which every start would pay for."""

    def __init__(self, prog: str) -> None:
        try:
            width = os.get_terminal_size().columns
        except OSError:
            width = 80
        super().__init__(prog, width=min(width, 100) - 2)


def new_parser(verb: str, description: str, examples: str, *, help_options: Sequence[str] = ("-h", "--help")) -> Parser:
    """Make the parser of a verb, with the options that all have. Its help leads with examples."""
    parser = Parser(
        prog=f"ftpc {verb}",
        description=f"examples:\n{examples}\n{description}",
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument(*help_options, action="help", help="show this help")
    parser.add_argument(
        "--server",
        metavar="HOST[:PORT]|URL",
        default=os.environ.get("FTPC_SERVER"),
        help=f"the server (default: FTPC_SERVER in the environment, else that of ftpc login, else {DEFAULT_SERVER})",
    )
    parser.add_argument("--ca", metavar="FILE", help="who vouches for servers (certificates, PEM); then no pin counts")
    parser.add_argument("--cert", metavar="FILE", help="log in with this certificate (PEM)")
    parser.add_argument("--cert-key", metavar="FILE", help="its key, if that is in a file of its own")
    parser.add_argument("--json", action="store_true", help="print JSON for programs (docs/json.md)")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress and no summary")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="tell who the server is, and of every file where it went"
    )
    return parser


def add_jobs(parser: Parser) -> None:
    """Add what verbs that move files have in common."""
    parser.add_argument(
        "-j", "--jobs", type=_jobs, default=4, metavar="N", help="files at the same time (default: %(default)s)"
    )
    parser.add_argument("-p", "--preserve", action="store_true", help="keep modification times and modes")
    parser.add_argument(
        "--progress",
        choices=("auto", "bar", "plain", "none"),
        default="auto",
        help="how progress is shown (default: bars on a terminal, else a line every few seconds)",
    )


def add_share(parser: Parser, text: str) -> None:
    """Add how to use what somebody else has shared."""
    parser.add_argument("--share", action="store_true", help=text)


def add_resume(parser: Parser) -> None:
    """Add how not to go on with anything."""
    parser.add_argument("--no-resume", dest="resume", action="store_false", help="begin afresh, and remember nothing")


def add_patience(parser: Parser) -> None:
    """Add how long a transfer waits, and how often it tries."""
    parser.add_argument(
        "--retries", type=_retries, default=RETRIES, metavar="N",
        help="tries in a row to mend a lost connection (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--connect-timeout", type=_seconds, default=CONNECT_S, metavar="S",
        help="seconds a server may take to answer at all (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--stall-timeout", type=_seconds, default=STALL_S, metavar="S",
        help="seconds without any movement after which a connection is lost (default: %(default)g)",
    )  # fmt: skip


def add_streams(parser: Parser) -> None:
    """Add how many connections a file may use."""
    parser.add_argument(
        "--streams", type=_jobs, default=STREAMS, metavar="N",
        help="connections for one large file at the most; more than one are used where the round trip is long, or "
        "where they are seen to pay (default: %(default)s)",
    )  # fmt: skip


def choice_of(kind: type[StrEnum]) -> Callable[[str], StrEnum]:
    """Make the type of an option that takes one of a few words."""

    def convert(text: str) -> StrEnum:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is none of: {', '.join(kind)}") from None

    return convert


def refuse_twins(verb: str, targets: Sequence[str], sources: Sequence[str]) -> None:
    """End with a usage error if two sources would become the same target: one of them would be lost."""
    seen: dict[str, str] = {}
    for target, source in zip(targets, sources, strict=True):
        if target in seen:
            Parser(prog=f"ftpc {verb}").error(f"{seen[target]} and {source} would both become {target}")
        seen[target] = source


def refuse_addresses(verb: str, arguments: Sequence[str]) -> None:
    """End with a usage error if the address of a server stands where a name belongs.

    To be done before anything else looks at the command line: what is repeated could be somebody's share code.
    """
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if verb != "login" and before != "--server" and _ADDRESS.match(argument):
            error = "an address is no name; give a server to --server, and a share code to --share, which asks for it"
            Parser(prog=f"ftpc {verb}").error(error)


def _retries(text: str) -> int:
    if not text.isdecimal() or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1000000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")
    return int(text)
