"""TLS with others than Python at the other end: openssl's own client, and one that leaves without a word."""

import contextlib
import fcntl
import json
import shutil
import ssl
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peer import PATIENCE_S, ServerProcess, code_of, eventually, frame, raw_frame, served
from tests.server.crowd import files_of
from tests.server.test_floods import encrypted

MIB = 1024 * 1024
PIECE = bytes(64 * 1024)
"""No letter that openssl takes for a command of its user's."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """An encrypted server where nobody has to log in."""
    with served(tmp_path_factory.mktemp("root"), "--tls") as server:
        yield server


class OpenSsl:
    """`openssl s_client`, which asks for new keys when it reads a K (openssl-s_client(1), connected commands)."""

    def __init__(self, port: int, log: Path) -> None:
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", "-no_ign_eof", "-msg", "-msgfile", log],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._log = log

    def send(self, data: bytes) -> None:
        """Send bytes, and wait until it has read them, so that the next ones are read by themselves."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()
        eventually(lambda: not self._unread(), "it reads what it is to send")

    def read(self, count: int) -> bytes:
        """Read what the server has sent."""
        assert self.process.stdout is not None
        return self.process.stdout.read(count)

    def reply(self) -> dict[str, Any]:
        """Read a reply."""
        found: dict[str, Any] = json.loads(self.read(struct.unpack("<i", self.read(4))[0]))
        return found

    def new_keys(self) -> None:
        """Take new keys, and ask the server for its own, which come before the next bytes that it has to send."""
        self.send(b"K\n")

    def updates(self) -> tuple[int, int]:
        """Count how often this side and the server have taken new keys."""
        lines = [line for line in self._log.read_text(encoding="utf-8").splitlines() if line.endswith("KeyUpdate")]
        ours = sum(line.startswith(">>>") for line in lines)
        return ours, len(lines) - ours

    def _unread(self) -> int:
        assert self.process.stdin is not None
        room = bytearray(4)
        fcntl.ioctl(self.process.stdin, termios.FIONREAD, room)
        return int.from_bytes(room, "little")

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_new_keys(server: ServerProcess, tmp_path: Path) -> None:
    """Keys that are renewed between requests, inside of an upload and between downloads cost no byte."""
    with contextlib.closing(OpenSsl(server.port, tmp_path / "messages")) as peer:
        peer.send(frame({"cmd": "ping", "id": 1}))
        assert peer.reply()["ok"]
        peer.new_keys()
        peer.send(frame({"cmd": "put", "id": 2, "filename": "file", "filesize": 4 * MIB}))
        for number in range(4 * MIB // len(PIECE)):
            peer.send(PIECE)
            if number % 16 == 8:
                peer.new_keys()
        assert (2, True) == ((reply := peer.reply())["id"], reply["ok"])
        for number in range(2):
            peer.new_keys()
            peer.send(frame({"cmd": "get", "id": number, "filename": "file"}))
            reply = peer.reply()
            peer.read(32 * reply["leaves"])
            assert bytes(4 * MIB) == peer.read(reply["length"])
            assert not reply["trailer"] or peer.reply()["ok"]
        assert (7, 7) == peer.updates()
    assert bytes(4 * MIB) == (server.root / "file").read_bytes()


@pytest.mark.parametrize("who", ["the server", "the client"])
def test_nobody_waits_for_the_last_word(server: ServerProcess, who: str) -> None:
    """Whoever of both ends the conversation, the server waits for no answer to that, and keeps no descriptor."""
    with encrypted(server) as peer:
        assert peer.ask({"cmd": "ping"})["ok"]
        before = files_of(server)
        if who == "the server":
            peer.send_raw(raw_frame(b"no header"))
            assert "bad_frame" == code_of(peer.read())
        else:
            assert isinstance(peer.socket, ssl.SSLSocket)
            peer.socket.settimeout(0)
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.socket.unwrap()  # says it, and does not wait for the answer
        eventually(lambda: files_of(server) < before, "the server has closed it", PATIENCE_S)
