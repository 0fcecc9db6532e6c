"""Files of the server that hang when they are read, as on a disk that has gone away, keep it not from ending."""

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peer import ServerProcess, eventually, manage
from tests.server.test_client_certificates import connect


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a user."""
    root = tmp_path / "root"
    root.mkdir()
    manage(root, "user", "add", "alice")
    return root


@pytest.fixture
def server(root: Path) -> Iterator[ServerProcess]:
    """A server that waits a moment for who is there, and then has to end."""
    with ServerProcess(root, "--tls", "--grace", "0.1") as server:
        yield server


def hang(file: Path) -> None:
    """Put a FIFO in the place of a file: who opens it waits until somebody opens the other end."""
    os.mkfifo(slow := file.with_suffix(".slow"), 0o600)
    slow.replace(file)


def test_the_users_file(server: ServerProcess, root: Path) -> None:
    """A server ends, in good order, also while its users file is being read and says nothing."""
    hang(users := root / ".ftpd/access/users.toml")
    with users.open("wb"):  # the server reads it now, and waits
        ended = server.stop()
    assert (0, "") == (ended.returncode, ended.traceback)


def test_the_certificate(server: ServerProcess, root: Path) -> None:
    """So it does while a certificate is being read again."""
    hang(certificate := root / ".ftpd/access/cert.pem")
    server.signal(signal.SIGHUP)
    with certificate.open("wb"):
        ended = server.stop()
    assert (0, "") == (ended.returncode, ended.traceback)


def has_open(server: ServerProcess, file: Path) -> bool:
    """Tell whether the server has a file open."""
    return any(fd.exists() and fd.samefile(file) for fd in Path(f"/proc/{server.pid}/fd").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is open")
def test_a_lock(server: ServerProcess, root: Path) -> None:
    """So it does while somebody shares a file, and another process has the users file and does not let go of it."""
    (root / "file").write_bytes(b"1")
    token = manage(root, "token", "create", "alice")
    with (root / ".ftpd/access/users.lock").open("r+b") as lock, connect(server, None) as peer:
        assert peer.ask({"cmd": "auth", "token": token})["ok"]
        file = Path(lock.name)
        assert not has_open(server, file)
        fcntl.flock(lock, fcntl.LOCK_EX)
        peer.send({"cmd": "share", "path": "file"})
        eventually(lambda: has_open(server, file), "the server waits for the lock")
        ended = server.stop()
    assert (0, "") == (ended.returncode, ended.traceback)
