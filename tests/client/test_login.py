"""Logging in from the command line: where secrets go, where they never go, and what is asked of people."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ftpc.credentials import Credentials, CredentialStore
from ftpc.errors import LocalFileError
from tests.client.command import Ftpc, command
from tests.peer import PATIENCE_S, ServerProcess, eventually, server_environment

STATE = (".config/ftpc/credentials.json", ".config/ftpc/known_servers", ".config/ftpc/server")


class Guarded(NamedTuple):
    """A server that has to be logged in to."""

    process: ServerProcess
    token: str
    pin: str

    @property
    def place(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self.process.port}"

    @property
    def url(self) -> str:
        """As its first lines have it."""
        return f"ftpds://{self.place}#sha256:{self.pin}"


def manage(root: Path, *arguments: str, given: str = "") -> str:
    """Run `ftpd user` or `ftpd token`."""
    return subprocess.run(
        [sys.executable, "-m", "ftpd", *arguments, "--root", str(root)],
        input=given, capture_output=True, text=True, check=True, timeout=PATIENCE_S, env=server_environment({}),
    ).stdout.strip()  # fmt: skip


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server with a user and a token; at its end its log has no secret in it."""
    root = tmp_path_factory.mktemp("root")
    manage(root, "user", "add", "alice")
    manage(root, "user", "passwd", "alice", given="correct horse\n")
    token = manage(root, "token", "create", "alice")
    with ServerProcess(root, "--tls", "-v") as server:
        assert server.process.stdout is not None
        found = re.search("sha256:([0-9a-f]{64})", server.process.stdout.readline())
        assert found is not None
        yield Guarded(server, token, found[1])
        ended = server.stop()
    assert (0, "") == (ended.returncode, ended.traceback)
    assert not {secret for secret in (token, "correct horse") if secret in ended.log}


@pytest.fixture
def user(guarded: Guarded, folder: Path) -> Ftpc:
    """Somebody who has never logged in anywhere."""
    return Ftpc("", folder, guarded.process.root)


def log_in(user: Ftpc, guarded: Guarded) -> None:
    """Log in with the token."""
    done = user.run("login", guarded.url, stdin=guarded.token.encode() + b"\n")
    assert (0, "") == (done.status, done.out), done.err


def test_from_login_to_logout(user: Ftpc, guarded: Guarded) -> None:
    """After a log-in the server is the default one and knows the user; after a log-out neither."""
    before = user.run("ls", "--server", guarded.url)
    assert (6, 1) == (before.status, before.err.count("\n"))
    log_in(user, guarded)
    user.write("a.txt")
    assert 0 == user.run("put", "a.txt").status
    assert b"content" == (user.remote / "a.txt").read_bytes()
    whoami = user.run("whoami", "--json")
    [told] = whoami.objects
    assert ("alice", f"ftpds://{guarded.place}") == (told["user"], told["server"])
    assert "alice at ftpds://" in user.run("whoami").out
    assert {"600"} == {f"{(user.folder / STATE[0]).stat().st_mode & 0o777:o}"}
    assert 0o700 == (user.folder / STATE[0]).parent.stat().st_mode & 0o777
    assert guarded.token not in (user.folder / STATE[1]).read_text() + (user.folder / STATE[2]).read_text()
    assert 0 == user.run("logout").status
    assert guarded.token not in (user.folder / STATE[0]).read_text()
    assert not (user.folder / STATE[2]).exists()
    again = user.run("ls", "--server", f"ftpds://{guarded.place}")
    assert (6, f"ftpc: log in first: ftpc login ftpds://{guarded.place}\n") == (again.status, again.err)


def test_log_in_that_is_revoked(user: Ftpc, guarded: Guarded) -> None:
    """Of a token that is not valid any more it is said how to log in again."""
    root = guarded.process.root
    token = manage(root, "token", "create", "alice")
    assert 0 == user.run("login", guarded.url, stdin=token.encode()).status
    manage(root, "token", "revoke", token.split("_")[1])
    found = user.run("ls")
    assert 6 == found.status
    assert found.err.endswith(f"; log in again: ftpc login ftpds://{guarded.place}\n"), found.err


@pytest.mark.parametrize("is_typed", [True, False])
def test_where_to_log_in(user: Ftpc, guarded: Guarded, *, is_typed: bool) -> None:
    """Of a server that is encrypted it is said how to log in, to who has not written that it is not."""
    found = user.run("ls", "--server", f"{'ftpd://' if is_typed else ''}{guarded.place}")
    said = f"log in first: ftpc login ftpds://{guarded.place}"
    if is_typed:
        said = "use TLS: ftpds:// instead of ftpd://"
    assert (6, f"ftpc: {said}\n") == (found.status, found.err)


def test_log_in_in_the_clear(user: Ftpc, guarded: Guarded) -> None:
    """Who logs in without saying that it is encrypted is told to, with the address he has named."""
    for url in (guarded.place, f"ftpd://{guarded.place}"):
        found = user.run("login", url, stdin=b"no token")
        assert (6, f"ftpc: use TLS: ftpc login ftpds://{guarded.place}\n") == (found.status, found.err)


def test_logged_in_and_in_the_clear(user: Ftpc, guarded: Guarded) -> None:
    """Who has logged in, and names the server without saying that it is encrypted, is told how to name it."""
    assert 0 == user.run("login", guarded.url, stdin=guarded.token.encode()).status
    found = user.run("ls", "--server", guarded.place)
    assert (6, f"ftpc: use TLS: --server ftpds://{guarded.place}\n") == (found.status, found.err)


def test_configuration_that_can_not_be_read(user: Ftpc) -> None:
    """Where nobody knows which server was logged in to, none is asked."""
    (user.folder / ".config").mkdir(exist_ok=True)
    (user.folder / ".config" / "ftpc").symlink_to("ftpc")  # which holds for root as well
    found = user.run("ls")
    said = "/.config/ftpc/server: which server was logged in to can not be read"
    assert (4, True, 1) == (found.status, said in found.err, found.err.count("\n"))
    for arguments in (["put", "--help"], ["ls", "--help"], ["logout", "--help"], ["jobs"], ["resume"]):
        done = user.run(*arguments)
        assert (0, "") == (done.status, done.err.replace("there is nothing to go on with\n", "")), done


def test_configuration_that_is_not_needed(tmp_path: Path, user: Ftpc, guarded: Guarded, ftpc: Ftpc) -> None:
    """Without what is remembered a server that is named and open to all is reached; of others one line says why."""
    (user.folder / ".config").mkdir(exist_ok=True)
    (user.folder / ".config" / "ftpc").symlink_to("ftpc")
    done = user.run("ls", "--server", ftpc.server)
    assert (0, "") == (done.status, done.err)
    root = tmp_path / "root"
    root.mkdir()
    manage(root, "user", "add", "alice")
    with ServerProcess(root) as plain:
        found = user.run("ls", "--server", f"127.0.0.1:{plain.port}")
    lines = [
        ("one has to log in there, and what is remembered for that can not be read: ", found),
        ("/credentials.json: ", user.run("ls", "--server", guarded.url)),
        ("/ftpc: this has to be a folder", user.run("login", guarded.url, stdin=guarded.token.encode())),
        ("/ftpc: this has to be a folder", user.run("login", ftpc.server)),
    ]
    for said, found in lines:
        assert (1, True) == (found.err.count("\n"), said in found.err), found


@pytest.mark.parametrize(("rights", "listed", "put"), [("full", 0, 0), ("read-only", 0, 6), ("upload-only", 6, 0)])
def test_home_that_is_not_there_yet(user: Ftpc, guarded: Guarded, rights: str, listed: int, put: int) -> None:
    """A new user whose home nobody has made finds it empty, not missing; his first upload makes it."""
    root, home = guarded.process.root, f"homes/{rights}"
    manage(root, "user", "add", f"new-{rights}", "--home", home, "--rights", rights, "--quota", "1G")
    token = manage(root, "token", "create", f"new-{rights}")
    assert 0 == user.run("login", guarded.url, stdin=token.encode()).status
    found = user.run("ls")
    assert (listed, "", False) == (found.status, found.out, "no such" in found.err), found.err
    assert 0 == user.run("whoami").status
    assert not (root / home).exists()
    user.write("a.txt")
    assert put == user.run("put", "a.txt").status
    assert (put == 0) == (root / home / "a.txt").is_file()


def test_with_a_password(user: Ftpc, guarded: Guarded) -> None:
    """A user's password is read from standard input as well."""
    done = user.run("login", guarded.url, "--user", "alice", stdin=b"correct horse\n")
    assert 0 == done.status, done.err
    assert "correct horse" not in done.out + done.err
    assert 0 == user.run("ls").status


@pytest.mark.parametrize("given", [b"", b"\n", b"ftk_0123456789_" + b"x" * 43 + b"\n"])
def test_what_is_wrong_is_not_kept(user: Ftpc, guarded: Guarded, given: bytes) -> None:
    """A wrong token, or none, is one line, not repeated, and nothing is remembered."""
    done = user.run("login", guarded.url, stdin=given)
    assert done.status in {1, 6}
    assert 1 == done.err.count("\n")
    assert "ftk_" not in done.err
    assert not (user.folder / STATE[0]).exists()
    assert not (user.folder / STATE[2]).exists()


def test_a_server_nobody_vouches_for(user: Ftpc, guarded: Guarded) -> None:
    """Where nobody can be asked, an unknown server is refused, and the line has what to use instead."""
    for arguments in (["login", f"ftpds://{guarded.place}"], ["ls", "--server", f"ftpds://{guarded.place}"]):
        done = user.run(*arguments, stdin=guarded.token.encode())
        assert (6, 1) == (done.status, done.err.count("\n"))
        assert guarded.url in done.err


def test_another_certificate(user: Ftpc, guarded: Guarded) -> None:
    """A server with another certificate than it had is a hard stop, whatever is answered, until it is removed."""
    log_in(user, guarded)
    known = user.folder / STATE[1]
    known.write_text(known.read_text().replace(guarded.pin, "0" * 64))
    user.write("a.txt")
    done = user.run("put", "a.txt", "--to", "never", stdin=b"yes\n")
    assert (6, 1) == (done.status, done.err.count("\n"))
    for words in ("NOT the server", "0" * 64, guarded.pin, str(known)):
        assert words in done.err
    assert not (user.remote / "never").exists()
    log_in(user, guarded)  # with the new pin, from the server itself
    assert 0 == user.run("ls").status


def test_the_secret_is_shown_to_nobody(user: Ftpc, guarded: Guarded, tmp_path: Path) -> None:
    """What was kept for an encrypted server is not sent to one on the same port that is not; no process shows it."""
    log_in(user, guarded)
    done = user.run("ls", "--server", f"ftpd://{guarded.place}")
    assert (6, True) == (done.status, "ftpds://" in done.err)
    store = CredentialStore(user.folder / ".config/ftpc")
    assert store.get(guarded.place) is None
    assert store.get(f"ftpds://{guarded.place}") == Credentials(guarded.token)
    reading, writing = os.pipe()
    with subprocess.Popen(
        command("put", "-", "--as", "x"), stdin=reading, cwd=user.folder, env=user.environment(), stderr=subprocess.PIPE
    ) as running:
        os.close(reading)
        shown = b"".join(Path(f"/proc/{running.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        os.close(writing)
        _, errors = running.communicate(timeout=PATIENCE_S)
    assert guarded.token.encode() not in shown + errors


@pytest.mark.parametrize("url", ["192.0.2.1", "ftpd://files.example"])
def test_no_log_in_in_the_clear(user: Ftpc, url: str) -> None:
    """Logging in on another machine without encryption is refused before anything is asked."""
    done = user.run("login", url, stdin=b"ftk_x\n")
    assert (6, 1) == (done.status, done.err.count("\n"))
    assert "not sent in the clear" in done.err


def test_permissions_that_are_too_open(user: Ftpc, guarded: Guarded) -> None:
    """Credentials that others can read are refused, with the command that mends it."""
    log_in(user, guarded)
    file = user.folder / STATE[0]
    file.chmod(0o644)
    done = user.run("ls")
    assert (4, True) == (done.status, f"run: chmod 600 {file}" in done.err)
    file.chmod(0o600)
    assert 0 == user.run("ls").status


@pytest.mark.parametrize("place", [".config/ftpc", ".config"])
@pytest.mark.parametrize("is_encrypted", [True, False])
def test_configuration_that_is_no_folder(
    user: Ftpc, guarded: Guarded, ftpc: Ftpc, place: str, *, is_encrypted: bool
) -> None:
    """A file in the place of the configuration is named, with what to do; nothing else is left behind."""
    file = user.write(place)
    url = guarded.url if is_encrypted else ftpc.server
    done = user.run("login", url, stdin=guarded.token.encode())
    said = f"ftpc: {file}: this has to be a folder, in which ftpc remembers servers; move away what is there, and"
    assert (4, said + " log in again") == (done.status, done.err.splitlines()[-1]), done
    assert [file] == [path for path in user.folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", ["[]", "{", '{"x": 1}', "\xff"])
def test_damaged_credentials(tmp_path: Path, content: str) -> None:
    """A file that is not what we write is one line that says what to do."""
    (tmp_path / "credentials.json").write_bytes(content.encode("latin-1"))
    (tmp_path / "credentials.json").chmod(0o600)
    with pytest.raises(LocalFileError, match="damaged; remove it"):
        CredentialStore(tmp_path).get("x")


def test_other_servers_stay(user: Ftpc, guarded: Guarded) -> None:
    """Logging out of one server leaves the default one alone if that is another."""
    log_in(user, guarded)
    assert 0 == user.run("logout", "--server", "ftpds://127.0.0.1:1").status  # nobody is there, and need not be
    assert (user.folder / STATE[2]).exists()
    assert 0 == user.run("ls").status


def test_going_on_after_a_break(user: Ftpc, guarded: Guarded) -> None:
    """`ftpc resume` logs in as well."""
    log_in(user, guarded)
    user.write("large.bin", os.urandom(200_000_000))
    running = subprocess.Popen(
        command("put", "large.bin"), stderr=subprocess.DEVNULL, cwd=user.folder, env=user.environment()
    )
    eventually(lambda: user.run("jobs").out or running.poll() is not None, "it is remembered")
    running.kill()
    running.wait(PATIENCE_S)
    if not (user.remote / "large.bin").exists():
        assert (0, False) == ((done := user.run("resume")).status, "nothing to go on" in done.err), done.err
    assert (user.folder / "large.bin").read_bytes() == (user.remote / "large.bin").read_bytes()


class Typist:
    """A command whose terminal is typed on."""

    def __init__(self, user: Ftpc, *arguments: str) -> None:
        self.pid, self._master = pty.fork()
        if not self.pid:
            os.chdir(user.folder)
            os.execve(sys.executable, command(*arguments), user.environment({"TERM": "xterm"}))  # noqa: S606 (ours)
        self.shown = b""

    def read_until(self, what: bytes) -> None:
        """Wait until something is shown."""
        deadline = time.monotonic() + PATIENCE_S
        while what not in self.shown:
            assert time.monotonic() < deadline, self.shown
            assert self._read(), self.shown

    def type(self, data: bytes) -> None:
        """Type."""
        os.write(self._master, data)

    @property
    def is_echoed(self) -> bool:
        """Whether what is typed is shown."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def end(self) -> int:
        """Wait for the end; give the exit status."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
        os.close(self._master)
        assert b"Traceback" not in self.shown
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._master, 2**16)
        except OSError:  # EIO: the command has gone
            return False
        self.shown += data
        return bool(data)


QUESTION = b"Is that what the server itself shows?"


def test_the_question_is_asked_once(user: Ftpc, guarded: Guarded) -> None:
    """A server nobody vouches for is shown with its pin; yes is remembered, and the token is not echoed."""
    typist = Typist(user, "login", f"ftpds://{guarded.place}", "--quiet")
    typist.read_until(QUESTION)
    assert guarded.pin.encode() in typist.shown
    typist.type(b"yes\n")
    typist.read_until(b"token for")
    typist.type(guarded.token.encode() + b"\n")
    assert 0 == typist.end(), typist.shown
    assert guarded.token.encode() not in typist.shown
    typist = Typist(user, "ls")
    assert 0 == typist.end()
    assert QUESTION not in typist.shown


@pytest.mark.parametrize("answer", [b"no\n", b"\n", b"yep\n", b"\x04"])
def test_anything_but_yes_is_no(user: Ftpc, guarded: Guarded, answer: bytes) -> None:
    """Without a yes nothing is remembered."""
    typist = Typist(user, "ls", "--server", f"ftpds://{guarded.place}")
    typist.read_until(QUESTION)
    typist.type(answer)
    assert 6 == typist.end()
    assert not (user.folder / STATE[1]).exists()


@pytest.mark.parametrize(
    ("typed", "status", "told"), [(b"\x03", 130, b"ftpc: interrupted"), (b"\x04", None, b"ftpc: ")], ids=["C", "D"]
)
@pytest.mark.parametrize("asked", ["yes or no:", "token for", "password of", "share code"])
def test_given_up_at_a_question(
    user: Ftpc, guarded: Guarded, asked: str, typed: bytes, status: int | None, told: bytes
) -> None:
    """Ctrl-C ends the command where something is asked, at once; Ctrl-D is no answer. Both end in one clear line."""
    words = {
        "yes or no:": ["login", f"ftpds://{guarded.place}"],
        "token for": ["login", guarded.url],
        "password of": ["login", "--user", "me", guarded.url],
        "share code": ["get", "--share"],
    }
    typist = Typist(user, *words[asked])
    typist.read_until(asked.encode())
    typist.type(typed)
    assert (status or {"yes or no:": 6, "share code": 2}.get(asked, 1)) == typist.end(), typist.shown
    *_, before, last, end = typist.shown.split(b"\r\n")
    assert (b"", True, True) == (end, last.startswith(told), asked.encode() in before), typist.shown
    assert not (user.folder / STATE[0]).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_while_a_secret_is_read(user: Ftpc, number: signal.Signals) -> None:
    """A signal ends a command that waits for a secret from a pipe, at once."""
    command_line = command("get", "--share")
    with subprocess.Popen(
        command_line, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=user.folder, env=user.environment()
    ) as process:
        eventually(lambda: waits_to_read(process.pid), "it waits")
        process.send_signal(number)
        assert 128 + number == process.wait(PATIENCE_S)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def waits_to_read(pid: int) -> bool:
    """Tell whether a process waits for its standard input (proc(5): read(2) on x86-64 or ARM, of descriptor 0)."""
    words = Path(f"/proc/{pid}/syscall").read_text().split()
    return words[1:2] == ["0x0"] and words[0] in {"0", "63"}


def test_ended_at_a_question(user: Ftpc) -> None:
    """SIGTERM ends a command that asks, as it ends every other, and what is typed is echoed again afterwards."""
    typist = Typist(user, "get", "--share")
    typist.read_until(b"share code: ")
    assert not typist.is_echoed
    os.kill(typist.pid, signal.SIGTERM)
    eventually(lambda: typist.is_echoed, "what is typed is shown again")
    assert 128 + signal.SIGTERM == typist.end(), typist.shown


KEYRING = """
import json, os
FILE = os.path.join(os.environ["HOME"], "keyring.json")
def _keep(entries):
    with open(FILE, "w") as file:
        json.dump(entries, file)
def get_keyring():
    return object()
def get_password(service, name):
    with open(FILE) as file:
        return json.load(file).get(f"{service} {name}")
def set_password(service, name, secret):
    _keep({f"{service} {name}": secret})
def delete_password(service, name):
    _keep({})
"""


def test_the_keyring_of_the_system(user: Ftpc, guarded: Guarded, tmp_path: Path) -> None:
    """Where there is a keyring the secret is in it and in no file of ours, until somebody logs out."""
    package = tmp_path / "lib" / "keyring"
    (package / "backends").mkdir(parents=True)
    (package / "__init__.py").write_text(KEYRING)
    (package / "backends" / "__init__.py").touch()
    (package / "backends" / "fail.py").write_text("class Keyring: ...\n")
    path = {"PYTHONPATH": os.pathsep.join((str(tmp_path / "lib"), user.environment()["PYTHONPATH"]))}
    done = user.run("login", guarded.url, stdin=guarded.token.encode() + b"\n", env=path)
    assert (0, True) == (done.status, "the system's keyring" in done.err), done.err
    assert guarded.token in (user.folder / "keyring.json").read_text()
    assert guarded.token not in (user.folder / STATE[0]).read_text()
    assert 0 == user.run("ls", env=path).status
    assert 6 == user.run("ls").status  # without the keyring
    assert 0 == user.run("logout", env=path).status
    assert "{}" == (user.folder / "keyring.json").read_text()
