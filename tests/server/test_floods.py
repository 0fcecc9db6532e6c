"""Floods against a real server: guesses, connections without log-in, connections from one place."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftpd.access import credentials
from ftpd.access.credentials import MOST_PASSWORDS, PasswordChecker, hash_password
from ftpd.access.penalties import FREE_SCORE
from ftpd.access.users import edit
from ftpd.admission import DROP_FROM, MOST_STRANGERS
from ftpd.server import MAX_HANDSHAKES
from ftpd.wire.errors import ErrorCode, FtpdError
from tests.peer import PATIENCE_S, Peer, ServerProcess, code_of, eventually, frame, served

LOGIN = {"cmd": "auth", "method": "password", "user": "team"}


@pytest.fixture
def server(tmp_path: Path, token: str) -> Iterator[ServerProcess]:
    """A server of that folder, which ends without a traceback."""
    with served(tmp_path) as server:
        yield server


def test_guesses(server: ServerProcess, token: str) -> None:
    """Ten wrong passwords are looked at, on however many connections; then the place can not even connect.

    Who is in already stays in.
    """
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(5)]
        inside = stack.enter_context(server.connect())
        assert inside.ask({"cmd": "auth", "token": token})["ok"]
        for peer in peers:
            peer.send_raw(frame({**LOGIN, "password": "wrong"}) * 3)
        codes = [code_of(peer.read()) for peer in peers for _ in range(3)]
        assert (FREE_SCORE, 15 - FREE_SCORE) == (codes.count("unauthorized"), codes.count("busy"))
        assert "busy" == code_of(inside.ask({**LOGIN, "password": "correct horse"}))
        assert inside.ask({"cmd": "ls"})["ok"]
        late = stack.enter_context(server.connect())
        refusal = late.read()
        assert ("busy", True) == (code_of(refusal), "wrong credentials" in refusal["error"]["message"])
        assert 0 < refusal["error"]["retry_after"]
        assert late.is_ended()


def test_strangers(server: ServerProcess, token: str) -> None:
    """Of many who connect and say nothing some are refused, and never more than 100 stay; then others come in again."""
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(server.connect()) for _ in range(400)]
        answers: list[bool] = []
        for peer in crowd:
            with contextlib.suppress(OSError):
                peer.send({"cmd": "ping"})
        for peer in crowd:
            try:
                answers.append(bool(peer.read()["ok"]))
            except OSError:  # refused without a word: so many farewells at a time are enough
                answers.append(False)
        assert DROP_FROM < answers.count(True) <= MOST_STRANGERS
        assert all(answers[:DROP_FROM])
    eventually(lambda: can_log_in(server, token), "the crowd has left")


def can_log_in(server: ServerProcess, token: str) -> bool:
    """Connect and log in, if that can be done now."""
    with server.connect() as peer, contextlib.suppress(OSError):
        peer.send({"cmd": "auth", "token": token})
        return bool(peer.read()["ok"])  # or it was refused before it was asked
    return False


def test_who_has_logged_in_is_no_stranger(server: ServerProcess, token: str) -> None:
    """Any number of connections that log in at once are let in."""
    with contextlib.ExitStack() as stack:
        for _ in range(2 * MOST_STRANGERS):
            peer = stack.enter_context(server.connect())
            assert peer.ask({"cmd": "auth", "token": token})["ok"]


@pytest.mark.parametrize("options", [(), ("--tls",)], ids=["plain", "tls"])
def test_connections_from_one_place(tmp_path: Path, options: tuple[str, ...]) -> None:
    """With `--max-per-source` so many are let in and no more; when one has left, another one is. So with TLS."""
    with ServerProcess(tmp_path, "--max-per-source", "3", *options) as server, contextlib.ExitStack() as stack:
        connect = server.connect if not options else lambda: encrypted(server)
        peers = [stack.enter_context(connect()) for _ in range(3)]
        for peer in peers:
            assert peer.ask({"cmd": "ping"})["ok"]
        late = stack.enter_context(connect())
        refusal = late.read()
        assert ("busy", True) == (code_of(refusal), "--max-per-source" in refusal["error"]["message"])
        peers[0].close()
        eventually(lambda: has_room(connect()), "its place is free")


def has_room(peer: Peer) -> bool:
    """Tell whether a connection is served, and close it."""
    with peer, contextlib.suppress(OSError):
        peer.send({"cmd": "ping"})
        return bool(peer.read()["ok"])
    return False


def encrypted(server: ServerProcess) -> Peer:
    """Connect with TLS, without looking at who is there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    peer = server.connect()
    peer.socket = context.wrap_socket(peer.socket)
    return peer


def test_silent_handshakes(tmp_path: Path, token: str) -> None:
    """More connections than there may be handshakes that say nothing at all keep nobody out."""
    with ServerProcess(tmp_path, "--tls") as server, contextlib.ExitStack() as stack:
        for _ in range(MAX_HANDSHAKES + 20):
            stack.enter_context(server.connect())
        for _ in range(DROP_FROM):
            newcomer = stack.enter_context(encrypted(server))
            assert newcomer.ask({"cmd": "auth", "token": token})["ok"]


def test_connections_of_one_user(server: ServerProcess, tmp_path: Path, token: str) -> None:
    """A user can have so many connections and no more; when one has gone, or is somebody else's, another one can be."""
    with edit(tmp_path / ".ftpd" / "access" / "users.toml") as users:
        users.users["team"].connections = 2
    auth = {"cmd": "auth", "token": token}
    with contextlib.ExitStack() as stack:
        first, second, third = [stack.enter_context(server.connect()) for _ in range(3)]
        assert first.ask(auth)["ok"]
        assert second.ask(auth)["ok"]
        assert second.ask(auth)["ok"]
        assert "busy" == third.refusal(auth)
        assert "unauthorized" == third.refusal({"cmd": "ls"})
        assert second.ask({"cmd": "ls"})["ok"]
        second.close()
        eventually(lambda: third.ask(auth)["ok"], "its place is free")


async def test_queue_of_passwords() -> None:
    """So many passwords wait to be compared and no more; who gives up leaves his place only when it has been done."""
    checker, kept = PasswordChecker(), hash_password("right")
    waiting = [asyncio.create_task(checker.is_right("wrong", kept)) for _ in range(MOST_PASSWORDS)]
    await asyncio.sleep(0)
    with pytest.raises(FtpdError) as refused:
        await checker.is_right("right", kept)
    assert ErrorCode.BUSY is refused.value.code
    for task in waiting[1:]:
        task.cancel()
    assert [False] == [answer for answer in await asyncio.gather(*waiting, return_exceptions=True) if answer is False]
    assert await checker.is_right("right", kept)
    assert not await checker.is_right("right", None)


@pytest.mark.parametrize("is_right", [True, False])
async def test_a_comparison_that_is_cut(monkeypatch: pytest.MonkeyPatch, *, is_right: bool) -> None:
    """Who is cut while his password is compared was wrong if it is; who waits behind him was not, and is gone."""
    begun, go_on, verify = threading.Event(), threading.Event(), credentials._verify

    def verify_slowly(kept: str, password: str) -> bool:
        begun.set()
        go_on.wait(PATIENCE_S)
        return verify(kept, password)

    monkeypatch.setattr(credentials, "_verify", verify_slowly)
    checker, kept = PasswordChecker(), hash_password("right" if is_right else "another")
    compared, waiting = (asyncio.create_task(checker.is_right("right", kept)) for _ in range(2))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    for task in (compared, waiting):
        task.cancel()
    await asyncio.wait([waiting])
    assert (True, False) == (waiting.cancelled(), compared.done())
    go_on.set()
    await asyncio.wait([compared])
    assert compared.cancelled() if is_right else compared.result() is False
