"""The file of users: what it means, what is refused with its line, and what survives being written and read."""

import asyncio
import datetime as dt
import gc
import os
import stat
import threading
from pathlib import Path

import pytest

from ftpd.access import credentials, users_file
from ftpd.access.credentials import PASSWORDS_AT_ONCE, PasswordChecker, digest_of, hash_password, is_token, new_token
from ftpd.access.door import Login, UsersDoor
from ftpd.access.rights import NOBODY, Right
from ftpd.access.users import Token, User, Users, UsersError, edit, load
from ftpd.wire.errors import FtpdError
from tests.peer import PATIENCE_S, eventually, swap
from tests.server.test_clock import TEN_YEARS, Wall

SHA = "0" * 64


def futures() -> list[asyncio.Future[object]]:
    """Give all that wait for something at this moment."""
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, asyncio.Future) and not one.done()]


def write(file: Path, text: str) -> Path:
    """Write a file of users by hand."""
    swap(file, text)
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the file is going to be."""
    return tmp_path / "access" / "users.toml"


def test_round_trip(file: Path) -> None:
    """What is written is read back, whatever is in it, and nobody else can read it."""
    soon = dt.datetime(2030, 1, 2, 3, 4, 5, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    alice = User(rights=["full"], home='a "b"\\c/ü', paths={'in "x"': ["write"], "no": []}, password="$argon2id$x")  # noqa: S106 (no password)
    token = Token(user="alice", sha256=SHA, label='it\'s "mine"\\', expires=soon, rights=["read"], path="sub")
    with edit(file) as users:
        users.users["alice"], users.tokens["0a"] = alice, token
    assert Users({"alice": alice}, {"0a": token}) == load(file)
    assert [0o600, 0o700] == [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)]
    assert ["users.lock", "users.toml"] == sorted(os.listdir(file.parent))  # noqa: PTH208 (names are enough)


def test_no_file_no_users(file: Path) -> None:
    """A file that is not there has no users in it."""
    assert Users() == load(file)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[users.a]\nrihgts = []", 1, "rihgts"),
        ("[users.a]\n[users.b]\nrights = 'full'", 2, "rights"),
        ("[users.a]\nrights = ['all']", 1, "'all' is no right"),
        ("\n[users.Alice]", 2, "no name for a user"),
        ("[users.a]\nhome = '../x'", 1, "'..'"),
        ("[users.a]\nhome = '.FTPD'", 1, "reserved"),
        ("[users.a]\n[users.a.paths]\n'x/../y' = []", 1, "'..'"),
        ("[users.a]\npassword = 'hunter2'", 1, "ftpd user passwd a"),
        (f"[users.a]\n[tokens.1]\nuser = 'b'\nsha256 = '{SHA}'", 2, "no user 'b'"),
        ("[users.a]\n[tokens.1]\nuser = 'a'", 2, "sha256"),
        ("[users.a]\n[tokens.1]\nuser = 'a'\nsha256 = 'ä'", 2, "64 digits"),
        (f"[users.a]\n[tokens.1]\nuser = 'a'\nsha256 = '{SHA.replace('0', 'A')}'", 2, "64 digits"),
        (f"[users.a]\n[tokens.1]\nuser = 'a'\nsha256 = '{SHA}'\nexpires = 2030-01-01T00:00:00", 2, "time zone"),
        (f"[users.a]\n[tokens.1]\nuser = 'a'\nsha256 = '{SHA}'\nrights = ['x']", 2, "'x' is no right"),
        ("[users.a]\nrights = [}", 2, ""),
        ("[users.a]\n\n[users.a]", 3, ""),
    ],
)
def test_a_mistake_has_a_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    """A mistake is refused with the file, its line or that of its table, and without what is secret."""
    file = write(tmp_path / "users.toml", text)
    with pytest.raises(UsersError, match=rf"users\.toml: .*line {line}\b") as refused:
        load(file)
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("text", ["[tokenz]", "users = 3", "\xff"])
def test_what_is_no_file_of_users(tmp_path: Path, text: str) -> None:
    """Anything else is refused with the name of the file."""
    file = tmp_path / "users.toml"
    file.write_bytes(text.encode("latin-1"))
    file.chmod(0o600)
    with pytest.raises(UsersError, match=r"users\.toml: "):
        load(file)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o620])
def test_permissions_that_are_too_open(tmp_path: Path, mode: int) -> None:
    """A file that others can read or write is refused with the command that mends it."""
    file = write(tmp_path / "users.toml", "")
    file.chmod(mode)
    with pytest.raises(UsersError, match=f"chmod 600 {file}"):
        load(file)


def test_a_block_that_fails_changes_nothing(file: Path) -> None:
    """A change is written when all of it is done, and a file with a mistake is not written over."""
    with edit(file) as users:
        users.users["a"] = User()
    before = file.read_bytes()

    def fail() -> None:
        with edit(file) as users:
            users.users["b"] = User()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert before == file.read_bytes()
    write(file, "[users.a]\nrihgts = []")
    with pytest.raises(UsersError), edit(file) as users:
        users.users["b"] = User()
    assert "rihgts" in file.read_text()


def test_changes_at_the_same_time(file: Path) -> None:
    """Of many that change the file at the same time none is lost."""

    def add(name: str) -> None:
        with edit(file) as users:
            users.users[name] = User()

    threads = [threading.Thread(target=add, args=(f"u{number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f"u{number}" for number in range(20)} == load(file).users.keys()


def test_what_is_kept_of_a_token() -> None:
    """A token is found by its name and compared by a digest; its text is not kept."""
    token = new_token()
    assert is_token(token.text, token.sha256)
    assert not is_token(token.text[:-1], token.sha256)
    assert digest_of(token.text) == token.sha256
    assert token.text not in repr(token.sha256)
    assert len({new_token().text for _ in range(100)}) == 100


@pytest.mark.parametrize("password", ["", "x" * 1025, "ü" * 513])
def test_passwords_are_bounded(password: str) -> None:
    """An empty password, or one that takes long to hash, is refused."""
    with pytest.raises(ValueError, match="1 to 1024 bytes"):
        hash_password(password)


async def test_passwords_are_compared_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, and give up, no more than a few passwords are compared at the same time, off the loop."""
    running, most, go = [0], [0], threading.Event()

    def slow(kept: str, password: str) -> bool:
        assert threading.current_thread() is not threading.main_thread()
        running[0] += 1
        most[0] = max(most[0], running[0])
        go.wait(10)
        running[0] -= 1
        return True

    monkeypatch.setattr(credentials, "_verify", slow)
    checker = PasswordChecker()
    for _ in range(5):  # each crowd leaves before it has an answer
        crowd = [asyncio.create_task(checker.is_right("x", "y")) for _ in range(10)]
        await asyncio.sleep(0.01)
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
    last = asyncio.create_task(checker.is_right("x", "y"))
    await asyncio.sleep(0.01)
    go.set()
    assert await last
    assert most[0] <= PASSWORDS_AT_ONCE


async def test_who_is_not_there_takes_as_long(tmp_path: Path) -> None:
    """For a user who is not there, or has no password, one is compared too: the time tells nothing."""
    compared: list[str] = []

    class Counting(PasswordChecker):
        async def is_right(self, password: str, kept: str | None) -> bool:
            compared.append(password)
            return await super().is_right(password, kept)

    door = UsersDoor(write(tmp_path / "users.toml", "[users.a]"))
    door._passwords = Counting()
    for user in ("a", "b"):
        with pytest.raises(FtpdError, match="wrong, expired or revoked"):
            await door.by_password(user, "secret")
    assert ["secret"] * 2 == compared
    assert not await PasswordChecker().is_right("x" * 2000, None)


def test_expired_is_no_credential(tmp_path: Path) -> None:
    """A user whose only token is expired can not log in, and does not count as somebody who can."""
    text = f"[users.a]\n[tokens.1]\nuser = 'a'\nsha256 = '{SHA}'\nexpires = %d-01-01T00:00:00Z"
    assert not UsersDoor(write(tmp_path / "users.toml", text % 2020)).has_credentials
    assert UsersDoor(write(tmp_path / "users.toml", text % 2990)).has_credentials


def test_when_log_ins_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-ins are to be looked at when the users are others, and when the first of them is over; else not."""
    wall = Wall(monkeypatch)
    text = f"[users.a]\n[tokens.%d]\nuser = 'a'\nsha256 = '{SHA}'\nexpires = %d-01-01T00:00:00Z\n"
    file = write(tmp_path / "users.toml", text % (1, 2990))
    door = UsersDoor(file)
    assert [True, False, False] == [door.has_changed() for _ in range(3)]
    assert door.ended(Login("a", token="1")) is None  # noqa: S106 (its name)
    assert not door.has_changed()
    wall.ahead_s = 100 * TEN_YEARS
    assert [True, False] == [door.has_changed() for _ in range(2)]
    assert door.ended(Login("a", token="1")) is not None  # noqa: S106 (its name)
    write(file, text % (22, 2990))
    eventually(door.has_changed, "the file is read")
    assert not door.has_changed()


def test_a_mistake_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A users file with a mistake is not read for every look at it; when it has changed it is."""
    monkeypatch.setattr("ftpd.access.users_file.LOOK_S", 0.0)
    reads: list[Path] = []

    def counted(file: Path) -> Users:
        reads.append(file)
        return load(file)

    file = write(tmp_path / "users.toml", "[users.a]\n")
    door = UsersDoor(file)
    monkeypatch.setattr("ftpd.access.users_file.load", counted)
    write(file, "[users.a\n# a mistake\n")
    eventually(lambda: [["a"]] * 50 == [[*door.users.users] for _ in range(50)] and reads, "it is read")
    assert 1 == len(reads)
    write(file, "[users.b]\n# none\n")
    eventually(lambda: ["b"] == [*door.users.users], "the change is read")


def test_a_token_is_of_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log-in ends with its token, its user, its password, and when the file vanishes: nobody is left in."""
    monkeypatch.setattr("ftpd.access.users_file.LOOK_S", 0.0)
    text = f"[users.a]\nrights = ['read']\n[users.b]\n[tokens.1]\nuser = '%s'\nsha256 = '{SHA}'\n"
    file = write(tmp_path / "users.toml", text % "a")
    door = UsersDoor(file)
    login = Login("a", token="1")  # noqa: S106 (its name)
    assert {Right.READ, Right.NONE} == door.principal(login).rights
    write(file, text % "b" + "# longer\n")  # another size: the clock of file systems is coarse
    eventually(lambda: door.principal(login) is NOBODY, "it is another's")
    write(file, text % "a")
    eventually(lambda: door.principal(login) is not NOBODY, "it is his again")
    file.unlink()
    eventually(lambda: door.principal(login) is NOBODY, "there is no file")


async def test_who_comes_after_a_change_is_met_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log-in sees what the file said when it began, although a thread reads it; meanwhile the loop turns.

    Also if the file is changed while it is being read.
    """
    reading, go_on, reads = asyncio.Event(), threading.Event(), list[Users]()
    loop = asyncio.get_running_loop()

    def slow(file: Path) -> Users:
        users = load(file)
        loop.call_soon_threadsafe(reading.set)
        assert go_on.wait(PATIENCE_S)
        reads.append(users)
        return users

    file = write(tmp_path / "users.toml", "[users.a]\n")
    door = UsersDoor(file)
    monkeypatch.setattr("ftpd.access.users_file.load", slow)
    first, token = new_token(), new_token()
    text = "[users.a]\n" + "".join(f"[tokens.{one.id}]\nuser='a'\nsha256='{one.sha256}'\n" for one in (first, token))
    write(file, text.rpartition("[tokens")[0])
    async with asyncio.timeout(PATIENCE_S):
        early = asyncio.create_task(door.by_token(first.text))
        await reading.wait()
        write(file, text)
        late = asyncio.create_task(door.by_token(token.text))
        await asyncio.sleep(0)
        assert not door.users.tokens
        go_on.set()
        assert [first.id, token.id] == [(await task).token for task in (early, late)]
    assert 2 == len(reads)


async def test_a_mistake_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However many wait for a users file that has a mistake, the log has one line on it, and no traceback."""
    file = write(tmp_path / "users.toml", "[users.a]\n")
    door = UsersDoor(file)
    for text in ("[users.a\n", "a=" + 5000 * "["):
        write(file, text)
        async with asyncio.timeout(PATIENCE_S):
            logins = (door.by_token(new_token().text) for _ in range(5))
            found = await asyncio.gather(*logins, return_exceptions=True)
        assert {FtpdError} == {type(one) for one in found}
        assert ["a"] == [*door.users.users]
        gc.collect()  # what nobody has asked for would be said now
        assert ["the users file has a mistake"] == [record.getMessage().partition(",")[0] for record in caplog.records]
        caplog.clear()


async def test_nothing_is_left_of_who_waited(tmp_path: Path) -> None:
    """While the file of users can not be read, log-ins that come and are broken off leave nothing behind."""
    go_on = threading.Event()
    file = write(tmp_path / "users.toml", "[users.a]\n")
    door = UsersDoor(file)
    write(file, "[users.b]\n# longer\n")
    users_file.reader.submit(go_on.wait, PATIENCE_S)
    known = set(map(id, futures()))
    logins = [asyncio.create_task(door.by_token(new_token().text)) for _ in range(20)]
    await asyncio.sleep(0)
    for login in logins:
        login.cancel()
    await asyncio.wait(logins)
    left = [future for future in futures() if id(future) not in known]
    go_on.set()
    assert len(left) <= 1  # that of the reading itself


async def test_a_log_in_that_is_broken_off_takes_nothing_from_others(tmp_path: Path) -> None:
    """Of several who wait until the file is read one may leave: it is read for the others."""
    go_on, token = threading.Event(), new_token()
    file = write(tmp_path / "users.toml", "[users.a]\n")
    door = UsersDoor(file)
    write(file, f"[users.a]\n[tokens.{token.id}]\nuser='a'\nsha256='{token.sha256}'\n")
    users_file.reader.submit(go_on.wait, PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        leaves, stays = (asyncio.create_task(door.by_token(token.text)) for _ in range(2))
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.wait([leaves])
        go_on.set()
        assert token.id == (await stays).token
