"""`ftpc ping`: ask the server for a sign of life."""

from argparse import Namespace

from ftpc.cli.exits import Exit
from ftpc.cli.options import new_parser
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.ui.text import safe_text
from ftpd.arguments import Parser

EXAMPLES = """\
  ftpc ping
  ftpc --server 10.0.0.7 ping
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    return new_parser(verb, "Ask the server for a sign of life, and what it is.", EXAMPLES)


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Ask."""
    del args
    greeting = await client.hello()
    seconds = await client.ping()
    if terminal.json:
        terminal.json_data(
            server=greeting.server,
            version=greeting.version,
            address=str(client.address),
            seconds=round(seconds, 6),
            durability=greeting.durability.value,
            read_only=greeting.read_only,
            features=greeting.features,
        )
    else:
        access = ", read-only" if greeting.read_only else ""
        durability = f"durability {greeting.durability.value}{access}"
        terminal.data(f"{client.address} {safe_text(greeting.server)}: {seconds * 1000:.2f} ms, {durability}")
    return Exit.OK
