"""Log-ins that end in the very moment in which files get their names: what is stored is told, and is in the log."""

import asyncio
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Mapping
from contextlib import AsyncExitStack
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

MANY = 3000
"""Replies of 4 KB that are more than the kernel takes for a client that does not read, and fewer than are held back."""


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


async def stop(stopping: AsyncExitStack, caplog: pytest.LogCaptureFixture) -> "asyncio.Task[None]":
    """Stop a server without any patience; gives its end, when all that goes on has been cancelled."""
    end = asyncio.create_task(stopping.aclose())
    while "the grace period is over" not in caplog.text:  # noqa: ASYNC110 (nothing else says so)
        await asyncio.sleep(0.01)
    return end


async def test_what_is_stored_is_told_to_who_has_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also while earlier replies, that were held back, can not be sent because nobody reads them: all of them come."""
    long, stopping = "/".join(15 * ["n" * 255]), AsyncExitStack()
    async with stopping, asyncio.timeout(PATIENCE_S):
        port = await stopping.enter_async_context(serving(tmp_path))
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        reader, writer = await asyncio.open_connection(sock=sock)
        for _ in range(MANY):
            writer.write(put(long, b"x", if_exists="skip"))
            await writer.drain()
        writer.write(put("last", b"y", id=7))
        while not (tmp_path / "last").exists():  # noqa: ASYNC110 (nothing else says so)
            await asyncio.sleep(0.01)
        end = await stop(stopping, caplog)
        replies = [await read(reader) for _ in range(MANY + 2)]
        assert b"" == await reader.read()
        writer.close()
        await end
    assert {long} == {reply["filename"] for reply in replies[:-2]}
    assert ("last", 7) == (replies[-2]["filename"], replies[-2]["id"])
    assert "going_away" in str(replies[-1]["error"])


async def test_what_is_stored_is_told_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is just getting its name when the grace period of a server is over is confirmed as well."""
    gate, stopping = Gate(monkeypatch), AsyncExitStack()
    async with stopping, asyncio.timeout(PATIENCE_S):
        port = await stopping.enter_async_context(serving(tmp_path))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(put("a", LARGE, id=7))
        await gate.reached()
        end = await stop(stopping, caplog)
        gate.open()
        reply, farewell = await read(reader), await read(reader)
        assert ("a", 7) == (reply["filename"], reply["id"])
        assert "going_away" in str(farewell["error"])
        assert b"" == await reader.read()
        writer.close()
        await end
