"""A server that is killed between two system calls: what was confirmed is there, and what was not does no harm."""

import contextlib
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.peer import PATIENCE_S, Peer, ServerProcess
from tests.server.test_chunks import CHUNK, DATA, PIECES, begin, code, commit, resume, send
from tests.server.tree import leaf_of

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

RENAMES = "/^rename(at2?)?$"


class Place(NamedTuple):
    """Where a server is killed: as it enters the n-th of these calls that is about this file."""

    file: str
    """What follows the upload's name in the folder of partials; or the served folder, if it starts with a slash."""
    calls: str
    number: int = 1


def killed_at(root: Path, upload: str, place: Place) -> ServerProcess:
    """Start a server that is going to be killed there."""
    partial = root / ".ftpd" / "partial" / f"{upload}{place.file}"
    path = root if place.file.startswith("/") else partial
    paths = ["-P", str(path), "-P", partial.name]  # by descriptor, and by name in the folder of partials
    log = root.with_name("trace")
    # -D makes the server our child, not strace's: nothing of it is left when the test kills it.
    prefix = ["strace", "-D", "-f", "-qq", "-o", str(log), *paths, "-e", f"trace={place.calls}"]
    inject = ["-e", f"inject={place.calls}:signal=KILL:when={place.number}"]
    try:
        return ServerProcess(root, prefix=[*prefix, *inject])
    except AssertionError as exc:
        if "ptrace" in str(exc).lower():
            pytest.skip("strace may not trace here")
        raise


def chunk_of(upload: str, index: int) -> dict[str, object]:
    """Make the request for a chunk."""
    piece = PIECES[index]
    return {"cmd": "chunk", "upload": upload, "index": index, "size": len(piece), "digest": leaf_of(piece)}


def is_killed(server: ServerProcess, peer: Peer) -> bool:
    """Wait until a server is gone, and tell whether it was killed before it said anything."""
    return peer.is_ended() and -signal.SIGKILL == server.process.wait(PATIENCE_S)


def begun(root: Path, *sealed: int) -> str:
    """Leave an upload with some chunks; give its name."""
    with ServerProcess(root) as server, server.connect() as peer:
        upload = begin(peer, "a")
        for index in sealed:
            assert send(peer, upload, index, PIECES[index])["ok"]
        server.kill()
    return upload


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder to serve."""
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.mark.parametrize(
    "place",
    [Place("", "pwrite64", 1), Place("", "pwrite64", 7), Place(".journal", "pwrite64", 1)],
    ids=["before its first byte", "in the middle", "between chunk and journal"],
)
@pytest.mark.parametrize("index", [1, 0], ids=["new", "sent again"])
def test_killed_in_a_chunk(root: Path, place: Place, index: int) -> None:
    """A chunk that is not noted in the journal is not had, even if all its bytes are there; what was before it is."""
    upload = begun(root, 0, 2)
    if index == 0 and place.file:
        place = place._replace(number=2)  # the first takes note that it is going to be overwritten
    with killed_at(root, upload, place) as server, server.connect() as peer:
        assert [[0, 0], [2, 2]] == resume(peer, "a", upload)["have"]
        with contextlib.suppress(ConnectionError):
            peer.send(chunk_of(upload, index), PIECES[index])
        assert is_killed(server, peer)
    if place == Place(".journal", "pwrite64", 1):
        written = (root / ".ftpd" / "partial" / upload).read_bytes()
        assert PIECES[1] == written[CHUNK : 2 * CHUNK]
    with ServerProcess(root) as server, server.connect() as peer:
        missing = [1] if index else [0, 1]
        assert [[0, 0], [2, 2]][len(missing) - 1 :] == resume(peer, "a", upload)["have"]
        for each in missing:
            assert send(peer, upload, each, PIECES[each])["ok"]
        assert commit(peer, upload)["ok"]
        assert DATA == (root / "a").read_bytes()
        assert [] == server.partials()


@pytest.mark.parametrize(
    ("place", "is_published"),
    [
        (Place("", "ftruncate"), False),
        (Place("", "fsync"), False),
        (Place("", RENAMES), False),
        (Place("/", "fsync"), True),
        (Place(".journal", "/^unlink(at)?$"), True),
    ],
    ids=["finishing", "between commit and sync", "between sync and rename", "before the folder", "before the reply"],
)
@pytest.mark.parametrize("mode", [0o640, 0o400])
def test_killed_in_a_commit(
    root: Path, place: Place, mode: int, without_privileges: tuple[str, ...], *, is_published: bool
) -> None:
    """Before the rename the old file stays, and only `commit` is to be sent again; after it the new one is whole."""
    (root / "a").write_bytes(b"old")
    upload = begun(root, 0, 1, 2)
    keys = {"filename": "a", "filesize": len(DATA), "mode": mode, "mtime": 1}
    with killed_at(root, upload, place) as server, server.connect() as peer:
        assert [[0, 2]] == peer.ask({"cmd": "begin", "upload": upload, **keys})["have"]
        request = {"cmd": "commit", "upload": upload, "chunks": 3, "root": "0" * 64}
        assert "integrity" == peer.refusal(request)
        facts = peer.ask(request)["error"]
        peer.send({**request, "root": facts["actual"]})
        assert is_killed(server, peer)
    assert (DATA if is_published else b"old") == (root / "a").read_bytes()
    with ServerProcess(root, prefix=without_privileges) as server, server.connect() as peer:
        again = peer.ask({"cmd": "begin", "upload": upload, **keys})
        if is_published:
            assert "unknown_upload" == code(again)
        else:
            assert [[0, 2]] == again["have"]
            assert commit(peer, upload)["ok"]
        assert (DATA, mode) == ((root / "a").read_bytes(), (root / "a").stat().st_mode & 0o777)
        assert [] == server.partials()
