"""Log-ins that end in the very moment in which files get their names: what is stored is told, and is in the log."""

import asyncio
import json
import logging
import os
import struct
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from blake3 import blake3

from ftpd.access.door import Login
from ftpd.log import EACH
from ftpd.store.local import batch, publish
from ftpd.store.local.publish import give_name
from ftpd.wire.errors import FtpdError
from ftpd.wire.limits import SMALL_FILE
from tests.peer import PATIENCE_S, frame
from tests.server.test_accepting import Moody, serving
from tests.server.tree import root_of

LARGE = bytes(SMALL_FILE + 1)


class Watched(Moody):
    """One that says when it has been asked for somebody who is not welcome any more, and so is ended."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def ended(self, login: Login) -> FtpdError | None:
        """See `Door.ended`."""
        if self.later:
            self.asked.set()
        return super().ended(login)


class Gate:
    """Holds up the first file that gets its name, in its thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reached, self._open = threading.Event(), threading.Event()

        def slow(*args: object) -> object:
            self._reached.set()
            assert self._open.wait(PATIENCE_S)
            return give_name(*args)  # type: ignore[arg-type] # whatever they are

        for module in (batch, publish):
            monkeypatch.setattr(module, "give_name", slow)

    async def reached(self) -> None:
        """Wait until a file is there."""
        assert await asyncio.to_thread(self._reached.wait, PATIENCE_S)

    def open(self) -> None:
        """Let it pass, and all others."""
        self._open.set()


async def read(reader: asyncio.StreamReader) -> dict[str, object]:
    """Read a reply."""
    (size,) = struct.unpack("<i", await reader.readexactly(4))
    reply: dict[str, object] = json.loads(await reader.readexactly(size))
    return reply


def put(name: str, data: bytes, **more: object) -> bytes:
    """Write down a put."""
    return frame({"cmd": "put", "filename": name, "filesize": len(data), **more}, data)


async def commit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send all of an upload in chunks but its last word, which is given."""
    writer.write(frame({"cmd": "begin", "filename": "a", "filesize": len(LARGE), "id": 1}))
    upload = (await read(reader))["upload"]
    leaf = blake3(LARGE).digest()
    chunk: Mapping[str, object] = {"cmd": "chunk", "upload": upload, "index": 0, "size": len(LARGE), "id": 2}
    writer.write(frame({**chunk, "digest": leaf.hex()}, LARGE))
    assert (await read(reader))["ok"]
    return frame({"cmd": "commit", "upload": upload, "chunks": 1, "root": root_of(len(LARGE), leaf), "id": 7})


@pytest.mark.parametrize("what", ["small", "without an id", "large", "chunks"])
async def test_what_is_stored_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Files that are stored while the log-in ends are confirmed before the refusal; each has its line in the log."""
    caplog.set_level(logging.INFO)
    door, gate = Watched(), Gate(monkeypatch)
    async with serving(tmp_path, door=door) as port, asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(frame({"cmd": "auth", "token": "gone"}))
        assert (await read(reader))["ok"]
        requests = {
            "small": put("a", b"x", id=7) + put("b", b"y", id=8),
            "without an id": put("a", b"x") + put("b", b"y"),
            "large": put("a", LARGE, id=7),
            "chunks": b"",
        }[what]
        names = ["a", "b"] if b'"b"' in requests else ["a"]
        writer.write(requests or await commit(reader, writer))
        await gate.reached()
        door.later = True
        await door.asked.wait()
        gate.open()
        replies = [await read(reader) for _ in range(len(names) + 1)]
        assert b"" == await reader.read()
        writer.close()
    assert names == [reply["filename"] for reply in replies[:-1]]
    assert [7, 8][: len(names)] == [reply.get("id", 7 + number) for number, reply in enumerate(replies[:-1])]
    assert "unauthorized" in str(replies[-1]["error"])
    assert replies[-1].get("id") is None
    assert {*names, ".ftpd"} == {*os.listdir(tmp_path)}  # noqa: PTH208 (names are enough)
    lines = [line for record in caplog.records for line in getattr(record, EACH, ()) if line["command"] != "begin"]
    assert [(name, "ok") for name in names] == [(line["path"], line["outcome"]) for line in lines if line["bytes"]]
