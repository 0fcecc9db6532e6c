"""`ftpc cancel`: forget a transfer that was broken off."""

from argparse import Namespace

from ftpc.cli.exits import Exit
from ftpc.cli.options import Parser, new_parser
from ftpc.cli.state import state_folder
from ftpc.cli.terminal import Terminal
from ftpc.cli.unfinished import EXAMPLES, pick
from ftpc.client import Client
from ftpc.errors import LocalFileError
from ftpc.jobs import forget


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    description = (
        "Forget a transfer that was broken off, and remove what is here of a download.\n"
        "What a server has of an upload it drops after its --partial-ttl."
    )
    parser = new_parser(verb, description, EXAMPLES)
    parser.add_argument("ids", nargs="+", metavar="JOB", help="as ftpc jobs lists them")
    parser.set_defaults(meets=False)
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Forget them."""
    del client
    for job in pick(args.ids):
        if job.is_running:
            raise LocalFileError(f"{job.id}: an ftpc is at it; stop that one first")
        forget(state_folder(), job)
        terminal.say(f"{job.id}: forgotten")
    return Exit.OK
