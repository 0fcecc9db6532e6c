"""`ftpc whoami`: tell who is logged in, and what he may do."""

import contextlib
from argparse import Namespace

from ftpc.cli.df import facts_of, quota_lines
from ftpc.cli.exits import Exit
from ftpc.cli.options import new_parser
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.errors import RefusedError
from ftpd.arguments import Parser

EXAMPLES = """\
  ftpc whoami                          on the default server
  ftpc whoami --json
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    return new_parser(verb, "Tell who is logged in, and what he may do somewhere.", EXAMPLES)


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Ask."""
    del args
    identity = await client.whoami()
    disk = None
    if "write" in identity.rights:
        with contextlib.suppress(RefusedError):  # a server that does not know of quotas
            disk = await client.df()
    if terminal.json:
        quota = {name: fact for name, fact in facts_of(disk).items() if name not in {"total", "free"}} if disk else {}
        terminal.json_data(server=str(client.address), user=identity.user, rights=identity.rights, **quota)
    else:
        terminal.data(f"{identity.user} at {client.address}: {', '.join(identity.rights) or 'no rights'}")
        for line in quota_lines(disk) if disk else ():
            terminal.data(line)
    return Exit.OK
