"""A full server: says `busy`, does not spin, does not stumble, and serves again when there is room."""

import contextlib
import functools
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftpd.commands import exchange
from ftpd.descriptors import FILES_PER_CONNECTION
from ftpd.wire.errors import ErrorCode, FtpdError
from tests.peer import Peer, ServerProcess, code_of, eventually, frame, manage
from tests.server.crowd import allow_files, files_of
from tests.server.test_floods import encrypted

FIVE_AT_WORK = ("sh", "-c", 'ulimit -n 128; exec "$@"', "sh")
"""With --max-connections 42 there are descriptors for five requests at a time."""

WINDOW_S = 0.5
"""How long the processor time of a server that has nothing to do is watched."""


def idle_share(server: ServerProcess) -> float:
    """Give the share of a processor that the server uses, over a while."""
    before = server.cpu_s()
    time.sleep(WINDOW_S)
    return (server.cpu_s() - before) / WINDOW_S


def assert_not_spinning(server: ServerProcess) -> None:
    """A server that waits uses no processor; what is left to do from before may take a moment."""
    eventually(lambda: idle_share(server) < 0.3, "the server comes to rest", 10)


@pytest.fixture
def peers() -> Iterator[contextlib.ExitStack]:
    """Connections that are closed in the end."""
    with contextlib.ExitStack() as stack:
        yield stack


def outcome_of(peer: Peer) -> str:
    """Ask for a sign of life, and tell what came of it."""
    with contextlib.suppress(OSError):  # it may be closed already
        peer.send({"cmd": "ping"})
    try:
        reply = peer.read()
    except ConnectionError:
        return "cut"
    return "served" if reply["ok"] else code_of(reply)


def test_one_connection_too_many(tmp_path: Path, peers: contextlib.ExitStack) -> None:
    """The connection beyond the limit is told `busy` and closed; the others go on; a place that gets free is given."""
    with ServerProcess(tmp_path, "--max-connections", "5") as server:
        served = [peers.enter_context(server.connect()) for _ in range(5)]
        assert ["served"] * 5 == [outcome_of(peer) for peer in served]
        for _ in range(20):
            with server.connect() as sixth:
                assert "busy" == code_of(sixth.read())
                assert sixth.is_ended()
        assert_not_spinning(server)
        assert ["served"] * 5 == [outcome_of(peer) for peer in served]
        served.pop().close()
        eventually(lambda: is_served(server), "the free place is given")
        assert "Traceback" not in server.log


def is_served(server: ServerProcess) -> bool:
    """Tell whether a newcomer is served."""
    with server.connect() as peer:
        return outcome_of(peer) == "served"


@pytest.mark.parametrize(("files", "count"), [(128, 300), pytest.param(256, 2000, marks=pytest.mark.long)])
def test_few_file_descriptors(
    tmp_path: Path, peers: contextlib.ExitStack, tell: Callable[[str], None], files: int, count: int
) -> None:
    """With few descriptors and many connections some are served, the others are told `busy` or cut; no traceback.

    What was under way comes to its end, and the server neither spins nor fills its log.
    """
    allow_files(5000)
    prefix = ("sh", "-c", f'ulimit -n {files}; exec "$@"', "sh")
    with ServerProcess(tmp_path, prefix=prefix) as server:
        under_way = [peers.enter_context(server.connect()) for _ in range(5)]
        for number, peer in enumerate(under_way):
            peer.send({"cmd": "put", "id": 1, "filename": f"under way {number}", "filesize": 6}, b"abc")
        crowd = [peers.enter_context(server.connect()) for _ in range(count)]
        outcomes = [outcome_of(peer) for peer in crowd]
        assert {"served", "busy", "cut"} >= set(outcomes)
        assert 10 < outcomes.count("served") < files
        assert outcomes.count("busy") > 0
        assert_not_spinning(server)
        for peer in under_way:
            peer.send_raw(b"def")
            assert peer.read()["ok"]
        lines = len([line for line in server.log.splitlines() if "connected" not in line])
        tell(f"{count} connections with {files} descriptors: {Counter(outcomes)}, {lines} other lines in the log")
        assert lines < 100
        served = [peer for peer, outcome in zip(crowd, outcomes, strict=True) if outcome == "served"]
        for peer in served:
            assert peer.ask({"cmd": "put", "filename": "file", "filesize": 3}, b"abc")["ok"]
        for peer in crowd:
            peer.close()
        eventually(lambda: is_served(server), "newcomers are served again")
        assert (False, True) == ("Traceback" in server.log, len(server.log) < 1_000_000)


def test_more_uploads_than_file_descriptors(tmp_path: Path, peers: contextlib.ExitStack) -> None:
    """Where uploads in chunks would use up the descriptors, one too many is `busy`; all others and newcomers go on."""
    prefix = ("sh", "-c", 'ulimit -n 128; exec "$@"', "sh")
    with ServerProcess(tmp_path, prefix=prefix) as server:
        crowd = [peers.enter_context(server.connect()) for _ in range(15)]
        assert ["served"] * len(crowd) == [outcome_of(peer) for peer in crowd]
        replies = [peer.ask({"cmd": "begin", "filename": f"file{n}"}) for peer in crowd for n in range(16)]
        assert {True, False} == {reply["ok"] for reply in replies}
        assert {"busy"} == {code_of(reply) for reply in replies if not reply["ok"]}
        with server.connect() as newcomer:
            assert outcome_of(newcomer) in {"served", "busy", "cut"}
        assert_not_spinning(server)
        assert ["served"] * len(crowd) == [outcome_of(peer) for peer in crowd]
        peers.close()
        eventually(server.has_no_temporaries, "the uploads go with their connections")
        with server.connect() as peer:
            assert peer.ask({"cmd": "put", "filename": "file", "filesize": 3}, b"abc")["ok"]
        assert "Traceback" not in server.log


@pytest.mark.parametrize("options", [(), ("--tls",)], ids=["plain", "tls"])
def test_descriptors_of_busy_connections(tmp_path: Path, peers: contextlib.ExitStack, options: tuple[str, ...]) -> None:
    """A connection has no more descriptors than are set aside for it, while a thread receives or sends for it."""
    count, mib = 10, 1024 * 1024
    with (tmp_path / "large").open("wb") as out:
        out.truncate(256 * mib)
    with ServerProcess(tmp_path, *options) as server:
        connect: Callable[[], Peer] = functools.partial(encrypted, server) if options else server.connect
        before = files_of(server)
        crowd = [peers.enter_context(connect()) for _ in range(count)]
        begun = [
            peer.ask({"cmd": "begin", "filename": str(number), "filesize": 64 * mib})
            for number, peer in enumerate(crowd)
        ]
        for peer, upload in zip(crowd, begun, strict=True):
            chunk = {"cmd": "chunk", "upload": upload["upload"], "index": 0, "size": upload["chunk_size"]}
            peer.send({**chunk, "digest": "00" * 32, "id": 1}, bytes(3 * mib))
        eventually(lambda: files_of(server) - before > 3 * count, "threads receive")
        assert files_of(server) - before <= count * (FILES_PER_CONNECTION + bool(options))
        downloads = [peers.enter_context(connect()) for _ in range(count)]
        for peer in downloads:
            peer.send({"cmd": "get", "filename": "large"})
            peer.read()
        assert files_of(server) - before <= 2 * count * (FILES_PER_CONNECTION + bool(options))


def test_more_connections_than_can_be_busy(tmp_path: Path, peers: contextlib.ExitStack) -> None:
    """Who asks for more connections than there are descriptors for if all are busy has them, and requests wait in line.

    What needs no files waits for nobody; and all come to their end.
    """
    mib, content = 1024 * 1024, bytes(1024 * 1024)
    with ServerProcess(tmp_path, "--max-connections", "42", prefix=FIVE_AT_WORK) as server:
        crowd = [peers.enter_context(server.connect()) for _ in range(42)]
        assert ["served"] * 42 == [outcome_of(peer) for peer in crowd]
        for number, peer in enumerate(crowd[1:]):
            peer.send({"cmd": "put", "id": number, "filename": f"{number}", "filesize": mib}, content[: mib // 2])
        eventually(lambda: len(server.temporaries()) >= 5, "some have begun")
        assert "served" == outcome_of(crowd[0])
        assert 5 >= len(server.temporaries())
        for peer in crowd[1:]:
            peer.send_raw(content[mib // 2 :])
        assert [True] * 41 == [peer.read()["ok"] for peer in crowd[1:]]
        assert "Traceback" not in server.log


def test_refused_requests_hold_no_turn(tmp_path: Path, peers: contextlib.ExitStack) -> None:
    """Whose requests are refused takes no turn from others, however slowly he sends what nobody wants."""
    manage(tmp_path, "user", "add", "alice")
    manage(tmp_path, "user", "add", "bob", "--rights", "read-only")
    alice, bob = (manage(tmp_path, "token", "create", name).split()[-1] for name in ("alice", "bob"))
    (tmp_path / "file").write_bytes(b"abc")
    with ServerProcess(tmp_path, "--max-connections", "42", prefix=FIVE_AT_WORK) as server:
        user, *crowd = known = [peers.enter_context(server.connect()) for _ in range(7)]
        for peer, token in zip(known, [alice, *[bob] * 6], strict=True):
            assert peer.ask({"cmd": "auth", "method": "token", "token": token})["ok"]
        crowd += [peers.enter_context(server.connect()) for _ in range(6)]  # of more strangers some are sent away
        for peer in crowd:
            peer.send({"cmd": "put", "filename": "large", "filesize": 1 << 30, "id": 1}, b"x")
        assert ["forbidden"] * 6 + ["unauthorized"] * 6 == [code_of(peer.read()) for peer in crowd]
        assert user.ask({"cmd": "put", "filename": "large", "filesize": 1 << 20}, bytes(1 << 20))["ok"]
        user.send_raw(frame({"cmd": "get", "filename": "file"}) * 2)  # small ones are read together
        assert user.read()["ok"]
        assert not select.select([peer.socket for peer in crowd], [], [], 0)[0], "the crowd is still there"


def test_turns_are_given_back(tmp_path: Path, peers: contextlib.ExitStack) -> None:
    """Who sends requests without end has a turn for some of them, and then it is that of others."""
    (tmp_path / "file").write_bytes(b"abc")
    puts = frame({"cmd": "put", "filename": "small", "filesize": 5}, b"hello") * 200
    is_over = threading.Event()

    def flood(peer: Peer) -> None:
        with contextlib.suppress(OSError):
            while not is_over.is_set():
                peer.send_raw(puts)

    def drain(peer: Peer) -> None:
        with contextlib.suppress(OSError):
            while peer.socket.recv(1 << 16):
                pass

    with ServerProcess(tmp_path, "-q", "--max-connections", "42", prefix=FIVE_AT_WORK) as server:
        crowd = [peers.enter_context(server.connect()) for _ in range(5)]
        threads = [threading.Thread(target=act, args=(peer,)) for peer in crowd for act in (flood, drain)]
        for thread in threads:
            thread.start()
        try:
            eventually((server.root / "small").exists, "they have begun")
            with server.connect() as other:
                # Runs of small files may use up so few descriptors: then it is `busy` at once, which is an answer too.
                eventually(lambda: other.ask({"cmd": "md5", "filename": "file"})["ok"], "it is the turn of another")
        finally:
            is_over.set()
            for peer in crowd:
                peer.socket.shutdown(2)
            for thread in threads:
                thread.join()


async def test_a_turn_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has waited long enough for a turn is told `busy`; the turn is not lost by that, nor by being cancelled."""
    monkeypatch.setattr(exchange, "QUEUE_S", 0.05)
    budget = exchange.Budget(1, is_short=True)
    async with budget.working_on("put"):
        with pytest.raises(FtpdError) as refusal:
            await budget.working_on("get").__aenter__()
        assert ErrorCode.BUSY == refusal.value.code
        await budget.working_on("ls").__aenter__()  # which needs no files
    for _ in range(2):
        async with budget.working_on("get"):
            pass


def test_warned_of_fewer_connections(tmp_path: Path) -> None:
    """Who asks for more connections than files allow is told how many there are and what to do; else nobody is."""
    with ServerProcess(tmp_path, "--max-connections", "43", prefix=FIVE_AT_WORK) as server:
        assert "WARNING only 42 connections of 43: open files are too few (raise ulimit -n)" in server.log
    with ServerProcess(tmp_path, prefix=FIVE_AT_WORK) as server:
        assert "connections" not in server.log
