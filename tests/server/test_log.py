"""The log: one line when a connection comes, one when it goes, one per transfer; nothing in it can be forged."""

import fcntl
import json
import logging
import os
import re
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftpd.log import EACH, LineHandler, TextFormatter
from tests.peer import Peer, ServerProcess, eventually
from tests.server.tree import leaf_of, tree_of

_FIELD = re.compile(r' ([a-z]+)=("(?:\\.|[^"\\])*"|[^" ]+)')
_LINE = re.compile(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ ([A-Z]+) ([a-z ]+?)((?:{_FIELD.pattern})*)")

LINES = 1000
"""More than a pipe holds."""

HOSTILE = [
    "new\nline INFO transfer outcome=ok",
    "carriage\rreturn",
    "esc\x1b[2J\x1b]0;title\x07",
    "nul\0",
    "delete\x7f",
    "c1 \x9b31m",
    "bidi \u202e\u2066",
    "line separator \u2028\u2029",
    'quote" outcome="ok',
    "ünï",
    "a=b c=d",
]


@pytest.fixture(scope="module", params=["text", "json"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that logs everything, in one format or the other."""
    with ServerProcess(tmp_path_factory.mktemp("root"), "-v", "--log-format", request.param) as server:
        yield server


def parse(line: str) -> dict[str, Any]:
    """Read a line as a log collector would."""
    if line.startswith("{"):
        fields: dict[str, Any] = json.loads(line)
        return {**fields, "level": fields["level"].upper()}
    head = _LINE.fullmatch(line)
    assert head is not None, line
    found = _FIELD.findall(head[3])
    values = {name: json.loads(value) if value[0] == '"' else value for name, value in found}
    return {"level": head[1], "message": head[2], **values}


def lines_of(server: ServerProcess, peer: Peer) -> list[dict[str, Any]]:
    """Close a connection and give all that was logged of it."""
    host, port = peer.socket.getsockname()
    peer.close()

    def found() -> list[dict[str, Any]]:
        lines = [parse(line) for line in server.log.split("\n")[:-1]]
        return [line for line in lines if line.get("peer") == f"{host}:{port}"]

    eventually(lambda: found()[-1:] and found()[-1]["message"] == "disconnected", "the end is logged")
    return found()


def test_connection_comes_and_goes(server: ServerProcess, peer: Peer) -> None:
    """A connection has one line when it comes and one when it goes, with how long it was there and how it ended."""
    assert peer.ask({"cmd": "ping"})["ok"]
    lines = [line for line in lines_of(server, peer) if line["level"] == "INFO"]
    assert ["connected", "disconnected"] == [line["message"] for line in lines]
    assert ("ok", True) == (lines[-1]["outcome"], float(lines[-1]["seconds"]) >= 0)


def test_transfers(server: ServerProcess, peer: Peer) -> None:
    """Each transfer has one line: who, command, path, bytes, seconds, outcome; whether it worked or not."""
    assert peer.ask({"cmd": "put", "filename": "folder/a b", "filesize": 5}, b"12345")["ok"]
    reply = peer.ask({"cmd": "get", "filename": "folder/a b", "offset": 1, "length": 3})
    peer.read_bytes(reply["length"])
    assert peer.read()["ok"]
    assert "not_found" == peer.refusal({"cmd": "get", "filename": "nothing"})
    assert "integrity" == peer.refusal({"cmd": "put", "filename": "bad", "filesize": 1, "md5": "0" * 32}, b"x")
    transfers = [line for line in lines_of(server, peer) if line["message"] == "transfer"]
    expected = [
        ("put", "folder/a b", 5, "ok"),
        ("get", "folder/a b", 3, "ok"),
        ("get", "nothing", 0, "not_found"),
        ("put", "bad", 0, "integrity"),
    ]
    shown = [(line["command"], line["path"], int(line["bytes"]), line["outcome"]) for line in transfers]
    assert expected == shown
    assert all(float(line["seconds"]) >= 0 and line["level"] == "INFO" for line in transfers)


def test_upload_in_chunks_that_fails(server: ServerProcess, peer: Peer) -> None:
    """A refused `commit` has its line, and so has the upload when it goes with its connection."""
    upload = peer.ask({"cmd": "begin", "filename": "empty", "filesize": 0})["upload"]
    assert peer.ask({"cmd": "chunk", "upload": upload, "index": 0, "size": 0, "digest": leaf_of(b"")})["ok"]
    assert "integrity" == peer.refusal({"cmd": "commit", "upload": upload, "chunks": 1, "root": "0" * 64})
    transfers = [line for line in lines_of(server, peer) if line["message"] == "transfer"]
    assert [("commit", "integrity"), ("put", "lost")] == [(line["command"], line["outcome"]) for line in transfers]
    assert "empty" == transfers[-1]["path"]


def test_upload_in_chunks(server: ServerProcess, peer: Peer) -> None:
    """An upload in chunks is one line with all its bytes, when it is published."""
    begun = peer.ask({"cmd": "begin", "filename": "chunked"})
    for index, data in enumerate((bytes(begun["chunk_size"]), b"x")):
        chunk = {"cmd": "chunk", "upload": begun["upload"], "index": index, "size": len(data), "digest": leaf_of(data)}
        assert peer.ask(chunk, data)["ok"]
    whole = bytes(begun["chunk_size"]) + b"x"
    root = tree_of(whole, begun["chunk_size"]).root
    assert peer.ask({"cmd": "commit", "upload": begun["upload"], "chunks": 2, "root": root})["ok"]
    (transfer,) = (line for line in lines_of(server, peer) if line["message"] == "transfer")
    assert ("chunked", len(whole), "ok") == (transfer["path"], int(transfer["bytes"]), transfer["outcome"])


def test_transfer_that_breaks_off(server: ServerProcess, peer: Peer) -> None:
    """A transfer whose peer vanishes has its line too."""
    peer.send({"cmd": "put", "filename": "half", "filesize": 5}, b"123")
    transfers = [line for line in lines_of(server, peer) if line["message"] == "transfer"]
    assert [("put", "half", "lost")] == [(line["command"], line["path"], line["outcome"]) for line in transfers]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(server: ServerProcess, peer: Peer, name: str) -> None:
    """No byte of a hostile name reaches the log but as printable ASCII, and no line is forged by it."""
    for cmd in ("put", "md5", "stat", name):
        peer.ask({"cmd": cmd, "filename": name, "filesize": 0})
    lines = lines_of(server, peer)
    assert {name} == {line["path"] for line in lines if line.get("command") in {"put", "md5", "stat"}}
    assert name[:64] in {line.get("command") for line in lines}
    assert 6 == len(lines), lines
    assert set() == {char for char in server.log if not (" " <= char <= "~" or char == "\n")}


def test_hostile_types(server: ServerProcess, peer: Peer) -> None:
    """Names that are no strings are logged without harm, and cut to a bearable length."""
    for name in (5, ["\n"], {"\x1b": "\x1b"}, None, "x" * 60_000):
        peer.ask({"cmd": "get", "filename": name})
    lines = [line for line in lines_of(server, peer) if line["message"] == "transfer"]
    assert 5 == len(lines)
    assert max(len(str(line["path"])) for line in lines) <= 4095
    assert set() == {char for char in server.log if not (" " <= char <= "~" or char == "\n")}


def test_nobody_reads_it(tmp_path: Path) -> None:
    """A log that nobody takes stops nothing; who takes it later hears how many lines are missing, and has the rest."""
    os.mkfifo(tmp_path / "log")
    (tmp_path / "root").mkdir()
    pipe = os.open(tmp_path / "log", os.O_RDWR | os.O_NONBLOCK)
    prefix = ("sh", "-c", 'exec "$@" 2>"$0"', str(tmp_path / "log"))
    with ServerProcess(tmp_path / "root", "-v", prefix=prefix) as server, server.connect() as peer:
        for _ in range(LINES):
            assert peer.ask({"cmd": "put", "filename": "n" * 200, "filesize": 3}, b"abc")["ok"]
        assert peer.refusal({"cmd": "stat", "filename": "\x1b" * 1000})
        lines = os.read(pipe, 1 << 20)
        assert peer.ask({"cmd": "put", "filename": "last", "filesize": 3}, b"abc")["ok"]
        eventually(lambda: select.select([pipe], [], [], 0)[0], "the log goes on")
        ended = server.stop()
        lines += os.read(pipe, 1 << 20)
    os.close(pipe)
    missing = re.findall(rb"WARNING (\d+) lines are missing here: nobody read the log\n", lines)
    assert 1 == len(missing)
    assert LINES + 1 == lines.count(b"command=put") + int(missing[0]) - 1  # that of `stat`
    assert b"path=last" in lines
    assert 0 == ended.returncode


def test_a_run_that_is_cut() -> None:
    """Of many lines that are written together those count as missing that were not taken, and no others."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4 * 4096)
    handler = LineHandler()
    handler.setFormatter(TextFormatter())
    with os.fdopen(writing, "w", encoding="ascii") as writer:
        handler.setStream(writer)
        each = [{"path": f"{number:090}"} for number in range(300)]
        handler.handle(logging.makeLogRecord({"msg": "transfer", EACH: each}))
        whole = os.read(reading, 65536).count(b"\n")
        handler.handle(logging.makeLogRecord({"msg": "again"}))
        missing, again = os.read(reading, 65536).splitlines()[-2:]
    os.close(reading)
    assert 0 < whole < 300
    assert b"%d lines are missing" % (300 - whole) in missing
    assert again.endswith(b"again")


def test_quiet(tmp_path: Path) -> None:
    """With `-q` ordinary connections and transfers leave no line."""
    with ServerProcess(tmp_path, "-q") as server:
        with server.connect() as peer:
            assert peer.ask({"cmd": "put", "filename": "a", "filesize": 1}, b"a")["ok"]
        assert (0, "") == server.stop()
