"""`ftpc share`: let somebody else have or bring a file, for a while."""

import argparse
import time
from argparse import Namespace

from ftpc.address import LOOPBACK
from ftpc.cli.exits import Exit
from ftpc.cli.options import new_parser
from ftpc.cli.state import config_folder
from ftpc.cli.terminal import Terminal
from ftpc.client import Client
from ftpc.share import ShareCode
from ftpc.ui.text import safe_text
from ftpd.amounts import parse_time
from ftpd.arguments import Parser
from ftpd.wire.limits import MAX_LABEL, MAX_SHARE_COUNT, MAX_SHARE_S
from ftpd.wire.replies import SharedPath

EXAMPLES = """\
  ftpc share report.pdf                     prints a share code: one line to hand over
  ftpc share photos --expires 12h           a folder, until tonight
  ftpc share inbox --upload --label scans   somebody may bring files, and see none
  ftpc share report.pdf --count 1           good for one command
  ftpc share list
  ftpc share revoke 0a1b2c3d4e

The other person runs ftpc get --share, or ftpc put --share FILE, which ask for the code. Whoever has the code can use
it: hand it over where nobody else reads. A folder that is called list is ./list here.
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    parser = new_parser(verb, "Let somebody else have a file or folder, or bring files, for a while.", EXAMPLES)
    parser.add_argument("what", metavar="PATH|list|revoke", help="a remote file or folder; or what to do with shares")
    parser.add_argument("id", nargs="?", metavar="ID", help="the share that is to be revoked")
    parser.add_argument("--upload", action="store_true", help="to bring new files, not to have any")
    parser.add_argument("--expires", type=_time, default="7d", metavar="TIME", help="how long (default: %(default)s)")
    parser.add_argument(
        "--count", type=_count, metavar="N", help="for how many commands it is good, refused ones too (default: any)"
    )
    parser.add_argument("--label", type=_label, default="", metavar="TEXT", help="what it is for")
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Make a share, list them, or end one."""
    if (args.what == "revoke") != (args.id is not None):
        make_parser("share").error("write: ftpc share PATH, ftpc share list, or ftpc share revoke ID")
    if args.what == "revoke":
        await client.unshare(args.id)
        terminal.say(f"{args.id}: it can not be used any more")
    elif args.what == "list":
        await _list(client, terminal)
    else:
        await _make(args, client, terminal)
    return Exit.OK


async def _list(client: Client, terminal: Terminal) -> None:
    """List shares; if there are those of others, who manages users sees whose each is."""
    shares = await client.shares()
    owners = {share.user for share in shares}
    shows_owner = len(owners) > 1 or (bool(owners) and owners != {(await client.whoami()).user})
    width = max(map(len, owners)) if shows_owner else 0
    for share in shares:
        _show(share, width, terminal)


async def _make(args: Namespace, client: Client, terminal: Terminal) -> None:
    made = await client.share(args.what, upload=args.upload, expires_s=args.expires, count=args.count, label=args.label)
    address = client.address
    pin = address.pin
    if address.is_encrypted and not pin and not args.ca:
        from ftpc.trust import KnownServers

        pin = KnownServers(config_folder() / "known_servers").pin(address.place) or ""
    code = ShareCode(address._replace(folder=client.remote_folder(args.what), pin=pin), made.token).text
    if terminal.json:
        terminal.json_data(share=made.share, code=code, rights=made.rights, expires=made.expires)
        return
    terminal.data(code)
    use = "ftpc put --share FILE" if args.upload else "ftpc get --share"
    terminal.say(f"whoever has this line can use it until {_date(made.expires)}, with: {use}")
    terminal.say(f"to end it: ftpc share revoke {made.share}")
    if address.host in LOOPBACK:
        terminal.say(f"{address.place} means something else on other machines: there, use the server's own name")


def _show(share: SharedPath, width: int, terminal: Terminal) -> None:
    """Print a share; with a width, whose it is."""
    if terminal.json:
        names = ("share", "user", "path", "rights", "expires", "count", "used", "label")
        terminal.json_data(**{name: getattr(share, name) for name in names})
        return
    left = "" if share.count is None else f"  {share.count - share.used} of {share.count} left"
    what = "bring" if "write" in share.rights else "have"
    path = safe_text(share.path or "/")
    owner = f"{safe_text(share.user):{width}}  " if width else ""
    line = f"{share.share}  {owner}until {_date(share.expires)}  {what:5}  {path}{left}  {safe_text(share.label)}"
    terminal.data(line.rstrip())


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_SHARE_COUNT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_SHARE_COUNT}")
    return int(text)


def _time(text: str) -> int:
    try:
        seconds = parse_time(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    if not 1 <= seconds <= MAX_SHARE_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time from 1s to {MAX_SHARE_S // 86_400}d")
    return seconds


def _label(text: str) -> str:
    if len(text) > MAX_LABEL or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a label has at most {MAX_LABEL} characters, all of which can be printed")
    return text
