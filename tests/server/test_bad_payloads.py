"""Payload that is not what was announced, and storage that fails: no file, no debris, a defined error."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peer import Peer, ServerProcess, code_of, eventually, frame
from tests.server.tree import MIB, leaf_of

LEAVES = pytest.mark.parametrize("leave", [Peer.close, Peer.reset, Peer.shutdown_write])


def assert_nothing_left(server: ServerProcess, name: str) -> None:
    """No file, no temporary file, and others are served."""
    eventually(server.has_no_temporaries, "temporary files go with their connection")
    assert not (server.root / name).exists()
    assert server.answers()


@LEAVES
@pytest.mark.parametrize("missing", [1, 100, 70_000, 3 * MIB])
def test_payload_shorter_than_said(server: ServerProcess, leave: object, missing: int) -> None:
    """A peer that leaves before the last byte of its payload has stored nothing."""
    assert callable(leave)
    size = 3 * MIB
    with server.connect() as peer:
        peer.send({"cmd": "put", "filename": "short", "filesize": size}, bytes(size - missing))
        leave(peer)
        assert_nothing_left(server, "short")


def test_old_content_survives_a_payload_that_breaks_off(server: ServerProcess, peer: Peer) -> None:
    """A broken overwrite leaves the old file as it was."""
    assert peer.ask({"cmd": "put", "filename": "old", "filesize": 3}, b"old")["ok"]
    with server.connect() as other:
        other.send({"cmd": "put", "filename": "old", "filesize": MIB}, bytes(MIB - 1))
    eventually(server.has_no_temporaries, "the broken overwrite is gone")
    assert b"old" == (server.root / "old").read_bytes()


@pytest.mark.parametrize("surplus", [b"\xff" * 4, b"more text than was announced", bytes(MIB)])
def test_payload_longer_than_said(server: ServerProcess, peer: Peer, surplus: bytes) -> None:
    """The announced bytes are the file; what follows is taken for a frame, is none, and ends the connection."""
    peer.send({"cmd": "put", "filename": f"long{len(surplus)}", "filesize": 5}, b"12345" + surplus)
    assert peer.read()["ok"]
    assert "bad_frame" == code_of(peer.read())
    assert peer.is_ended()
    assert b"12345" == (server.root / f"long{len(surplus)}").read_bytes()


def test_payload_a_little_longer_than_said(server: ServerProcess, peer: Peer) -> None:
    """Fewer surplus bytes than a length has are an unfinished frame; the file is stored and the reply is sent."""
    peer.send({"cmd": "put", "filename": "little", "filesize": 5, "id": 1}, b"12345" + b"678")
    assert peer.read()["ok"]
    peer.shutdown_write()
    assert peer.is_ended()
    assert b"12345" == (server.root / "little").read_bytes()


def test_beyond_four_gib_and_away(server: ServerProcess, peer: Peer) -> None:
    """A size beyond 32 bits is not cut: the rest is waited for, and leaving after a little stores nothing."""
    with server.connect() as other:
        other.send({"cmd": "put", "filename": "beyond", "filesize": 2**32 + 5, "id": 1}, b"12345")
        other.shutdown_write()
        assert other.is_ended()
    assert_nothing_left(server, "beyond")
    assert peer.ask({"cmd": "ping"})["ok"]


def test_refused_payload_that_breaks_off(server: ServerProcess) -> None:
    """A refused `put` whose payload never comes to its end costs nothing but its own connection."""
    with server.connect() as peer:
        peer.send({"cmd": "put", "filename": "../x", "filesize": 2**40, "id": 1}, bytes(MIB))
        assert "bad_path" == code_of(peer.read())
    assert_nothing_left(server, "x")


def test_refused_put_between_good_ones(server: ServerProcess, peer: Peer) -> None:
    """Refused puts in a pipeline cost exactly their own payload."""
    (server.root / "folder").mkdir()
    names = ["good0", "folder", "good1", "..", "good2"]
    header = {"cmd": "put", "filesize": MIB, "id": 1}
    peer.send_raw(b"".join(frame({**header, "filename": name}, bytes(MIB)) for name in names))
    assert [True, False, True, False, True] == [peer.read()["ok"] for _ in names]
    assert [MIB] * 3 == [(server.root / f"good{index}").stat().st_size for index in range(3)]


def test_more_than_the_disk_holds(server: ServerProcess, peer: Peer) -> None:
    """A size that can never fit is `no_space` after the first byte, long before the last."""
    peer.send({"cmd": "put", "filename": "huge", "filesize": 2**53 - 1, "id": 1}, b"x")
    assert "no_space" == code_of(peer.read())


def assert_clean_end(server: ServerProcess) -> None:
    """The server stops when it is told to, and has shown no traceback."""
    ended = server.stop()
    assert (0, "") == (ended.returncode, ended.traceback)


def test_root_removed_while_running(tmp_path: Path) -> None:
    """When the served folder is gone every command has a defined answer, and the server stays up."""
    root = tmp_path / "root"
    root.mkdir()
    with ServerProcess(root) as server:
        with server.connect() as peer:
            assert peer.ask({"cmd": "put", "filename": "a", "filesize": 1}, b"a")["ok"]
            shutil.rmtree(root)
            assert "unavailable" == peer.refusal({"cmd": "put", "filename": "b", "filesize": 1}, b"b")
            for command in ("get", "md5", "stat"):
                assert "unavailable" == peer.refusal({"cmd": command, "filename": "a"})
            assert "unavailable" == peer.refusal({"cmd": "ls"})
            assert peer.ask({"cmd": "ping"})["ok"]
        assert_clean_end(server)


def test_file_larger_than_the_system_allows(tmp_path: Path) -> None:
    """A write that the system refuses in the middle is `no_space`, leaves nothing, and smaller files go on."""
    prefix = ("sh", "-c", 'ulimit -f 4096; exec "$@"', "sh")  # blocks of 512 bytes: 2 MiB
    with ServerProcess(tmp_path, prefix=prefix) as server:
        with server.connect() as peer:
            assert "no_space" == peer.refusal({"cmd": "put", "filename": "large", "filesize": 8 * MIB}, bytes(8 * MIB))
            assert server.has_no_temporaries()
            assert peer.ask({"cmd": "put", "filename": "small", "filesize": MIB}, bytes(MIB))["ok"]
        assert ["small"] == [file.name for file in tmp_path.iterdir() if file.name != ".ftpd"]
        assert_clean_end(server)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", tmp_path], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not possible here")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.root
def test_disk_full_while_writing(small_disk: Path) -> None:
    """A disk that fills up in the middle is `no_space`; when there is room again uploads work, nothing half is left."""
    with ServerProcess(small_disk) as server:
        with server.connect() as peer:
            begun = peer.ask({"cmd": "begin", "filename": "large"})
            data = os.urandom(begun["chunk_size"])
            chunk = {"cmd": "chunk", "upload": begun["upload"], "size": len(data), "digest": leaf_of(data)}
            codes = [peer.ask({"index": index, **chunk}, data).get("error", {}).get("code") for index in range(2)]
            assert "no_space" == codes[1]
            assert "no_space" == peer.refusal({"cmd": "put", "filename": "more", "filesize": MIB}, bytes(MIB))
            assert peer.ask({"cmd": "abort", "upload": begun["upload"]})["ok"]
            assert peer.ask({"cmd": "put", "filename": "small", "filesize": MIB}, bytes(MIB))["ok"]
        assert ["small"] == [file.name for file in small_disk.iterdir() if file.name != ".ftpd"]
        assert_clean_end(server)


def test_permission_denied(tmp_path: Path, without_privileges: tuple[str, ...]) -> None:
    """What the operating system does not allow the server's user is `forbidden`, in both directions."""
    (tmp_path / "secret").write_bytes(b"secret")
    for name, mode in {"secret": 0o200, "locked": 0o000, "unwritable": 0o500, "writable": 0o700}.items():
        if name != "secret":
            (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    with ServerProcess(tmp_path, prefix=without_privileges) as server:
        with server.connect() as peer:
            for request in ({"cmd": "get", "filename": "secret"}, {"cmd": "md5", "filename": "secret"}):
                assert "forbidden" == peer.refusal(request)
            assert "forbidden" == peer.refusal({"cmd": "ls", "path": "locked"})
            for name in ("locked/x", "unwritable/x"):
                assert "forbidden" == peer.refusal({"cmd": "put", "filename": name, "filesize": 5}, b"12345")
            assert peer.ask({"cmd": "put", "filename": "writable/x", "filesize": 5}, b"12345")["ok"]
        assert server.has_no_temporaries()
        assert_clean_end(server)
    (tmp_path / "locked").chmod(0o700)  # so that it can be removed
