"""The programs and packages that peers need: whether they are installed, where, and which version."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

from benchmarks.processes import FailedError

PROGRAMS: Mapping[str, Sequence[str]] = {
    "rsync": ["rsync", "--version"],
    "vsftpd": ["vsftpd", "-v"],
    "nginx": ["nginx", "-v"],
    "curl": ["curl", "--version"],
    "lftp": ["lftp", "--version"],
    "sshd": ["ssh", "-V"],  # sshd itself has no such option in older versions
    "scp": ["ssh", "-V"],
    "ssh-keygen": ["ssh", "-V"],
}
"""How programs are asked for their version."""

PACKAGES = ("pyftpdlib", "aioftp")

TOOLS = (*PROGRAMS, *PACKAGES)

_VERSION = re.compile(r"\d+\.\d+[\w.]*")
_SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))
"""Servers lie where only root looks."""


def program(name: str) -> str:
    """Give the path of a program.

    Raises:
        FailedError: it is not installed.
    """
    path = shutil.which(name, path=_SEARCHED)
    if path is None:
        raise FailedError(f"{name} is not installed")
    return path


def require(tool: str) -> None:
    """Make sure that a program or a package is there.

    Raises:
        FailedError: it is not installed.
    """
    if tool not in PACKAGES:
        program(tool)
        return
    try:
        importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        raise FailedError(f"{tool} is not installed") from None


def version(tool: str) -> str:
    """Give the version of a program or a package.

    Raises:
        FailedError: it is not installed.
    """
    require(tool)
    if tool in PACKAGES:
        return importlib.metadata.version(tool)
    name, *options = PROGRAMS[tool]
    with tempfile.TemporaryFile() as said:
        # vsftpd says it on its standard input.
        subprocess.run([program(name), *options], stdin=said, stdout=said, stderr=said, check=False)
        said.seek(0)
        found = _VERSION.search(said.read().decode(errors="replace"))
    return found[0] if found else "unknown version"
