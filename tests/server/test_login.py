"""Logging in: who has not may do nothing, who has may do what the users file says, as long as it says so."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftpd.access.rights import Right
from ftpd.commands.table import COMMANDS
from tests.peer import Peer, ServerProcess, code_of, eventually, frame, manage, served, swap


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few users."""
    root = tmp_path_factory.mktemp("root")
    manage(root, "user", "add", "alice")
    manage(root, "user", "add", "reader", "--rights", "read-only")
    manage(root, "user", "add", "dropper", "--rights", "upload-only", "--home", "inbox")
    manage(root, "user", "add", "writer", "--rights", "list,read,write")
    (root / "there").write_bytes(b"there")
    (root / "inbox").mkdir()
    (root / "inbox" / "secret").write_bytes(b"secret")
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[ServerProcess]:
    """A server of that folder."""
    with served(root) as server:
        yield server


@pytest.fixture
def peer(server: ServerProcess) -> Iterator[Peer]:
    """A connection that nobody has logged in on."""
    with server.connect() as peer:
        yield peer


def log_in(peer: Peer, root: Path, user: str, *options: str) -> str:
    """Log in with a new token; give its id."""
    token = manage(root, "token", "create", user, *options)
    time.sleep(0.6)  # the server looks at the file twice a second
    reply = peer.ask({"cmd": "auth", "token": token})
    assert (True, user) == (reply["ok"], reply.get("user")), reply
    return token.split("_")[1]


REQUESTS: list[dict[str, object]] = [
    {"cmd": "put", "filename": "x", "filesize": 0},
    {"cmd": "begin", "filename": "x", "filesize": 9},
    {"cmd": "join", "upload": "x", "lease": "x"},
    {"cmd": "chunk", "upload": "x", "index": 0, "size": 0, "digest": "00"},
    {"cmd": "commit", "upload": "x", "chunks": 1, "root": "00"},
    {"cmd": "abort", "upload": "x"},
    {"cmd": "mkdir", "path": "folder"},
    {"cmd": "check", "files": [["x", 9]]},
    {"cmd": "same", "files": [["there", 0, "00" * 32]]},
    {"cmd": "df"},
    {"cmd": "get", "filename": "there"},
    {"cmd": "ls"},
    {"cmd": "stat", "filename": "there"},
    {"cmd": "md5", "filename": "there"},
    {"cmd": "sum", "filename": "there"},
]


def test_every_command_is_tried() -> None:
    """A new command is either for everybody, or among those that are tried without the right for it."""
    needed = {name for name, command in COMMANDS.items() if command.right is not Right.NONE}
    assert needed == {str(request["cmd"]) for request in REQUESTS}


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request["cmd"])
def test_nothing_without_logging_in(peer: Peer, root: Path, request_: dict[str, object]) -> None:
    """Who has not logged in is told so whatever he asks, and nothing happens."""
    before = sorted(path.name for path in root.iterdir())
    assert "unauthorized" == peer.refusal(request_)
    assert sorted(path.name for path in root.iterdir()) == before
    assert "nobody" == peer.ask({"cmd": "whoami"})["user"]
    assert ["token", "password"] == peer.ask({"cmd": "hello"})["auth"]


def test_small_puts_one_behind_the_other(peer: Peer, root: Path) -> None:
    """Files that are sent without waiting are refused as well, each by itself."""
    put = frame({"cmd": "put", "id": 1, "filename": "sneaked", "filesize": 3}, b"abc")
    peer.send_raw(put * 20)
    assert ["unauthorized"] * 20 == [code_of(peer.read()) for _ in range(20)]
    assert not (root / "sneaked").exists()


def test_password(peer: Peer, root: Path) -> None:
    """A password that is read from standard input logs in; another one, or another user, does not, after a second."""
    manage(root, "user", "passwd", "alice", given="correct horse\n")
    time.sleep(0.6)
    for user, password in (("alice", "wrong"), ("nobody.here", "correct horse")):
        started = time.monotonic()
        assert "unauthorized" == peer.refusal({"cmd": "auth", "method": "password", "user": user, "password": password})
        assert time.monotonic() - started > 0.9
    reply = peer.ask({"cmd": "auth", "method": "password", "user": "alice", "password": "correct horse"})
    assert ("alice", ["delete", "list", "overwrite", "read", "write"]) == (reply["user"], reply["rights"])
    assert peer.ask({"cmd": "put", "filename": "there", "filesize": 5}, b"there")["ok"]


@pytest.mark.parametrize("token", ["", "x", "ftk_0123456789_" + "A" * 43, "ftk_" + "A" * 60, "\x00", "A" * 3_000])
def test_token_that_is_none(server: ServerProcess, token: str) -> None:
    """What is no token of ours is `unauthorized`, whatever it looks like."""
    with server.connect() as peer:
        assert "unauthorized" == peer.refusal({"cmd": "auth", "token": token})


def test_third_wrong_try_ends_it(peer: Peer) -> None:
    """After three wrong credentials in a row the connection is closed."""
    for _ in range(3):
        assert "unauthorized" == peer.refusal({"cmd": "auth", "token": "x"})
    assert peer.is_ended()


def test_reader(peer: Peer, root: Path) -> None:
    """Who may only read sees and fetches, and stores nothing."""
    log_in(peer, root, "reader")
    assert "there" in [entry["name"] for entry in peer.ask({"cmd": "ls"})["entries"]]
    assert 5 == peer.ask({"cmd": "stat", "filename": "there"})["filesize"]
    assert "forbidden" == peer.refusal({"cmd": "put", "filename": "x", "filesize": 0})
    assert "forbidden" == peer.refusal({"cmd": "begin", "filename": "x", "filesize": 9})


def test_drop_box(peer: Peer, root: Path) -> None:
    """Who may only upload can put, at home, and neither see, fetch nor replace anything."""
    log_in(peer, root, "dropper")
    assert peer.ask({"cmd": "put", "filename": "new", "filesize": 3}, b"new")["ok"]
    assert b"new" == (root / "inbox" / "new").read_bytes()
    refused = {"cmd": "put", "filename": "secret", "filesize": 3}
    assert "exists" == code_of(peer.ask(refused, b"new"))
    assert b"secret" == (root / "inbox" / "secret").read_bytes()
    looking = [{"cmd": "ls"}, {"cmd": "get", "filename": "secret"}, {"cmd": "stat", "filename": "secret"}]
    for request in looking:
        assert peer.refusal(request) in {"forbidden", "not_found"}
    large = peer.ask({"cmd": "begin", "filename": "large", "filesize": 9_000_000})
    assert large["ok"]
    assert peer.ask({"cmd": "abort", "upload": large["upload"]})["ok"]


def test_new_names_only(peer: Peer, root: Path) -> None:
    """Who may write but not replace gets `exists`, also if he says nothing of it, and `rename` works."""
    log_in(peer, root, "writer")
    for more in ({}, {"if_exists": "overwrite"}, {"if_exists": "fail"}):
        assert "exists" == code_of(peer.ask({"cmd": "put", "filename": "there", "filesize": 1, **more}, b"x"))
    renamed = peer.ask({"cmd": "put", "filename": "there", "filesize": 1, "if_exists": "rename"}, b"x")
    assert "there (1)" == renamed["filename"]
    assert b"there" == (root / "there").read_bytes()


def test_token_for_less(peer: Peer, root: Path) -> None:
    """A token can leave less than its user has: some rights, one folder. What lies outside is not there."""
    log_in(peer, root, "alice", "--rights", "list,read", "--path", "inbox")
    assert 6 == peer.ask({"cmd": "stat", "filename": "inbox/secret"})["filesize"]
    assert "not_found" == peer.refusal({"cmd": "stat", "filename": "there"})
    assert ["inbox"] == [entry["name"] for entry in peer.ask({"cmd": "ls"})["entries"]]
    assert "forbidden" == peer.refusal({"cmd": "put", "filename": "inbox/x", "filesize": 0})


def test_refusals_name_what_is_missing(peer: Peer, root: Path) -> None:
    """Who may not do something is told which right that takes, in words, whatever the command is called."""
    log_in(peer, root, "reader")
    storing = "reader may not store files here: the right `write` is missing"
    assert storing == peer.ask({"cmd": "check", "files": [["x", 0]]})["error"]["message"]
    room = "reader may not ask how much room there is here: the right `write` is missing"
    assert room == peer.ask({"cmd": "df"})["error"]["message"]
    log_in(peer, root, "dropper")
    reading = "dropper may not read files here: the right `read` is missing"
    assert reading == peer.ask({"cmd": "sum", "filename": "x"})["error"]["message"]


def test_revoked_token(peer: Peer, root: Path) -> None:
    """A token that is revoked ends what it began: also a connection on which nothing is asked for."""
    name = log_in(peer, root, "alice")
    assert peer.ask({"cmd": "ls"})["ok"]
    manage(root, "token", "revoke", name)
    assert "unauthorized" == peer.farewell()


def test_listing_ends_with_its_rights(peer: Peer, root: Path) -> None:
    """Who gets other rights while he lists a folder has to begin again: further pages would show what he saw before."""
    manage(root, "user", "add", "lister", "--rights", "read-only")
    (root / "many").mkdir()
    for number in range(1100):
        (root / "many" / str(number)).touch()
    log_in(peer, root, "lister")
    first = peer.ask({"cmd": "ls", "path": "many"})
    file = root / ".ftpd" / "access" / "users.toml"
    head = '[users."lister"]\nrights = '
    swap(file, file.read_text().replace(f'{head}["read-only"]', f'{head}["list"]'))
    eventually(lambda: ["list"] == peer.ask({"cmd": "whoami"})["rights"], "he has other rights")
    assert "bad_cursor" == peer.refusal({"cmd": "ls", "path": "many", "cursor": first["cursor"]})
    assert peer.ask({"cmd": "ls", "path": "many"})["entries"]


def test_revoked_while_it_uploads(peer: Peer, root: Path) -> None:
    """A file that is under way when its token is revoked does not get its name, and its sender is told so."""
    name = log_in(peer, root, "alice")
    peer.send({"cmd": "put", "id": 1, "filename": "too-late", "filesize": 3_000_000}, bytes(2_000_000))
    manage(root, "token", "revoke", name)
    assert "unauthorized" == peer.farewell()
    assert not (root / "too-late").exists()


def test_expired_token(peer: Peer, root: Path) -> None:
    """A token that expires ends in the same way."""
    log_in(peer, root, "alice", "--expires", "2s")
    assert "unauthorized" == peer.farewell()


def test_mistake_in_the_file(peer: Peer, root: Path, server: ServerProcess) -> None:
    """A users file with a mistake changes nothing: the old one holds, and the log names the line."""
    log_in(peer, root, "alice")
    file = root / ".ftpd" / "access" / "users.toml"
    good = file.read_text()
    try:
        swap(file, good.replace('[users."alice"]\n', '[users."alice"]\nrihgts = ["full"]\n'))
        eventually(lambda: peer.ask({"cmd": "ls"})["ok"] and "has a mistake" in server.log, "the file is looked at")
        assert "users.toml: line " in server.log
        assert "rihgts" in server.log
        file.chmod(0o644)
        eventually(lambda: peer.ask({"cmd": "ls"})["ok"] and "chmod 600" in server.log, "others can read it")
    finally:
        swap(file, good)
    assert peer.ask({"cmd": "ls"})["ok"]


def test_no_secret_in_the_log(server: ServerProcess, root: Path) -> None:
    """Neither tokens nor passwords are logged."""
    token = manage(root, "token", "create", "alice")
    with server.connect() as peer:
        peer.ask({"cmd": "auth", "token": token})
        peer.ask({"cmd": "auth", "method": "password", "user": "alice", "password": "hunter2"})
        peer.send_raw(frame({"cmd": "auth", "token": [token]}))
        peer.read()
        peer.ask({"cmd": "auth", "method": "password", "user": "hunter2", "password": "alice"})
    logged = [line.partition(" peer=")[2].partition(" ")[2] for line in server.log.splitlines() if " log-in " in line]
    assert {"user=alice outcome=ok", "outcome=unauthorized", "outcome=bad_request"} <= {*logged}
    assert token not in server.log
    assert "hunter2" not in server.log


def test_what_lies_in_the_access_folder(root: Path) -> None:
    """Users and keys are readable by their owner alone."""
    folder = root / ".ftpd" / "access"
    assert 0o700 == folder.stat().st_mode & 0o777
    assert {0o600} == {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert 0o700 == (root / ".ftpd").stat().st_mode & 0o777


def test_large_header_of_a_stranger(peer: Peer) -> None:
    """Who has not logged in can not make the server hold a large header."""
    peer.send_raw((4097).to_bytes(4, "little"))
    assert "bad_frame" == code_of(peer.read())
    assert peer.is_ended()
