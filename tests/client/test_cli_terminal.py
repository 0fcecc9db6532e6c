"""What a person sees: bars on a terminal, lines elsewhere, and a terminal that is as it was afterwards."""

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.client.command import Ftpc, command
from tests.client.screen import HIDE, SHOW, Screen
from tests.client.support import MIB, content
from tests.peer import PATIENCE_S, eventually

COLOR = re.compile(rb"\x1b\[[0-9;]*\b(?:3[0-79]|4[0-79]|9[0-7]|10[0-7]|[34]8;[0-9;]+)[0-9;]*m")
BYTES = 9 * MIB


def started(ftpc: Ftpc, env: Mapping[str, str], *, name: str = "s", columns: int = 100) -> Screen:
    """Begin to send a stream: whatever is needed has been drawn when its first chunk is confirmed."""
    screen = Screen(ftpc, "put", "-", "--as", name, columns=columns, env=env)
    screen.read_until(HIDE)
    screen.feed(content(BYTES))
    return screen


def finish(screen: Screen) -> int:
    """Let the stream end."""
    screen.stdin.close()
    return screen.end()


def test_bars(ftpc: Ftpc) -> None:
    """On a terminal bars are drawn with the name and the bytes; they go, the cursor comes back, one line stays."""
    with started(ftpc, {}) as screen:
        screen.read_until("━".encode())
        screen.read_until(b"8.0 MiB")
        assert 0 == finish(screen)
    assert screen.drawn.rfind(HIDE) < screen.drawn.rfind(SHOW)
    assert re.fullmatch(r"1 file, 9\.0 MiB in [^\x1b\n]* verified\r\n", screen.left), screen.left
    assert any(line.startswith("test_bars") and "8.0 MiB" in line for line in screen.lines), screen.lines
    assert COLOR.search(screen.drawn)
    assert content(BYTES) == (ftpc.remote / "s").read_bytes()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(ftpc: Ftpc, server_temporaries: Path, number: signal.Signals, status: int) -> None:
    """Ctrl-C and SIGTERM end the transfer in good order: the cursor is back, one line, and no part anywhere."""
    with started(ftpc, {}) as screen:
        screen.read_until(b"8.0 MiB")
        screen.signal(number)
        assert status == screen.end()
    assert screen.drawn.rfind(HIDE) < screen.drawn.rfind(SHOW)
    assert 1 == screen.left.count("\n")
    assert "interrupted" in screen.left
    eventually(lambda: not [*server_temporaries.iterdir()], "the server drops what it has")
    assert [] == [*ftpc.remote.iterdir()]


@pytest.fixture
def server_temporaries(ftpc: Ftpc) -> Path:
    """Where the server keeps uploads that are under way."""
    return ftpc.remote.parent / ".ftpd" / "tmp"


@pytest.mark.parametrize(
    "arguments", [["ls"], ["put", "s", "--progress", "none"], ["put", "-", "--as", "x", "--json"]], ids=" ".join
)
def test_interrupted_without_bars(ftpc: Ftpc, arguments: list[str]) -> None:
    """A command that waits for a server that says nothing is interrupted in one line as well."""
    ftpc.write("s")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Screen(ftpc, *arguments, env={"FTPC_SERVER": address}) as screen:
            connection, _ = silent.accept()
            with connection:
                connection.recv(4)
                screen.signal(signal.SIGINT)
                assert 130 == screen.end()
    assert (1, False) == (screen.drawn.count(b"\n"), b"\x1b" in screen.drawn), screen.drawn


def test_interrupted_while_nobody_reads_the_output(ftpc: Ftpc) -> None:
    """Ctrl-C ends a get into a pipe that is full."""
    ftpc.serve("big", content(BYTES))
    with Screen(ftpc, "get", "big", "-o", "-") as screen:
        screen.read_until(b"MiB")  # more than a pipe holds is on its way
        screen.signal(signal.SIGINT)
        assert 130 == screen.end(patience_s=5)
    assert screen.drawn.rfind(HIDE) < screen.drawn.rfind(SHOW)


def test_no_color(ftpc: Ftpc) -> None:
    """With NO_COLOR the bars have no colours."""
    with started(ftpc, {"NO_COLOR": "1"}) as screen:
        screen.read_until(b"8.0 MiB")
        assert 0 == finish(screen)
    assert [] == COLOR.findall(screen.drawn)


@pytest.mark.parametrize(("columns", "by_environment"), [(20, False), (20, True)])
def test_narrow_terminal(ftpc: Ftpc, columns: int, *, by_environment: bool) -> None:
    """On a narrow terminal no line of the bars is longer than the terminal is wide."""
    env = {"COLUMNS": str(columns)} if by_environment else {}
    with started(ftpc, env, name="a-rather-long-name", columns=100 if by_environment else columns) as screen:
        screen.read_until(b"\x1b[2K")  # drawn, and drawn again
        assert 0 == finish(screen)
    assert [] == [line for line in screen.lines if len(line) > columns]


@pytest.mark.parametrize(
    "env", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}], ids=str
)
def test_locale_without_unicode(ftpc: Ftpc, env: dict[str, str]) -> None:
    """Names that the terminal's encoding does not have are shown somehow; everything works."""
    with started(ftpc, env, name="ü€") as screen:
        screen.read_until(b"8.0 MiB")
        assert 0 == finish(screen)
    assert (ftpc.remote / "ü€").is_file()
    for arguments in ("ls", "md5 ü€"):
        done = ftpc.shell(f"set -o pipefail; $ftpc {arguments} | iconv -f latin1 -t utf8", env)
        assert (0, "") == (done.status, done.err), arguments


def test_dumb_terminal(ftpc: Ftpc) -> None:
    """A terminal that can not move its cursor, and one where bars are not wanted, get plain text."""
    for options, env in (([], {"TERM": "dumb"}), (["--progress", "plain"], {}), (["-q"], {})):
        ftpc.write("a", repr(options).encode())
        with Screen(ftpc, "put", "a", *options, env=env) as screen:
            assert 0 == screen.end()
        assert b"\x1b" not in screen.drawn
        assert (0 if "-q" in options else 1) == screen.drawn.count(b"\n")


def test_no_terminal(ftpc: Ftpc) -> None:
    """Where there is no terminal nothing is drawn, even if the environment describes one."""
    ftpc.write("a", content(BYTES))
    result = ftpc.run("put", "a", env={"TERM": "xterm-256color", "FORCE_COLOR": "1", "COLUMNS": "80"})
    assert (0, 1, False) == (result.status, result.err.count("\n"), "\x1b" in result.err)


def test_folders_are_marked_on_a_terminal(ftpc: Ftpc) -> None:
    """`ls` marks folders with a slash where a person looks, and not for programs."""
    (ftpc.remote / "dir").mkdir()
    assert "dir\n" == ftpc.run("ls").out
    master, slave = os.openpty()
    try:
        subprocess.run(command("ls"), stdout=slave, env=ftpc.environment(), check=True, stdin=subprocess.DEVNULL)
        assert b"dir/\r\n" == os.read(master, 100)
    finally:
        os.close(master)
        os.close(slave)


def test_a_terminal_gets_no_binary(ftpc: Ftpc) -> None:
    """Bytes that are no text do not reach a terminal: one line says so, and where they could go instead."""
    ftpc.serve("binary", b"\x7fELF\0\x1b[2J")
    ftpc.serve("text", b"hello\n")
    with pty_of(ftpc, "get", "binary", "-o", "-") as (status, shown):
        assert 4 == status
        assert b"\x7fELF" not in shown
        assert b"is a terminal" in shown
    with pty_of(ftpc, "get", "text", "-o", "-") as (status, shown):
        assert 0 == status
        assert b"hello" in shown


@contextlib.contextmanager
def pty_of(ftpc: Ftpc, *arguments: str) -> Iterator[tuple[int, bytes]]:
    """Run a command with a terminal for all its output; give its status and what was shown."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            command(*arguments, "-q"), cwd=ftpc.folder, env=ftpc.environment(), stdin=theirs, stdout=theirs,
            stderr=theirs, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        yield done.returncode, os.read(ours, 65_536)
    finally:
        os.close(ours)
        os.close(theirs)
