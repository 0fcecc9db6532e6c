"""Quotas on a real server: never exceeded, given back however an upload ends, and shown."""

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from blake3 import blake3

from ftpd.access.credentials import new_token
from ftpd.access.users import Token, User, edit
from ftpd.amounts import size_text
from ftpd.wire.limits import MIN_CHUNK
from tests.peer import Peer, ServerProcess, code_of, eventually, frame
from tests.server.tree import tree_of

QUOTA, FILES = 100_000_000, 50


class Service:
    """A server, and who may do what there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "alice"
        self.home.mkdir()
        self.token = new_token()
        self.users = root / ".ftpd" / "access" / "users.toml"
        with edit(self.users) as users:
            users.users["alice"] = User(rights=["full"], home="alice", quota="100M", quota_files=FILES)
            users.tokens[self.token.id] = Token(user="alice", sha256=self.token.sha256)
        self.server = ServerProcess(root)

    def connect(self) -> Peer:
        """Connect and log in."""
        peer = self.server.connect()
        assert peer.ask({"cmd": "auth", "token": self.token.text})["ok"]
        return peer

    def restart(self) -> None:
        """Stop the server and start another one."""
        self.stop()
        self.server = ServerProcess(self.root)

    def stop(self) -> None:
        """Stop the server, which has shown no traceback."""
        with self.server:
            ended = self.server.stop()
        assert (0, "") == (ended.returncode, ended.traceback)

    @property
    def stored(self) -> tuple[int, int]:
        """What lies beneath the home."""
        found = [path.stat().st_size for path in self.home.rglob("*") if path.is_file()]
        return sum(found), len(found)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A server of an empty folder with a user who has a quota."""
    service = Service(tmp_path)
    try:
        yield service
        service.stop()
    finally:
        with contextlib.suppress(OSError):
            service.server.process.kill()


@pytest.fixture
def peer(service: Service) -> Iterator[Peer]:
    """A connection of that user."""
    with service.connect() as peer:
        yield peer


def used(peer: Peer) -> tuple[int, int]:
    """Ask what is used."""
    reply = peer.ask({"cmd": "df"})
    assert (QUOTA, FILES) == (reply["quota"], reply["quota_files"])
    assert 0 < reply["free"] <= reply["total"]
    return reply["used"], reply["files"]


def uses(peer: Peer, figures: tuple[int, int]) -> bool:
    """Tell whether so much is used."""
    return used(peer) == figures


def put(peer: Peer, name: str, size: int, **more: object) -> dict[str, object]:
    """Store a file."""
    return peer.ask({"cmd": "put", "filename": name, "filesize": size, **more}, bytes(size))


def test_more_than_the_quota(service: Service, peer: Peer) -> None:
    """What can never fit is refused with the figures, before a byte of it is sent, and nothing is used."""
    refusals = [
        peer.ask({"cmd": "begin", "filename": "x", "filesize": QUOTA + 1}),
        peer.ask({"cmd": "begin", "filename": "x", "filesize": 2**52}),
    ]
    for refusal in refusals:
        assert "no_space" == code_of(refusal)
        assert (QUOTA, 0) == (refusal["error"]["quota"], refusal["error"]["used"])
    assert (0, 0) == used(peer)
    assert peer.ask({"cmd": "begin", "filename": "x", "filesize": QUOTA})["ok"]
    refused = put(peer, "y", 1)
    assert "no_space" == code_of(refused)
    assert f"it needs 1 B, and of the quota of {size_text(QUOTA)} 0 B are free" == refused["error"]["message"]  # type: ignore[index] # as JSON is


def test_many_at_once(service: Service) -> None:
    """Of uploads at once on many connections, together far above the quota, as many are stored as fit."""
    answers: list[bool] = []

    def upload(number: int) -> None:
        with service.connect() as peer:
            answers.extend(bool(put(peer, f"{number}-{turn}", QUOTA // 20)["ok"]) for turn in range(5))

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (40, 20) == (len(answers), answers.count(True))
    with service.connect() as peer:
        assert service.stored == used(peer) == (QUOTA, 20)


def test_small_files_one_behind_the_other(service: Service, peer: Peer) -> None:
    """Of small files that are stored by the dozen as many are stored as there may be; replacing one takes no place."""
    request = {"cmd": "put", "filesize": 10}
    peer.send_raw(b"".join(frame({**request, "id": n, "filename": str(n)}, bytes(10)) for n in range(FILES + 20)))
    codes = ["ok" if (reply := peer.read())["ok"] else code_of(reply) for _ in range(FILES + 20)]
    assert ["ok"] * FILES + ["no_space"] * 20 == codes
    assert (10 * FILES, FILES) == service.stored == used(peer)
    peer.send_raw(b"".join(frame({**request, "id": n, "filename": "7", "filesize": 30}, bytes(30)) for n in range(5)))
    assert [True] * 5 == [peer.read()["ok"] for _ in range(5)]
    assert service.stored == (10 * FILES + 20, FILES)
    eventually(lambda: used(peer) == service.stored or not put(peer, "new", 1)["ok"], "it is counted again")


def test_given_back(service: Service, peer: Peer) -> None:
    """However an upload ends, its space is free again: aborted, damaged, skipped, refused, cut off, replaced."""
    half = QUOTA // 2 + 1
    begun = peer.ask({"cmd": "begin", "filename": "x", "filesize": half})
    assert (half, 1) == used(peer)
    assert peer.ask({"cmd": "abort", "upload": begun["upload"]})["ok"]
    assert "integrity" == code_of(put(peer, "x", half, md5="0" * 32))
    assert "bad_path" == code_of(put(peer, "../x", 5))
    assert (0, 0) == used(peer)
    assert put(peer, "there", 5)["ok"]
    assert put(peer, "there", 6, if_exists="skip")["skipped"]
    assert "exists" == code_of(put(peer, "there", 6, if_exists="fail"))
    assert put(peer, "there", 8)["ok"]
    assert put(peer, "there", 3)["ok"]
    assert "there (1)" == put(peer, "there", 4, if_exists="rename")["filename"]
    for size in (900_000, 700_000, 3):  # not small ones, and back
        assert put(peer, "there", size)["ok"]
        assert (size + 4, 2) == used(peer) == service.stored
    with service.connect() as other:
        other.send_raw(frame({"cmd": "put", "filename": "cut", "filesize": half}, bytes(half // 2)))
        eventually(lambda: used(peer) == (half + 7, 3), "it is on its way")
    eventually(lambda: used(peer) == (7, 2), "it is gone")


def test_stream(service: Service, peer: Peer) -> None:
    """An upload of unknown size goes on until the quota is full, chunk by chunk; what was sealed can be published."""
    upload = peer.ask({"cmd": "begin", "filename": "stream"})["upload"]
    data = bytes(MIN_CHUNK)
    request = {"cmd": "chunk", "upload": upload, "size": len(data), "digest": blake3(data).hexdigest()}
    # Without waiting, so that they could be taken in one run.
    peer.send_raw(b"".join(frame({**request, "id": 7, "index": index}, data) for index in range(13)))
    codes = ["ok" if (reply := peer.read())["ok"] else code_of(reply) for _ in range(13)]
    fitting = QUOTA // MIN_CHUNK
    assert ["ok"] * fitting + ["no_space"] * (13 - fitting) == codes
    assert (fitting * MIN_CHUNK, 1) == used(peer)
    assert peer.ask({"cmd": "abort", "upload": upload})["ok"]
    assert (0, 0) == used(peer)


def test_upload_that_was_broken_off(service: Service) -> None:
    """What was broken off uses its space, also for the next server, until it is gone on with; then only once."""
    size, data = 2 * MIN_CHUNK, bytes(MIN_CHUNK)
    with service.connect() as peer:
        upload = peer.ask({"cmd": "begin", "filename": "big", "filesize": size})["upload"]
        chunk = {"cmd": "chunk", "upload": upload, "size": len(data), "digest": blake3(data).hexdigest()}
        assert peer.ask({**chunk, "index": 0}, data)["ok"]
    for restarts in (False, True):
        if restarts:
            service.restart()
        with service.connect() as peer:
            assert (size, 1) == used(peer)
            refused = peer.ask({"cmd": "begin", "filename": "x", "filesize": QUOTA - size + 1})
            assert "no_space" == code_of(refused)
            assert peer.ask({"cmd": "begin", "filename": "big", "filesize": size, "upload": upload})["ok"]
            assert (size, 1) == used(peer)
    with service.connect() as peer, service.connect() as thief:
        assert peer.ask({"cmd": "begin", "filename": "big", "filesize": size, "upload": upload})["ok"]
        assert thief.ask({"cmd": "begin", "filename": "big", "filesize": size, "upload": upload})["ok"]
        peer.close()
        assert (size, 1) == used(thief)
        assert thief.ask({"cmd": "abort", "upload": upload})["ok"]
        assert (0, 0) == used(thief)


def test_several_connections(service: Service) -> None:
    """A file over several connections has its space once, and none when the first connection is gone without it."""
    size, data = 3 * MIN_CHUNK, bytes(MIN_CHUNK)
    with service.connect() as peer, service.connect() as one, service.connect() as two:
        for is_finished in (False, True):
            owner = service.connect()
            begun = owner.ask({"cmd": "begin", "filename": "shared", "filesize": size})
            upload = begun["upload"]
            chunk = {"cmd": "chunk", "upload": upload, "size": len(data), "digest": blake3(data).hexdigest()}
            for index, joined in enumerate((one, two)):
                assert joined.ask({"cmd": "join", "upload": upload, "lease": begun["lease"]})["ok"]
                if is_finished:
                    assert joined.ask({**chunk, "index": index}, data)["ok"]
            assert (size, 1) == used(peer)
            if is_finished:
                assert owner.ask({**chunk, "index": 2}, data)["ok"]
                root = tree_of(bytes(size)).root
                assert owner.ask({"cmd": "commit", "upload": upload, "chunks": 3, "root": root})["ok"]
                assert (size, 1) == used(peer) == service.stored
            owner.close()
            left = (size, 1) if is_finished else (0, 0)
            eventually(partial(uses, peer, left), "what was not sealed is free")


def test_resumed_as_another_file(service: Service) -> None:
    """Who asks for an upload under a wrong name, or with a wrong size, frees nothing of it."""
    size, data = 2 * MIN_CHUNK, bytes(MIN_CHUNK)
    resume = {"cmd": "begin", "filename": "big", "filesize": size}
    with service.connect() as peer, service.connect() as other:
        resume["upload"] = peer.ask(resume)["upload"]
        chunk = {"cmd": "chunk", "upload": resume["upload"], "size": len(data), "digest": blake3(data).hexdigest()}
        assert peer.ask({**chunk, "index": 0}, data)["ok"]
        for wrong in ({"filename": "x"}, {"filesize": size - 1}):
            assert "unknown_upload" == other.refusal({**resume, **wrong})
            assert (size, 1) == used(other)
        assert "unknown_upload" == other.refusal({**resume, "upload": "0" * 32})
        assert (size, 1) == used(other)
        peer.close()
        assert other.ask(resume)["ok"]
        assert (size, 1) == used(other)
        assert other.ask({"cmd": "abort", "upload": resume["upload"]})["ok"]
        assert (0, 0) == used(other)


def test_share(service: Service, peer: Peer) -> None:
    """What somebody brings to a share uses the quota of the user who has made it."""
    shared = peer.ask({"cmd": "share", "path": "in", "upload": True})
    with service.server.connect() as guest:
        assert guest.ask({"cmd": "auth", "token": shared["token"]})["ok"]
        assert put(guest, "in/small", 1000)["ok"]
        assert (1000, 1) == used(peer) == service.stored
        assert "no_space" == code_of(put(guest, "in/large", QUOTA - 999))
        assert (1000, 1) == used(guest)


def test_changed_by_other_means(service: Service, peer: Peer) -> None:
    """What others remove is free again when it is needed; links count once, folders and state not at all."""
    (service.home / "folder").mkdir()
    (service.home / "folder" / "large").write_bytes(bytes(QUOTA // 2))
    (service.home / "link").hardlink_to(service.home / "folder" / "large")
    (service.home / "symlink").symlink_to(service.root / ".ftpd")
    assert (QUOTA // 2, 1) == used(peer)
    (service.home / "link").unlink()
    (service.home / "folder" / "large").unlink()
    eventually(lambda: put(peer, "x", QUOTA)["ok"], "it is counted again")
    assert (QUOTA, 1) == used(peer)


def test_another_quota(service: Service, peer: Peer) -> None:
    """A quota that is changed holds at once, on open connections too; one below what is used removes nothing."""
    assert put(peer, "x", 1000)["ok"]
    with edit(service.users) as users:
        users.users["alice"].quota = "1k"
    eventually(lambda: peer.ask({"cmd": "df"})["quota"] == 1000, "the file is looked at")
    assert "no_space" == code_of(put(peer, "y", 1))
    assert b"\0" * 1000 == (service.home / "x").read_bytes()
