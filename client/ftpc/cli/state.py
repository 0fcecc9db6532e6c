"""What is remembered for this user on this machine: unfinished transfers, servers, credentials."""

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from ftpc.address import Address
    from ftpc.credentials import Credentials
    from ftpc.trust import Trust


def state_folder() -> "Path":
    """Give the folder (XDG Base Directory Specification 0.8: `$XDG_STATE_HOME`, else `~/.local/state`)."""
    from pathlib import Path

    return Path(_base("XDG_STATE_HOME", ".local/state"), "ftpc", "jobs")


def config_folder() -> "Path":
    """Give the folder of what lasts (`$XDG_CONFIG_HOME`, else `~/.config`)."""
    from pathlib import Path

    return Path(_base("XDG_CONFIG_HOME", ".config"), "ftpc")


def has_credentials() -> bool:
    """Whether anything is remembered to log in anywhere. Asked by every command, so without `pathlib`."""
    return os.access(f"{_base('XDG_CONFIG_HOME', '.config')}/ftpc/credentials.json", os.F_OK)


def _base(variable: str, below_home: str) -> str:
    base = os.environ.get(variable, "")
    if not os.path.isabs(base):  # noqa: PTH117 (the specification: relative ones are to be ignored)
        base = os.environ.get("LOCALAPPDATA", "") if sys.platform == "win32" else ""
    return base or os.path.expanduser(f"~/{below_home}")  # noqa: PTH111 (no pathlib at start)


def default_server() -> str | None:
    """Give the server that was logged in to last, if any was.

    Raises:
        LocalFileError: that can not be read, so that nobody knows which it is.
    """
    name = f"{_base('XDG_CONFIG_HOME', '.config')}/ftpc/server"
    try:
        with open(name, encoding="utf-8") as file:  # noqa: PTH123 (as above)
            return file.read().strip() or None
    except (FileNotFoundError, NotADirectoryError, UnicodeError):
        return None
    except OSError as exc:
        from ftpc.errors import LocalFileError

        raise LocalFileError(f"{name}: which server was logged in to can not be read: {exc.strerror}") from exc


def make_config_folder() -> None:
    """Make the folder of what lasts, unless it is there.

    Raises:
        LocalFileError: it can not be, most often because a file is in its place.
    """
    from ftpc.errors import LocalFileError

    folder = config_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as exc:
        wrong = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        what = "this has to be a folder, in which ftpc remembers servers"
        raise LocalFileError(f"{wrong}: {what}; move away what is there, and log in again") from exc
    except OSError as exc:
        raise LocalFileError(f"{folder}: this folder can not be made: {exc.strerror or exc}") from exc


def remember_server(address: "Address") -> None:
    """Make a server the default.

    Raises:
        LocalFileError: that can not be written down.
    """
    from ftpc.files import local_errors

    file = config_folder() / "server"
    suffix = f"/{address.folder}" if address.folder else ""
    scheme = "" if address.is_encrypted else "ftpd://"
    make_config_folder()
    with local_errors(file):
        file.write_text(f"{scheme}{address}{suffix}\n", encoding="utf-8")


def forget_server(address: "Address") -> None:
    """Make it the default no more."""
    from ftpc.address import parse_address
    from ftpc.errors import AddressError

    with contextlib.suppress(AddressError):
        if (known := default_server()) is not None and str(parse_address(known)) == str(address):
            (config_folder() / "server").unlink(missing_ok=True)


def trust_and_credentials(server: str, args: "Namespace") -> "tuple[Trust | None, Credentials | None]":
    """Give how a server proves who it is, and what is shown to it: a certificate, or what was kept for exactly it.

    Raises:
        FtpcError: what is remembered can not be read, or the address not be understood.
    """
    is_encrypted = server.startswith("ftpds://")
    if args.cert and not is_encrypted:
        from ftpc.errors import AddressError

        raise AddressError(f"--cert: a certificate is shown to encrypted servers only: ftpds://, not {server}")
    if not is_encrypted and not has_credentials():
        return None, None
    from pathlib import Path

    from ftpc.address import parse_address
    from ftpc.credentials import CredentialStore
    from ftpc.trust import KnownServers, Trust

    authority, own, key = (Path(file) if file else None for file in (args.ca, args.cert, args.cert_key))
    trust = Trust(authority, KnownServers(config_folder() / "known_servers"), own, key)
    if own is not None:  # nothing else is shown
        return trust, None
    # By scheme and place: what was kept for an encrypted server is never shown to whoever is there unencrypted.
    return trust, CredentialStore(config_folder()).get(str(parse_address(server)))
