"""`ftpc login`: log in to a server, and remember how."""

import getpass
from argparse import Namespace
from pathlib import Path

from ftpc.address import DEFAULT_SERVER, Address, parse_address
from ftpc.ask import ask_secret, can_ask, read_secret
from ftpc.cli.exits import Exit
from ftpc.cli.meet import meet
from ftpc.cli.options import new_parser
from ftpc.cli.state import config_folder, make_config_folder, remember_server
from ftpc.cli.terminal import Terminal
from ftpc.client import Client, connect
from ftpc.credentials import Credentials, CredentialStore
from ftpc.errors import FtpcError, SecretError
from ftpc.keys import Key
from ftpc.trust import KnownServers, Trust
from ftpd.arguments import Parser

EXAMPLES = """\
  ftpc login 'ftpds://host:9527#sha256:…'   as the server prints it; asks for a token
  ftpc login ftpds://host --user build      asks for a password
  ftpc login ftpds://host < token.txt       reads it from standard input
  ftpc login ftpds://host --user build --key ~/.ssh/id_ed25519
"""


def make_parser(verb: str) -> Parser:
    """Make the parser of its command line."""
    parser = new_parser(verb, "Log in to a server, and remember how. From then on it is the default server.", EXAMPLES)
    parser.add_argument("url", metavar="URL", help="the server, with its pin if it has one")
    parser.add_argument("--user", default="", metavar="NAME", help="log in with the password of a user, not a token")
    parser.add_argument("--key", metavar="FILE", help="log in with a key of SSH (of --user, by default your own name)")
    parser.set_defaults(meets=False, server=DEFAULT_SERVER)  # the server that is named, not the default one
    return parser


async def run(args: Namespace, client: Client, terminal: Terminal) -> Exit:
    """Try the credentials, and keep them if they are right."""
    del client
    address = parse_address(args.url)
    if not address.is_private:
        raise SecretError(address.place)
    known = KnownServers(config_folder() / "known_servers")
    trust = Trust(args.ca and Path(args.ca), known)
    async with connect(args.url, connections=1, trust=trust, notice=terminal.notice) as anybody:
        if address.is_encrypted:
            await meet(anybody, terminal)
        greeting = await anybody.hello()
        if not greeting.auth:
            _remember(address, known)
            terminal.say(f"{address}: nobody has to log in there; it is the default server now")
            return Exit.OK
    credentials = _key_of(args) if args.key else Credentials(_ask(args.user, address), args.user)
    async with connect(args.url, trust=trust, credentials=credentials, notice=terminal.notice) as somebody:
        identity = await somebody.whoami()
    _remember(address, known)
    where = CredentialStore(config_folder()).keep(str(address), credentials)
    terminal.say(f"logged in to {address} as {identity.user}; remembered in {where}; it is the default server now")
    return Exit.OK


def _remember(address: Address, known: KnownServers) -> None:
    make_config_folder()
    if address.pin:
        known.remember(address.place, address.pin)
    remember_server(address)


def _key_of(args: Namespace) -> Credentials:
    ask = ask_secret if can_ask() else None
    return Credentials("", args.user or getpass.getuser(), key=Key(Path(args.key).expanduser(), ask))


def _ask(user: str, address: Address) -> str:
    secret = read_secret(f"{f'password of {user}' if user else 'token'} for {address}: ")
    if not secret:
        raise FtpcError("nothing was given to log in with")
    return secret
