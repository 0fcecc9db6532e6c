"""`ftpc ls`: list a folder."""

import time
from argparse import Namespace

from ftpc.cli.exits import Exit
from ftpc.cli.options import new_parser
from ftpc.cli.patterns import hint_at_patterns
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.errors import RefusedError
from ftpc.ui.text import count_text, safe_text
from ftpd.amounts import size_text
from ftpd.arguments import Parser
from ftpd.wire.replies import Entry
from ftpd.wire.terms import EntryType

EXAMPLES = """\
  ftpc ls              the names in the served folder
  ftpc ls -l data      with sizes and times
  ftpc ls -lh data     the sizes as people read them
"""

_SIGNS = {EntryType.FILE: "-", EntryType.DIRECTORY: "d", EntryType.SYMLINK: "l", EntryType.OTHER: "?"}


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    text = "List a folder, sorted by name. Folders end in / on a terminal."
    parser = new_parser(verb, text, EXAMPLES, help_options=["--help"])  # -h is for the sizes here, as in ls
    parser.add_argument("path", nargs="?", default="", metavar="PATH", help="a remote folder or file (default: all)")
    parser.add_argument("-l", "--long", action="store_true", help="show type, mode, size and time")
    parser.add_argument("-h", "--human-readable", action="store_true", help="show sizes as 1.5 MiB")
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """List."""
    long = args.long or args.human_readable or terminal.json
    try:
        listing = client.ls(args.path, long=long)
        with hint_at_patterns(args.path):
            entries = [entry async for entry in listing]
        if listing.unnameable:
            terminal.say(f"ftpc: {count_text(listing.unnameable, 'name')} can not be shown or asked for, see docs")
    except RefusedError as exc:
        if exc.code != "not_directory":
            raise
        entries = [await _one(args.path, client)]
    entries.sort(key=lambda entry: entry.name)
    if terminal.json:
        terminal.json_data(path=client.remote_folder(args.path), entries=[_fields(entry) for entry in entries])
        return Exit.OK
    mark = terminal.stdout.isatty()
    sizes = [_size(entry, human=args.human_readable) for entry in entries] if long else []
    width = max(map(len, sizes), default=0)
    for place, entry in enumerate(entries):
        name = safe_text(entry.name) + ("/" if mark and entry.type is EntryType.DIRECTORY else "")
        terminal.data(f"{_long(entry)}  {sizes[place]:>{width}}  {_when(entry)}  {name}" if long else name)
    return Exit.OK


async def _one(path: str, client: Client) -> Entry:
    found = await client.stat(path)
    return Entry(
        name=path,
        type=found.type,
        size=found.filesize,
        mtime=found.mtime,
        mtime_ns=found.mtime_ns,
        mode=found.mode,
    )


def _long(entry: Entry) -> str:
    mode = entry.mode or 0
    bits = "".join(sign if mode >> (8 - place) & 1 else "-" for place, sign in enumerate("rwxrwxrwx"))
    return _SIGNS[entry.type] + bits


def _size(entry: Entry, *, human: bool) -> str:
    size = entry.size or 0
    return size_text(size) if human else str(size)


def _when(entry: Entry) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.mtime or 0))


def _fields(entry: Entry) -> dict[str, object]:
    mtime = (entry.mtime or 0) + entry.mtime_ns / 1e9
    return {"name": entry.name, "type": entry.type.value, "size": entry.size, "mtime": mtime, "mode": entry.mode}
