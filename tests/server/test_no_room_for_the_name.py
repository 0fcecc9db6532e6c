"""A whole file that can not get its name, because the disk has no room for a folder, is not lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import MIB, only_root, small_disk, without_names
from tests.peer import ServerProcess
from tests.server.test_chunks import PIECES, begin, code, commit, resume, send


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for few files."""
    at = tmp_path / "disk"
    at.mkdir()
    with small_disk("tmpfs", tmp_path / "image", at, 64 * MIB):
        yield at


@only_root
@pytest.mark.root
@pytest.mark.parametrize("mode", [0o644, 0o400])
def test_no_space_at_commit(small: Path, mode: int, without_privileges: tuple[str, ...]) -> None:
    """After `no_space` at `commit` nothing is visible; with space again the upload goes on with no chunk missing."""
    with ServerProcess(small, prefix=without_privileges) as server, server.connect() as peer:
        upload = begin(peer, "new/folder/a", mode=mode)
        for index in range(3):
            assert send(peer, upload, index, PIECES[index])["ok"]
        with without_names(small):
            assert "no_space" == code(commit(peer, upload))
            assert "unknown_upload" == code(commit(peer, upload))
        assert not (small / "new" / "folder" / "a").exists()
        with server.connect() as other:
            assert [[0, 2]] == resume(other, "new/folder/a", upload)["have"]
            assert commit(other, upload)["ok"]
        assert b"".join(PIECES) == (small / "new" / "folder" / "a").read_bytes()
        assert [] == server.partials()
        assert (0, "") == (server.stop().returncode, server.wait().traceback)
