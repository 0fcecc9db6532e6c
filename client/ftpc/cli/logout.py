"""`ftpc logout`: forget how to log in to a server."""

from argparse import Namespace

from ftpc.cli.exits import Exit
from ftpc.cli.options import new_parser
from ftpc.cli.state import config_folder, forget_server
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.credentials import CredentialStore
from ftpd.arguments import Parser

EXAMPLES = """\
  ftpc logout                          forget how to log in to the default server
  ftpc logout --server ftpds://host    or to another one
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    description = "Forget how to log in to a server. The token stays valid; ftpd token revoke ends it."
    parser = new_parser(verb, description, EXAMPLES)
    parser.set_defaults(meets=False)
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Forget it."""
    del args
    was_known = CredentialStore(config_folder()).forget(str(client.address))
    forget_server(client.address)
    terminal.say(f"{client.address}: {'forgotten' if was_known else 'there was nothing to forget'}")
    return Exit.OK
