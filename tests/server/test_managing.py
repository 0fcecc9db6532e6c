"""`ftpd user` and `ftpd token` as somebody at a terminal meets them."""

import contextlib
import os
import pty
import sys
from pathlib import Path

import pytest

from tests.peer import manage, server_environment


def typed(root: Path, *arguments: str, until: str, data: bytes) -> tuple[int, str]:
    """Run a command on a terminal, type when something is shown; give the exit status and what is shown after that."""
    pid, terminal = pty.fork()
    if not pid:
        line = [sys.executable, "-m", "ftpd", *arguments, "--root", str(root)]
        os.execve(sys.executable, line, server_environment({"TERM": "xterm"}))  # noqa: S606 (ours)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: it has ended
        while until.encode() not in shown:
            shown += os.read(terminal, 1000)
        os.write(terminal, data)
        while more := os.read(terminal, 1000):
            shown += more
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, shown.decode().partition(until)[2].replace("\r\n", "\n")


PROMPTS = pytest.mark.parametrize(
    ("command", "until"),
    [(["user", "passwd", "bob"], "new password of bob: "), (["user", "key", "add", "bob"], "like id_ed25519.pub: ")],
    ids=["passwd", "key add"],
)


@PROMPTS
def test_ctrl_c(tmp_path: Path, command: list[str], until: str) -> None:
    """Ctrl-C where something is asked for ends the line and the command, with nothing else."""
    manage(tmp_path, "user", "add", "bob")
    status, shown = typed(tmp_path, *command, until=until, data=b"\x03")
    assert (130, "\n") == (status, shown.removeprefix("^C"))


@PROMPTS
def test_ctrl_d(tmp_path: Path, command: list[str], until: str) -> None:
    """Ctrl-D where something is asked for is one line, and exit status 2."""
    manage(tmp_path, "user", "add", "bob")
    status, shown = typed(tmp_path, *command, until=until, data=b"\x04")
    assert (2, "\nftpd: nothing was given, so nothing was changed\n") == (status, shown.replace("^D\b\b", ""))
