"""The description of the server's operation."""

import re
import subprocess
import sys

from tests.peer import REPOSITORY

TEXT = (REPOSITORY / "docs/operating.md").read_text(encoding="utf-8")


def test_table_of_options() -> None:
    """The table has every option of the server, each with its variable, and no other."""
    help_text = subprocess.run(
        [sys.executable, "-m", "ftpd", "--help"], cwd=REPOSITORY, capture_output=True, check=True, text=True
    ).stdout
    options = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", help_text, re.MULTILINE)) - {"--help", "--version"}
    starting = TEXT.partition("## Starting")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(--[a-z-]+)[^|]*` \| `(\w+)", starting.replace("\\|", "/"), re.MULTILINE))
    assert options - {"--verbose", "--quiet"} == set(rows)
    assert rows == {option: f"FTPD_{option[2:].upper().replace('-', '_')}" for option in rows}
