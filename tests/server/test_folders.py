"""`mkdir`: folders that nothing is put into."""

import os
from pathlib import Path

import pytest

from tests.peer import Peer, ServerProcess, frame
from tests.server.test_pipelined_chunks import sending
from tests.server.test_pipelined_puts import put, read


@pytest.fixture(scope="module", autouse=True)
def scene(server: ServerProcess) -> Path:
    """What can be in the way of a folder, put there by other means than ours."""
    scene = server.root / "scene"
    (scene / "folder").mkdir(parents=True)
    (scene / "file").write_bytes(b"file")
    (scene / "link").symlink_to("folder")
    (scene / "outside").symlink_to("/")
    os.mkfifo(scene / "fifo")
    return scene


def test_a_folder_and_its_parents(server: ServerProcess, peer: Peer) -> None:
    """`mkdir` makes a folder where there is none, with the folders it is in; a second one finds it, and says so."""
    assert {"ok": True, "created": True} == peer.ask({"cmd": "mkdir", "path": "a/b/c"})
    assert [] == [*(server.root / "a" / "b" / "c").iterdir()]
    for path in ("a/b/c", "/a/b", "a"):
        assert {"ok": True, "created": False} == peer.ask({"cmd": "mkdir", "path": path})
    assert ["b"] == [entry["name"] for entry in peer.ask({"cmd": "ls", "path": "a"})["entries"]]


@pytest.mark.parametrize("path", ["", "/"])
def test_the_root_is_there(peer: Peer, path: str) -> None:
    """The served folder is never new."""
    assert {"ok": True, "created": False} == peer.ask({"cmd": "mkdir", "path": path})


@pytest.mark.parametrize("name", ["with space", "-p", ".hidden", "quote'\"s", "back\\slash", "ünï/cödé", "emoji 🎉"])
def test_names_that_work(server: ServerProcess, peer: Peer, name: str) -> None:
    """A name that is unusual but harmless is kept to the letter."""
    assert peer.ask({"cmd": "mkdir", "path": f"names/{name}"})["created"]
    assert (server.root / "names" / name).is_dir()


@pytest.mark.parametrize(
    "name",
    [
        *("..", "../x", "a/../b", "a//b", "./a", "a/", "//", "a\0b", "a\nb", "\x7f", "n" * 256),
        *(".ftpd", ".ftpd/tmp/x", ".FTPD/x", "\u200b.ftpd/x", "/".join(["d" * 200] * 21)),
    ],
)
def test_names_that_are_refused(server: ServerProcess, peer: Peer, name: str) -> None:
    """A name that could lead elsewhere, deceive a reader or touch the server's own folder is `bad_path`."""
    before = sorted(path.name for path in (server.root / ".ftpd").iterdir())
    assert "bad_path" == peer.refusal({"cmd": "mkdir", "path": name})
    assert before == sorted(path.name for path in (server.root / ".ftpd").iterdir())


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("file", "not_directory"),
        ("file/below", "not_directory"),
        ("fifo", "not_directory"),
        ("link", "symlink"),
        ("link/below", "symlink"),
        ("outside/tmp/below", "symlink"),
    ],
)
def test_what_is_in_the_way(peer: Peer, scene: Path, name: str, code: str) -> None:
    """A file, a FIFO or a link in the way is refused, nothing is made, and the conversation goes on."""
    assert code == peer.refusal({"cmd": "mkdir", "path": f"scene/{name}"})
    assert ["fifo", "file", "folder", "link", "outside"] == sorted(path.name for path in scene.iterdir())
    assert peer.ask({"cmd": "ping"})["ok"]


def test_between_files_without_waiting(server: ServerProcess, peer: Peer) -> None:
    """Folders and files sent in one stream are answered in their order, and are all there."""
    parts = []
    for n in range(300):
        parts += [put(f"mixed/{n}/file", b"x" * n, 2 * n)] if n % 3 else []
        parts += [frame({"cmd": "mkdir", "path": f"mixed/{n}/empty", "id": 2 * n + 1})]
    with sending(peer, *parts):
        replies = read(peer, len(parts))
    expected = [number for number in range(600) if number % 2 or number // 2 % 3]
    assert expected == [reply["id"] for reply in replies if reply["ok"] and reply.get("created", True)]
    for n in range(300):
        assert (server.root / f"mixed/{n}/empty").is_dir()
        assert not n % 3 or n == (server.root / f"mixed/{n}/file").stat().st_size


def test_a_classic_client_that_makes_a_folder_reads(peer: Peer) -> None:
    """`mkdir` without `id` gets its reply at once, and those of the files before it."""
    peer.send_raw(put("classic/a", b"a") + frame({"cmd": "mkdir", "path": "classic/b"}))
    assert ["classic/a", None] == [reply.get("filename") for reply in read(peer, 2)]
