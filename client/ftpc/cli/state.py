"""Where this user's unfinished uploads are remembered, on this machine."""

import os
import sys
from pathlib import Path


def state_folder() -> Path:
    """Give the folder (XDG Base Directory Specification 0.8: `$XDG_STATE_HOME`, else `~/.local/state`)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # noqa: PTH117 (the specification: relative ones are to be ignored)
        base = os.environ.get("LOCALAPPDATA", "") if sys.platform == "win32" else ""
    return (Path(base) if base else Path.home() / ".local" / "state") / "ftpc" / "jobs"
