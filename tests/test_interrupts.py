"""Ctrl-C at any moment: while the commands still load what they need, while they work, and at their very end."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.client.command import command as client
from tests.peer import PATIENCE_S, REPOSITORY, ServerProcess, command, server_environment

TRIES = 15
LONGEST_S = 0.4
"""Longer than either command takes to be ready, or to be over, on a machine that has nothing else to do."""

HOOK = """\
import os, signal, sys
set_handler = signal.signal

def tell(number, handler):
    before = set_handler(number, handler)
    os.write({fd}, b"late" if "ftpc.cli" in sys.modules or "ftpd.cli" in sys.modules else b"first")
    signal.signal = set_handler
    return before

signal.signal = tell
"""
"""What Python runs before all else: it tells when a command has seen to its signals, until when nothing can be said."""

AT_THE_END = """\
import atexit, os, signal
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
"""


@pytest.mark.parametrize("name", ["ftpc", "ftpd"])
def test_any_moment(tmp_path: Path, name: str) -> None:
    """From the first line of a command on, Ctrl-C ends it with 130, or as it would have ended, and no traceback."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 (shown when the test fails, to repeat it)
    moments = random.Random(seed)  # noqa: S311 (no secret)
    if name == "ftpc":
        arguments, usual = client("--server", "127.0.0.1:1", "ls"), 5
    else:
        arguments, usual = command("--root", str(tmp_path), "--port", "0", "-q"), 0
    found = set()
    for _ in range(TRIES):
        status, said = interrupted(arguments, tmp_path, moments.uniform(0, LONGEST_S))
        assert "Traceback" not in said, said
        assert said.count("\n") <= 1, said
        found.add(status)
    assert found <= {130, -signal.SIGINT, usual}  # a shell calls both 130; it is the signal when Python is gone already


def interrupted(arguments: list[str], folder: Path, after_s: float) -> tuple[int, str]:
    """Interrupt a command, so long after it has begun; give its status and what it has said of it."""
    ours, theirs = os.pipe()
    (folder / "sitecustomize.py").write_text(HOOK.format(fd=theirs))
    environment = both({"HOME": str(folder)})
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), environment["PYTHONPATH"]])
    with subprocess.Popen(
        arguments, env=environment, pass_fds=[theirs], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.close(theirs)
        try:
            assert b"first" == os.read(ours, 5), "it has looked for other things first"
            time.sleep(after_s)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE_S)
        finally:
            os.close(ours)
            process.kill()
    return process.returncode, said.decode()


def test_at_its_very_end(tmp_path: Path) -> None:
    """Ctrl-C when all is done, and the event loop is closed, shows no traceback either."""
    (tmp_path / "sitecustomize.py").write_text(AT_THE_END)
    environment = both({})
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])
    with ServerProcess(tmp_path, "-q", environment=environment) as server:
        listed = subprocess.run(
            client("--server", f"127.0.0.1:{server.port}", "ls"), env=environment, capture_output=True, check=False
        )
        assert (130, b"sitecustomize.py\n", b"") == (listed.returncode, listed.stdout, listed.stderr)
        assert (130, "") == server.stop()


def both(values: Mapping[str, str]) -> dict[str, str]:
    """Give an environment for either command."""
    environment = server_environment(values)
    environment["PYTHONPATH"] += f"{os.pathsep}{REPOSITORY / 'client'}"
    return environment


@pytest.mark.parametrize("name", ["ftpc", "ftpd"])
def test_a_library_leaves_signals_alone(name: str) -> None:
    """Who imports the packages and what the command lines are made of has the handlers of before."""
    code = f"import signal, {name}, {name}.__main__; print(signal.getsignal(signal.SIGINT).__name__)"
    done = subprocess.run([*command()[:1], "-c", code], env=both({}), capture_output=True, text=True, check=False)
    assert ("default_int_handler\n", "") == (done.stdout, done.stderr)


def test_ignored_stays_ignored() -> None:
    """A command that was started so that Ctrl-C is not for it (`nohup`, `&` in a script) is not ended by one."""
    code = "from ftpd.interrupts import *; end_at_once(); os.kill(os.getpid(), signal.SIGINT); print('lives')"
    done = subprocess.run(
        ["bash", "-c", 'trap "" INT; exec "$@"', "-", *command()[:1], "-c", code],
        env=server_environment({}), capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert ("lives\n", "") == (done.stdout, done.stderr)
