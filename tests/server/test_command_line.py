"""The command line: what starts, what is refused before it starts, and in which words."""

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.peer import PATIENCE_S, Peer, ServerProcess, command, server_environment


def run(
    *options: str, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a server that is not going to start."""
    return subprocess.run(
        [*prefix, *command(*options)],
        env=server_environment(environment or {}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on standard error, nothing on standard output, exit status 2."""
    assert (2, "") == (result.returncode, result.stdout), result.stderr
    assert [1, True] == [result.stderr.count("\n"), result.stderr.endswith("\n")], result.stderr
    assert result.stderr.startswith("ftpd: ")
    assert [] == [word for word in words if word not in result.stderr], result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bogus"], ["no option --bogus;"]),
        (["--readonly"], ["no option --readonly, but --read-only;"]),
        (["-Q"], ["no option -Q, but -q;"]),
        (["-qx"], ["no option -x;"]),
        (["surplus"], ["surplus"]),
        (["--port", "high"], ["--port", "'high'"]),
        (["--port", "65536"], ["--port", "65535"]),
        (["--por", "0"], ["--por"]),
        (["--grace", "-1"], ["--grace"]),
        (["--max-connections", "0"], ["--max-connections"]),
        (["--workers", "0"], ["--workers", "'0'"]),
        (["--workers", "many"], ["--workers", "'many'"]),
        (["--durability", "some"], ["--durability", "full", "none"]),
        (["--log-format", "xml"], ["--log-format", "text", "json"]),
        (["--sandbox", "maybe"], ["--sandbox", "auto", "require", "off"]),
        (["--host", "0.0.0.0", "--read-only"], ["--read-only", "--access"]),  # noqa: S104 (refused)
        (["--tls-cert", "cert.pem"], ["--tls-key"]),
        (["--tls-cert", "none.pem", "--tls-key", "none.pem"], ["none.pem"]),
        (["--host", "192.0.2.1", "--insecure"], ["192.0.2.1"]),
    ],
    ids=" ".join,
)
def test_option_that_is_refused(tmp_path: Path, options: list[str], words: list[str]) -> None:
    """A wrong option is one line that names it, and exit status 2."""
    assert_refused(run("--root", str(tmp_path), *options), *words)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FTPD_PORT", "high"),
        ("FTPD_READ_ONLY", "maybe"),
        ("FTPD_DURABILITY", "some"),
        ("FTPD_INSECURE", "2"),
    ],
)
def test_environment_value_that_is_refused(tmp_path: Path, name: str, value: str) -> None:
    """A wrong value in the environment is one line that names the variable, and exit status 2."""
    assert_refused(run("--root", str(tmp_path), environment={name: value}), name, value)


def test_root_that_is_missing(tmp_path: Path) -> None:
    """A root that is not there is refused, and not made."""
    assert_refused(run("--root", str(tmp_path / "missing")), "--root", "no such folder")
    assert [] == [*tmp_path.iterdir()]


def test_root_that_is_no_folder(tmp_path: Path) -> None:
    """A file can not be served."""
    (tmp_path / "file").touch()
    assert_refused(run("--root", str(tmp_path / "file")), "--root", "not a folder")


def test_port_that_is_taken(tmp_path: Path) -> None:
    """A taken port is one line that names it, and the folder can be served elsewhere afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_refused(run("--root", str(tmp_path), "--port", str(port)), str(port), "another server")
    with ServerProcess(tmp_path) as server:
        assert server.answers()


def test_second_server_on_the_same_root(tmp_path: Path) -> None:
    """Two servers can not write to one folder, and the first is named; those that only read can be any number."""
    (tmp_path / ".ftpd").mkdir()
    (tmp_path / ".ftpd" / "lock").write_text("1234567890\n")  # of one that was killed
    with ServerProcess(tmp_path) as writer:
        named = f"another server (process {writer.pid})"
        assert_refused(run("--root", str(tmp_path), "--port", "0"), named, str(tmp_path))
        with ServerProcess(tmp_path, "--read-only") as first, ServerProcess(tmp_path, "--read-only") as second:
            with writer.connect() as peer:
                assert peer.ask({"cmd": "put", "filename": "a", "filesize": 1}, b"a")["ok"]
            for reader in (first, second):
                with reader.connect() as peer:
                    assert peer.ask({"cmd": "stat", "filename": "a"})["ok"]


def test_version() -> None:
    """`--version` prints one line and starts nothing."""
    result = run("--version")
    assert (0, "") == (result.returncode, result.stderr)
    assert ["ftpd", True] == [result.stdout.split()[0], result.stdout.split()[1][0].isdigit()]


def test_default_root_is_made(tmp_path: Path) -> None:
    """Without `--root` the folder `storage` is served, and made where it is missing."""
    with ServerProcess(None, cwd=tmp_path) as server:
        assert tmp_path / "storage" == server.root
        assert server.answers()


def test_first_lines(tmp_path: Path) -> None:
    """What is served where and how, and the line to paste, are the first things the server says."""
    with ServerProcess(tmp_path) as server:
        expected = f"ftpd {server.version} serves {tmp_path} on 127.0.0.1:{server.port} (durability full)\n"
        assert expected == server.first_line
        assert server.process.stdout is not None
        assert f"try: ftpc --server 127.0.0.1:{server.port} ls\n" == server.process.stdout.readline()


def test_every_option_in_the_environment(tmp_path: Path) -> None:
    """Each option can be given as `FTPD_<NAME>`, and the command line wins."""
    root = tmp_path / "root"
    root.mkdir()
    environment = {
        "FTPD_ROOT": str(root),
        "FTPD_PORT": "1",  # the command line says 0
        "FTPD_HOST": "127.1",  # loopback, but only a resolver can tell
        "FTPD_INSECURE": "yes",
        "FTPD_DURABILITY": "none",
        "FTPD_GRACE": "0",
        "FTPD_MAX_CONNECTIONS": "1",
        "FTPD_LOG_FORMAT": "json",
        "FTPD_SANDBOX": "off",
    }
    with ServerProcess(None, environment=environment, cwd=tmp_path) as server:
        assert (root, "durability none") == (server.root, server.how)
        with server.connect() as peer:
            assert "none" == peer.ask({"cmd": "hello"})["durability"]
            with server.connect() as second:
                assert "busy" == second.read()["error"]["code"]
            assert server.log.startswith("{")
            assert "sandbox" not in server.log
            peer.send({"cmd": "put", "filename": "half", "filesize": 2}, b"x")
            assert 0 == server.stop().returncode


def test_read_only_in_the_environment(tmp_path: Path) -> None:
    """A switch is on with `1`."""
    with ServerProcess(tmp_path, environment={"FTPD_READ_ONLY": "1"}) as server, server.connect() as peer:
        assert "read-only" == server.how
        assert peer.ask({"cmd": "hello"})["read_only"]


@pytest.mark.parametrize("durability", ["full", "none"])
def test_durability_is_told(tmp_path: Path, durability: str) -> None:
    """`hello` says what the reply to an upload means."""
    with ServerProcess(tmp_path, "--durability", durability) as server, server.connect() as peer:
        assert durability == peer.ask({"cmd": "hello"})["durability"]
        assert peer.ask({"cmd": "put", "filename": "a", "filesize": 1}, b"a")["ok"]
    assert b"a" == (tmp_path / "a").read_bytes()


def test_read_only_changes_nothing(tmp_path: Path) -> None:
    """A read-only server refuses every write, serves every read, and leaves the folder exactly as it was."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"content")
    before = snapshot(tmp_path)
    with ServerProcess(tmp_path, "--read-only") as server, server.connect() as peer:
        assert "read_only" == peer.refusal({"cmd": "put", "filename": "folder/file", "filesize": 70_000}, bytes(70_000))
        assert "read_only" == peer.refusal({"cmd": "put", "filename": "new/file", "filesize": 0})
        assert "read_only" == peer.refusal({"cmd": "begin", "filename": "new"})
        assert "read_only" == peer.refusal({"cmd": "put", "filename": "x", "filesize": 0, "if_exists": "skip"})
        for path in ("folder", "new", ""):
            assert "read_only" == peer.refusal({"cmd": "mkdir", "path": path})
        read_everything(peer)
    assert before == snapshot(tmp_path)


def read_everything(peer: Peer) -> None:
    """Ask for what a read-only server has to give."""
    for _ in range(2):
        reply = peer.ask({"cmd": "get", "filename": "folder/file"})
        peer.read_bytes(32 * reply["leaves"])
        assert b"content" == peer.read_bytes(7)
        assert not reply["trailer"] or peer.read()["ok"]
        assert peer.ask({"cmd": "md5", "filename": "folder/file"})["ok"]
        assert ["folder"] == [entry["name"] for entry in peer.ask({"cmd": "ls"})["entries"]]


def snapshot(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Take down everything that a write would change."""
    found = {}
    for path in [root, *root.rglob("*")]:
        state = os.lstat(path)
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (state.st_mode, state.st_mtime_ns, state.st_ctime_ns, content)
    return found


@pytest.mark.parametrize("mode", [0o300, 0o500])
def test_root_that_can_not_be_written_to(tmp_path: Path, without_privileges: tuple[str, ...], mode: int) -> None:
    """A folder that the system keeps from being read or written to is refused."""
    tmp_path.chmod(mode)
    assert_refused(run("--root", str(tmp_path), prefix=without_privileges), str(tmp_path))
    tmp_path.chmod(0o700)
    assert [] == [*tmp_path.iterdir()]
