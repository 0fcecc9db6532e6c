"""Using what somebody else has shared: the share code is asked for, and says where and as whom.

The code itself is stored nowhere. While a command is not done there is a file beside the unfinished transfers, named by
a digest of the command and the code: who gives both again goes on with the same use of the share.
"""

import contextlib
import hashlib
import os
import time
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

from ftpc.ask import read_secret
from ftpc.cli.state import config_folder, state_folder
from ftpc.credentials import Credentials
from ftpc.errors import AddressError, FtpcError
from ftpc.jobs import JobFile, Task
from ftpc.share import ShareCode, parse_share, url_of
from ftpc.trust import KnownServers, Trust
from ftpd.wire.limits import MAX_SHARE_S


class Use(NamedTuple):
    """One use of a share: by a command with all its connections, and by the same command again if it was broken off."""

    trust: Trust
    credentials: Credentials
    file: JobFile | None
    """Remembers it; None if nothing does."""

    def close(self, *, done: bool) -> None:
        """End the command; if it is done, the same command is another use."""
        if self.file is not None:
            self.file.close(done=done)


def ask_for_share(args: Namespace) -> Use:
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
    trust = Trust(args.ca and Path(args.ca), KnownServers(config_folder() / "known_servers"))
    return _remembered(Use(trust, code.credentials, None), _mark(args, code), state_folder() if args.resume else None)


def _mark(args: Namespace, code: ShareCode) -> str:
    """Tell a command from all others: what it moves and to where, with which code. Empty for what can not go on."""
    if getattr(args, "output", "") == "-":
        return ""
    if hasattr(args, "files"):
        words = ["put", repr(args.to), repr(args.name), *map(os.path.abspath, args.files)]
    else:
        words = ["get", repr(args.output), os.path.abspath("."), *args.remotes]  # noqa: PTH100 (as in `put`)
    return hashlib.sha256("\0".join((code.text, *words)).encode(errors="surrogateescape")).hexdigest()


def _remembered(use: Use, mark: str, folder: Path | None) -> Use:
    """Remember a use, or go on with the one that is remembered; without a place for it, it is only remembered here."""
    if not mark or folder is None:
        return use
    with contextlib.suppress(FtpcError):  # nothing can be written there, or the same command is running: two uses
        _sweep(folder)
        file = JobFile.open(folder, Task("share", "", "", mark))
        use = use._replace(file=file)
        head = file.found.head if file is not None and file.found is not None else {}
        session = head.get("session")
        if isinstance(session, str) and head.get("local") == mark:
            return use._replace(credentials=use.credentials._replace(session=session))
        assert file is not None
        file.begin({"session": use.credentials.session})
    return use


def _sweep(folder: Path) -> None:
    """Drop what is older than any share."""
    for file in folder.glob("*.share"):
        with contextlib.suppress(OSError):
            if file.stat().st_mtime < time.time() - MAX_SHARE_S:
                file.unlink()
