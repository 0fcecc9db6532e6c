"""`ftpc get`: download files, or to standard output."""

from argparse import Namespace
from pathlib import Path

from ftpc.cli.exits import Exit
from ftpc.cli.jobs import Outcome, pick_display, run_job
from ftpc.cli.options import (
    add_jobs,
    add_patience,
    add_resume,
    add_share,
    add_streams,
    new_parser,
    refuse_twins,
)
from ftpc.cli.patterns import hint_at_patterns
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.errors import FtpcError, LocalFileError, RefusedError
from ftpc.progress import Progress
from ftpc.results import GetResult, TreeFile
from ftpc.ui.text import count_text
from ftpd.amounts import size_text
from ftpd.arguments import Parser
from ftpd.wire.errors import ErrorCode
from ftpd.wire.messages import EntryType

EXAMPLES = """\
  ftpc get a.txt                     into this folder
  ftpc get data/a.csv data/b.csv -o copies   into the folder copies
  ftpc get big.mp4 -o film.mp4       under another name
  ftpc get -r photos -o backup       all files below photos, as backup/...
  ftpc get -r photos -o backup/      the same, as backup/photos/...
  ftpc get log.txt -o - | less       to standard output
  ftpc get --share                   what somebody has shared: asks for the share code
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    parser = new_parser(verb, "Download files. Each appears here as a whole, verified, or not at all.", EXAMPLES)
    parser.add_argument("remotes", nargs="*", metavar="REMOTE", help="a remote file")
    parser.add_argument("-r", "--recursive", action="store_true", help="folders with all files in them")
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        help="the file or folder it becomes, or DIR/ that it goes into; - is standard output",
    )
    add_share(parser, "what somebody has shared; the share code is asked for, or read from standard input")
    add_resume(parser)
    add_jobs(parser)
    add_streams(parser)
    add_patience(parser)
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Download."""
    if not args.remotes:
        make_parser("get").error("say what; or --share, to get what somebody has shared")
    remotes: list[str] = args.remotes
    to_stdout = args.output == "-"
    args.recursive = args.recursive or (args.share and not to_stdout)  # nobody has said what was shared
    if not args.recursive and (dots := [remote for remote in remotes if remote.rstrip("/") in {".", ".."}]):
        make_parser("get").error(f"{dots[0]} is no remote file; -o {dots[0]} says where files go")
    if to_stdout and terminal.json:
        make_parser("get").error("--json and -o - both want standard output")
    if to_stdout and args.recursive:
        make_parser("get").error("folders can not go to standard output")
    if to_stdout and len(remotes) > 1:
        args.jobs = 1  # one after the other, in the order in which they were named
    folder = Path(args.output or ".")
    goes_into = len(remotes) > 1 or str(args.output).endswith("/") or folder.name in {"", ".."}
    if goes_into and not to_stdout:
        _make_folder(folder)
        refuse_twins("get", [remote.rstrip("/").rpartition("/")[2] for remote in remotes], remotes)
    display = pick_display(args.progress, terminal)
    display.expect(len(remotes), None)

    async def get(remote: str, progress: Progress) -> Outcome:
        with hint_at_patterns(remote):
            if args.recursive and (await client.stat(remote)).type is EntryType.DIRECTORY:
                # Whether the folder is there makes no difference: the same command goes on with what it has begun.
                local = folder / remote.rstrip("/").rpartition("/")[2] if goes_into else folder
                _refuse_file(local)
                return await _get_tree(remote, local, args, client, terminal, progress)
            target = terminal.stdout.fileno() if to_stdout else folder
            return await _get_file(remote, target, args, client, terminal, progress)

    return await run_job(remotes, get, args.jobs, terminal, display)


async def _get_file(
    remote: str, target: Path | int, args: Namespace, client: Client, terminal: Terminal, progress: Progress
) -> Outcome:
    try:
        result = await client.get(remote, target, preserve=args.preserve, progress=progress)
    except RefusedError as exc:
        if exc.code == ErrorCode.IS_DIRECTORY:
            raise RefusedError(exc.code, f"{exc.message}; get -r fetches folders", exc.facts) from exc
        raise
    tell_of_get(remote, result, client, terminal)
    return Outcome(result.size, resumed=result.resumed)


def tell_of_get(remote: str, result: GetResult, client: Client, terminal: Terminal) -> None:
    """Say what became of a download."""
    terminal.stored += 1
    if terminal.json:
        fields = {"remote": remote, "local": str(result.local), "size": result.size, "mtime": result.mtime}
        more = {"resumed": result.resumed, "repaired": result.repaired, "restarted": result.restarted}
        terminal.json_data(event="done", **fields, **more)
        return
    if terminal.verbose:
        terminal.say(f"{client.address}/{remote} -> {result.local or 'standard output'}, {result.size} bytes")
    if result.lost:
        terminal.say(f"{remote}: what was here of it after a break is gone: begun afresh")
    elif result.restarted:
        terminal.say(f"{remote}: after a break nobody could tell whether it was still the same: begun afresh")
    if result.resumed:
        terminal.say(f"{remote}: {size_text(result.resumed)} of it were here already")
    if result.repaired:
        terminal.say(f"{remote}: {count_text(result.repaired, 'chunk')} arrived damaged and were fetched again")


async def _get_tree(
    remote: str, target: Path, args: Namespace, client: Client, terminal: Terminal, progress: Progress
) -> Outcome:
    errors: list[tuple[str | None, FtpcError]] = []

    def report(file: TreeFile) -> None:
        if file.error is not None:
            errors.append((file.remote, file.error))
        if file.left_out is not None:
            terminal.say(f"{file.remote}: left out: it is {file.left_out}")
            return
        if file.error is None:
            terminal.stored += 1
        if file.error is None and terminal.json:
            terminal.json_data(event="done", remote=file.remote, local=file.local, size=file.size)
        elif file.error is None and terminal.verbose:
            terminal.say(f"{client.address}/{file.remote} -> {file.local}, {file.size} bytes")

    done = await client.get_tree(remote, target, preserve=args.preserve, progress=progress, report=report)
    if done.resumed and not terminal.json:
        terminal.say(f"{remote}: {size_text(done.resumed)} of it were here already")
    return Outcome.of_many(done, errors)


def _refuse_file(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise LocalFileError(f"{folder}: this has to be a folder, for files to go into")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise LocalFileError(f"{folder}: this has to be a folder, for files to go into: {exc.strerror}") from exc
