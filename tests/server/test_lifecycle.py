"""How a server ends: in good order, at once, or killed; and that nothing half is ever left under a final name."""

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.peer import Peer, ServerProcess, code_of, eventually, frame
from tests.server.tree import MIB, leaf_of, tree_of

HALF = 3 * MIB
STOP_SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def refuses_newcomers(server: ServerProcess) -> bool:
    """Tell whether nobody listens any more, which is how a server shows that it has got the signal."""
    try:
        socket.create_connection((server.host, server.port), 1).close()
    except OSError:
        return True
    return False


def ask_to_stop(server: ServerProcess, number: signal.Signals = signal.SIGTERM) -> None:
    """Send the signal, and wait until it has arrived."""
    server.signal(number)
    eventually(lambda: refuses_newcomers(server), "a stopping server accepts nobody")


def start_put(server: ServerProcess, peer: Peer, name: str, **keys: object) -> None:
    """Send half a file, and wait until it is being stored."""
    peer.send({"cmd": "put", "filename": name, "filesize": 2 * HALF, "id": 1, **keys}, bytes(HALF))
    eventually(server.temporaries, "the upload has begun")


def files(root: Path) -> list[str]:
    """Give what a client could see."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if ".ftpd" not in path.parts)


@STOP_SIGNALS
def test_running_put_is_finished(tmp_path: Path, number: signal.Signals) -> None:
    """After the signal a running upload goes on to its end and its reply; then the server says goodbye and exits 0."""
    with ServerProcess(tmp_path) as server, server.connect() as peer:
        start_put(server, peer, "whole")
        ask_to_stop(server, number)
        peer.send_raw(bytes(HALF))
        assert {"ok": True, "root": tree_of(bytes(2 * HALF)).root}.items() <= peer.read().items()
        assert "going_away" == code_of(peer.read())
        assert peer.is_ended()
        peer.close()
        assert 0 == server.wait().returncode
    assert bytes(2 * HALF) == (tmp_path / "whole").read_bytes()


def test_terminal_that_is_closed(tmp_path: Path) -> None:
    """A server that loses its terminal stops in good order, however often it is told; while it has one it goes on."""
    terminal, inner = os.openpty()
    with ServerProcess(tmp_path, stdin=inner) as server:
        os.close(inner)
        server.signal(signal.SIGHUP)
        assert server.answers()
        with server.connect() as peer:
            start_put(server, peer, "whole")
            os.close(terminal)
            ask_to_stop(server, signal.SIGHUP)
            server.signal(signal.SIGHUP)
            peer.send_raw(bytes(HALF))
            assert peer.read()["ok"]
            assert "going_away" == code_of(peer.read())
        ended = server.wait()
        assert (0, "") == (ended.returncode, ended.traceback)


def test_running_put_of_a_classic_client_is_finished(tmp_path: Path) -> None:
    """A client that reads nothing has its running file stored too."""
    with ServerProcess(tmp_path) as server:
        with server.connect() as peer:
            peer.send({"cmd": "put", "filename": "whole", "filesize": 2 * HALF}, bytes(HALF))
            eventually(server.temporaries, "the upload has begun")
            ask_to_stop(server)
            peer.send_raw(bytes(HALF))
        assert 0 == server.wait().returncode
    assert bytes(2 * HALF) == (tmp_path / "whole").read_bytes()


def test_running_get_is_finished(tmp_path: Path) -> None:
    """After the signal a running download goes on to its end."""
    with (tmp_path / "zeros").open("wb") as out:
        out.truncate(64 * MIB)
    with ServerProcess(tmp_path) as server, server.connect() as peer:
        reply = peer.ask({"cmd": "get", "filename": "zeros"})
        ask_to_stop(server)
        assert bytes(64 * MIB) == peer.read_bytes(reply["length"])
        assert tree_of(bytes(64 * MIB)).root == peer.read()["root"]
        peer.close()
        assert 0 == server.wait().returncode


def test_running_upload_in_chunks_is_finished(tmp_path: Path) -> None:
    """An upload in chunks counts as running between its chunks, until it is committed."""
    with ServerProcess(tmp_path) as server, server.connect() as peer:
        upload = peer.ask({"cmd": "begin", "filename": "whole", "filesize": 5})["upload"]
        ask_to_stop(server)
        chunk = {"cmd": "chunk", "upload": upload, "index": 0, "size": 5, "digest": leaf_of(b"12345")}
        assert peer.ask(chunk, b"12345")["ok"]
        root = tree_of(b"12345").root
        assert peer.ask({"cmd": "commit", "upload": upload, "chunks": 1, "root": root})["ok"]
        assert "going_away" == code_of(peer.read())
        peer.close()
        assert 0 == server.wait().returncode
    assert b"12345" == (tmp_path / "whole").read_bytes()


@STOP_SIGNALS
def test_idle_connections_are_told(tmp_path: Path, number: signal.Signals) -> None:
    """Connections between two requests, or before the first, get `going_away` and an end, and do not delay the exit."""
    with ServerProcess(tmp_path) as server, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(server.connect()) for _ in range(10)]
        for peer in peers[::2]:
            assert peer.ask({"cmd": "ping"})["ok"]
        ask_to_stop(server, number)
        for peer in peers:
            farewell = peer.read()
            assert ("going_away", False) == (code_of(farewell), "id" in farewell)
            assert peer.is_ended()
            peer.close()
        assert 0 == server.wait().returncode


def test_grace_that_is_over(tmp_path: Path) -> None:
    """What is not done when the grace period ends is cut: exit 0, the old content stays, nothing half is left."""
    (tmp_path / "old").write_bytes(b"old")
    with ServerProcess(tmp_path, "--grace", "0.2") as server, server.connect() as first, server.connect() as second:
        start_put(server, first, "old")
        start_put(server, second, "new")
        upload = second.socket.getsockname()
        ended = server.stop()
        assert (0, "") == (ended.returncode, ended.traceback)
        assert (True, True) == (first.is_ended(), second.is_ended())
        assert [] == server.temporaries()
        assert f"{upload[0]}:{upload[1]}" in ended.log
    assert (b"old", ["old"]) == ((tmp_path / "old").read_bytes(), files(tmp_path))


def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    """A second signal does not wait for anything, and still nothing half is visible."""
    with ServerProcess(tmp_path, "--grace", "1000") as server, server.connect() as peer:
        start_put(server, peer, "half")
        ask_to_stop(server)
        assert server.process.poll() is None
        server.signal(signal.SIGTERM)
        assert 128 + signal.SIGTERM == server.wait().returncode
    assert [] == files(tmp_path)


def test_killed_in_the_middle_of_uploads(tmp_path: Path) -> None:
    """After a kill nothing half is visible, what was acknowledged is there; only what can be resumed is kept."""
    with ServerProcess(tmp_path) as server, server.connect() as peer, server.connect() as chunks:
        assert peer.ask({"cmd": "put", "filename": "acknowledged", "filesize": 3}, b"yes")["ok"]
        assert peer.ask({"cmd": "put", "filename": "overwritten", "filesize": 3}, b"old")["ok"]
        start_put(server, peer, "overwritten")
        upload = chunks.ask({"cmd": "begin", "filename": "in chunks", "filesize": 5})["upload"]
        chunk = {"cmd": "chunk", "upload": upload, "index": 0, "size": 5, "digest": leaf_of(b"12345")}
        assert chunks.ask(chunk, b"12345")["ok"]
        server.kill()
        assert [1, 1] == [len(server.temporaries()), len(server.partials())]
    assert ["acknowledged", "overwritten"] == files(tmp_path)
    with ServerProcess(tmp_path) as server, server.connect() as peer:
        assert [0, 1] == [len(server.temporaries()), len(server.partials())]
        entries = peer.ask({"cmd": "ls"})["entries"]
        assert ["acknowledged", "overwritten"] == sorted(entry["name"] for entry in entries)
    assert b"yesold" == (tmp_path / "acknowledged").read_bytes() + (tmp_path / "overwritten").read_bytes()


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_killed_at_any_moment(tmp_path: Path, rounds: int) -> None:
    """However often the server is killed under load, each name holds nothing, or one whole version not older than
    the last acknowledged one.
    """
    acknowledged = [-1] * 4
    for number in range(rounds):
        with ServerProcess(tmp_path, "-q") as server:
            asyncio.run(overwrite_until_killed(server, number, acknowledged))
        for name, least in enumerate(acknowledged):
            file = tmp_path / f"file{name}"
            if least < 0 and not file.exists():
                continue
            content = file.read_bytes()
            version = int.from_bytes(content[:8], "big")
            assert (True, body(version)) == (version >= least, content)
    assert all(least >= 0 for least in acknowledged)


def body(version: int) -> bytes:
    """Make the content of a version: its number, over and over."""
    return version.to_bytes(8, "big") * 8000


async def overwrite_until_killed(server: ServerProcess, number: int, acknowledged: list[int]) -> None:
    """Overwrite a few files again and again, and kill the server after some replies, between any two system calls."""
    left = 5 + 7 * number % 40
    killed = asyncio.Event()

    async def overwrite(name: int) -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            for version in range(acknowledged[name] + 1, acknowledged[name] + 1000):
                data = body(version)
                writer.write(frame({"cmd": "put", "filename": f"file{name}", "filesize": len(data), "id": 1}, data))
                await reader.readexactly(int.from_bytes(await reader.readexactly(4), "little"))
                acknowledged[name] = version
                left -= 1
                if not left:
                    os.kill(server.pid, signal.SIGKILL)
                    killed.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            await killed.wait()
        finally:
            writer.close()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for name in range(len(acknowledged)):
            group.create_task(overwrite(name))
