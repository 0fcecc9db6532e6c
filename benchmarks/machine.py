"""What it is measured on, and what is measured."""

import os
import platform
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from benchmarks.peers.tools import TOOLS, version
from benchmarks.processes import FailedError
from benchmarks.results import Machine

REPOSITORY = Path(__file__).parents[1]

_MEASURED = ("ftpd", "client")


def machine() -> Machine:
    """Look at this machine."""
    page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        memory_gib=round(page * pages / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2),
    )


def _processor() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def revision() -> str:
    """Give the commit that what is measured comes from, and whether it was changed since.

    That is the last one that touched the server or the client: these figures go into a later one, and stay true.
    """
    found = _git("rev-list", "-1", "--abbrev-commit", "HEAD", "--", *_MEASURED)
    if not found:
        return "unknown"
    return f"{found}, changed" if _git("status", "--porcelain", "--", *_MEASURED) else found


def _git(*command: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    return subprocess.run([git, "-C", REPOSITORY, *command], capture_output=True, text=True, check=False).stdout.strip()


def look_for_tools() -> tuple[dict[str, str], dict[str, str]]:
    """Give the versions of what is installed, and the reasons of what is not."""
    versions, missing = {}, {}
    for tool in TOOLS:
        try:
            versions[tool] = version(tool)
        except FailedError as error:
            missing[tool] = str(error)
    return versions, missing
