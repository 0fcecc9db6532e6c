"""Shares: what a user gives away, for a while, is never more than he may do himself."""

import re
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peer import Peer, ServerProcess, code_of, eventually, manage, served, swap


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few users."""
    root = tmp_path_factory.mktemp("root")
    for name in ("alice", "carol", "boss", "temp"):
        manage(root, "user", "add", name, "--rights", "full,admin" if name == "boss" else "full")
    manage(root, "user", "add", "reader", "--rights", "read-only")
    manage(root, "user", "add", "homely", "--home", "home")
    for name in ("photos/a", "photos/b", "home/own/x", "other"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
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


def log_in(peer: Peer, token: str, **more: object) -> dict[str, Any]:
    """Show a token; give the answer."""
    return peer.ask({"cmd": "auth", "token": token, **more})


def user(peer: Peer, root: Path, name: str, *options: str) -> str:
    """Log in as somebody; give the token's id."""
    token = manage(root, "token", "create", name, *options)
    time.sleep(0.6)  # the server looks at the file twice a second
    assert log_in(peer, token)["ok"]
    return token.split("_")[1]


def share(peer: Peer, path: str, **more: object) -> dict[str, Any]:
    """Share a path."""
    reply = peer.ask({"cmd": "share", "path": path, **more})
    assert reply["ok"], reply
    return reply


def test_somebody_else_reads_it(peer: Peer, root: Path, server: ServerProcess) -> None:
    """Who has the token of a shared folder sees and fetches what is in it, and neither anything else nor more."""
    user(peer, root, "alice")
    made = share(peer, "photos", expires=60)
    assert ["list", "read"] == made["rights"]
    assert abs(made["expires"] - time.time() - 60) < 5
    with server.connect() as other:
        assert "alice" == log_in(other, made["token"])["user"]
        assert ["a", "b"] == sorted(entry["name"] for entry in other.ask({"cmd": "ls", "path": "photos"})["entries"])
        assert 8 == other.ask({"cmd": "stat", "filename": "photos/a"})["filesize"]
        assert ["photos"] == [entry["name"] for entry in other.ask({"cmd": "ls"})["entries"]]
        assert "not_found" == other.refusal({"cmd": "get", "filename": "other"})
        for path in ("photos/a", "photos/new", "new"):
            assert "forbidden" == other.refusal({"cmd": "put", "filename": path, "filesize": 0})


def test_one_file(peer: Peer, root: Path, server: ServerProcess) -> None:
    """A shared file is that file alone, as its maker names it, wherever his home is."""
    user(peer, root, "homely")
    made = share(peer, "own/x")
    with server.connect() as other:
        log_in(other, made["token"])
        assert 10 == other.ask({"cmd": "stat", "filename": "own/x"})["filesize"]
        assert ["x"] == [entry["name"] for entry in other.ask({"cmd": "ls", "path": "own"})["entries"]]
        assert "not_found" == other.refusal({"cmd": "stat", "filename": "photos/a"})


def test_somebody_else_brings_something(peer: Peer, root: Path, server: ServerProcess) -> None:
    """With `upload` new files can be brought; none is seen, fetched or replaced."""
    user(peer, root, "alice")
    made = share(peer, "photos", upload=True)
    assert ["write"] == made["rights"]
    with server.connect() as other:
        log_in(other, made["token"])
        assert other.ask({"cmd": "put", "filename": "photos/brought", "filesize": 2}, b"hi")["ok"]
        assert "exists" == other.refusal({"cmd": "put", "filename": "photos/a", "filesize": 2}, b"hi")
        assert other.refusal({"cmd": "get", "filename": "photos/a"}) in {"not_found", "forbidden"}
        assert other.refusal({"cmd": "ls", "path": "photos"}) in {"not_found", "forbidden"}
    (root / "photos/brought").unlink()
    assert b"photos/a" == (root / "photos/a").read_bytes()


def test_no_more_than_the_maker_has(peer: Peer, root: Path) -> None:
    """Who may not write shares no uploads; who came with a token for one folder shares nothing outside of it."""
    user(peer, root, "reader")
    assert "forbidden" == peer.refusal({"cmd": "share", "path": "photos", "upload": True})
    assert share(peer, "photos")["ok"]
    user(peer, root, "alice", "--path", "photos", "--rights", "write")
    assert "not_found" == peer.refusal({"cmd": "share", "path": "other"})
    assert peer.refusal({"cmd": "share", "path": "photos"}) in {"forbidden", "not_found"}
    assert "forbidden" == peer.refusal({"cmd": "share", "path": "other", "upload": True})


def test_less_when_the_maker_has_less(peer: Peer, root: Path, server: ServerProcess) -> None:
    """A share follows the rights of its maker: what is taken from him is gone from it at once."""
    manage(root, "user", "add", "fading", "--rights", "read-only")
    user(peer, root, "fading")
    made = share(peer, "photos")
    with server.connect() as other:
        log_in(other, made["token"])
        assert other.ask({"cmd": "stat", "filename": "photos/a"})["ok"]
        file = root / ".ftpd/access/users.toml"
        text = file.read_text()
        head, tail = text.split('[users."fading"]\n')
        swap(file, f'{head}[users."fading"]\n{tail.replace("read-only", "upload-only", 1)}')
        eventually(lambda: not other.ask({"cmd": "stat", "filename": "photos/a"})["ok"], "the share holds no more")
        assert "forbidden" == other.refusal({"cmd": "put", "filename": "photos/new", "filesize": 0})


def test_gone_with_the_token_that_made_it(peer: Peer, root: Path, server: ServerProcess) -> None:
    """Who revokes a token ends what was shared with it; a share does not outlive it either."""
    name = user(peer, root, "alice", "--expires", "1h")
    made = share(peer, "photos", expires=86_400)
    assert made["expires"] < time.time() + 3_601
    with server.connect() as other:
        assert log_in(other, made["token"])["ok"]
        manage(root, "token", "revoke", name)
        assert "unauthorized" == other.farewell()
    with server.connect() as other:
        assert "unauthorized" == code_of(log_in(other, made["token"]))
    assert made["share"] not in tomllib.loads((root / ".ftpd/access/users.toml").read_text()).get("tokens", {})


@pytest.mark.parametrize("what", ["expired", "given", "gone", "usergone"])
def test_the_file_says_something_else_of_its_maker(peer: Peer, root: Path, server: ServerProcess, what: str) -> None:
    """Who edits the users file so that a share's maker holds no more ends the share, where nothing is asked for too."""
    manage(root, "user", "add", what)
    name = user(peer, root, what, "--expires", "1h")
    made = share(peer, "photos")
    file = root / ".ftpd/access/users.toml"
    text = file.read_text()
    [maker] = [table for table in text.split("\n\n") if table.startswith(f'[tokens."{name}"]')]
    changed = {
        "expired": text.replace(maker, re.sub(r"expires = .*", "expires = 2020-01-01T00:00:00Z", maker)),
        "given": text.replace(maker, maker.replace(f'user = "{what}"', 'user = "alice"')),
        "gone": text.replace(maker, ""),
        "usergone": "\n\n".join(table for table in text.split("\n\n") if f'"{what}"' not in table),
    }[what]
    assert text != changed
    with server.connect() as other, server.connect() as late:
        assert log_in(other, made["token"])["ok"]
        swap(file, changed)
        assert ["unauthorized"] * 2 == [other.farewell(), peer.farewell()]
        assert "unauthorized" == code_of(log_in(late, made["token"]))


def test_share_of_a_share(peer: Peer, root: Path, server: ServerProcess) -> None:
    """Who came with a share shares nothing, and neither sees nor ends shares."""
    user(peer, root, "alice")
    made = share(peer, "photos")
    with server.connect() as other:
        log_in(other, made["token"])
        for request in ({"cmd": "share", "path": "photos"}, {"cmd": "shares"}):
            assert "forbidden" == other.refusal(request)
        assert "forbidden" == other.refusal({"cmd": "unshare", "share": made["share"]})
        assert other.ask({"cmd": "stat", "filename": "photos/a"})["ok"]


def test_expired(peer: Peer, root: Path, server: ServerProcess) -> None:
    """A share ends by itself, also where somebody is logged in with it."""
    user(peer, root, "alice")
    made = share(peer, "photos", expires=2)
    with server.connect() as other:
        assert log_in(other, made["token"])["ok"]
        assert "unauthorized" == other.farewell()
    with server.connect() as other:
        assert "unauthorized" == code_of(log_in(other, made["token"]))
    assert made["share"] not in [row["share"] for row in peer.ask({"cmd": "shares"})["shares"]]


def test_listed_and_revoked(peer: Peer, root: Path, server: ServerProcess) -> None:
    """Users see and end their own shares, and not those of others; who manages users all. What ends, ends at once."""
    user(peer, root, "carol")
    made = share(peer, "photos", label="für Bo 📷", count=3)
    row = {"share": made["share"], "user": "carol", "path": "photos", "rights": ["list", "read"],
           "expires": made["expires"], "count": 3, "label": "für Bo 📷"}  # fmt: skip
    assert {"ok": True, "shares": [row]} == peer.ask({"cmd": "shares"})
    assert {"ok": True, "shares": []} == peer.ask({"cmd": "shares", "after": made["share"]})
    with server.connect() as other, server.connect() as boss:
        assert log_in(other, made["token"])["ok"]
        user(boss, root, "alice")
        assert made["share"] not in [row["share"] for row in boss.ask({"cmd": "shares"})["shares"]]
        assert "not_found" == boss.refusal({"cmd": "unshare", "share": made["share"]})
        user(boss, root, "boss")
        assert made["share"] in [row["share"] for row in boss.ask({"cmd": "shares"})["shares"]]
        assert boss.ask({"cmd": "unshare", "share": made["share"]})["ok"]
        assert "unauthorized" == other.farewell()
    assert "not_found" == peer.refusal({"cmd": "unshare", "share": made["share"]})


def test_ordinary_tokens_are_no_shares(peer: Peer, root: Path) -> None:
    """`unshare` ends shares only: the tokens of users are out of its reach."""
    name = user(peer, root, "boss")
    assert "not_found" == peer.refusal({"cmd": "unshare", "share": name})
    assert "" != name


def test_counted(peer: Peer, root: Path, server: ServerProcess) -> None:
    """A share for two log-ins is good for two; those of one session count as one, and go on when it is used up."""
    user(peer, root, "alice")
    token = share(peer, "photos", count=2)["token"]
    with server.connect() as first, server.connect() as second, server.connect() as third:
        for peer_, session in ((first, "one"), (second, "one"), (third, "two")):
            assert log_in(peer_, token, session=session)["ok"]
        with server.connect() as fourth:
            assert "unauthorized" == code_of(log_in(fourth, token, session="three"))
            assert "unauthorized" == code_of(log_in(fourth, token))
            assert log_in(fourth, token, session="two")["ok"]
        assert first.ask({"cmd": "ls"})["ok"]


def test_counted_at_the_same_moment(peer: Peer, root: Path, server: ServerProcess) -> None:
    """Of many that come at once with a share that is good for one log-in, one is let in."""
    user(peer, root, "alice")
    token = share(peer, "photos", count=1)["token"]
    others = [server.connect() for _ in range(8)]
    try:
        for other in others:
            other.send({"cmd": "auth", "token": token})
        assert [False] * 7 + [True] == sorted(other.read()["ok"] for other in others)
    finally:
        for other in others:
            other.close()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"path": "nowhere"}, "not_found"),
        ({"path": "../x"}, "bad_path"),
        ({"path": ".ftpd"}, "bad_path"),
        ({"expires": 0}, "bad_request"),
        ({"expires": 367 * 86_400}, "bad_request"),
        ({"expires": 2**53 - 1}, "bad_request"),
        ({"count": 0}, "bad_request"),
        ({"count": 101}, "bad_request"),
        ({"label": "x" * 101}, "bad_request"),
        ({"label": "\x1b[31m"}, "bad_request"),
        ({"label": "\x7f"}, "bad_request"),
    ],
)
def test_nonsense(peer: Peer, root: Path, more: dict[str, object], code: str) -> None:
    """What can not be shared like that is refused, and leaves no token."""
    user(peer, root, "carol")
    before = (root / ".ftpd/access/users.toml").read_text()
    assert code == peer.refusal({"cmd": "share", "path": "photos", **more})
    assert before == (root / ".ftpd/access/users.toml").read_text()


@pytest.mark.parametrize("command", ["share", "shares", "unshare"])
def test_nobody_shares(peer: Peer, command: str) -> None:
    """Who has not logged in is told so."""
    assert "unauthorized" == peer.refusal({"cmd": command, "path": "photos", "share": "x"})


def test_where_nobody_logs_in(tmp_path: Path) -> None:
    """Where everybody may do everything there is nothing to share."""
    (tmp_path / "a").touch()
    with ServerProcess(tmp_path) as server:
        with server.connect() as peer:
            assert "forbidden" == peer.refusal({"cmd": "share", "path": "a"})
            assert {"ok": True, "shares": []} == peer.ask({"cmd": "shares"})
        assert 0 == server.stop().returncode


def test_read_only_server_writes_no_users(tmp_path: Path) -> None:
    """A server that changes nothing in its root makes no share if its users are kept in there."""
    (tmp_path / "a").touch()
    manage(tmp_path, "user", "add", "alice")
    token = manage(tmp_path, "token", "create", "alice")
    with ServerProcess(tmp_path, "--read-only") as server, server.connect() as peer:
        assert log_in(peer, token)["ok"]
        assert "read_only" == peer.refusal({"cmd": "share", "path": "a"})


def test_many_shares_come_in_pages(tmp_path: Path) -> None:
    """A hundred shares with the longest names are listed whole, page by page; one more is refused."""
    name = "/".join(["n" * 200] * 10)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    manage(tmp_path, "user", "add", "alice")
    token = manage(tmp_path, "token", "create", "alice")
    with ServerProcess(tmp_path) as server, server.connect() as peer:
        assert log_in(peer, token)["ok"]
        made = {share(peer, name, label="é" * 100)["share"] for _ in range(100)}
        assert "forbidden" == peer.refusal({"cmd": "share", "path": name})
        seen: list[str] = []
        more = True
        while more:
            reply = peer.ask({"cmd": "shares", "after": seen[-1] if seen else ""})
            seen += [row["share"] for row in reply["shares"]]
            more = reply.get("more", False)
        assert sorted(made) == seen
        assert 0 == server.stop().returncode


def test_no_token_in_the_log(peer: Peer, root: Path, server: ServerProcess) -> None:
    """What is handed over is not logged."""
    user(peer, root, "alice")
    token = share(peer, "photos")["token"]
    peer.ask({"cmd": "ls"})
    assert token not in server.log
