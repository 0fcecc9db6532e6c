"""`ftpc sum`: print digests of remote files."""

from argparse import Namespace

from ftpc.cli.exits import Exit, exit_of_all
from ftpc.cli.options import choice_of, new_parser
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.errors import FtpcError
from ftpc.ui.text import safe_text
from ftpd.arguments import Parser
from ftpd.wire.terms import Algorithm

EXAMPLES = """\
  ftpc sum big.mp4                    SHA-256, as sha256sum prints it
  ftpc sum --algo blake3 a.txt b.txt
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    parser = new_parser(verb, "Print digests of remote files. The server computes each once.", EXAMPLES)
    parser.add_argument("remotes", nargs="+", metavar="REMOTE", help="a remote file")
    parser.add_argument(
        "--algo",
        type=choice_of(Algorithm),
        default=Algorithm.SHA256,
        metavar="|".join(Algorithm),
        help="which digest (default: sha256)",
    )
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Print."""
    return await print_sums(args.remotes, args.algo, client, terminal)


async def print_sums(remotes: list[str], algorithm: Algorithm, client: Client, terminal: Terminal) -> Exit:
    """Print one line per file, as the coreutils do."""
    errors: list[FtpcError] = []
    for remote in remotes:
        try:
            digest = await client.sum(remote, algorithm)
        except FtpcError as exc:
            errors.append(exc)
            terminal.complain(exc, name=remote)
            continue
        if terminal.json:
            terminal.json_data(path=remote, algo=algorithm.value, digest=digest)
        else:
            terminal.data(sum_line(safe_text(digest), remote))
    return exit_of_all(errors)


def sum_line(digest: str, name: str) -> str:
    r"""Write a line as md5sum and its sisters do, which mark and escape a name with a `\` or a line break in it."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}"
