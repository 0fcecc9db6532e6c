"""`ls`: pages of a folder, linked by cursors."""

import os
from typing import Any

import pytest

from tests.peer import Peer, ServerProcess

NAMES = {f"{index:04}-" + 'ä"\\' * 60 for index in range(2800)} | {f"short{index}" for index in range(200)}
"""Long names of which every character costs two bytes in a page."""


@pytest.fixture(scope="module", autouse=True)
def folders(server: ServerProcess) -> None:
    """A folder with 3,000 files, and one with a file, a folder, a link and a FIFO."""
    (server.root / "many").mkdir()
    (server.root / "one").touch()
    for name in NAMES:  # further names of one file: much quicker than 3,000 files
        (server.root / "many" / name).hardlink_to(server.root / "one")
    few = server.root / "few"
    few.mkdir()
    (few / "folder").mkdir()
    (few / "link").symlink_to("file")
    os.mkfifo(few / "other")
    (few / "file").write_bytes(b"12345")
    (few / "file").chmod(0o640)
    os.utime(few / "file", ns=(0, 1_234_567_890_000_000_001))


def pages(peer: Peer, path: str) -> list[list[dict[str, Any]]]:
    """Give all pages of a folder."""
    page = peer.ask({"cmd": "ls", "path": path})
    found = [page["entries"]]
    while "cursor" in page:
        page = peer.ask({"cmd": "ls", "path": path, "cursor": page["cursor"]})
        found.append(page["entries"])
    return found


def test_three_thousand_long_names(peer: Peer) -> None:
    """A folder too large for one header comes in pages, and each name exactly once."""
    found = pages(peer, "many")
    names = [entry["name"] for page in found for entry in page]
    assert (len(NAMES), NAMES) == (len(names), set(names))
    assert len(found) >= 6
    assert {"file"} == {entry["type"] for page in found for entry in page}


def test_kinds_of_names(peer: Peer) -> None:
    """Each entry says what it is; without `long` no more than that."""
    expected = [("file", "file"), ("folder", "dir"), ("link", "link"), ("other", "other")]
    entries = peer.ask({"cmd": "ls", "path": "few"})["entries"]
    assert expected == sorted((entry["name"], entry["type"]) for entry in entries)
    assert {"name", "type"} == {key for entry in entries for key in entry}


def test_long_listing(peer: Peer) -> None:
    """`long` adds size, time and mode."""
    entries = peer.ask({"cmd": "ls", "path": "few", "long": True})["entries"]
    (file,) = (entry for entry in entries if entry["name"] == "file")
    expected = {"name": "file", "type": "file", "size": 5, "mtime": 1_234_567_890, "mtime_ns": 1, "mode": 0o640}
    assert expected == file


def test_root_does_not_show_the_state_folder(server: ServerProcess, peer: Peer) -> None:
    """The root is listed by no name or by `/`, and the server's own folder is not in it."""
    assert (server.root / ".ftpd").is_dir()
    for request in ({}, {"path": ""}, {"path": "/"}):
        names = {entry["name"] for entry in peer.ask({"cmd": "ls", **request})["entries"]}
        assert {"many", "few", "one"} == names


def test_names_that_nobody_could_ask_for_are_counted(server: ServerProcess, peer: Peer) -> None:
    """Names that are not UTF-8 or hold control characters are left out and counted."""
    folder = server.root / "few" / "folder"
    (folder / "new\nline").touch()
    (folder / os.fsdecode(b"\xff\xfe")).touch()
    (folder / "fine").touch()
    reply = peer.ask({"cmd": "ls", "path": "few/folder"})
    assert ([{"name": "fine", "type": "file"}], 2) == (reply["entries"], reply["unnameable"])


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("nothing", "not_found"),
        ("few/file", "not_directory"),
        ("few/link", "symlink"),
        ("few/other", "not_directory"),
        ("../..", "bad_path"),
        (".ftpd", "bad_path"),
    ],
)
def test_what_is_no_folder(peer: Peer, path: str, code: str) -> None:
    """Only folders beneath the root are listed."""
    assert code == peer.refusal({"cmd": "ls", "path": path})


def test_unknown_and_used_up_cursors(server: ServerProcess, peer: Peer) -> None:
    """A cursor that never was, was used, was given up or is another connection's is `bad_cursor`."""
    assert "bad_cursor" == peer.refusal({"cmd": "ls", "path": "many", "cursor": "never"})
    first = peer.ask({"cmd": "ls", "path": "many"})["cursor"]
    with server.connect() as other:
        assert "bad_cursor" == other.refusal({"cmd": "ls", "path": "many", "cursor": first})
    second = peer.ask({"cmd": "ls", "path": "many", "cursor": first})["cursor"]
    assert "bad_cursor" == peer.refusal({"cmd": "ls", "path": "many", "cursor": first})
    assert peer.ask({"cmd": "ls", "path": "few"})["ok"]
    assert "bad_cursor" == peer.refusal({"cmd": "ls", "path": "many", "cursor": second})


def test_listing_that_is_given_up_costs_no_descriptor(server: ServerProcess, peer: Peer) -> None:
    """Listings begun again and again, or left open by a client that goes away, keep no folder open."""

    def open_files() -> int:
        return len(os.listdir(f"/proc/{server.pid}/fd"))  # noqa: PTH208 (a number is enough)

    peer.ask({"cmd": "ls", "path": "many"})
    before = open_files()
    for _ in range(50):
        assert "cursor" in peer.ask({"cmd": "ls", "path": "many"})
    assert before == open_files()
