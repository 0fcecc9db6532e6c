"""The classic client: `socket`, `struct`, `json`; file after file, no reply ever read, closed at once."""

import hashlib
import json
import random
import select
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.peer import Peer, ServerProcess, eventually

KIB = 1024
MIB = 1024 * KIB

SIZES = (0, 1, 12, 4095, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 128 * KIB, 300_001, MIB - 1, MIB, MIB + 1, 5 * MIB + 3)


def send_file(sock: socket.socket, name: str, data: bytes, **extra: object) -> None:
    """Send one file as issue and manual say."""
    header = json.dumps({"cmd": "put", "filename": name, "filesize": len(data), **extra}).encode()
    sock.sendall(struct.pack("i", len(header)) + header + data)


def send_files(port: int, files: dict[str, bytes]) -> None:
    """Be the classic client."""
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        for name, data in files.items():
            send_file(sock, name, data)


def make_files(folder: str, sizes: tuple[int, ...], seed: int) -> dict[str, bytes]:
    """Make files of given sizes with content of their own."""
    source = random.Random(seed)  # noqa: S311 (content, not secrets)
    return {f"{folder}/{index}.bin": source.randbytes(size) for index, size in enumerate(sizes)}


def assert_arrived(root: Path, files: dict[str, bytes]) -> None:
    """Wait for the last name, then compare every byte of all of them."""
    last = root / next(reversed(files))
    eventually(last.exists, f"{last} arrives", 5)
    assert [] == [name for name, data in files.items() if not (root / name).is_file()]
    assert [] == [name for name, data in files.items() if (root / name).read_bytes() != data]


@pytest.mark.parametrize("attempt", [*range(5), *(pytest.param(n, marks=pytest.mark.long) for n in range(5, 60))])
def test_files_of_all_sizes_arrive_although_the_client_reads_nothing(server: ServerProcess, attempt: int) -> None:
    """Every file of a client that never reads and closes at once arrives whole, in every order of sizes."""
    sizes = [*SIZES]
    random.Random(attempt).shuffle(sizes)  # noqa: S311 (an order, not a secret)
    files = make_files(f"sizes{attempt}", tuple(sizes), attempt)
    send_files(server.port, files)
    assert_arrived(server.root, files)


@pytest.mark.parametrize("size", [0, 1, 5 * MIB])
def test_single_file(server: ServerProcess, size: int) -> None:
    """One file and a close at once is enough."""
    for attempt in range(5):
        files = make_files(f"single{size}-{attempt}", (size,), attempt)
        send_files(server.port, files)
        assert_arrived(server.root, files)


def test_twenty_clients_at_once(server: ServerProcess) -> None:
    """Twenty classic clients at the same time lose nothing of each other's or of their own."""
    sizes = (*SIZES[:-1], 3 * MIB, *range(0, 40_000, 3999))
    everything = [make_files(f"client{number}", sizes, number) for number in range(20)]
    with ThreadPoolExecutor(len(everything)) as pool:
        list(pool.map(lambda files: send_files(server.port, files), everything))
    for files in everything:
        assert_arrived(server.root, files)


def test_more_files_than_replies_are_kept_back(server: ServerProcess) -> None:
    """So many files that their replies come to more than a mebibyte still all arrive."""
    folder = "/".join(["many", *(["d" * 250] * 14)])
    files = {f"{folder}/{index:04}": b"%d" % index for index in range(400)}
    send_files(server.port, files)
    eventually(lambda: len(list((server.root / folder).glob("*"))) == len(files), "all files arrive", 5)
    assert [] == [name for name, data in files.items() if (server.root / name).read_bytes() != data]


def test_pause_between_files(server: ServerProcess) -> None:
    """A client that pauses in the middle, as if its disk were slow, then sends the rest and closes, loses nothing."""
    for attempt in range(2):
        files = make_files(f"pause{attempt}", (*SIZES, 5 * MIB, *[2000] * 20), attempt)
        with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
            for index, (name, data) in enumerate(files.items()):
                send_file(sock, name, data)
                if index == 5:
                    # Should a reply come now, it would lie unread, and turn the close into a reset that loses files.
                    select.select([sock], [], [], 0.3)
        assert_arrived(server.root, files)


def test_extra_keys_are_ignored(server: ServerProcess) -> None:
    """Keys that nobody knows do not keep a file from arriving."""
    with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
        send_file(sock, "extra.txt", b"hello", user="ada", flags=[1, 2.5, None, {"x": True}])
    assert_arrived(server.root, {"extra.txt": b"hello"})


def test_right_md5_is_verified(server: ServerProcess) -> None:
    """A file with the right `md5` arrives, in either case of its hex digits."""
    digest = hashlib.md5(b"hello", usedforsecurity=False).hexdigest()
    with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
        send_file(sock, "md5-lower.txt", b"hello", md5=digest)
        send_file(sock, "md5-upper.txt", b"hello", md5=digest.upper())
    assert_arrived(server.root, {"md5-lower.txt": b"hello", "md5-upper.txt": b"hello"})


def test_wrong_md5_publishes_nothing_and_later_files_arrive(server: ServerProcess) -> None:
    """A file with a wrong `md5` never gets its name; the old content stays, and the next file arrives."""
    send_files(server.port, {"kept.txt": b"old"})
    assert_arrived(server.root, {"kept.txt": b"old"})
    wrong = hashlib.md5(b"other", usedforsecurity=False).hexdigest()
    with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
        send_file(sock, "kept.txt", b"new", md5=wrong)
        send_file(sock, "never.txt", b"new", md5=wrong)
        send_file(sock, "after.txt", b"after")
    assert_arrived(server.root, {"after.txt": b"after"})
    assert (b"old", False) == ((server.root / "kept.txt").read_bytes(), (server.root / "never.txt").exists())
    eventually(server.has_no_temporaries, "what failed leaves nothing behind")


def test_classic_client_that_reads_in_the_end(peer: Peer) -> None:
    """A client without ids that sends all, ends its side and then reads gets every reply in order."""
    for index in range(30):
        peer.send({"cmd": "put", "filename": f"read{index}", "filesize": 3}, b"abc")
    peer.shutdown_write()
    assert [f"read{index}" for index in range(30)] == [peer.read()["filename"] for _ in range(30)]
    assert peer.is_ended()


def test_classic_client_that_waits_for_its_reply(peer: Peer) -> None:
    """A client without ids that waits for the reply to its file, and does not close before, gets it."""
    peer.send({"cmd": "put", "filename": "wait", "filesize": 3}, b"abc")
    assert {"ok": True, "filename": "wait"}.items() <= peer.read().items()
