"""`ftpc put`: upload files, or standard input."""

import os
import stat
import sys
from argparse import Namespace
from pathlib import Path

from ftpc.cli.exits import Exit
from ftpc.cli.jobs import Outcome, none_lost, pick_display, refuse_job, run_job
from ftpc.cli.options import (
    add_jobs,
    add_patience,
    add_resume,
    add_share,
    add_streams,
    choice_of,
    new_parser,
    refuse_twins,
)
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.errors import FtpcError, LocalFileError
from ftpc.files import local_error
from ftpc.progress import Progress
from ftpc.results import Objection, PutResult, TreeFile, TreeResult
from ftpc.ui.text import count_text
from ftpd.amounts import size_text
from ftpd.arguments import Parser
from ftpd.wire.limits import SMALL_FILE
from ftpd.wire.terms import IfExists

EXAMPLES = """\
  ftpc put big.mp4                     as big.mp4
  ftpc put a.csv b.csv --to data/2026  as data/2026/a.csv and data/2026/b.csv
  ftpc put report.pdf --as final.pdf   under another name
  ftpc put -r photos --to backup       all files below photos, as backup/photos/...
  pg_dump db | ftpc put - --as db.sql  what comes from a pipe
  ftpc put --share a.pdf               to somebody who has shared a folder: asks for the share code

A broken upload goes on with the same command, or with ftpc resume.
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    parser = new_parser(verb, "Upload files. Each appears on the server as a whole, verified and durable.", EXAMPLES)
    parser.add_argument("files", nargs="+", metavar="FILE", help="a local file; - is standard input")
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="folders with all that is in them; symbolic links are left out"
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--to", metavar="DIR", help="the remote folder they go into; made when missing")
    place.add_argument("--as", dest="name", metavar="NAME", help="the remote name of the one file")
    parser.add_argument(
        "--if-exists",
        type=choice_of(IfExists),
        default=IfExists.OVERWRITE,
        metavar="|".join(IfExists),
        help="what happens to a name that is taken (default: overwrite)",
    )
    add_share(parser, "into what somebody has shared; the share code is asked for, or read from standard input")
    add_resume(parser)
    add_jobs(parser)
    add_streams(parser)
    add_patience(parser)
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Upload."""
    files: list[str] = args.files
    _refuse_names(files, args.name)
    names = [_own_name(file) for file in files]
    refuse_twins("put", names, files)
    if "-" in files and sys.stdin is not None and sys.stdin.isatty():
        terminal.say("ftpc: reading what you type; end it with Ctrl-D on a line of its own")
    full_names = [f"{args.to or ''}/{name}" for name in names] if args.name is None else [args.name]
    remotes = dict(zip(files, full_names, strict=True))
    looked = {file: _look_at(file) for file in files if file != "-"}
    found = {file: one for file, one in looked.items() if isinstance(one, os.stat_result)}
    folders = {file for file, one in found.items() if stat.S_ISDIR(one.st_mode)}
    if args.name is not None and args.name.endswith("/") and files[0] not in folders:
        make_parser("put").error(f"--as {args.name}: that is no name of a file; --to says which folder it goes into")
    if len(files) > 1:
        objections = [Objection(file, one) for file, one in looked.items() if isinstance(one, FtpcError)]
        if not args.recursive:
            objections += [Objection(file, _folder_error(file)) for file in files if file in folders]
        plain = [(file, remotes[file]) for file in found if file not in folders]
        if objections := objections + await client.check(plain, if_exists=args.if_exists):
            return refuse_job(objections, terminal)
    display = pick_display(args.progress, terminal)
    size = None if "-" in files else sum(one.st_size for file, one in found.items() if file not in folders)
    display.expect(len(files), size, len(folders) if args.recursive else 0)
    bad = {file for file, one in found.items() if not _can_be_read(file, one)}
    small = {file: remotes[file] for file, one in found.items() if _is_small(one) and file not in bad}
    first = next(iter(small), None)
    jobs = [file for file in files if file not in small or file == first]
    jobs.sort(key=lambda file: file not in bad)  # what is wrong with these is told at once, not when others are sent

    async def put(file: str, progress: Progress) -> Outcome:
        if file == first and len(small) > 1:
            return await _put_small(small, args, client, terminal, progress)
        kind = _put_tree if args.recursive and file in folders else _put_file
        return await kind(file, remotes[file], args, client, terminal, progress)

    return await run_job(jobs, put, args.jobs, terminal, display)


def _refuse_names(files: list[str], name: str | None) -> None:
    """Make sure that files, and the name that one is to get, go together."""
    if name is not None and len(files) > 1:
        make_parser("put").error("--as names one file; use --to DIR for several")
    if "-" in files and name is None:
        make_parser("put").error("standard input has no name; give it one with --as NAME")
    if "" in files:
        make_parser("put").error("a name is empty")


async def _put_file(
    file: str, remote: str, args: Namespace, client: Client, terminal: Terminal, progress: Progress
) -> Outcome:
    source = _standard_input() if file == "-" else file
    result = await client.put(source, remote, if_exists=args.if_exists, preserve=args.preserve, progress=progress)
    _tell_of_file(file, remote, result, args, client, terminal)
    return Outcome.of_put(result)


async def _put_small(
    files: dict[str, str], args: Namespace, client: Client, terminal: Terminal, progress: Progress
) -> Outcome:
    """Upload small files, by their remote names. What ends them ends each that is not done."""
    left, done = dict(files), TreeResult()
    told: list[FtpcError] = []
    ended: list[tuple[str | None, FtpcError]] = []

    def report(file: TreeFile) -> None:
        remote = left.pop(file.local)
        done.add(file)
        if file.error is not None:
            told.append(file.error)
            terminal.complain(file.error, name=file.local, is_one_of_many=True)
        else:
            result = PutResult(*file[1:5], file.resumed, identical=file.identical)
            _tell_of_file(file.local, remote, result, args, client, terminal)

    try:
        await client.put_many(
            files.items(), if_exists=args.if_exists, preserve=args.preserve, progress=progress, report=report
        )
    except FtpcError as exc:
        ended += [(file, exc) for file in left]
    return Outcome.of_many(done, ended, told=told)


def _tell_of_file(
    file: str, remote: str, result: PutResult, args: Namespace, client: Client, terminal: Terminal
) -> None:
    tell_of_put(file, result, client, terminal, is_alone=len(args.files) == 1)
    is_told = terminal.json or terminal.verbose or result.skipped
    if not is_told and args.if_exists is IfExists.RENAME and result.remote != client.remote_name(remote):
        terminal.say(f"{file}: stored as {result.remote}")


async def _put_tree(
    folder: str, remote: str, args: Namespace, client: Client, terminal: Terminal, progress: Progress
) -> Outcome:
    errors: list[tuple[str | None, FtpcError]] = []

    def report(file: TreeFile) -> None:
        _tell_of(file, client, terminal)
        if file.error is not None:
            errors.append((file.local if file.local != folder else None, file.error))

    with none_lost(errors, terminal):
        done = await client.put_tree(
            folder,
            remote,
            if_exists=args.if_exists,
            preserve=args.preserve,
            check=True,
            progress=progress,
            report=report,
        )
    if done.folders_left_out:
        what = count_text(done.folders_left_out, "folder")
        terminal.say(f"{folder}: {what} without files left out: this server is too old to make any")
    if done.resumed and not terminal.json:
        terminal.say(f"{folder}: {size_text(done.resumed)} of it were there already")
    end = ""
    if done.is_ended:
        stays = f"what is stored of it stays: {count_text(done.files, 'file')}" if done.files else "nothing was sent"
        end = f"{folder}: given up for that, without a look at the rest; {stays}"
    return Outcome.of_many(done, errors, end)


def _tell_of(file: TreeFile, client: Client, terminal: Terminal) -> None:
    """Say what became of a file of a folder, or of a folder in it; errors are told at the end."""
    if file.left_out is not None:
        if not file.is_folder:
            terminal.say(f"{file.local}: left out: it is {file.left_out}")
        return
    if file.error is None and not file.is_folder:
        terminal.stored += not file.skipped or file.identical
    if file.error is None and terminal.json:
        keys = ("local", "remote") if file.is_folder else (*file._fields[:5], "identical")
        event = "folder" if file.is_folder else "done"
        terminal.json_data(event=event, **{key: getattr(file, key) for key in keys})
    elif file.skipped and terminal.verbose:
        terminal.say(_skipped(file.local, file.remote, is_same=file.identical))
    elif file.error is None and terminal.verbose:
        what = "a folder" if file.is_folder else f"{file.size} bytes, root {file.root}"
        terminal.say(f"{file.local} -> {client.address}/{file.remote}, {what}")


def tell_of_put(file: str, result: PutResult, client: Client, terminal: Terminal, *, is_alone: bool = True) -> None:
    """Say what became of an upload, of an earlier, broken one of the file, and of chunks that arrived damaged.

    That the server has it already is left to the summary, unless it is alone.
    """
    terminal.stored += not result.skipped or result.identical
    if terminal.json:
        terminal.json_data(event="done", local=file, **result._asdict())
        return
    if result.skipped:
        if not result.identical or is_alone or terminal.verbose:
            terminal.say(_skipped(file, result.remote, is_same=result.identical))
    elif terminal.verbose:
        terminal.say(f"{file} -> {client.address}/{result.remote}, {result.size} bytes, root {result.root}")
    if result.restarted:
        terminal.say(f"{file}: it has changed since it was broken off, or the server has dropped it: begun afresh")
    if result.resumed:
        kept = " and are still the same" if result.changed else ""
        terminal.say(f"{file}: {size_text(result.resumed)} of it were there already{kept}")
    if result.repaired:
        terminal.say(f"{file}: {count_text(result.repaired, 'chunk')} arrived damaged and were sent again")


def _skipped(local: str, remote: str, *, is_same: bool) -> str:
    why = "the server has it already, the same to the last byte" if is_same else f"skipped, {remote} exists"
    return f"{local}: {why}"


def _look_at(file: str) -> os.stat_result | FtpcError:
    """Look at what is to be sent, or tell why that can not be."""
    try:
        return os.stat(file)  # noqa: PTH116 (there may be thousands)
    except (OSError, ValueError) as exc:
        return local_error(exc, file)


def _folder_error(file: str) -> LocalFileError:
    return LocalFileError(f"{file}: it is a folder; put -r sends folders")


def _is_small(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_size <= SMALL_FILE


def _can_be_read(file: str, found: os.stat_result) -> bool:
    """Tell whether it seems that something can be sent; what is wrong, if not, tells who opens it."""
    return (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)) and os.access(file, os.R_OK)


def _own_name(file: str) -> str:
    name = os.path.basename(file)  # noqa: PTH119 (there may be thousands)
    if name not in {"", ".", ".."}:
        return name
    path = Path(file)
    return path.name if path.name not in {"", ".."} else path.resolve().name


def _standard_input() -> int:
    if sys.stdin is None:
        raise LocalFileError("standard input: it is closed")
    return sys.stdin.fileno()
