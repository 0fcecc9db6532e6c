"""`ftpd user` and `ftpd token` as somebody at a terminal meets them."""

import contextlib
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ftpd.access.users import Token, edit
from ftpd.cli import main
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


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("user add -x", "ftpd user add: there is no option -x;"),
        ("user -x add bob", "ftpd user: there is no option -x;"),
        ("token create bob --exp 3d", "ftpd token create: there is no option --exp, but --expires;"),
        ("usr", "ftpd: there is no 'usr'; there are user and token, and without any of them it serves;"),
        ("user ad x", "ftpd user: there is no 'ad'; there are: key, add, set, list, rm, passwd;"),
        ("user key x", "ftpd user key: there is no 'x'; there are: add, list, rm;"),
        ("token list x", "ftpd: x: more names than it takes;"),
    ],
)
def test_what_there_is_not(capsys: pytest.CaptureFixture[str], command: str, said: str) -> None:
    """An option or command that does not exist is named in one line, with what has none such, and what there is."""
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    told = capsys.readouterr().err
    assert (2, 1, True) == (ended.value.code, told.count("\n"), told.startswith(said)), told


def test_limits_are_listed(tmp_path: Path) -> None:
    """`user set` shows the user as `user list` does: with limits, and shares apart from tokens."""
    manage(tmp_path, "user", "add", "bob", "--home", "b")
    manage(tmp_path, "token", "create", "bob")
    with edit(tmp_path / ".ftpd" / "access" / "users.toml") as users:
        users.tokens["1"] = Token(user="bob", sha256="0" * 64, share=True)
    limits = ["--quota", "10G", "--quota-files", "9", "--rate", "5M", "--connections", "3"]
    shown = manage(tmp_path, "user", "set", "bob", *limits)
    assert shown == manage(tmp_path, "user", "list")
    assert ["bob", "/b", "full"] == shown.split()[:3]
    assert "1 token; 1 share; quota 10G; quota 9 files; rate 5M; connections 3" == shown.partition("full")[2].strip()


@pytest.mark.parametrize("place", ["--root", "--access"])
def test_commands_that_are_told_work_as_they_are(tmp_path: Path, place: str) -> None:
    """A command that is told is for the same users, and can be pasted."""
    root = tmp_path / "a folder"
    (root / "access").mkdir(parents=True)
    reach = ["--root", str(root)] if place == "--root" else ["--root", str(root), "--access", str(root / "access")]

    def run(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "ftpd", *words],
            input="a long one\n", capture_output=True, text=True, check=False, timeout=30, cwd=tmp_path,
            env=server_environment({}),
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    status, said = run("token", "create", "bob", *reach)
    assert (1, True) == (status, "make it first: ftpd user add bob " in said)
    status, said = run(*shlex.split(said.partition("make it first: ")[2])[1:])
    assert 0 == status, said
    create, change = (shlex.split(part.partition(")")[0])[1:] for part in said.splitlines()[0].split("(")[1:])
    assert reach == create[-len(reach) :] == change[-len(reach) :]
    assert (0, True) == (run(*create)[0], run(*create)[1].startswith("ftk_"))
    assert (0, "the password of bob was changed\n") == run(*change)
