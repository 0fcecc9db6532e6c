"""What a display is told is true: no more than the other side has confirmed, never less than before."""

import asyncio
import os
from itertools import pairwise
from pathlib import Path

import pytest

from ftpc import Client, Item, Phase, RefusedError
from ftpc.ui.base import Display
from ftpd.wire.limits import SMALL_FILE
from tests.client.scripted import GREETING, read_request, refusal, scripted
from tests.client.support import MIB, Recorder, Service, connected, content, soon
from tests.peer import frame

SIZE = 42 * MIB
CHUNKS = 6


class Confirming:
    """A server that stores nothing and confirms a chunk when the test says so."""

    def __init__(self) -> None:
        self.arrived = 0
        self.confirmed = 0
        self._allowed = asyncio.Semaphore(0)

    def confirm(self) -> None:
        """Confirm one chunk."""
        self._allowed.release()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        replies: asyncio.Queue[int] = asyncio.Queue()

        async def confirm_chunks() -> None:
            while True:
                index = await replies.get()
                await self._allowed.acquire()
                self.confirmed += 1
                writer.write(frame({"ok": True, "index": index}))

        confirming = asyncio.create_task(confirm_chunks())
        try:
            while True:
                request = await read_request(reader)
                match request["cmd"]:
                    case "hello":
                        writer.write(frame(GREETING))
                    case "stat":
                        writer.write(refusal("not_found", "no"))
                    case "begin":
                        writer.write(frame({"ok": True, "upload": "x", "chunk_size": 8 * MIB}))
                    case "chunk":
                        self.arrived += 1
                        replies.put_nowait(request["index"])
                    case "commit":
                        stored = {"filename": "a", "filesize": SIZE, "root": request["root"]}
                        writer.write(frame({"ok": True, **stored}))
        finally:
            confirming.cancel()
            await asyncio.wait((confirming,))


@pytest.mark.parametrize("is_stream", [False, True])
async def test_only_what_is_confirmed_counts(folder: Path, *, is_stream: bool) -> None:
    """Chunks that have been sent but not confirmed do not count, and few are sent ahead."""
    (folder / "a").write_bytes(bytes(SIZE))
    server = Confirming()
    recorder = Recorder(lambda moment: counted.append(server.confirmed * 8 * MIB >= moment.done))
    counted: list[bool] = []
    async with scripted(server.handle) as address, connected(address) as client:
        with (folder / "a").open("rb") as file:
            source = file.fileno() if is_stream else folder / "a"
            task = asyncio.create_task(client.put(source, "a", progress=recorder))
            await soon(lambda: server.arrived == 4, "the client sends ahead")
            assert [0] == [*set(recorder.done)]
            for number in range(1, CHUNKS):
                server.confirm()
                await soon(lambda number=number: max(recorder.done) == number * 8 * MIB, "it is shown")  # type: ignore[misc] # mypy can not infer the default
                assert server.arrived <= number + 4
            server.confirm()
            await task
    assert all(counted)
    assert SIZE == recorder.done[-1]


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 25 * MIB])
async def test_a_put_is_told_in_order(service: Service, client: Client, folder: Path, size: int) -> None:
    """A put starts once, only ever grows, ends at its total and stops once, after the last phase."""
    (folder / "a").write_bytes(content(size))
    recorder = Recorder()
    await client.put(folder / "a", progress=recorder)
    assert_in_order(recorder, size)
    assert {size} == {moment.total for moment in recorder.moments}
    allowed = [Phase.SENDING, Phase.COMMITTING]
    assert recorder.phases == allowed[: len(recorder.phases)]
    if size > 8 * MIB:
        assert allowed == recorder.phases


@pytest.mark.parametrize("size", [0, 1, 20 * MIB])
async def test_a_stream_is_told_in_order(service: Service, client: Client, folder: Path, size: int) -> None:
    """The total of a stream is not known until its end."""
    (folder / "a").write_bytes(content(size))
    recorder = Recorder()
    with (folder / "a").open("rb") as file:
        await client.put(file.fileno(), "a", progress=recorder)
    assert_in_order(recorder, size)
    assert (None, size) == (recorder.moments[0].total, recorder.moments[-1].total)
    assert [Phase.SENDING, Phase.COMMITTING] == recorder.phases


@pytest.mark.parametrize("size", [0, 1, 25 * MIB])
@pytest.mark.parametrize("to_descriptor", [False, True])
async def test_a_get_is_told_in_order(
    service: Service, client: Client, folder: Path, size: int, *, to_descriptor: bool
) -> None:
    """A get learns its total, only ever grows, ends at its total, and is saved last."""
    (service.root / "a").write_bytes(content(size))
    recorder = Recorder()
    if to_descriptor:
        sink = os.open(os.devnull, os.O_WRONLY)
        await client.get("a", sink, progress=recorder)
        os.close(sink)
    else:
        await client.get("a", folder, progress=recorder)
    assert_in_order(recorder, size)
    assert (None, size) == (recorder.moments[0].total, recorder.moments[-1].total)
    assert [Phase.RECEIVING, *([] if to_descriptor else [Phase.SAVING])] == recorder.phases


async def test_refused_transfer_stops(client: Client, folder: Path) -> None:
    """A transfer that fails stops as well, with nothing done."""
    recorder = Recorder()
    with pytest.raises(RefusedError):
        await client.get("no", folder, progress=recorder)
    assert [("start", 0), ("stop", 0)] == [(moment.verb, moment.done) for moment in recorder.moments]


def assert_in_order(recorder: Recorder, size: int) -> None:
    """Check what is true of every transfer that worked."""
    verbs = [moment.verb for moment in recorder.moments]
    assert ["start", *["update"] * (len(verbs) - 2), "stop"] == verbs
    assert all(before <= after for before, after in pairwise(recorder.done)), recorder.done
    assert (0, size) == (recorder.done[0], recorder.done[-1])


@pytest.mark.parametrize("verb", ["put", "get"])
async def test_contents_of_a_folder(service: Service, client: Client, folder: Path, verb: str) -> None:
    """What is told of a folder counts each file once, ahead of those that are done, and comes to all that is in it."""
    sizes = [10] * 3000 + [SMALL_FILE + 1] * 3
    here = folder / "tree" if verb == "put" else service.root / "tree"
    for number, size in enumerate(sizes):
        file = here / str(number % 7) / str(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(size, number))
    (here / "link").symlink_to("nowhere")
    seen: list[tuple[int, int, int, bool]] = []
    parts: list[str] = []

    class Watching(Recorder):
        def _note(self, verb: str, item: Item) -> None:
            if (found := item.contents) is not None:
                seen.append((found.done, found.files, found.size, found.is_whole))
            elif verb == "start" and not item.counts:
                parts.append(item.name)

    transfer = (
        client.put_tree(here, progress=Watching())
        if verb == "put"
        else client.get_tree("tree", folder / "back", progress=Watching())
    )
    result = await transfer
    assert (len(sizes), []) == (result.files, result.errors)
    assert (len(sizes), len(sizes), sum(sizes), True) == seen[-1]
    assert 3 == len(parts)
    assert [] == [moment for moment in seen if moment[0] > moment[1]]
    assert [] == [moment for moment in seen if moment[3] and moment[1:3] != (len(sizes), sum(sizes))]
    assert seen[0][3] is False


@pytest.mark.parametrize("size", [1, SMALL_FILE + 1, 25 * MIB])
async def test_what_was_moved_is_told(service: Service, client: Client, folder: Path, size: int) -> None:
    """Bytes are moved that came over the line: of a file that is compared only, there are none."""
    (folder / "a").write_bytes(content(size))
    for moved in (size, 0):
        display = Display()
        await client.put(folder / "a", progress=display)
        assert (size, moved) == (display.done, display.moved)
    for moved in (size, 0):
        display = Display()
        await client.put_tree(folder, "tree", progress=display)
        assert (size, moved) == (display.done, display.moved)
    display = Display()
    await client.get("a", folder / "b", progress=display)
    assert (size, size) == (display.done, display.moved)
    display = Display()
    await client.get_tree("tree", folder / "c", progress=display)
    assert (size, size) == (display.done, display.moved)
