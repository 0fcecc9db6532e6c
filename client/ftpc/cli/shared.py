"""Using what somebody else has shared: the share code is asked for, and says where and as whom."""

from argparse import Namespace
from pathlib import Path

from ftpc.ask import read_secret
from ftpc.cli.state import config_folder
from ftpc.credentials import Credentials
from ftpc.errors import AddressError
from ftpc.share import parse_share, url_of
from ftpc.trust import KnownServers, Trust


def ask_for_share(args: Namespace) -> tuple[Trust, Credentials]:
    """Ask for a share code, and make its server that of the command.

    Raises:
        AddressError: it is none.
        AbandonedError: Ctrl-C was typed.
    """
    if "-" in getattr(args, "files", ()):
        raise AddressError("standard input can not be both the share code and what is put")
    code = parse_share(read_secret("share code: "))
    address = code.address
    if not getattr(args, "remotes", True):
        args.remotes, address = [address.folder], address._replace(folder="")
    args.server = url_of(address)
    return Trust(args.ca and Path(args.ca), KnownServers(config_folder() / "known_servers")), code.credentials
