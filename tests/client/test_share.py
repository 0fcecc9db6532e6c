"""`ftpc share`, and using what somebody else has shared, over TLS."""

import json
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import ftpc
from ftpc.errors import AddressError
from ftpc.share import ShareCode, parse_share
from tests.client.command import Caller, Ftpc, command
from tests.client.support import content
from tests.peer import PATIENCE_S, ServerProcess, eventually, manage, served

PIN = "ab" * 32
TOKEN = "ftk_0123456789_" + "A" * 43


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user."""
    root = tmp_path_factory.mktemp("root")
    manage(root, "user", "add", "alice")
    for name in ("photos/a b#1?.jpg", "photos/deep/b", "other"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[ServerProcess]:
    """An encrypted server of that folder."""
    with served(root, "--tls") as server:
        yield server


@pytest.fixture(scope="module")
def url(server: ServerProcess) -> str:
    """Its address with its pin, as it prints it."""
    assert server.process.stdout is not None
    return server.process.stdout.readline().split("'")[1]


@pytest.fixture
def alice(root: Path, url: str, tmp_path: Path) -> Ftpc:
    """Somebody who has logged in."""
    alice = Ftpc("", tmp_path / "alice", root)
    alice.folder.mkdir()
    token = manage(root, "token", "create", "alice")
    assert 0 == alice.run("login", url, stdin=token.encode()).status
    return alice


@pytest.fixture
def bob(root: Path, tmp_path: Path) -> Ftpc:
    """Somebody who has never heard of the server."""
    bob = Ftpc("", tmp_path / "bob", root)
    bob.folder.mkdir()
    return bob


def share(alice: Ftpc, *arguments: str) -> bytes:
    """Share something; give the code."""
    done = alice.run("share", *arguments)
    assert 0 == done.status, done.err
    assert 1 == len(done.out.splitlines())
    return done.out.encode()


def secret_of(code: bytes) -> str:
    """Give what nobody but its holder may know of a code. It may have any `_` in it."""
    return parse_share(code.decode()).token.split("_", 2)[2]


def test_folder_is_handed_over(alice: Ftpc, bob: Ftpc) -> None:
    """What one prints, the other gives to `ftpc get --share`, and has the folder; nothing is remembered there."""
    done = bob.run("get", "--share", stdin=share(alice, "photos", "--label", "for Bob"))
    assert 0 == done.status, done.err
    assert "photos/a b#1?.jpg" == (bob.folder / "photos/a b#1?.jpg").read_text()
    assert "photos/deep/b" == (bob.folder / "photos/deep/b").read_text()
    assert ["photos"] == [path.name for path in bob.folder.iterdir() if not path.name.startswith(".")]
    assert not (bob.folder / ".config").exists()


def test_file_is_handed_over(alice: Ftpc, bob: Ftpc) -> None:
    """A single file, whose name has to be written in another way in a URL; under its name, another, or to a pipe."""
    code = share(alice, "photos/a b#1?.jpg", "--count", "3")
    assert 0 == bob.run("get", "--share", stdin=code).status
    assert 0 == bob.run("get", "--share", "-o", "c", stdin=code).status
    assert b"photos/a b#1?.jpg" == (bob.folder / "a b#1?.jpg").read_bytes() == (bob.folder / "c").read_bytes()
    piped = bob.run("get", "--share", "-o", "-", stdin=code)
    assert (0, "photos/a b#1?.jpg") == (piped.status, piped.out)
    spent = bob.run("get", "--share", "-o", "d", stdin=code)
    assert (6, False) == (spent.status, (bob.folder / "d").exists())


def test_some_of_a_folder(alice: Ftpc, bob: Ftpc) -> None:
    """Names are relative to what was shared; what was not is not there."""
    code = share(alice, "photos")
    assert 0 == bob.run("get", "--share", "deep/b", stdin=code).status
    assert "photos/deep/b" == (bob.folder / "b").read_text()
    assert 2 == bob.run("get", "--share", "../other", stdin=code).status


def test_files_are_brought(alice: Ftpc, bob: Ftpc, root: Path) -> None:
    """Who may bring files can, below what was shared; and can not fetch any."""
    code = share(alice, "inbox", "--upload")
    bob.write("x.txt", b"x")
    bob.write("big", bytes(9_000_000))
    done = bob.run("put", "--share", "x.txt", "big", stdin=code)
    assert 0 == done.status, done.err
    assert b"x" == (root / "inbox/x.txt").read_bytes()
    assert 9_000_000 == (root / "inbox/big").stat().st_size
    assert 0 != bob.run("get", "--share", "x.txt", "-o", "y", stdin=code).status
    assert not (bob.folder / "y").exists()


def test_list_and_revoke(alice: Ftpc, bob: Ftpc, server: ServerProcess) -> None:
    """Shares are listed, for people and for programs, without their secret; a revoked one is good for nothing."""
    code = share(alice, "other", "--label", "to be ended", "--count", "2")
    (row,) = (row for row in alice.run("share", "list", "--json").objects if row["label"] == "to be ended")
    assert ("other", 2, 0, ["list", "read"]) == (row["path"], row["count"], row["used"], row["rights"])
    listed = alice.run("share", "list").out
    assert row["share"] in listed
    assert secret_of(code) not in listed
    revoked = alice.run("share", "revoke", row["share"])
    assert (0, f"{row['share']}: it can not be used any more\n") == (revoked.status, revoked.err)
    over = bob.run("get", "--share", stdin=code)
    said = "ftpc: this share is over (used up, expired, revoked or mistyped): ask for a new code\n"
    assert (6, said) == (over.status, over.err)
    assert 3 == alice.run("share", "revoke", row["share"]).status
    assert secret_of(code) not in server.log


def test_list_of_all(alice: Ftpc, url: str, root: Path, tmp_path: Path) -> None:
    """Who manages users is told whose each share is; who has none but his own is not."""
    manage(root, "user", "add", "boss", "--rights", "full,admin")
    boss = Ftpc("", tmp_path / "boss", root)
    boss.folder.mkdir()
    assert 0 == boss.run("login", url, stdin=manage(root, "token", "create", "boss").encode()).status
    share(alice, "other", "--label", "hers")
    (line,) = (line for line in boss.run("share", "list").out.splitlines() if "hers" in line)
    assert "alice" == line.split()[1]
    share(boss, "other", "--label", "his")
    listed = [line.split() for line in boss.run("share", "list").out.splitlines()]
    assert {("alice", "hers"), ("boss", "his")} <= {(words[1], words[-1]) for words in listed}
    assert "alice" not in alice.run("share", "list").out


def test_json(alice: Ftpc) -> None:
    """A program gets the code and its id as an object."""
    (made,) = alice.run("share", "other", "--json").objects
    assert parse_share(made["code"]).address.folder == "other"
    assert {"schema", "share", "code", "rights", "expires"} == made.keys()


def test_other_server(alice: Ftpc, bob: Ftpc) -> None:
    """A code whose pin is not the server's sends no token: it may be somebody in between."""
    code = share(alice, "other").decode()
    pin = code.partition("sha256:")[2][:64]
    done = bob.run("get", "--share", stdin=code.replace(pin, PIN).encode())
    assert (6, True) == (done.status, "NOT the server" in done.err)


def test_interrupted_share_remembers_no_secret(alice: Ftpc, bob: Ftpc) -> None:
    """Nothing that a command with a share code leaves on the disk has its token in it."""
    code = share(alice, "photos")
    bob.run("get", "--share", "--json", stdin=code)
    kept = [path for path in bob.folder.rglob("*") if stat.S_ISREG(path.lstat().st_mode)]
    assert kept
    assert [] == [path for path in kept if secret_of(code).encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("arguments", "end", "more"),
    [
        (["put", "big"], "{folder}/big is not finished; {again} to go on", []),
        (["put", "a", "big"], "\\d of 2 files (is|are) stored; {again} with --if-exists skip to go on",
         ["--if-exists", "skip"]),
        (["get", "-o", "one"], "{folder}/one is not finished; {again} to go on", []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_interrupted_share_goes_on(tmp_path: Path, arguments: list[str], end: str, more: list[str]) -> None:
    """Ctrl-C with a share code says what goes on with the rest, and not what the code was; and that does.

    It counts as the same command, for whoever has begun it alone, until it is done.
    """
    root, folder = tmp_path / "root", tmp_path / "here"
    (root / "place").mkdir(parents=True)
    folder.mkdir()
    manage(root, "user", "add", "alice")
    token = manage(root, "token", "create", "alice")
    with served(root, "--tls", "--limit-rate", "16M") as server:
        assert server.process.stdout is not None
        user = Ftpc("", folder, root)
        assert 0 == user.run("login", server.process.stdout.readline().split("'")[1], stdin=token.encode()).status
        is_put = arguments[0] == "put"
        user.write("a")
        (folder if is_put else root).joinpath("big").write_bytes(content(48_000_000))
        code = share(user, *(("place", "--upload") if is_put else ("big",)), "--count", "1")
        with subprocess.Popen(
            command(arguments[0], "--share", *arguments[1:], "--progress", "none"),
            cwd=folder, env=user.environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            process.stdin.write(code)
            process.stdin.flush()
            places = (root / ".ftpd/partial", "*") if is_put else (folder, ".*.part")
            eventually(lambda: written(*places) > 12_000_000, "a chunk is there")
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=PATIENCE_S)[1].decode()
        assert 130 == process.returncode
        line = end.format(folder=folder, again="give the same command and share code again")
        assert re.fullmatch(f"ftpc: interrupted; .*\nftpc: {line}\n", said), said
        kept = [file.read_bytes() for file in user.folder.rglob(".local/**/*") if file.is_file()]
        assert 2 == len(kept)
        assert not any(secret_of(code).encode() in data for data in kept)
        again = (arguments[0], "--share", *arguments[1:], *more)
        listed = user.run("jobs").out
        ((job, name),) = ((row["id"], row["local"]) for row in user.run("jobs", "--json").objects if row["share"])
        assert ("came through a share code" in listed, "sha256" in listed) == (True, False), listed
        line = f"ftpc: {job}: {name} came through a share code: give the same command and code again\n"
        assert (0, "", line) == user.run("resume")
        assert (6, "", line) == user.run("resume", job)
        other = user.run(*again, stdin=code, env={"XDG_STATE_HOME": str(tmp_path / "other")})
        assert (6, True) == (other.status, "this share is over" in other.err), other
        done = user.run(*again, stdin=code)
        assert 0 == done.status, done
        assert [] == [file for file in user.folder.rglob(".local/**/*") if file.is_file()]
        assert 6 == user.run(*again, stdin=code).status
    assert content(48_000_000) == (root / "place/big" if is_put else folder / "one").read_bytes()


def written(folder: Path, pattern: str) -> int:
    """Count the bytes that have been written to files."""
    return sum(path.stat().st_blocks * 512 for path in folder.glob(pattern))


@pytest.mark.parametrize("verb", [("get", "x", "--server"), ("login",), ("ls", "--server")])
def test_not_on_a_command_line(bob: Ftpc, verb: tuple[str, ...]) -> None:
    """A share code on a command line is refused, and not repeated."""
    code = f"ftpds://127.0.0.1:1/x#sha256:{PIN}&token={TOKEN}"
    done = bob.run(*verb, code)
    assert 2 == done.status
    assert "ftpc get --share" in done.err
    assert TOKEN not in done.err + done.out


@pytest.mark.parametrize(
    "words",
    [("get", ""), ("get", "x", "-o", ""), ("get", "x", "-o"), ("ls", ""), ("stat", ""), ("md5", "-v", ""), ("put", ""),
     ("put", "x", "--as", ""), ("put", "x", "--to="), ("share", "x", "y", ""), ("get", "--json", " ")],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["ftpds", "ftpd", "FTPDS"])
def test_no_name_either(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], scheme: str) -> None:
    """A share code in the place of a name is refused before anybody is connected to, and not repeated."""
    code = f"{scheme}://127.0.0.1:1/x#sha256:{PIN}&token={TOKEN}"
    done = Caller(capsys).run("--server", "ftpd://127.0.0.1:1", *words[:-1], words[-1] + code)
    assert (2, "", 1) == (done.status, done.out, done.err.count("\n"))
    assert "--share" in done.err
    assert TOKEN not in done.err


async def test_no_name_in_the_library() -> None:
    """Nothing that goes on to a server as a name is an address, and so perhaps a share code."""
    async with ftpc.connect("127.0.0.1:1") as client:
        for ask in (client.md5, client.stat, client.get):
            with pytest.raises(ftpc.RemoteNameError) as refused:
                await ask(f"ftpds://h/x#token={TOKEN}")
            assert TOKEN not in refused.value.message


@pytest.mark.parametrize(
    "text",
    ["", "x", TOKEN, "ftpds://h:1/x", f"http://h/x#token={TOKEN}", f"ftpd://example.org/x#token={TOKEN}",
     f"ftpds://h:1/x#sha256:12&token={TOKEN}", f"ftpds://h:1/x#token={TOKEN}&token={TOKEN}"],
)  # fmt: skip
def test_what_is_no_share_code(text: str) -> None:
    """What is no share code, or would send a secret in the clear, is refused, and not repeated."""
    with pytest.raises(AddressError) as refused:
        parse_share(text)
    assert TOKEN not in refused.value.message


@pytest.mark.parametrize("folder", ["", "a", "ä/ö", "a b#?&token=x", "100%"])
@pytest.mark.parametrize("pin", ["", PIN])
def test_code_is_read_as_written(folder: str, pin: str) -> None:
    """A share code comes back as what it was made from, whatever the name in it."""
    code = parse_share(f"ftpds://[::1]:7/#{f'sha256:{pin}&' if pin else ''}token={TOKEN}")
    code = code._replace(address=code.address._replace(folder=folder))
    assert code == parse_share(f" {code.text}\n")
    assert TOKEN not in repr(code)
    assert isinstance(code, ShareCode)


def test_usage(bob: Ftpc) -> None:
    """Nonsense is a usage error, before anything is asked."""
    for arguments in (("share",), ("share", "revoke"), ("share", "a", "b"), ("share", "a", "--expires", "x"), ("get",)):
        assert 2 == bob.run(*arguments, "--server", "127.0.0.1:1").status
    too_much = {"--expires": "367d", "--count": "101", "--label": "x" * 101}
    for option, value in too_much.items():
        done = bob.run("share", "a", option, value, "--server", "127.0.0.1:1")
        assert (2, 1, True) == (done.status, done.err.count("\n"), option in done.err)
    assert 5 == bob.run("share", "a", "--expires", "366d", "--server", "127.0.0.1:1").status
    assert 2 == bob.run("put", "--share", "-", "--as", "x", stdin=b"ftpds://x").status


def test_expired(alice: Ftpc, bob: Ftpc) -> None:
    """After its time a share is good for nothing."""
    code = share(alice, "other", "--expires", "1s")
    eventually(lambda: 6 == bob.run("get", "--share", "-o", "z", stdin=code).status, "it ends")
    assert json.loads(alice.run("whoami", "--json").out)["user"] == "alice"
