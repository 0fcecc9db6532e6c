"""What is said of how to go on, when a command that moves files has ended too early."""

import contextlib
from argparse import Namespace

from ftpc.cli.exits import Exit
from ftpc.cli.state import state_folder
from ftpc.cli.terminal import Terminal
from ftpc.errors import FtpcError
from ftpc.jobs import Unfinished, unfinished
from ftpc.ui.base import Display
from ftpd.wire.terms import IfExists

_AGAIN: dict[IfExists | None, str] = {
    IfExists.FAIL: "give {command} again with --if-exists skip to go on",
    IfExists.RENAME: "{command} would store them a second time",
}


def tell_how_to_go_on(status: Exit, args: Namespace, terminal: Terminal) -> None:
    """Say what goes on with all that the command was asked for.

    `ftpc resume` knows large files only: it is named if one file was asked for, or it was itself what was asked. It
    does not know share codes, which are remembered nowhere and not printed here either.
    """
    is_share = getattr(args, "share", False)
    command = "the same command and share code" if is_share else "the same command"
    jobs = _own_jobs(terminal) if getattr(args, "resume", True) else []
    if (display := terminal.display) is None:
        return
    if not getattr(args, "repeats", True) or not (display.files_expected > 1 or display.has_folders):
        for job in jobs:
            again = f"give {command} again to go on" if is_share else f"go on with: ftpc resume {job.id}"
            terminal.say(f"ftpc: {job.task.local} is not finished; {again}")
        return
    is_temporary = status == Exit.TEMPORARY and terminal.stored > 0
    if (is_temporary or jobs or status in {Exit.INTERRUPTED, Exit.TERMINATED}) and getattr(args, "output", "") != "-":
        if_exists = getattr(args, "if_exists", None)
        if is_share and if_exists is IfExists.OVERWRITE:
            if_exists = IfExists.FAIL  # who brings files to a share may replace none
        again = _AGAIN.get(if_exists, "give {command} again to go on")
        terminal.say(f"ftpc: {_so_far(display, args, terminal)}; {again.format(command=command)}")


def _own_jobs(terminal: Terminal) -> list[Unfinished]:
    """Give what this command was asked for, and not those that others have begun meanwhile."""
    own = {task.id for task in terminal.unfinished}
    with contextlib.suppress(FtpcError):
        return [job for job in unfinished(state_folder()) if job.id in own and not job.is_running]
    return []


def _so_far(display: Display, args: Namespace, terminal: Terminal) -> str:
    files, is_whole = display.files_found
    if args.recursive and len(getattr(args, "remotes", ())) > 1:
        is_whole = False  # which of them are folders turns out in their turn
    if is_whole:
        return f"{terminal.stored:,} of {files:,} files {'is' if terminal.stored == 1 else 'are'} stored"
    return f"{terminal.stored:,} {'file is' if terminal.stored == 1 else 'files are'} stored"
