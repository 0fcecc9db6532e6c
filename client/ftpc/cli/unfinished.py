"""`ftpc jobs`: the transfers that were broken off on this machine, and that can be gone on with."""

import time
from argparse import Namespace

from ftpc.address import DEFAULT_SERVER
from ftpc.cli.exits import Exit
from ftpc.cli.options import new_parser
from ftpc.cli.state import state_folder
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.errors import LocalNotFoundError
from ftpc.jobs import Unfinished, unfinished
from ftpc.ui.text import safe_text, seconds_text
from ftpd.amounts import size_text
from ftpd.arguments import Parser

EXAMPLES = """\
  ftpc jobs                  what was broken off, the newest first
  ftpc resume                go on with all of it
  ftpc resume 1a2b3c4d5e     go on with one
  ftpc cancel 1a2b3c4d5e     forget one
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    parser = new_parser(verb, "List the transfers that were broken off on this machine.", EXAMPLES)
    parser.set_defaults(meets=False, server=DEFAULT_SERVER)
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Print the list."""
    del args, client
    for job in unfinished(state_folder()):
        if terminal.json:
            state = {"running": job.is_running, "changed": round(job.changed, 3), "share": job.is_share}
            terminal.json_data(id=job.id, **job.task._asdict(), size=job.size, **state)
            continue
        age = "running now" if job.is_running else f"broken off {seconds_text(time.time() - job.changed)} ago"
        age += ", came through a share code" if job.is_share else ""
        server = job.task.server.partition("#")[0]  # without its pin
        ends = job.task.local, f"{server}/{job.task.remote}"
        where = " -> ".join(ends if job.task.verb == "put" else reversed(ends))
        terminal.data(f"{job.id}  {size_text(job.size):>10}  {safe_text(where)}  ({age})")
    return Exit.OK


def pick(names: list[str]) -> list[Unfinished]:
    """Give the jobs of these names, or all that nobody is at.

    Raises:
        LocalNotFoundError: there is none of that name.
    """
    found = {job.id: job for job in unfinished(state_folder())}
    missing = [name for name in names if name not in found]
    if missing:
        raise LocalNotFoundError(f"{missing[0]}: there is no such unfinished transfer; see ftpc jobs")
    return [found[name] for name in names] if names else [job for job in found.values() if not job.is_running]
