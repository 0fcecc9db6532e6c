"""Behind a proxy: it says who comes, from whom that counts, and nobody else is believed."""

import contextlib
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peer import PATIENCE_S, Peer, ServerProcess, code_of, eventually, frame, served, server_environment
from tests.server.test_proxy_header import addresses, binary, line

PROXIES = ("--proxy-from", "127.0.0.1,10.0.0.0/8")
PROXY, OTHER = "127.0.0.1", "127.0.0.2"
PING = frame({"cmd": "ping", "id": 1})


class Passed(Peer):
    """A connection from one of this machine's addresses, that begins with some bytes, and then perhaps with TLS."""

    def __init__(self, server: ServerProcess, header: bytes = b"", *, source: str = PROXY, tls: bool = False) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S, source_address=(source, 0))
        self.send_raw(header)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)


def of(host: str, port: int = 4711) -> bytes:
    """Make a header for somebody."""
    return line("TCP4", host, "198.51.100.1", str(port), "9527")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server behind proxies that is not encrypted, and where nobody logs in."""
    with served(tmp_path_factory.mktemp("plain"), "--insecure", "--max-per-source", "2", *PROXIES) as server:
        yield server


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server behind proxies, as it is if nothing else is said."""
    with served(tmp_path_factory.mktemp("encrypted"), *PROXIES) as server:
        yield server


@pytest.fixture(params=["plain", "encrypted"])
def server(request: pytest.FixtureRequest) -> ServerProcess:
    """Both, one after the other."""
    server: ServerProcess = request.getfixturevalue(request.param)
    return server


def is_encrypted(server: ServerProcess) -> bool:
    """Tell whether the server speaks TLS."""
    return "TLS" in server.how


HEADERS = {
    "v1": (of("192.0.2.1"), "192.0.2.1:4711"),
    "v1 for IPv6": (line("TCP6", "2001:db8::1", "::1", "4712", "1"), "[2001:db8::1]:4712"),
    "v2": (binary(addresses("192.0.2.2", "1.1.1.1", (4713, 1))), "192.0.2.2:4713"),
    "v2 for IPv6": (binary(addresses("2001:db8::2", "::1", (4714, 1)), 0x21, rest=bytes(500)), "[2001:db8::2]:4714"),
}


@pytest.mark.parametrize("what", HEADERS)
def test_who_comes(server: ServerProcess, what: str) -> None:
    """Who the proxy speaks for is in the log, and what comes behind the header is answered, TLS or not."""
    header, shown = HEADERS[what]
    with Passed(server, header, tls=is_encrypted(server)) as peer:
        assert peer.ask({"cmd": "ping"})["ok"]
        eventually(lambda: f"connected peer={shown}" in server.log, "it is logged")


def test_all_in_one_piece(plain: ServerProcess) -> None:
    """A request that comes together with the header is answered, and so is one whose header comes byte by byte."""
    with Passed(plain, of("192.0.2.3") + PING + PING) as peer:
        assert [1, 1] == [peer.read()["id"] for _ in range(2)]
    with Passed(plain) as peer:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in binary(addresses("192.0.2.3", "1.1.1.1", (1, 2)), rest=bytes(9)) + PING:
            peer.send_raw(bytes([byte]))
        assert 1 == peer.read()["id"]


@pytest.mark.parametrize("header", [line("UNKNOWN"), binary(b"", 0, 0x20), binary(bytes(12), command=0x20)])
def test_the_proxy_itself(server: ServerProcess, header: bytes) -> None:
    """A proxy that looks whether the server is alive speaks for itself, and has its own address."""
    with Passed(server, header, tls=is_encrypted(server)) as peer:
        port = peer.socket.getsockname()[1]
        assert peer.ask({"cmd": "ping"})["ok"]
        eventually(lambda: f"connected peer=127.0.0.1:{port}" in server.log, "it is logged")


@pytest.mark.parametrize("what", HEADERS)
def test_others_are_not_believed(server: ServerProcess, what: str) -> None:
    """A header from anywhere else is refused like any rubbish, and what is behind it is not done."""
    header, _ = HEADERS[what]
    with Passed(server, header + PING, source=OTHER) as peer:
        assert ("tls_required" if is_encrypted(server) else "bad_frame") == code_of(peer.read())
        assert peer.is_ended()
    with Passed(server, source=OTHER, tls=is_encrypted(server)) as peer:
        assert peer.ask({"cmd": "ping"})["ok"]


@pytest.mark.parametrize("first", [PING, b"\x16\x03\x01\x02\0" + bytes(600), of("192.0.2.1")[:-2] + b"x" * 100])
def test_a_proxy_has_to_say(server: ServerProcess, first: bytes) -> None:
    """What comes from a proxy without a header, or with a wrong one, is cut without an answer, and logged."""
    before = server.log.count("a proxy has to say")
    with Passed(server, first) as peer:
        assert peer.is_ended()
    eventually(lambda: server.log.count("a proxy has to say") == before + 1, "it is logged")


def test_limits_are_for_those_behind_it(plain: ServerProcess) -> None:
    """So many connections from one place are let in, each place for itself, though all come from the proxy."""
    with contextlib.ExitStack() as stack:
        for host in ("192.0.2.5", "192.0.2.6"):
            for _ in range(2):
                peer = stack.enter_context(Passed(plain, of(host)))
                assert peer.ask({"cmd": "ping"})["ok"]
            refusal = stack.enter_context(Passed(plain, of(host))).read()
            assert ("busy", True) == (code_of(refusal), host in refusal["error"]["message"])


def test_penalties_are_for_those_behind_it(encrypted: ServerProcess) -> None:
    """Who guesses passwords can not even connect then; who comes through the same proxy from elsewhere can."""
    wrong = frame({"cmd": "auth", "method": "password", "user": "owner", "password": "wrong"}) * 3
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Passed(encrypted, of("192.0.2.9"), tls=True)) for _ in range(4)]
        for peer in peers:
            peer.send_raw(wrong)
        codes = [code_of(peer.read()) for peer in peers for _ in range(3)]
        assert (10, 2) == (codes.count("unauthorized"), codes.count("busy"))
        late = stack.enter_context(Passed(encrypted, of("192.0.2.9"), tls=True)).read()
        assert "wrong credentials came from 192.0.2.9" in late["error"]["message"]
        assert stack.enter_context(Passed(encrypted, of("192.0.2.10"), tls=True)).ask({"cmd": "ping"})["ok"]


def test_a_crowd_behind_it(encrypted: ServerProcess) -> None:
    """Hundreds from as many places who come through a proxy at the same moment are all let in."""
    with contextlib.ExitStack() as stack:
        encrypted.signal(signal.SIGSTOP)
        try:
            crowd = [
                stack.enter_context(Passed(encrypted, of(f"10.1.{number // 200}.{number % 200}")))
                for number in range(300)
            ]
        finally:
            encrypted.signal(signal.SIGCONT)
        for peer in crowd:
            peer.send_raw(PING)  # in the clear: the answer says that somebody listens
        assert {"tls_required"} == {code_of(peer.read()) for peer in crowd}


@pytest.mark.parametrize(
    "networks", ["0.0.0.0/0", "::/0", "127.0.0.1,0.0.0.0/0", "::ffff:10.0.0.5", "10.0.0.1/8", "proxy", "127.0.0.1,"]
)
def test_networks_that_are_none(tmp_path: Path, networks: str) -> None:
    """Networks with a mistake, or that are everybody, are one line and exit status 2."""
    done = subprocess.run(
        [sys.executable, "-m", "ftpd", "--root", str(tmp_path), "--port", "0", "--proxy-from", networks],
        capture_output=True, text=True, timeout=30, check=False, env=server_environment({}),
    )  # fmt: skip
    assert (2, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines())), done.stderr
    assert "--proxy-from" in done.stderr


def test_behind_a_proxy_is_public(encrypted: ServerProcess) -> None:
    """On loopback, too, there are TLS and a log-in where a proxy lets others in."""
    assert is_encrypted(encrypted)
    with Passed(encrypted, of("192.0.2.11"), tls=True) as peer:
        assert "unauthorized" == peer.refusal({"cmd": "ls"})
