"""`begin`, `chunk`, `commit`, `abort`: files in chunks, and everything that can be wrong with them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.peer import Peer, ServerProcess, eventually
from tests.server.tree import MIB, leaf_of, tree_of

CHUNK = 8 * MIB
"""How a file of known size is cut, up to 64 GiB. Where the size is not known, `begin` says how."""

DATA = os.urandom(1000) * 20_000
"""Three chunks of 8 MiB, the last one short."""
PIECES = [DATA[start : start + CHUNK] for start in range(0, len(DATA), CHUNK)]


def begin(peer: Peer, name: str, size: int = len(DATA), **keys: object) -> str:
    """Open an upload."""
    reply = peer.ask({"cmd": "begin", "filename": name, "filesize": size, **keys})
    assert (True, CHUNK) == (reply["ok"], reply["chunk_size"])
    return str(reply["upload"])


def begin_unknown(peer: Peer, name: str) -> tuple[str, int]:
    """Open an upload of unknown size; give its chunk size too."""
    reply = peer.ask({"cmd": "begin", "filename": name})
    assert reply["chunk_size"] >= 1 * MIB
    return reply["upload"], reply["chunk_size"]


def resume(peer: Peer, name: str, upload: str) -> dict[str, Any]:
    """Go on with an upload."""
    return peer.ask({"cmd": "begin", "filename": name, "filesize": len(DATA), "upload": upload})


def send(peer: Peer, upload: str, index: int, data: bytes, digest: str | None = None) -> dict[str, Any]:
    """Send a chunk."""
    header = {"cmd": "chunk", "upload": upload, "index": index, "size": len(data), "digest": digest or leaf_of(data)}
    return peer.ask(header, data)


def commit(peer: Peer, upload: str, data: bytes = DATA, chunk_size: int = CHUNK, **keys: object) -> dict[str, Any]:
    """Publish an upload."""
    tree = tree_of(data, chunk_size)
    return peer.ask({"cmd": "commit", "upload": upload, "chunks": len(tree.leaves) // 32, "root": tree.root, **keys})


def code(reply: dict[str, Any]) -> str:
    """Give the code of a refusal."""
    return str(reply["error"]["code"])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0, 1, 1)], ids=["in order", "out of order", "twice"])
def test_file_in_chunks(server: ServerProcess, peer: Peer, order: tuple[int, ...]) -> None:
    """Chunks may come in any order and more than once; the file is whole, and not there before `commit`."""
    name = f"chunks/{order}"
    upload = begin(peer, name)
    for index in order:
        assert {"ok": True, "index": index} == send(peer, upload, index, PIECES[index])
    assert not (server.root / name).exists()
    root = tree_of(DATA).root
    assert {"ok": True, "filename": name, "filesize": len(DATA), "root": root} == commit(peer, upload)
    assert DATA == (server.root / name).read_bytes()
    assert "unknown_upload" == code(commit(peer, upload))


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1])
def test_sizes_at_the_borders(server: ServerProcess, peer: Peer, size: int) -> None:
    """A file of no bytes is one empty chunk; a file of one chunk to the byte is one chunk."""
    data = DATA[:size]
    upload = begin(peer, f"border{size}", size)
    for index in range(max(1, -(-size // CHUNK))):
        assert send(peer, upload, index, data[index * CHUNK : (index + 1) * CHUNK])["ok"]
    assert commit(peer, upload, data)["ok"]
    assert data == (server.root / f"border{size}").read_bytes()


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 2 * CHUNK, len(DATA)])
def test_unknown_size(server: ServerProcess, peer: Peer, size: int) -> None:
    """A file whose size nobody knew beforehand is as long as its chunks, be it empty."""
    data = DATA[:size]
    upload, chunk_size = begin_unknown(peer, f"unknown{size}")
    for index, start in enumerate(range(0, max(size, 1), chunk_size)):
        assert send(peer, upload, index, data[start : start + chunk_size])["ok"]
    assert {"filesize": size}.items() <= commit(peer, upload, data, chunk_size).items()
    assert data == (server.root / f"unknown{size}").read_bytes()


def test_unknown_size_with_a_chunk_that_turns_out_too_much(server: ServerProcess, peer: Peer) -> None:
    """In an upload of unknown size a short chunk before the last, or one beyond the last, is refused at `commit`."""
    upload, chunk_size = begin_unknown(peer, "gap")
    for index, data in enumerate((b"short", b"last")):
        assert send(peer, upload, index, data)["ok"]
    assert "bad_request" == code(commit(peer, upload, b"short", chunk_size))
    assert "bad_request" == code(peer.ask({"cmd": "commit", "upload": upload, "chunks": 2, "root": "0" * 64}))
    assert not (server.root / "gap").exists()


@pytest.mark.parametrize(
    ("index", "size"),
    [(3, 10), (2**53 - 1, 10), (0, CHUNK - 1), (0, CHUNK + 1), (2, CHUNK), (2, 0), (0, 0)],
)
def test_chunk_that_has_no_place(peer: Peer, index: int, size: int) -> None:
    """A chunk beyond the file or of another size than its place has is `bad_range`, and its payload is skipped."""
    upload = begin(peer, "places")
    assert "bad_range" == code(send(peer, upload, index, bytes(size)))
    assert {"ok": True, "index": 2} == send(peer, upload, 2, PIECES[2])


def test_chunk_that_has_no_place_in_an_upload_of_unknown_size(peer: Peer) -> None:
    """An upload of unknown size is bounded, in chunks and in bytes of a chunk."""
    upload, chunk_size = begin_unknown(peer, "unbounded")
    for index, size in ((65_536, 1), (2**53 - 1, 1), (0, chunk_size + 1)):
        assert "bad_range" == code(send(peer, upload, index, bytes(size)))
    assert send(peer, upload, 0, b"")["ok"]


def test_wrong_digest_costs_one_chunk(server: ServerProcess, peer: Peer) -> None:
    """A chunk with another digest is not confirmed, and missed at `commit`; sent again, right, the file is whole."""
    upload = begin(peer, "flipped")
    flipped = b"X" + PIECES[1][1:]
    for index in (0, 1, 2):
        assert send(peer, upload, index, PIECES[index])["ok"]
    error = send(peer, upload, 1, flipped, leaf_of(PIECES[1]))["error"]
    facts = {"code": "integrity", "index": 1, "expected": leaf_of(PIECES[1]), "actual": leaf_of(flipped)}
    assert facts.items() <= error.items()
    error = commit(peer, upload)["error"]
    assert ("incomplete", 1) == (error["code"], error["index"])
    assert send(peer, upload, 1, PIECES[1])["ok"]
    assert commit(peer, upload)["ok"]
    assert DATA == (server.root / "flipped").read_bytes()


@pytest.mark.parametrize("digest", ["", "xy", "0" * 63, "0" * 65, "g" * 64, " " * 64])
def test_digest_that_is_none(peer: Peer, digest: str) -> None:
    """What is not 64 hex digits is `bad_request`, and the payload behind it is skipped."""
    upload = begin(peer, "digest", 5)
    request = {"cmd": "chunk", "upload": upload, "index": 0, "size": 5, "digest": digest}
    assert "bad_request" == peer.refusal(request, b"12345")
    assert send(peer, upload, 0, b"12345")["ok"]


def test_commit_that_is_wrong(server: ServerProcess, peer: Peer) -> None:
    """A missing chunk, a wrong count or root is refused and publishes nothing; the upload can still be put right."""
    upload = begin(peer, "committed")
    assert "incomplete" == code(commit(peer, upload))
    for index in (0, 2):
        assert send(peer, upload, index, PIECES[index])["ok"]
    error = commit(peer, upload)["error"]
    assert ("incomplete", 1) == (error["code"], error["index"])
    assert send(peer, upload, 1, PIECES[1])["ok"]
    for count in (0, 1, 2, 4, 2**53 - 1):
        assert "bad_request" == code(commit(peer, upload, chunks=count))
    assert "integrity" == code(commit(peer, upload, root="0" * 64))
    assert {"bad_request"} == {code(commit(peer, upload, root=root)) for root in ("", "no root", "0" * 65)}
    assert not (server.root / "committed").exists()
    assert commit(peer, upload)["ok"]
    assert DATA == (server.root / "committed").read_bytes()


def test_abort_drops_the_upload(server: ServerProcess, peer: Peer) -> None:
    """After `abort` the upload is unknown and nothing of it is left."""
    upload = begin(peer, "aborted")
    assert send(peer, upload, 0, PIECES[0])["ok"]
    assert upload in server.partials()
    assert {"ok": True} == peer.ask({"cmd": "abort", "upload": upload})
    assert upload not in server.partials()
    for reply in (send(peer, upload, 1, PIECES[1]), commit(peer, upload), peer.ask({"cmd": "abort", "upload": upload})):
        assert "unknown_upload" == code(reply)
    assert not (server.root / "aborted").exists()


def test_upload_of_another_connection(server: ServerProcess, peer: Peer) -> None:
    """An upload belongs to the connection that began it; to all others it is unknown."""
    upload = begin(peer, "mine", 5)
    with server.connect() as other:
        assert "unknown_upload" == code(send(other, upload, 0, b"12345"))
        assert "unknown_upload" == code(commit(other, upload, b"12345"))
        assert "unknown_upload" == code(other.ask({"cmd": "abort", "upload": upload}))
        assert "unknown_upload" == code(send(other, "x" * 60_000, 0, b"12345"))
    assert send(peer, upload, 0, b"12345")["ok"]
    assert commit(peer, upload, b"12345")["ok"]


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset, Peer.shutdown_write])
def test_a_broken_upload_goes_on(server: ServerProcess, leave: Callable[[Peer], None]) -> None:
    """However a connection ends, the next one goes on with its upload: what was confirmed is not sent again."""
    name = f"broken by {leave.__name__}"
    with server.connect() as peer:
        upload = begin(peer, name)
        for index in (0, 2):
            assert send(peer, upload, index, PIECES[index])["ok"]
        request = {"cmd": "chunk", "upload": upload, "index": 1, "size": CHUNK, "digest": leaf_of(PIECES[1])}
        peer.send(request, PIECES[1][: CHUNK // 2])
        leave(peer)
        with server.connect() as other:
            assert [[0, 0], [2, 2]] == resume(other, name, upload)["have"]
            assert send(other, upload, 1, PIECES[1])["ok"]
            assert commit(other, upload)["ok"]
    assert DATA == (server.root / name).read_bytes()
    eventually(lambda: upload not in server.partials(), "nothing is left of the upload")


def test_a_killed_server_goes_on(tmp_path: Path) -> None:
    """A server that was killed has every chunk that it had confirmed."""
    with ServerProcess(tmp_path) as server, server.connect() as peer:
        upload = begin(peer, "killed")
        for index in (0, 1):
            assert send(peer, upload, index, PIECES[index])["ok"]
        server.kill()
    with ServerProcess(tmp_path) as server, server.connect() as peer:
        assert [[0, 1]] == resume(peer, "killed", upload)["have"]
        assert send(peer, upload, 2, PIECES[2])["ok"]
        assert commit(peer, upload)["ok"]
    assert DATA == (tmp_path / "killed").read_bytes()


def test_a_newcomer_takes_an_upload_over(server: ServerProcess, peer: Peer) -> None:
    """Whoever resumes an upload owns it at once: the old owner, still connected, can write and publish no more."""
    upload = begin(peer, "taken")
    assert send(peer, upload, 0, PIECES[0])["ok"]
    with server.connect() as other:
        assert [[0, 0]] == resume(other, "taken", upload)["have"]
        assert "lease_lost" == code(send(peer, upload, 1, bytes(CHUNK)))
        assert "lease_lost" == code(send(peer, upload, 0, bytes(CHUNK)))
        for index in (1, 2):
            assert send(other, upload, index, PIECES[index])["ok"]
        assert "incomplete" == code(commit(peer, upload))
        assert commit(other, upload)["ok"]
        assert "unknown_upload" == code(resume(peer, "taken", upload))
    assert DATA == (server.root / "taken").read_bytes()


def test_a_resumed_upload_must_be_the_same(peer: Peer) -> None:
    """An upload is only resumed for the file it was begun for: same name, same size, an id that exists."""
    upload = begin(peer, "same")
    for keys in ({"filename": "other"}, {"filesize": 5}, {"upload": "0" * 32}, {"upload": "../same"}, {"upload": ""}):
        request = {"cmd": "begin", "filename": "same", "filesize": len(DATA), "upload": upload, **keys}
        assert "unknown_upload" == peer.refusal(request)
    assert [] == resume(peer, "same", upload).get("have", [])
    assert "bad_request" == peer.refusal({"cmd": "begin", "filename": "same", "upload": upload})


def test_a_chunk_sent_again_counts_only_when_it_is_whole(server: ServerProcess) -> None:
    """A confirmed chunk whose bytes are being written again is not had until they are verified again."""
    with server.connect() as peer:
        upload = begin(peer, "again")
        for index in (0, 1):
            assert send(peer, upload, index, PIECES[index])["ok"]
        assert "integrity" == code(send(peer, upload, 0, bytes(CHUNK), leaf_of(PIECES[0])))
    with server.connect() as peer:
        assert [[1, 1]] == resume(peer, "again", upload)["have"]
        for index in (0, 2):
            assert send(peer, upload, index, PIECES[index])["ok"]
        assert commit(peer, upload)["ok"]
    assert DATA == (server.root / "again").read_bytes()


def test_number_of_open_uploads_is_bounded(server: ServerProcess, peer: Peer) -> None:
    """One upload more than `hello` allows is `busy`; when one has ended there is room again."""
    limit = peer.ask({"cmd": "hello"})["limits"]["max_uploads"]
    uploads = [begin(peer, f"open{index}") for index in range(limit)]
    assert "busy" == peer.refusal({"cmd": "begin", "filename": "one more", "filesize": 1})
    assert peer.ask({"cmd": "abort", "upload": uploads[0]})["ok"]
    assert begin(peer, "one more")


def test_existing_name(server: ServerProcess, peer: Peer) -> None:
    """`if_exists` holds at `begin` and again at `commit`, when somebody else took the name in between."""
    uploads = {how: begin(peer, f"race-{how}", 5, if_exists=how) for how in ("fail", "skip", "rename", "overwrite")}
    for how, upload in uploads.items():
        assert peer.ask({"cmd": "put", "filename": f"race-{how}", "filesize": 5}, b"other")["ok"]
        assert send(peer, upload, 0, b"12345")["ok"]
    assert "exists" == code(commit(peer, uploads["fail"], b"12345"))
    assert commit(peer, uploads["skip"], b"12345")["skipped"]
    assert "race-rename (1)" == commit(peer, uploads["rename"], b"12345")["filename"]
    assert commit(peer, uploads["overwrite"], b"12345")["ok"]
    expected = {"fail": b"other", "skip": b"other", "rename": b"other", "overwrite": b"12345"}
    assert expected == {how: (server.root / f"race-{how}").read_bytes() for how in uploads}
    assert "exists" == peer.refusal({"cmd": "begin", "filename": "race-fail", "filesize": 5, "if_exists": "fail"})
    assert peer.ask({"cmd": "begin", "filename": "race-skip", "filesize": 5, "if_exists": "skip"})["skipped"]


def test_more_than_the_disk_holds(peer: Peer) -> None:
    """A size that can never fit is `no_space` before the first byte."""
    assert "no_space" == peer.refusal({"cmd": "begin", "filename": "huge", "filesize": 2**53 - 1})
