"""`ftpc get`: download files, or to standard output."""

import contextlib
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from ftpc.cli.exits import Exit
from ftpc.cli.jobs import Outcome, Tasks, none_lost, pick_display, run_job
from ftpc.cli.options import (
    add_jobs,
    add_patience,
    add_resume,
    add_share,
    add_streams,
    new_parser,
    refuse_twins,
)
from ftpc.cli.patterns import hinted
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.errors import FtpcError, LocalFileError, RefusedError
from ftpc.files import refuse_path
from ftpc.progress import Progress
from ftpc.results import GetResult, TreeFile, TreeResult
from ftpc.ui.text import count_text
from ftpd.amounts import size_text
from ftpd.arguments import Parser
from ftpd.wire.errors import ErrorCode
from ftpd.wire.terms import EntryType

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
    remotes: list[str] = args.remotes
    to_stdout = args.output == "-"
    args.recursive = args.recursive or (args.share and not to_stdout)  # nobody has said what was shared
    _check(args, to_stdout=to_stdout)
    if to_stdout and len(remotes) > 1:
        args.jobs = 1  # one after the other, in the order in which they were named
    folder = Path(args.output or ".")
    goes_into = len(remotes) > 1 or str(args.output).endswith("/") or folder.name in {"", ".."}
    if to_stdout or not goes_into:
        return await _get_all(folder, args, client, terminal, goes_into=goes_into)
    refuse_twins("get", [_own_name(remote) for remote in remotes], remotes)
    made, status = _make_folder(folder), Exit.OTHER
    try:
        status = await _get_all(folder, args, client, terminal, goes_into=True)
    finally:
        if status != Exit.OK:
            _remove_empty(made)
    return status


async def _get_all(folder: Path, args: Namespace, client: Client, terminal: Terminal, *, goes_into: bool) -> Exit:
    remotes: list[str] = args.remotes
    to_stdout = args.output == "-"
    display = pick_display(args.progress, terminal)
    display.expect(len(remotes), None)
    together = len(remotes) > 1 and not to_stdout
    tasks = Tasks[str | None]([None] if together else remotes)

    def begin_folder(remote: str) -> None:
        display.expect(len(remotes), None, folders=tasks.count)  # this one, and all but the first task
        tasks.add(remote)

    async def get(remote: str | None, progress: Progress) -> Outcome:
        if remote is None:
            return await _get_named(folder, args, client, terminal, progress, begin_folder)
        try:
            if args.recursive and (await client.stat(remote)).type is EntryType.DIRECTORY:
                # Whether the folder is there makes no difference: the same command goes on with what it has begun.
                local = folder / _own_name(remote) if goes_into else folder
                _refuse_file(local)
                return await _get_tree(remote, local, args, client, terminal, progress)
            result = await client.get(
                remote, terminal.stdout.fileno() if to_stdout else folder, preserve=args.preserve, progress=progress
            )
        except RefusedError as exc:
            raise _explained(exc, remote) from exc
        tell_of_get(remote, result, client, terminal)
        return Outcome.of_get(result)

    return await run_job(tasks, get, args.jobs, terminal, display)


def _check(args: Namespace, *, to_stdout: bool) -> None:
    """End with a usage error if what is asked for makes no sense."""
    if not args.remotes:
        make_parser("get").error("say what; or --share, to get what somebody has shared")
    if not args.recursive and (dots := [remote for remote in args.remotes if remote.rstrip("/") in {".", ".."}]):
        make_parser("get").error(f"{dots[0]} is no remote file; -o {dots[0]} says where files go")
    if to_stdout and args.json:
        make_parser("get").error("--json and -o - both want standard output")
    if to_stdout and args.recursive:
        make_parser("get").error("folders can not go to standard output")


async def _get_named(
    folder: Path,
    args: Namespace,
    client: Client,
    terminal: Terminal,
    progress: Progress,
    begin_folder: Callable[[str], None],
) -> Outcome:
    """Download files by their names into a folder; with -r, have those begun that turn out to be folders.

    What ends them ends each that is not done.
    """
    remotes: list[str] = args.remotes
    # Where a folder is here, of an earlier try perhaps, only a folder can go; and the one of the address is one.
    folders = {remote for remote in remotes if args.recursive and os.path.isdir(folder / _own_name(remote))}  # noqa: ASYNC240, PTH112
    for remote in (remote for remote in remotes if remote in folders):
        begin_folder(remote)
    left: dict[str, str] = {}
    told: list[FtpcError] = []
    ended: list[tuple[str | None, FtpcError]] = []
    done = TreeResult()

    def tell(remote: str, error: FtpcError) -> None:
        told.append(error)
        terminal.complain(error, name=remote, is_one_of_many=True)

    for remote in (remote for remote in remotes if remote not in folders):
        try:
            refuse_path(_own_name(remote))
            left[str(folder / _own_name(remote))] = remote
        except LocalFileError as exc:
            tell(remote, exc)

    def report(file: TreeFile) -> None:
        remote = left.pop(file.local)
        if file.error is None:
            done.add(file)
            tell_of_get(remote, file, client, terminal, is_alone=False)
        elif args.recursive and file.is_folder:
            begin_folder(remote)
        else:
            tell(remote, _explained(file.error, remote))

    try:
        files = [(remote, local) for local, remote in left.items()]
        await client.get_many(files, preserve=args.preserve, progress=progress, report=report)
    except FtpcError as exc:
        ended += [(remote, exc) for remote in left.values()]
    return Outcome.of_many(done, ended, told=told)


def _own_name(remote: str) -> str:
    return remote.rstrip("/").rpartition("/")[2]


def _explained(error: FtpcError, remote: str) -> FtpcError:
    """Give an error with what helps."""
    if isinstance(error, RefusedError) and error.code == ErrorCode.IS_DIRECTORY:
        return RefusedError(error.code, f"{error.message}; get -r fetches folders", error.facts)
    return hinted(error, remote)


def tell_of_get(
    remote: str, file: GetResult | TreeFile, client: Client, terminal: Terminal, *, is_alone: bool = True
) -> None:
    """Say what became of a download. That it is here already is left to the summary, unless it is alone."""
    terminal.stored += 1
    if terminal.json:
        keys = ("size", "mtime", "resumed", "repaired", "restarted", "lost", "identical")
        fields = {key: getattr(file, key) for key in keys}
        terminal.json_data(event="done", remote=remote, local=str(file.local), **fields)
        return
    if file.identical:
        if is_alone or terminal.verbose:
            terminal.say(_here_already(str(file.local)))
    elif terminal.verbose:
        terminal.say(f"{client.address}/{remote} -> {file.local or 'standard output'}, {file.size} bytes")
    if file.lost:
        terminal.say(f"{remote}: what was here of it after a break is gone: begun afresh")
    elif file.restarted:
        terminal.say(f"{remote}: after a break nobody could tell whether it was still the same: begun afresh")
    if file.resumed:
        terminal.say(f"{remote}: {size_text(file.resumed)} of it were here already")
    if file.repaired:
        terminal.say(f"{remote}: {count_text(file.repaired, 'chunk')} arrived damaged and were fetched again")


def _here_already(local: str) -> str:
    return f"{local}: it is here already, the same to the last byte"


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
            keys = ("remote", "local", "size", "identical")
            terminal.json_data(event="done", **{key: getattr(file, key) for key in keys})
        elif file.identical and terminal.verbose:
            terminal.say(_here_already(file.local))
        elif file.error is None and terminal.verbose:
            terminal.say(f"{client.address}/{file.remote} -> {file.local}, {file.size} bytes")

    with none_lost(errors, terminal):
        done = await client.get_tree(remote, target, preserve=args.preserve, progress=progress, report=report)
    if done.resumed and not terminal.json:
        terminal.say(f"{remote}: {size_text(done.resumed)} of it were here already")
    return Outcome.of_many(done, errors)


def _refuse_file(folder: Path) -> None:
    """Make sure that nothing else has the name of a folder, or of one that it is in."""
    place = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), None)
    if place is not None and not place.is_dir():
        what = "this has to be a folder, for files to go into, and it is none"
        raise LocalFileError(f"{place}: {what}; move it away, or say with -o where else they are to go")


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder where it is missing; give those that were missing, the innermost first."""
    _refuse_file(folder)
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        _remove_empty(missing)
        raise LocalFileError(f"{folder}: this has to be a folder, for files to go into: {exc.strerror}") from exc
    return missing


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders that were made for nothing."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
