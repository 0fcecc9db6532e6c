"""Behind a real HAProxy, which is told what docs/operating.md says: who comes is known, and nobody is cut.

Who comes has addresses of his own on this machine, and so has the proxy.
"""

import contextlib
import re
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from ftpc.connection import STALL_S as CLIENT_STALL_S
from ftpc.transfer.shipment import LONG_REPLY
from ftpd.amounts import parse_time
from ftpd.requests import IDLE_S, STALL_S
from ftpd.tls import HANDSHAKE_S, pin_of
from tests.client.command import Ftpc
from tests.peer import PATIENCE_S, REPOSITORY, Peer, ServerProcess, code_of, eventually, frame, manage, served

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="there is no haproxy")

PROXY = "127.0.0.9"
MOST = 8
DOCUMENT = (REPOSITORY / "docs" / "operating.md").read_text(encoding="utf-8")
[CONFIG] = re.findall(r"(?s)<!-- not run: a part of haproxy\.cfg.*?-->\n```\n(.*?)```", DOCUMENT)


def changed(text: str, *changes: tuple[str, str]) -> str:
    """Change what has to be there."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


class Visitor(Peer):
    """A connection from one of this machine's addresses."""

    def __init__(self, port: int, source: str, *, tls: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S, source_address=(source, 0))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)


class Haproxy:
    """HAProxy in front of a server, as it is documented but for addresses, and for what a test wants otherwise."""

    def __init__(self, server: ServerProcess, *changes: tuple[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.NamedTemporaryFile("w") as file:
            self.port: int = listener.getsockname()[1]
            config = changed(
                CONFIG,
                ("bind :9527", f"bind fd@{listener.fileno()}"),
                ("10.0.0.9:9527", f"127.0.0.1:{server.port} source {PROXY}"),
                *changes,
            )
            file.write(config)
            file.flush()
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
            self._process = subprocess.Popen(
                ["haproxy", "-db", "-f", file.name], stderr=self._errors, pass_fds=[listener.fileno()]
            )
            try:
                with self.connect("127.0.0.10") as peer:  # who comes is served when it has read the file
                    peer.send_raw(b"nothing")
                    peer.is_ended()
            except BaseException:
                self.__exit__()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._errors.close()

    @property
    def warnings(self) -> str:
        """What it had to say."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def connect(self, source: str = "127.0.0.1", *, tls: bool = False) -> Peer:
        """Come from one of this machine's addresses."""
        return Visitor(self.port, source, tls=tls)


class Place(NamedTuple):
    """A folder with a user, and what he logs in with."""

    root: Path
    token: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Where the server of most tests has its files."""
    root = tmp_path_factory.mktemp("root")
    manage(root, "user", "add", "first")
    return Place(root, manage(root, "token", "create", "first"))


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[ServerProcess]:
    """A server that speaks TLS, because a proxy lets others in; it tells all it sees."""
    with served(place.root, "--proxy-from", PROXY, "--max-per-source", str(MOST), "-v") as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: ServerProcess) -> Iterator[Haproxy]:
    """HAProxy before it, which looks fifty times a second whether it is there."""
    with Haproxy(server, (" check", " check inter 20")) as proxy:
        yield proxy
        assert "" == proxy.warnings


@needs_haproxy
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"])
def test_files_go_through(server: ServerProcess, place: Place, tmp_path: Path, version: str) -> None:
    """The client brings and fetches files over TLS that passes through; for the server they come from the client."""
    with Haproxy(server, ("send-proxy-v2", version)) as proxy:
        pin = pin_of(server.root / ".ftpd" / "access" / "cert.pem")
        ftpc = Ftpc(f"ftpds://127.0.0.1:{proxy.port}#sha256:{pin}", tmp_path, server.root)
        assert 0 == ftpc.run("login", ftpc.server, stdin=place.token.encode()).status
        sent = ftpc.write(version, bytes(range(256)) * 20_000)
        assert 0 == ftpc.run("put", version).status
        assert 0 == ftpc.run("get", version, "-o", "back").status
    assert sent.read_bytes() == (tmp_path / "back").read_bytes() == (server.root / version).read_bytes()
    eventually(
        lambda: re.search(rf"transfer peer=127\.0\.0\.1:\d+ .*path={version} .*outcome=ok", server.log), "a line"
    )


@needs_haproxy
def test_who_comes(server: ServerProcess, proxy: Haproxy) -> None:
    """Address and port of who comes are in the log, and nothing of the proxy."""
    before = len(server.log)
    with proxy.connect("127.0.0.2", tls=True) as peer:
        assert peer.ask({"cmd": "ping"})["ok"]
        port = peer.socket.getsockname()[1]
    eventually(lambda: f" disconnected peer=127.0.0.2:{port} " in server.log, "it is logged")
    assert f" connected peer=127.0.0.2:{port}\n" in server.log
    assert PROXY not in server.log[before:]


@needs_haproxy
def test_limits(proxy: Haproxy) -> None:
    """So many connections from one address are let in, each address for itself."""
    with contextlib.ExitStack() as stack:
        for source in ("127.0.0.3", "127.0.0.4"):
            for _ in range(MOST):
                assert stack.enter_context(proxy.connect(source, tls=True)).ask({"cmd": "ping"})["ok"]
            refusal = stack.enter_context(proxy.connect(source, tls=True)).read()
            assert ("busy", True) == (code_of(refusal), source in refusal["error"]["message"])


@needs_haproxy
def test_penalties(proxy: Haproxy) -> None:
    """Who guesses passwords can not even connect then; others who come through the same proxy can."""
    wrong = frame({"cmd": "auth", "method": "password", "user": "first", "password": "wrong"}) * 3
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(proxy.connect("127.0.0.5", tls=True)) for _ in range(4)]
        for peer in peers:
            peer.send_raw(wrong)
        codes = [code_of(peer.read()) for peer in peers for _ in range(3)]
        assert (10, 2) == (codes.count("unauthorized"), codes.count("busy"))
    with proxy.connect("127.0.0.5", tls=True) as late:
        assert "wrong credentials came from 127.0.0.5" in late.read()["error"]["message"]
    with proxy.connect("127.0.0.6", tls=True) as other:
        assert other.ask({"cmd": "ping"})["ok"]


@needs_haproxy
def test_checks(tmp_path: Path) -> None:
    """Dozens of checks of health leave no line in the log, and the address of the proxy is not penalised for them."""
    manage(tmp_path, "user", "add", "first")
    token = manage(tmp_path, "token", "create", "first")
    with served(tmp_path, "--proxy-from", PROXY, "-v") as server:
        with Haproxy(server, (" check", " check inter 5")) as proxy:
            eventually(lambda: server.log.count("DEBUG no handshake: ") > 50, "it is checked")
            with proxy.connect(PROXY, tls=True) as peer:
                assert peer.ask({"cmd": "auth", "token": token})["ok"]
            assert "" == proxy.warnings
        eventually(lambda: f"disconnected peer={PROXY}:" in server.log, "it is logged")
        lines = [line.split(maxsplit=2) for line in server.log.splitlines()]
    told = [text.split()[0] for _, level, text in lines[1:] if level != "DEBUG"]  # the first is of the sandbox
    assert ["connected", "log-in", "disconnected"] == told


@needs_haproxy
def test_proxy_that_does_not_say(server: ServerProcess, tmp_path: Path) -> None:
    """Without `send-proxy-v2` nobody comes in: the client ends with one line, the log says what to do."""
    before = len(server.log)
    with Haproxy(server, (" send-proxy-v2 check", "")) as proxy:
        refused = [line for line in server.log[before:].splitlines() if "WARNING" in line]
        ended = Ftpc(f"ftpds://127.0.0.1:{proxy.port}#sha256:{'0' * 64}", tmp_path, server.root).run("ls")
    assert 1 == len(ended.err.splitlines()), ended.err
    assert 0 != ended.status
    assert refused
    assert all("send-proxy-v2" in line and f"peer={PROXY}:" in line for line in refused)


@needs_haproxy
def test_others_who_say(server: ServerProcess) -> None:
    """A proxy that the server was not told of is refused by a sentence, whatever it says."""
    with Haproxy(server, (f" source {PROXY}", " source 127.0.0.8")) as proxy, proxy.connect() as peer:
        peer.send_raw(b"\x16\x03\x01")
        assert "tls_required" == code_of(peer.read())


SHORT = ("timeout client 1m", "timeout client 500ms"), ("timeout server 1m", "timeout server 500ms")


@needs_haproxy
def test_idle_connection(server: ServerProcess) -> None:
    """A connection may be idle for longer than the timeouts of client and server, because there is one for tunnels."""
    with (
        Haproxy(server, *SHORT) as proxy,
        Haproxy(server, *SHORT, ("    timeout tunnel 1h\n", "")) as hasty,
        proxy.connect(tls=True) as peer,
        hasty.connect(tls=True) as cut,
    ):
        for each in (peer, cut):
            assert each.ask({"cmd": "ping"})["ok"]
        assert cut.is_ended()
        assert peer.ask({"cmd": "ping"})["ok"]


LASTING = ("timeout tunnel 1h", "timeout tunnel 3s")


@needs_haproxy
@pytest.mark.long
def test_long_upload(server: ServerProcess, place: Place) -> None:
    """An upload that takes longer than any timeout, to which the server says nothing meanwhile, goes on to its end."""
    size = 100_000
    with (
        Haproxy(server, *SHORT, LASTING) as proxy,
        proxy.connect(tls=True) as peer,
        proxy.connect(tls=True) as idle,
    ):
        assert peer.ask({"cmd": "auth", "token": place.token})["ok"]
        assert idle.ask({"cmd": "ping"})["ok"]
        peer.send({"cmd": "put", "filename": "slow", "filesize": size})
        while not select.select([idle.socket], [], [], 0.05)[0]:
            peer.send_raw(b"x")
            size -= 1
        assert idle.is_ended()
        peer.send_raw(bytes(size))
        assert peer.read()["ok"]


@needs_haproxy
@pytest.mark.long
def test_long_download(tmp_path: Path) -> None:
    """A download that takes longer than any timeout, to which the client says nothing meanwhile, goes on to its end."""
    data = bytes(700_000)
    (tmp_path / "slow").write_bytes(data)
    with (
        served(tmp_path, "--insecure", "--proxy-from", PROXY, "--limit-rate", "64k") as server,
        Haproxy(server, *SHORT, LASTING) as proxy,
        proxy.connect() as peer,
        proxy.connect() as idle,
    ):
        assert idle.ask({"cmd": "ping"})["ok"]
        assert peer.ask({"cmd": "get", "filename": "slow"})["ok"]
        begun = peer.read_bytes(1)
        assert idle.is_ended()
        assert data == begun + peer.read_bytes(len(data) - 1)


def test_timeouts_that_are_documented() -> None:
    """The proxy is more patient than client and server are, with what is idle, with transfers and with long replies."""
    told = {name: parse_time(value) for name, value in re.findall(r"timeout (\w+) (\w+)", CONFIG)}
    assert {"connect", "client", "server", "tunnel"} == told.keys()
    assert told["tunnel"] > max(IDLE_S, STALL_S, CLIENT_STALL_S * LONG_REPLY)
    assert min(told["client"], told["server"]) > HANDSHAKE_S
