"""`ftpc stat`: tell what a name is."""

import time
from argparse import Namespace

from ftpc.cli.exits import Exit
from ftpc.cli.options import new_parser
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.ui.text import safe_text
from ftpd.amounts import size_text
from ftpd.arguments import Parser

EXAMPLES = """\
  ftpc stat big.mp4
  ftpc stat --json big.mp4
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    parser = new_parser(verb, "Tell what a name is: type, size, time, mode, and the root digest if known.", EXAMPLES)
    parser.add_argument("path", metavar="REMOTE", help="a remote file or folder")
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Tell."""
    found = await client.stat(args.path)
    mtime = found.mtime + found.mtime_ns / 1e9
    if terminal.json:
        terminal.json_data(
            path=args.path,
            type=found.type.value,
            size=found.filesize,
            mtime=mtime,
            mode=found.mode,
            root=found.root,
        )
        return Exit.OK
    terminal.data(f"name  {safe_text(args.path)}")
    terminal.data(f"type  {found.type.value}")
    terminal.data(f"size  {found.filesize} ({size_text(found.filesize)})")
    terminal.data(f"time  {time.strftime('%Y-%m-%d %H:%M:%S %z', time.localtime(found.mtime))}")
    terminal.data(f"mode  {found.mode:04o}")
    terminal.data(f"root  {safe_text(found.root or 'not known yet')}")
    return Exit.OK
