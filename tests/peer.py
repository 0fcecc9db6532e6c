"""A foreign peer, and the server under test as a real process.

Nothing of ours is imported here: what this file knows of the protocol is what a stranger would read in its
description, so a mistake that client and server share can not hide.
"""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

REPOSITORY = Path(__file__).parents[1]

PATIENCE_S = 20.0
"""How long anything may take before a test counts as hung. Nothing takes nearly that long."""

_FIRST_LINE = re.compile(r"ftpd (?P<version>\S+) serves (?P<root>.+) on (?P<host>\S+):(?P<port>\d+) \((?P<how>.+)\)\n")


def eventually(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for something that nobody announces."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s in vain: {what}"
        time.sleep(0.01)


def frame(header: Mapping[str, object], payload: bytes = b"") -> bytes:
    """Encode a request the way the classic client does."""
    return raw_frame(json.dumps(header).encode(), payload)


def raw_frame(header: bytes, payload: bytes = b"") -> bytes:
    """Put a length before bytes that need not be a header."""
    return struct.pack("<i", len(header)) + header + payload


class Peer:
    """A blocking connection that believes nothing and waits for `PATIENCE_S` at most."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, header: Mapping[str, object], payload: bytes = b"") -> None:
        """Send a request and its payload."""
        self.send_raw(frame(header, payload))

    def send_raw(self, data: bytes) -> None:
        """Send anything."""
        self.socket.sendall(data)

    def read(self) -> dict[str, Any]:
        """Read one reply."""
        (length,) = struct.unpack("<i", self.read_bytes(4))
        reply: dict[str, Any] = json.loads(self.read_bytes(length).decode())
        return reply

    def read_bytes(self, count: int) -> bytes:
        """Read so many bytes of payload."""
        data = bytearray(count)
        room = memoryview(data)
        while room:
            received = self.socket.recv_into(room)
            if not received:
                raise ConnectionResetError(f"the server closed the connection {len(room)} bytes too early")
            room = room[received:]
        return bytes(data)

    def ask(self, header: Mapping[str, object], payload: bytes = b"") -> dict[str, Any]:
        """Send a request and read its reply, which must be its own."""
        self.send({"id": 7, **header}, payload)
        reply = self.read()
        assert header.get("id", 7) == reply.pop("id"), reply
        return reply

    def refusal(self, header: Mapping[str, object], payload: bytes = b"") -> str:
        """Send a request that is going to be refused, and give the code."""
        return code_of(self.ask(header, payload))

    def is_ended(self) -> bool:
        """Wait for what comes next, and tell whether it is the end of the connection."""
        try:
            return not self.socket.recv(1)
        except ConnectionResetError:
            return True

    def farewell(self) -> str:
        """Wait for the end of the connection, and give the code of the refusal that is said before it."""
        code = code_of(self.read())
        assert self.is_ended()
        return code

    def shutdown_write(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Vanish like a crashed machine that came back: with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close at once, read or not."""
        self.socket.close()


def code_of(reply: Mapping[str, Any]) -> str:
    """Give the error code of a refusal."""
    assert reply["ok"] is False, reply
    error = reply["error"]
    assert error["message"], reply
    return str(error["code"])


class Ended(NamedTuple):
    """What a server left behind."""

    returncode: int
    log: str

    @property
    def traceback(self) -> str:
        """The first traceback in the log, which is a bug, or nothing."""
        at = self.log.find("Traceback (most")
        return self.log[max(at - 500, 0) : at + 4000] if at >= 0 else ""


class ServerProcess:
    """A server in a process of its own, killed at the end if it still runs.

    `prefix` starts the command line, for `sh -c 'ulimit …'`. Environment variables of the caller's own server are
    kept away.
    """

    def __init__(
        self,
        root: Path | None,
        *options: str,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        cwd: Path | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        at = () if root is None else ("--root", str(root))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by _close)
        self.process = subprocess.Popen(
            [*prefix, *command(*at, "--port", "0", *options)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=server_environment(environment or {}),
            cwd=cwd,
            text=True,
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        found = _FIRST_LINE.fullmatch(self.first_line)
        if found is None:
            self.kill()
            log = self.log
            self._close()
            raise AssertionError(f"the server did not start: {self.first_line}{log}")
        self.version, self.root, self.how = found["version"], Path(found["root"]), found["how"]
        self.host, self.port = found["host"], int(found["port"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        self._close()

    def _close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What the server has said on standard error so far."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode()

    def connect(self) -> Peer:
        """Open a connection."""
        return Peer(self.port, self.host)

    def answers(self) -> bool:
        """Tell whether the server serves a newcomer."""
        with self.connect() as peer:
            return peer.ask({"cmd": "ping"})["ok"] is True

    def temporaries(self) -> list[str]:
        """Names of uploads that are under way and can not be resumed."""
        return [*os.listdir(self.root / ".ftpd" / "tmp")]  # noqa: PTH208 (names are enough)

    def partials(self) -> list[str]:
        """Names of uploads that can be resumed, under way or not."""
        names = os.listdir(self.root / ".ftpd" / "partial")  # noqa: PTH208 (names are enough)
        return [name for name in names if not name.endswith(".journal")]

    def has_no_temporaries(self) -> bool:
        """Tell whether no upload is under way that can not be resumed."""
        return not self.temporaries()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def wait(self, patience_s: float = PATIENCE_S) -> Ended:
        """Wait for its end."""
        return Ended(self.process.wait(patience_s), self.log)

    def stop(self) -> Ended:
        """Ask it to end, and wait for it."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def memory_kib(self, key: str = "VmRSS") -> int:
        """Give a line of `/proc/PID/status`: `VmRSS` is the memory in use, `VmHWM` the most that ever was."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(status.split(f"{key}:")[1].split()[0])

    def forget_peak(self) -> None:
        """Let `VmHWM` start anew from what is in use now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def cpu_s(self) -> float:
        """Give the processor time used so far."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served(root: Path, *options: str) -> Iterator[ServerProcess]:
    """Serve a folder. At the end the server stops in good order, and has had no bug."""
    with ServerProcess(root, *options) as server:
        yield server
        ended = server.stop()
    assert (0, "") == (ended.returncode, ended.traceback)


def swap(file: Path, text: str) -> None:
    """Replace a file of users in one step, as the handbook says: while it is written it would be empty, or half."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(file)


def manage(root: Path, *arguments: str, given: str = "") -> str:
    """Run `ftpd user` or `ftpd token`."""
    done = subprocess.run(
        [sys.executable, "-m", "ftpd", *arguments, "--root", str(root)],
        input=given, capture_output=True, text=True, check=False, timeout=30, env=server_environment({}),
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


def command(*options: str) -> list[str]:
    """Give the command line of a server."""
    return [sys.executable, "-m", "ftpd", *options]


def server_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Give the environment for a server: ours, without our own server's options, and with every warning an error.

    PYTHONSAFEPATH keeps the current folder out of the search for modules, so that PYTHONPATH says which code is tested.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FTPD_")}
    paths: Iterable[str] = filter(None, (os.environ.get("PYTHONPATH"), str(REPOSITORY)))
    return {**ours, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "error", **values}
