"""Processes: servers that end with the benchmark, commands that are timed, and what servers have used."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

START_S = 10.0
"""How long a server may take to listen, and to end."""

LIMIT_S = 900.0
"""How long one command may take before it counts as hung."""

HOST = "127.0.0.1"


class FailedError(Exception):
    """Something can not take part, or did not do what it should. Says why, in one line."""


class Server(NamedTuple):
    """A server that runs."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    @property
    def pid(self) -> int:
        """Its (first) process."""
        return self.process.pid

    def wait_for(self, host: str, port: int, here: Sequence[str]) -> None:
        """Wait until a server that says nothing listens."""
        deadline = time.monotonic() + START_S
        while not _listens(host, port, here):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise FailedError(f"it did not start: {_last_line(self.errors)}")
            time.sleep(0.02)


def start(stack: ExitStack, command: Sequence[str], *, cwd: Path | None = None) -> Server:
    """Start a server, to be ended by the stack with everything it has started itself."""
    errors = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (closed by the stack)
    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )
    stack.callback(_end, process)
    return Server(process, errors)


def seconds(command: Sequence[str], *, cwd: Path | None = None) -> float:
    """Run a command to its end and give the time it took.

    Raises:
        FailedError: it failed.
    """
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        # `wait(timeout)` would look every 50 ms, and the time would be as coarse.
        guard = threading.Timer(LIMIT_S, _kill_group, [process.pid])
        guard.start()
        try:
            status = process.wait()
            taken = time.perf_counter() - started
        finally:
            guard.cancel()
            if process.returncode is None:  # Ctrl-C
                _kill_group(process.pid)
                process.wait()
        if status:
            raise FailedError(f"{Path(command[0]).name} failed with status {status}: {_last_line(errors)}")
    return taken


def _listens(host: str, port: int, here: Sequence[str]) -> bool:
    if here:
        probe = f"import socket; socket.create_connection(({host!r}, {port}), {START_S})"
        return (
            subprocess.run([*here, sys.executable, "-c", probe], stderr=subprocess.DEVNULL, check=False).returncode == 0
        )
    try:
        socket.create_connection((host, port), START_S).close()
    except ConnectionRefusedError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(START_S)
    _kill_group(process.pid)  # also what it has forked and left
    process.wait()


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of one that has just ended
        os.killpg(group, signal.SIGKILL)


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it does not say why")


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def require_proc() -> None:
    """Make sure that processes can be looked at.

    Raises:
        FailedError: not on this system.
    """
    if sys.platform != "linux":
        raise FailedError("what a process uses is read from /proc, which only Linux has")


def family(pid: int) -> set[int]:
    """Give a process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_s(pids: set[int]) -> float:
    """Give the processor time that processes have used so far, with that of their children that have ended."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            ticks += sum(int(field) for field in _stat(pid)[11:15])  # utime, stime, cutime, cstime
    return ticks / os.sysconf("SC_CLK_TCK")


def settle(pid: int, members: set[int]) -> None:
    """Wait until a server has no processes but those it had: only then its time includes theirs."""
    deadline = time.monotonic() + START_S
    while family(pid) - members:
        if time.monotonic() > deadline:
            raise FailedError("the server's processes do not end")
        time.sleep(0.01)


def _stat(pid: int) -> list[str]:
    """Give the fields behind the name, which may hold blanks and brackets: state, parent, …."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def forget_peak(pid: int) -> None:
    """Let the peak of a process's memory start anew from what is in use now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_mib(pid: int) -> float:
    """Give the most memory that a process has had in use."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
