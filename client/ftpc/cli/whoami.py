"""`ftpc whoami`: tell who is logged in, and what he may do."""

from argparse import Namespace

from ftpc.cli.exits import Exit
from ftpc.cli.options import Parser, new_parser
from ftpc.cli.terminal import Terminal
from ftpc.client import Client

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
    if terminal.json:
        terminal.json_data(server=str(client.address), user=identity.user, rights=identity.rights)
    else:
        terminal.data(f"{identity.user} at {client.address}: {', '.join(identity.rights) or 'no rights'}")
    return Exit.OK
