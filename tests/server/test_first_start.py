"""The first start for other machines: safe without being asked to be, and the same again at the second."""

import contextlib
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from ftpd.tls import pin_of
from tests.peer import PATIENCE_S, Peer, ServerProcess, code_of, command, server_environment

ANYWHERE = ("--host", "0.0.0.0")  # noqa: S104 (this is what the tests are about)


def said(server: ServerProcess, lines: int) -> str:
    """Read the next lines a server prints."""
    assert server.process.stdout is not None
    return "".join(server.process.stdout.readline() for _ in range(lines))


def secrets_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Take down what is kept in the access folder, and who may read it."""
    names = ("cert.pem", "key.pem", "users.toml")
    return {name: ((folder / name).stat().st_mode & 0o777, (folder / name).read_bytes()) for name in names}


def asked(server: ServerProcess, *requests: dict[str, object]) -> list[dict[str, object]]:
    """Ask over TLS on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with Peer(server.port) as peer:
        peer.socket = context.wrap_socket(peer.socket)
        return [peer.ask(request) for request in requests]


def run(*options: str, tool: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a server that is not going to start, or `ftpd user` and `ftpd token`."""
    line = [sys.executable, "-m", "ftpd", *options] if tool else command(*options)
    return subprocess.run(
        line, env=server_environment({}), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def refused(*options: str) -> str:
    """Start a server that is refused; give its one line."""
    done = run(*options)
    assert (2, "") == (done.returncode, done.stdout), done.stderr
    assert done.stderr.startswith("ftpd: ")
    assert 1 == done.stderr.count("\n"), done.stderr
    return done.stderr


def test_first_and_second_start(tmp_path: Path) -> None:
    """The first start makes a key, a certificate, a user and a token, and says how to log in; the second keeps them."""
    access, root = tmp_path / ".ftpd" / "access", tmp_path
    with ServerProcess(root, *ANYWHERE) as server:
        assert "durability full, TLS" == server.how
        login, where = said(server, 2).splitlines()
        pin = pin_of(access / "cert.pem")
        assert f"try: ftpc login 'ftpds://{socket.gethostname()}:{server.port}#sha256:{pin}'" == login
        token_file = access / "first-token"
        assert f"with the token in {token_file}" == where
        token = token_file.read_text().strip()
        hello, nobody, auth, put = asked(
            server,
            {"cmd": "hello"},
            {"cmd": "ls"},
            {"cmd": "auth", "token": token},
            {"cmd": "put", "filename": "x", "filesize": 0},
        )
        assert ["token", "password", "key"] == hello["auth"]
        assert [False, True, True] == [reply["ok"] for reply in (nobody, auth, put)]
        assert "owner" == auth["user"]
        assert token not in server.log + login + where + server.first_line
        kept = secrets_of(access)
        assert {0o600} == {mode for mode, _ in kept.values()} | {token_file.stat().st_mode & 0o777}
        assert [0o700] * 2 == [path.stat().st_mode & 0o777 for path in (access, access.parent)]
        assert token.encode() not in b"".join(content for _, content in kept.values())
        with Peer(server.port) as peer:  # in the clear
            peer.send({"cmd": "ls"})
            assert "tls_required" == code_of(peer.read())
        assert 0 == server.stop().returncode
    token_file.unlink()
    with ServerProcess(root, *ANYWHERE) as server:
        assert login.rpartition("#")[2] == said(server, 1).strip().rpartition("#")[2]
        assert asked(server, {"cmd": "auth", "token": token})[0]["ok"]
        assert 0 == server.stop().returncode
    assert kept == secrets_of(access)
    assert not token_file.exists()


@pytest.mark.parametrize("what", ["port", "host", "certificate", "authority", "another server"])
def test_a_start_that_fails(tmp_path: Path, what: str) -> None:
    """Whatever keeps the first start from its end, it leaves no key, user or token: the next plain start is open."""
    with contextlib.ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("", 0)))
        options = {
            "port": ["--port", str(taken.getsockname()[1])],
            "host": ["--host", "nohost.invalid"],
            "certificate": ["--tls-cert", str(tmp_path / "none"), "--tls-key", str(tmp_path / "none")],
            "authority": ["--client-ca", str(tmp_path / "none")],
        }.get(what, [])
        if what == "another server":
            stack.enter_context(ServerProcess(tmp_path))
        refused("--root", str(tmp_path), *ANYWHERE, "--port", "0", *options)
    assert {"users.lock"} >= {path.name for path in (tmp_path / ".ftpd").glob("access/*")}
    with ServerProcess(tmp_path) as server, server.connect() as peer:
        assert peer.ask({"cmd": "ls"})["ok"]


def test_read_only_with_a_folder_for_secrets(tmp_path: Path) -> None:
    """A root that must not change is served with secrets kept elsewhere, and does not change."""
    root, access = tmp_path / "root", tmp_path / "access"
    root.mkdir()
    assert "--access" in refused("--root", str(root), "--read-only", *ANYWHERE)
    assert [] == [*root.iterdir()]
    with ServerProcess(root, "--read-only", *ANYWHERE, "--access", str(access)) as server:
        said(server, 2)
        token = (access / "first-token").read_text().strip()
        replies = asked(server, {"cmd": "auth", "token": token}, {"cmd": "ls"})
        assert [True, True] == [reply["ok"] for reply in replies]
    assert [] == [*root.iterdir()]
    assert {0o600} == {mode for mode, _ in secrets_of(access).values()}


def test_nobody_could_log_in(tmp_path: Path) -> None:
    """Users of whom none can log in are no reason to start, and no token is made behind anybody's back."""
    assert 0 == run("user", "add", "alice", "--root", str(tmp_path), tool=True).returncode
    hint = refused("--root", str(tmp_path), *ANYWHERE).rpartition("make a token first: ftpd ")[2]
    assert 0 == run(*hint.replace("USER", "alice").split(), tool=True).returncode
    with ServerProcess(tmp_path, *ANYWHERE) as server:
        assert "login" in said(server, 1)


@pytest.mark.parametrize("file", ["key.pem", "users.toml"])
def test_permissions_that_are_too_open(tmp_path: Path, file: str) -> None:
    """Secrets that others can read keep the server from starting, with the command that mends it, which does."""
    with ServerProcess(tmp_path, *ANYWHERE) as server:
        server.stop()
    secret = tmp_path / ".ftpd" / "access" / file
    secret.chmod(0o640)
    line = refused("--root", str(tmp_path), *ANYWHERE)
    assert f"run: chmod 600 {secret}\n" in line
    subprocess.run(line.rpartition("run: ")[2].split(), check=True)
    with ServerProcess(tmp_path, *ANYWHERE) as server:
        assert "TLS" in server.how


def test_a_mistake_in_the_users_file(tmp_path: Path) -> None:
    """At the start a file of users with a mistake is refused, with its line."""
    with ServerProcess(tmp_path, *ANYWHERE) as server:
        server.stop()
    users = tmp_path / ".ftpd" / "access" / "users.toml"
    users.write_text(users.read_text() + "\n[users.bob]\nrihgts = []\n")
    line = refused("--root", str(tmp_path), *ANYWHERE)
    assert "users.toml: line " in line
    assert "rihgts" in line


@pytest.mark.parametrize("option", ["--access", "--tls-key"])
def test_secrets_in_the_served_folder(tmp_path: Path, option: str) -> None:
    """Secrets that clients could fetch are refused, by whatever name the place is given."""
    root, link = tmp_path / "root", tmp_path / "link"
    (root / "keys").mkdir(parents=True)
    link.symlink_to(root / "keys")
    for place in (root / "keys", link, root / "keys" / ".." / "other", root):
        more = [] if option == "--access" else ["--tls-cert", str(tmp_path / "c.pem")]
        assert f"{option} " in refused("--root", str(root), option, str(place), *more)
    assert [] == [*(root / "keys").iterdir()]


def test_loopback_without_users(tmp_path: Path) -> None:
    """Where only this machine connects nothing is made; with `--tls` it is a key, and nobody has to log in."""
    with ServerProcess(tmp_path):
        assert not (tmp_path / ".ftpd" / "access").exists()
    with ServerProcess(tmp_path, "--tls") as server:
        assert [] == asked(server, {"cmd": "hello"})[0]["auth"]
        assert {"cert.pem", "key.pem"} == {path.name for path in (tmp_path / ".ftpd" / "access").iterdir()}


def test_first_user_is_told_of_servers_that_run(tmp_path: Path) -> None:
    """Whoever makes the first user hears that a server that runs already lets everybody in."""
    assert "until it is started again" in run("user", "add", "a", "--root", str(tmp_path), tool=True).stdout
    assert "until it is started again" not in run("user", "add", "b", "--root", str(tmp_path), tool=True).stdout
