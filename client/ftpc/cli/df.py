"""`ftpc df`: tell how much room there is."""

from argparse import Namespace

from ftpc.cli.exits import Exit
from ftpc.cli.options import new_parser
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.ui.text import count_text
from ftpd.amounts import size_text
from ftpd.arguments import Parser
from ftpd.wire.replies import Disk

EXAMPLES = """\
  ftpc df                              room on the server, and in your quota
  ftpc df --json
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    text = "Tell how much room there is on the server, and in your quota. It needs the right to write."
    return new_parser(verb, text, EXAMPLES)


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Ask."""
    del args
    disk = await client.df()
    if terminal.json:
        terminal.json_data(server=str(client.address), **facts_of(disk))
    else:
        terminal.data(f"disk: {size_text(disk.free)} free of {size_text(disk.total)}")
        for line in quota_lines(disk):
            terminal.data(line)
    return Exit.OK


def facts_of(disk: Disk) -> dict[str, int]:
    """Give the figures that there are."""
    figures = {
        "total": disk.total, "free": disk.free, "used": disk.used, "quota": disk.quota,
        "files": disk.files, "quota_files": disk.quota_files,
    }  # fmt: skip
    return {name: figure for name, figure in figures.items() if figure is not None}


def quota_lines(disk: Disk) -> list[str]:
    """Write the quota for people."""
    lines = []
    if disk.quota is not None:
        lines.append(f"quota: {size_text(disk.used or 0)} used of {size_text(disk.quota)}")
    if disk.quota_files is not None:
        lines.append(f"quota: {disk.files or 0:,} of {count_text(disk.quota_files, 'file')}")
    return lines
