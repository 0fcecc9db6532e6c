"""What happens to a name, and to an upload nobody works on, between `begin` and `commit`."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.disks import only_root, small_disk
from tests.peer import Peer, ServerProcess, eventually
from tests.server.test_chunks import DATA, PIECES, begin, code, commit, resume, send
from tests.server.tree import MIB


def becomes_a_folder(root: Path) -> None:
    """Let the name be a folder with something in it."""
    (root / "in" / "a").mkdir(parents=True)
    (root / "in" / "a" / "inner").write_bytes(b"inner")


def becomes_a_link(root: Path) -> None:
    """Let the name be a symbolic link."""
    (root / "in").mkdir()
    (root / "in" / "a").symlink_to("elsewhere")


def parent_becomes_a_file(root: Path) -> None:
    """Let the folder be a file."""
    (root / "in").write_bytes(b"inner")


def parent_becomes_a_link(root: Path) -> None:
    """Let the folder be a symbolic link to one outside."""
    root.with_name("outside").mkdir()
    (root / "in").symlink_to("../outside")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (becomes_a_folder, "is_directory"),
        (becomes_a_link, "symlink"),
        (parent_becomes_a_file, "not_directory"),
        (parent_becomes_a_link, "symlink"),
    ],
)
def test_name_that_is_taken_meanwhile(tmp_path: Path, change: Callable[[Path], None], expected: str) -> None:
    """What takes the place between `begin` and `commit` stays as it is; nothing of the upload is visible or left."""
    root = tmp_path / "root"
    root.mkdir()
    with ServerProcess(root) as server, server.connect() as peer:
        upload = begin(peer, "in/a")
        for index in range(3):
            assert send(peer, upload, index, PIECES[index])["ok"]
        change(root)
        before = seen(tmp_path)
        assert expected == code(commit(peer, upload))
        assert "unknown_upload" == code(commit(peer, upload))
        assert (before, []) == (seen(tmp_path), server.partials())
        assert server.answers()
        assert (0, "") == (server.stop().returncode, server.wait().traceback)


def seen(folder: Path) -> dict[str, bytes | None]:
    """Give all names below a folder but the server's own, with what is in them."""
    paths = (path for path in folder.rglob("*") if ".ftpd" not in path.parts)
    return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


def test_two_uploads_to_one_name(server: ServerProcess, peer: Peer) -> None:
    """Of two uploads to one name, chunk by chunk in turns, the last commit wins as a whole; readers keep theirs."""
    other_pieces = [bytes(reversed(piece)) for piece in PIECES]
    other_data = b"".join(other_pieces)
    with server.connect() as other:
        one, two = begin(peer, "both"), begin(other, "both")
        for index in (0, 1, 2):
            assert send(peer, one, index, PIECES[index])["ok"]
            assert send(other, two, index, other_pieces[index])["ok"]
        assert commit(other, two, other_data)["ok"]
        with (server.root / "both").open("rb") as reader:
            assert commit(peer, one)["ok"]
            assert other_data == reader.read()
    assert DATA == (server.root / "both").read_bytes()


def test_abandoned_uploads_expire(tmp_path: Path) -> None:
    """What nobody has touched for `--partial-ttl` goes; what somebody has open stays, however old it is."""
    with ServerProcess(tmp_path, "--partial-ttl", "1s") as server, server.connect() as peer:
        live = begin(peer, "live")
        assert send(peer, live, 0, PIECES[0])["ok"]
        for _ in range(2):
            for path in (tmp_path / ".ftpd" / "partial").iterdir():
                os.utime(path, (0, 0))
            with server.connect() as other:
                abandoned = begin(other, "abandoned")
                assert send(other, abandoned, 0, PIECES[0])["ok"]
            eventually(lambda: [live] == server.partials(), "the other upload expires")
            assert "unknown_upload" == code(resume(peer, "abandoned", abandoned))
        for index in (1, 2):
            assert send(peer, live, index, PIECES[index])["ok"]
        assert commit(peer, live)["ok"]
    assert DATA == (tmp_path / "live").read_bytes()


@only_root
@pytest.mark.root
def test_abandoned_uploads_use_space(tmp_path: Path) -> None:
    """Until it expires an abandoned upload counts as used space: what does not fit beside it is refused, then fits."""
    root = tmp_path / "disk"
    root.mkdir()
    with (
        small_disk("tmpfs", tmp_path, root, 32 * MIB),
        ServerProcess(root, "--partial-ttl", "1s") as server,
        server.connect() as peer,
    ):
        with server.connect() as other:
            abandoned = begin(other, "abandoned")
            for index in (0, 1):
                assert send(other, abandoned, index, PIECES[index])["ok"]
            request = {"cmd": "begin", "filename": "large", "filesize": 20 * MIB}
            assert "no_space" == peer.refusal(request)
        eventually(lambda: peer.ask(request)["ok"], "the space is free again")
        assert "unknown_upload" == code(resume(peer, "abandoned", abandoned))
