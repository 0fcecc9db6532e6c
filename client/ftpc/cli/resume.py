"""`ftpc resume`: go on with transfers that were broken off."""

from argparse import Namespace
from pathlib import Path

from ftpc.address import DEFAULT_SERVER
from ftpc.cli.exits import Exit
from ftpc.cli.get import tell_of_get
from ftpc.cli.jobs import Outcome, pick_display, run_job
from ftpc.cli.options import add_jobs, add_patience, add_streams, new_parser
from ftpc.cli.put import tell_of_put
from ftpc.cli.state import state_folder, trust_and_credentials
from ftpc.cli.terminal import Terminal
from ftpc.cli.unfinished import EXAMPLES, pick
from ftpc.client import Client, connect
from ftpc.errors import RefusedError
from ftpc.jobs import Unfinished
from ftpc.progress import Progress
from ftpd.arguments import Parser
from ftpd.wire.errors import ErrorCode
from ftpd.wire.terms import IfExists


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    parser = new_parser(verb, "Go on with transfers that were broken off: all, or those named.", EXAMPLES)
    parser.add_argument("ids", nargs="*", metavar="JOB", help="as ftpc jobs lists them")
    add_jobs(parser)
    add_streams(parser)
    add_patience(parser)
    parser.set_defaults(meets=False, repeats=False, server=DEFAULT_SERVER)  # every job knows its own server
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Move the rest of each."""
    del client  # every job knows its own server
    jobs = pick(args.ids)
    if not jobs:
        terminal.say("there is nothing to go on with")
        return Exit.OK
    shared = [job for job in jobs if job.is_share]
    if not args.ids:
        for job in shared:
            terminal.say(f"ftpc: {_what_goes_on(job)}")
        if not (jobs := [job for job in jobs if not job.is_share]):
            return Exit.OK
    terminal.unfinished.update(job.task for job in jobs if not job.is_share)
    display = pick_display(args.progress, terminal)
    display.expect(len(jobs), sum(job.size for job in jobs))

    async def go_on(job: Unfinished, progress: Progress) -> Outcome:
        if job.is_share:
            raise RefusedError(ErrorCode.UNAUTHORIZED, _what_goes_on(job), {})
        trust, credentials = trust_and_credentials(job.task.server, args)
        async with connect(
            job.task.server,
            streams=args.streams,
            trust=trust,
            credentials=credentials,
            connect_timeout_s=args.connect_timeout,
            stall_timeout_s=args.stall_timeout,
            retries=args.retries,
            jobs=state_folder(),
        ) as own:
            return await (_get if job.task.verb == "get" else _put)(job, own, terminal, progress)

    return await run_job(jobs, go_on, args.jobs, terminal, display)


def _what_goes_on(job: Unfinished) -> str:
    return f"{job.id}: {job.task.local} came through a share code: give the same command and code again"


async def _put(job: Unfinished, client: Client, terminal: Terminal, progress: Progress) -> Outcome:
    task = job.task
    if_exists = IfExists(job.if_exists)
    result = await client.put(
        Path(task.local), task.remote, if_exists=if_exists, preserve=job.preserve, progress=progress
    )
    tell_of_put(task.local, result, client, terminal)
    return Outcome.of_put(result)


async def _get(job: Unfinished, client: Client, terminal: Terminal, progress: Progress) -> Outcome:
    result = await client.get(job.task.remote, Path(job.task.local), preserve=job.preserve, progress=progress)
    tell_of_get(job.task.remote, result, client, terminal)
    return Outcome.of_get(result)
