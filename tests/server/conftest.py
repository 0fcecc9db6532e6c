"""One server process per test module, and what has to be true of it after each test."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftpd.access.credentials import hash_password, new_token
from ftpd.access.users import Token, User, edit
from tests.peer import Peer, ServerProcess, eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that is shared by the tests of a module; at its end it stops cleanly and has shown no traceback."""
    root = tmp_path_factory.mktemp("root")
    with ServerProcess(root, "--grace", "5") as server:
        yield server
        ended = server.stop()
    shutil.rmtree(root)  # hundreds of mebibytes, which pytest would keep for a while
    assert (0, "") == (ended.returncode, ended.traceback)


@pytest.fixture
def peer(server: ServerProcess) -> Iterator[Peer]:
    """A connection. After the test the server still answers others, and no upload has left anything behind."""
    with server.connect() as peer:
        yield peer
    assert server.answers()
    eventually(server.has_no_temporaries, "temporary files go with their connection")


@pytest.fixture
def without_privileges() -> tuple[str, ...]:
    """The start of a command line that lets permission bits hold for root too."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("permission bits mean nothing to root, and there is no setpriv")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture
def token(tmp_path: Path) -> str:
    """A folder where somebody has to log in, and a token for it."""
    token = new_token()
    with edit(tmp_path / ".ftpd" / "access" / "users.toml") as users:
        users.users["team"] = User(rights=["full"], password=hash_password("correct horse"))
        users.tokens[token.id] = Token(user="team", sha256=token.sha256)
    return token.text
