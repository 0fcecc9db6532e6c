"""`ftpc get`: download files, or to standard output."""

from argparse import Namespace
from pathlib import Path

from ftpc.cli.exits import Exit
from ftpc.cli.jobs import Outcome, pick_display, run_job
from ftpc.cli.options import Parser, add_jobs, add_patience, new_parser, refuse_twins
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.errors import LocalFileError
from ftpc.progress import Progress

EXAMPLES = """\
  ftpc get a.txt                     into this folder
  ftpc get data/a.csv data/b.csv -o copies   into the folder copies
  ftpc get big.mp4 -o film.mp4       under another name
  ftpc get log.txt -o - | less       to standard output
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    parser = new_parser(verb, "Download files. Each appears here as a whole, verified, or not at all.", EXAMPLES)
    parser.add_argument("remotes", nargs="+", metavar="REMOTE", help="a remote file")
    parser.add_argument("-o", "--output", metavar="PATH", help="a file or folder; - is standard output (default: .)")
    add_jobs(parser)
    add_patience(parser)
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Download."""
    remotes: list[str] = args.remotes
    to_stdout = args.output == "-"
    if to_stdout and terminal.json:
        make_parser("get").error("--json and -o - both want standard output")
    if to_stdout and len(remotes) > 1:
        args.jobs = 1  # one after the other, in the order in which they were named
    folder = Path(args.output or ".")
    if (len(remotes) > 1 or str(args.output).endswith("/")) and not to_stdout:
        _make_folder(folder)
        refuse_twins("get", [remote.rstrip("/").rpartition("/")[2] for remote in remotes], remotes)
    display = pick_display(args.progress, terminal)
    display.expect(len(remotes), None)

    async def get(remote: str, progress: Progress) -> Outcome:
        target = terminal.stdout.fileno() if to_stdout else folder
        result = await client.get(remote, target, preserve=args.preserve, progress=progress)
        if terminal.json:
            fields = {"remote": remote, "local": str(result.local), "size": result.size, "mtime": result.mtime}
            terminal.json_data(event="done", **fields, resumed=result.resumed, restarted=result.restarted)
        elif result.restarted:
            terminal.say(f"{remote}: after a break nobody could tell whether it was still the same: begun afresh")
        elif terminal.verbose:
            terminal.say(f"{client.address}/{remote} -> {result.local or 'standard output'}, {result.size} bytes")
        return Outcome(result.size)

    return await run_job(remotes, get, args.jobs, terminal, display)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise LocalFileError(f"{folder}: several files need a folder to go into: {exc.strerror}") from exc
