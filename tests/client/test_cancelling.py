"""A transfer that is cancelled leaves nothing behind on either side, wherever it was, and its client goes on."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from ftpc import Client
from tests.client.proxy import Proxy
from tests.client.support import MIB, Recorder, Service, content, hidden, soon
from tests.peer import frame

SIZE = 25 * MIB


async def cancel(task: asyncio.Task[object]) -> None:
    """Cancel a transfer and see that this ends it."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("line_name", "at"),
    [
        *(("up", at) for at in (0, 100, 300, MIB, 9 * MIB, SIZE - MIB)),
        *(("down", at) for at in (0, 100, 300, 400)),
    ],
)
async def test_put_is_cancelled(
    service: Service, proxy: Proxy, far_client: Client, folder: Path, line_name: str, at: int
) -> None:
    """A put that is cancelled at any point leaves nothing on the server."""
    path = folder / "a"
    path.write_bytes(content(SIZE))
    line = getattr(proxy, line_name)
    line.hold_at = at
    task: asyncio.Task[object] = asyncio.create_task(far_client.put(path))
    await line.held.wait()
    await cancel(task)
    line.hold_at = None
    line.go.set()
    await service.settles()
    assert [] == service.published()
    path.write_bytes(b"small")
    await far_client.put(path)
    assert b"small" == (service.root / "a").read_bytes()


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_transfers_are_cancelled_after_some_turns_of_the_loop(
    service: Service, client: Client, folder: Path, turns: int
) -> None:
    """A put and a get that are cancelled after any number of steps leave nothing, or are done as a whole."""
    data = content(9 * MIB)
    (folder / "a").write_bytes(data)
    (service.root / "b").write_bytes(data)
    transfers: list[asyncio.Task[object]] = [
        asyncio.create_task(client.put(folder / "a")),
        asyncio.create_task(client.get("b", folder / "c")),
    ]
    for _ in range(turns):
        await asyncio.sleep(0)
    for transfer in transfers:
        transfer.cancel()
    await asyncio.gather(*transfers, return_exceptions=True)
    await service.settles()
    assert [] == hidden(folder)
    for path in (service.root / "a", folder / "c"):
        assert not path.exists() or data == path.read_bytes()
    await client.ping()


async def test_stream_is_cancelled(service: Service, client: Client) -> None:
    """A put from a pipe in which nothing comes is cancelled at once; the pipe is left as it was."""
    reading, writing = os.pipe()
    try:
        task: asyncio.Task[object] = asyncio.create_task(client.put(reading, "a"))
        await soon(service.temporaries, "the upload has begun")
        await cancel(task)
        await service.settles()
        os.write(writing, b"x")
        assert b"x" == os.read(reading, 1)
    finally:
        os.close(reading)
        os.close(writing)
    assert [] == service.published()
    await client.ping()


async def test_get_that_is_being_saved_is_cancelled(service: Service, client: Client, folder: Path) -> None:
    """A get that is cancelled while the file gets its name leaves the old or the new file, and no partial."""
    (service.root / "a").write_bytes(b"new")
    (folder / "a").write_bytes(b"old")
    tasks: list[asyncio.Task[object]] = []
    recorder = Recorder(lambda moment: tasks[0].cancel() if moment.phase == "saving" else None)
    tasks.append(asyncio.create_task(client.get("a", folder, progress=recorder)))
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert (folder / "a").read_bytes() in {b"old", b"new"}
    assert [] == hidden(folder)


async def test_many_are_cancelled(service: Service, client: Client, folder: Path) -> None:
    """Transfers that wait for a connection give way as well, and the client has all its connections afterwards."""
    (folder / "a").write_bytes(content(9 * MIB))
    tasks = [asyncio.create_task(client.put(folder / "a", str(number))) for number in range(20)]
    await soon(service.partials, "an upload has begun")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await service.settles()
    await asyncio.gather(*(client.ping() for _ in range(20)))


async def test_get_that_is_given_up_is_no_bug(service: Service, client: Client, folder: Path) -> None:
    """A client that vanishes while the server sends it a file is nothing that the server's log calls a bug."""
    (folder / "a").write_bytes(content(40 * MIB))
    await client.put(folder / "a")
    for _ in range(10):
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(frame({"cmd": "get", "filename": "a"}))
        await asyncio.sleep(0)  # the request is on its way
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    await client.ping()
