"""`ftpc cancel`: forget a transfer that was broken off."""

import asyncio
from argparse import Namespace

from ftpc.address import DEFAULT_SERVER
from ftpc.cli.exits import Exit
from ftpc.cli.options import new_parser
from ftpc.cli.state import state_folder, trust_and_credentials
from ftpc.cli.terminal import Terminal
from ftpc.cli.unfinished import EXAMPLES, pick
from ftpc.client import Client, connect
from ftpc.errors import AbandonedError, FtpcError, InUseError, RefusedError
from ftpc.jobs import Unfinished, forget
from ftpd.arguments import Parser
from ftpd.wire.errors import ErrorCode

PATIENCE_S = 5.0
"""How long a server may take to drop an upload: nobody waits long for what it does by itself one day."""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    description = (
        "Forget a transfer that was broken off, and remove what is here of a download, or on the server of an upload.\n"
        "A server that can not be told drops it after its --partial-ttl, and until then it counts as used."
    )
    parser = new_parser(verb, description, EXAMPLES)
    parser.add_argument("ids", nargs="+", metavar="JOB", help="as ftpc jobs lists them")
    parser.set_defaults(meets=False, server=DEFAULT_SERVER)
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Forget them."""
    del client
    for job in pick(args.ids):
        if job.is_running:
            raise InUseError(f"{job.id}: an ftpc is at it; stop that one first")
        stays = await _drop(job, args) if job.upload else ""
        forget(state_folder(), job)
        terminal.say(f"{job.id}: forgotten{stays}")
    return Exit.OK


async def _drop(job: Unfinished, args: Namespace) -> str:
    """Have the server drop its part of an upload; if it can not be told, say what that means."""
    server = job.task.server
    try:
        trust, credentials = trust_and_credentials(server, args)
        async with (
            asyncio.timeout(PATIENCE_S),
            connect(server, trust=trust, credentials=credentials, retries=0) as client,
        ):
            await client.drop(job.task.remote, job.size, job.upload)
    except AbandonedError:
        raise
    except (FtpcError, TimeoutError) as exc:
        if isinstance(exc, RefusedError) and exc.code == ErrorCode.UNKNOWN_UPLOAD:
            return ""
        why = exc.message if isinstance(exc, FtpcError) else f"{server}: no answer within {PATIENCE_S:g} seconds"
        return f"; the server could not be told ({why}): its part stays until its --partial-ttl, and counts as used"
    return ""
