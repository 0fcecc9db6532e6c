"""One upload over several connections: `join`, and everything that can happen between them."""

from typing import Any

import pytest

from tests.peer import Peer, ServerProcess, eventually
from tests.server.test_chunks import CHUNK, DATA, PIECES, code, commit, resume, send
from tests.server.tree import leaf_of, tree_of


def begin(peer: Peer, name: str, size: int = len(DATA)) -> tuple[str, str]:
    """Open an upload; give its id and its lease."""
    reply = peer.ask({"cmd": "begin", "filename": name, "filesize": size})
    return reply["upload"], reply["lease"]


def join(peer: Peer, upload: str, lease: str) -> dict[str, Any]:
    """Join it."""
    return peer.ask({"cmd": "join", "upload": upload, "lease": lease})


def announce(upload: str, index: int) -> dict[str, object]:
    """Write the header of a chunk."""
    data = PIECES[index]
    return {"cmd": "chunk", "upload": upload, "index": index, "size": len(data), "digest": leaf_of(data)}


def test_a_file_over_three_connections(server: ServerProcess, peer: Peer) -> None:
    """Chunks come over three connections at once, each is confirmed on its own, and the file is whole."""
    upload, lease = begin(peer, "three")
    with server.connect() as one, server.connect() as two:
        for index, sender in enumerate((one, two, peer)):
            if sender is not peer:
                sender.send({"cmd": "join", "upload": upload, "lease": lease})  # its reply is not waited for
            sender.send(announce(upload, index), PIECES[index])
        assert [{"ok": True}, {"ok": True, "index": 0}] == [one.read(), one.read()]
        assert [{"ok": True}, {"ok": True, "index": 1}] == [two.read(), two.read()]
        assert {"ok": True, "index": 2} == peer.read()
    assert commit(peer, upload)["ok"]
    assert DATA == (server.root / "three").read_bytes()


def test_many_chunks_at_the_same_time(server: ServerProcess, peer: Peer) -> None:
    """Chunks whose bytes come bit by bit over several connections do not wait for each other."""
    upload, lease = begin(peer, "slow")
    with server.connect() as other:
        assert join(other, upload, lease)["ok"]
        other.send(announce(upload, 0), PIECES[0][:-1])
        for index in (1, 2):
            assert send(peer, upload, index, PIECES[index])["ok"]
        assert "incomplete" == code(commit(peer, upload))
        other.send_raw(PIECES[0][-1:])
        assert {"ok": True, "index": 0} == other.read()
    assert commit(peer, upload)["ok"]
    assert DATA == (server.root / "slow").read_bytes()


def test_a_lease_that_is_none(server: ServerProcess, peer: Peer) -> None:
    """Only the lease of this very upload lets anybody join; the owner and who has joined may say it again."""
    upload, lease = begin(peer, "leased")
    _, another = begin(peer, "another")
    with server.connect() as other:
        for name, wrong in ((upload, ""), (upload, another), (upload, "\u00e9"), ("0" * 32, lease), ("", "")):
            assert "unknown_upload" == code(join(other, name, wrong))
        assert "unknown_upload" == code(send(other, upload, 0, PIECES[0]))
        assert {"ok": True} == join(other, upload, lease) == join(other, upload, lease) == join(peer, upload, lease)
        for command in ({"cmd": "commit", "chunks": 3, "root": tree_of(DATA).root}, {"cmd": "abort"}):
            assert "unknown_upload" == other.refusal({**command, "upload": upload})


@pytest.mark.parametrize("size", [None, 0])
def test_an_upload_that_can_not_be_joined(peer: Peer, size: int | None) -> None:
    """What can not be resumed has no lease."""
    assert "lease" not in peer.ask(
        {"cmd": "begin", "filename": "alone", **({} if size is None else {"filesize": size})}
    )


@pytest.mark.parametrize("how", ["taken over", "gone", "aborted", "committed"])
def test_an_upload_that_is_over(server: ServerProcess, how: str) -> None:
    """When the owner has lost or ended the upload, nothing that another connection still sends is stored."""
    with server.connect() as owner, server.connect() as guest, server.connect() as newcomer:
        upload, lease = begin(owner, how)
        assert join(guest, upload, lease)["ok"]
        for index in (0, 1, 2):
            assert send(guest, upload, index, PIECES[index])["ok"]
        guest.send(announce(upload, 0), PIECES[1][: CHUNK // 2])  # in the middle of a chunk
        eventually(lambda: "incomplete" == code(commit(owner, upload, root="0" * 64)), "it is being written again")
        if how == "taken over":
            assert resume(newcomer, how, upload)["ok"]
        elif how == "gone":
            owner.close()
            eventually(lambda: not join(newcomer, upload, lease)["ok"], "the server has noticed")
        elif how == "aborted":
            assert owner.ask({"cmd": "abort", "upload": upload})["ok"]
        else:
            assert send(owner, upload, 0, PIECES[0])["ok"]
            assert commit(owner, upload)["ok"]
        guest.send_raw(PIECES[1][CHUNK // 2 :])
        assert "lease_lost" == code(guest.read())
        assert "lease_lost" == code(send(guest, upload, 1, bytes(CHUNK), leaf_of(bytes(CHUNK))))
        assert "unknown_upload" == code(join(guest, upload, lease))
    assert not (server.root / how).exists() or DATA == (server.root / how).read_bytes()


def test_the_same_chunk_over_two_connections(server: ServerProcess, peer: Peer) -> None:
    """A chunk that is sent again over another connection is that one's: what the first still sends is not stored."""
    upload, lease = begin(peer, "twice")
    with server.connect() as half_dead:
        assert join(half_dead, upload, lease)["ok"]
        half_dead.send(announce(upload, 1), bytes(CHUNK // 2))
        for index in (0, 1, 2):
            assert send(peer, upload, index, PIECES[index])["ok"]
        half_dead.send_raw(bytes(CHUNK - CHUNK // 2))
        assert "lease_lost" == code(half_dead.read())
        assert commit(peer, upload)["ok"]
    assert DATA == (server.root / "twice").read_bytes()


def test_commit_waits_for_what_is_on_its_way(server: ServerProcess, peer: Peer) -> None:
    """With `wait` a commit that comes too early is answered when the last chunk has come over another connection."""
    upload, lease = begin(peer, "early")
    with server.connect() as other:
        assert join(other, upload, lease)["ok"]
        assert send(peer, upload, 0, PIECES[0])["ok"]
        root = tree_of(DATA).root
        peer.send({"cmd": "commit", "upload": upload, "chunks": 3, "root": root, "wait": True})
        for index in (2, 1):
            assert send(other, upload, index, PIECES[index])["ok"]
        assert {"ok": True, "filename": "early", "filesize": len(DATA), "root": root} == peer.read()
    assert DATA == (server.root / "early").read_bytes()


@pytest.mark.parametrize("why", ["alone", "damaged", "gone", "gone in a chunk"])
def test_commit_that_would_wait_for_ever(server: ServerProcess, peer: Peer, why: str) -> None:
    """It does not wait for a chunk that was refused, nor when nobody is left to bring it; the upload stays open."""
    upload, lease = begin(peer, why)
    request = {"cmd": "commit", "upload": upload, "chunks": 3, "root": tree_of(DATA).root, "wait": True}
    for index in (0, 1):
        assert send(peer, upload, index, PIECES[index])["ok"]
    with server.connect() as other:
        if why != "alone":
            assert join(other, upload, lease)["ok"]
        if why == "gone in a chunk":
            other.send(announce(upload, 2), PIECES[2][:1000])
        peer.send(request)
        if why == "damaged":
            assert "integrity" == code(send(other, upload, 2, bytes(len(PIECES[2])), leaf_of(PIECES[2])))
        elif why.startswith("gone"):
            other.close()
        error = peer.read()["error"]
        assert ("incomplete", 2) == (error["code"], error["index"])
    assert send(peer, upload, 2, PIECES[2])["ok"]
    assert peer.ask(request)["ok"]
    assert DATA == (server.root / why).read_bytes()


def test_number_of_joined_uploads_is_bounded(server: ServerProcess, peer: Peer) -> None:
    """A connection joins as many uploads as it may have open; those that are over do not count."""
    limit = peer.ask({"cmd": "hello"})["limits"]["max_uploads"]
    with server.connect() as other, server.connect() as third:
        uploads = [begin(peer, f"joined{number}", 5) for number in range(limit)]
        one_more = begin(third, "one more", 5)
        for upload, lease in uploads:
            assert join(other, upload, lease)["ok"]
        assert "busy" == code(join(other, *one_more))
        assert peer.ask({"cmd": "abort", "upload": uploads[0][0]})["ok"]
        assert join(other, *one_more)["ok"]
