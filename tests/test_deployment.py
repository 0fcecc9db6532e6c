"""The files for those who run a server: the unit of systemd and the recipe of a container."""

import functools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from ftpd.descriptors import MAX_CONNECTIONS
from ftpd.options import parse
from ftpd.tls import pin_of
from tests.peer import PATIENCE_S, REPOSITORY, ServerProcess, command, manage, server_environment
from tests.server.test_key_login import connect
from tests.server.test_sandbox import live_log_in, move_files

UNIT = (REPOSITORY / "docs" / "ftpd.service").read_text(encoding="utf-8")
RECIPE = (REPOSITORY / "docs" / "Containerfile").read_text(encoding="utf-8")

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")


class Manager(NamedTuple):
    """Where a server says that it is there, and how it is told where that is."""

    inbox: socket.socket
    environment: dict[str, str]


def settings(name: str) -> list[str]:
    """Give the values of a setting of the unit, in their order."""
    return re.findall(rf"(?m)^{name}=(.*)$", UNIT)


def run(*arguments: str | Path) -> str:
    """Run a command that has to work, and give what it prints."""
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert 0 == done.returncode, done.stdout
    return done.stdout


@needs_systemd
def test_unit_is_right(tmp_path: Path) -> None:
    """There is no mistake in the unit that systemd would find, and its exposure, of which 10 is all, is below 2."""
    unit = tmp_path / "ftpd.service"
    unit.write_text(UNIT.replace("/opt/ftpd/bin/ftpd", sys.executable))  # which has to be there
    assert "" == run("systemd-analyze", "verify", unit)
    run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)


def test_unit_starts_the_server_as_it_is() -> None:
    """The unit's options are the server's, it may write where these lead, and a stop leaves it the time it needs."""
    [line] = settings("ExecStart")
    environment = dict(item.split("=", 1) for item in settings("Environment"))
    config = parse(shlex.split(line)[1:], environment)
    state = [f"/var/lib/{folder}" for folder in settings("StateDirectory")[0].split()]
    assert {str(config.root), str(config.access)} <= {*state}
    assert config.is_public
    assert float(settings("TimeoutStopSec")[0]) > config.grace_s
    assert int(settings("LimitNOFILE")[0]) // 4 - 256 > MAX_CONNECTIONS


@pytest.fixture(params=["in the file system", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """Whoever starts a server and wants to be told when it is there, as sd_notify(3) describes him."""
    place = str(tmp_path / "notify") if request.param == "in the file system" else f"@ftpd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(place.replace("@", "\0"))
        inbox.settimeout(PATIENCE_S)
        yield Manager(inbox, {"NOTIFY_SOCKET": place})


def test_start_is_told(manager: Manager, tmp_path: Path) -> None:
    """Who started the server is told when it is there: from then on it may be told to reload, and to stop."""
    root = tmp_path / "root"
    root.mkdir()
    with subprocess.Popen(
        command("--root", str(root), "--port", "0", "--tls"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=server_environment(manager.environment),
    ) as process:  # fmt: skip
        try:
            assert b"READY=1" == manager.inbox.recv(100)
            process.send_signal(signal.SIGHUP)
        finally:
            process.terminate()
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert (0, True) == (process.returncode, "on 127.0.0.1:" in said), said


def test_start_that_fails_is_not_told(manager: Manager, tmp_path: Path) -> None:
    """Who started a server that can not serve hears nothing but its exit status."""
    with ServerProcess(tmp_path), pytest.raises(AssertionError, match="did not start"):
        ServerProcess(tmp_path, environment=manager.environment)
    manager.inbox.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.inbox.recv(100)


def test_manager_that_is_gone(tmp_path: Path) -> None:
    """Where nobody can be told, the server says so in one line, and serves."""
    with ServerProcess(tmp_path, environment={"NOTIFY_SOCKET": "/nowhere"}) as server:
        assert server.answers()
        [line] = [line for line in server.log.splitlines() if "NOTIFY_SOCKET" in line]
        assert line.endswith("NOTIFY_SOCKET=/nowhere: No such file or directory")


@functools.cache
def allowed_calls(name: str) -> frozenset[str]:
    """Give the system calls of one of systemd's sets, or one by its name."""
    if not name.startswith("@"):
        return frozenset({name})
    lines = [line.strip() for line in run("systemd-analyze", "syscall-filter", name).splitlines()[1:]]
    return frozenset[str]().union(*(allowed_calls(line) for line in lines if line and not line.startswith("#")))


DENY_MEMORY = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, *map(ctypes.c_ulong, (1, 0, 0, 0))):  # PR_SET_MDWE, Linux 6.3
    print("no MemoryDenyWriteExecute here", file=sys.stderr)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@needs_systemd
@needs_strace
def test_server_within_the_limits_of_the_unit(tmp_path: Path) -> None:
    """The server does all it does with the unit's system calls and sockets, and no memory for new code."""
    allowed: set[str] = set()
    for value in settings("SystemCallFilter"):
        names = frozenset[str]().union(*(allowed_calls(name) for name in value.removeprefix("~").split()))
        allowed = allowed - names if value.startswith("~") else allowed | names
    trace = tmp_path / "trace"
    prefix = (sys.executable, "-c", DENY_MEMORY, "strace", "-D", "-f", "-qq", "-o", str(trace))
    root = tmp_path / "root"
    root.mkdir()
    manage(root, "user", "add", "first")
    token = manage(root, "token", "create", "first")
    with started(root, prefix) as server:
        with connect(server) as peer:
            assert peer.ask({"cmd": "auth", "token": token})["ok"]
            move_files(server, peer)
        live_log_in(server, root, (), pin_of(root / ".ftpd" / "access" / "cert.pem"))
        ended = server.stop()
    assert (0, "") == (ended.returncode, ended.traceback)
    text = trace.read_text(errors="replace")
    used = {*re.findall(r"(?m)^\d+ +(\w+)\(", text)}
    assert {"openat2", "landlock_create_ruleset", "accept4", "renameat"} <= used
    if os.geteuid() == 0:
        used.discard("fchown")  # SQLite gives its files to their owner, if it is root
    assert set() == used - allowed
    assert {*re.findall(r" socket\((\w+)", text)} <= {*settings("RestrictAddressFamilies")[0].split()}


def started(root: Path, prefix: Sequence[str]) -> ServerProcess:
    """Start a server under strace, if that may be."""
    try:
        return ServerProcess(root, "--tls", "--sandbox", "auto", prefix=prefix)
    except AssertionError as exc:
        if "ptrace" in str(exc).lower():
            pytest.skip("strace may not trace here")
        raise


def instructions() -> list[tuple[str, str]]:
    """Give the instructions of the recipe and what they are given."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", RECIPE)).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line)]


def test_user_of_the_container() -> None:
    """The server runs as the user and in the group that the recipe makes, for whom it makes the folders."""
    made = [rest for name, rest in instructions() if name == "RUN"][-1]
    user, group = re.findall(r"groupadd --gid (\d+) ftpd && useradd --uid (\d+) --gid ftpd ", made)[0][::-1]
    assert ("USER", f"{user}:{group}") in instructions()
    assert "--owner=ftpd --group=ftpd" in made


@pytest.mark.long
def test_recipe_of_the_container(tmp_path: Path) -> None:
    """What the recipe copies, installs and runs, done in a folder: the server starts, and its check tells it."""

    def here(text: str) -> str:
        return re.sub(r"(?<![\w.])/(?=(?:src|opt|data)\b)", f"{tmp_path}/", text)

    steps = instructions()
    build = steps[: [name for name, _ in steps].index("FROM", 1)]
    for name, rest in build:
        if name == "COPY":
            *sources, target = shlex.split(here(rest))
            Path(target).mkdir(parents=True, exist_ok=True)
            for source in sources:
                found = REPOSITORY / source
                if found.is_dir():
                    shutil.copytree(found, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(found, target)
        elif name == "RUN":
            run("sh", "-c", here(rest).replace("python ", f"{sys.executable} ", 1))
    values = dict(item.split("=", 1) for name, rest in steps if name == "ENV" for item in here(rest).split())
    for folder in ("FTPD_ROOT", "FTPD_ACCESS"):
        Path(values[folder]).mkdir(parents=True)
    environment = {"HOME": str(tmp_path / "data"), **values, "FTPD_PORT": "0"}
    environment["PATH"] = values["PATH"].replace("$PATH", os.environ["PATH"])
    [entry] = [json.loads(here(rest)) for name, rest in steps if name == "ENTRYPOINT"]
    [check] = [here(rest.partition(" CMD ")[2]) for name, rest in steps if name == "HEALTHCHECK"]
    with subprocess.Popen(entry, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = process.stdout.readline()
        environment["FTPD_PORT"] = started.split(":")[1].split()[0]
        assert "TLS" in started
        done = subprocess.run(["sh", "-c", check], env=environment, capture_output=True, text=True, check=False)
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
    assert (0, "") == (done.returncode, done.stderr)
    assert 0 == process.returncode
    assert 0 != subprocess.run(["sh", "-c", check], env=environment, capture_output=True, check=False).returncode
    assert not (tmp_path / "opt/ftpd/bin/pip").exists()
