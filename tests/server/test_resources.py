"""What connections cost when they come and go, when one of them asks without end, and when memory is short."""

import asyncio
import contextlib
import gc
import json
import os
import struct
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftpd.payload.channel import ChannelProtocol
from ftpd.server import MEMORY_PER_CONNECTION
from ftpd.session import Session
from ftpd.wire.limits import SMALL_FILE
from tests.peer import PATIENCE_S, ServerProcess, eventually, frame, manage, served
from tests.server.crowd import allow_files, files_of, leave, place, quick_and_long, say

CHURN_KIB = 1.0
"""What a thousand connections that have gone may leave behind, of the last `MEASURED`. A leak of 1 KiB for each of them
would be 1,000."""

LATE_KIB = 2 * 1024
"""What may come late once and for all: a thread or two of the 16 that read, each with a buffer of 1 MiB, which have had
nothing to read by `use_all_threads`."""

MEASURED = 200_000
"""Nothing stays for ever, but asyncio's transports refer to themselves, so up to 3 MiB of them wait for a collection of
garbage; and how memory is cut up takes half a million connections to settle."""

SETTLING_KIB = 8 * 1024
"""What the first thousands leave behind once and for all, garbage that has not been collected yet included."""

MEMORY = 256 * 1024 * 1024
"""All the memory of a server that is short of it."""

MIB = 1024 * 1024

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

STAGES = [
    b"",
    frame({"cmd": "ping"})[:3],
    frame({"cmd": "ping"})[:9],
    frame({"cmd": "ping"}),
    b"\xff" * 4,
    frame({"cmd": "put", "filename": "cut", "filesize": 1000}, bytes(500)),
    frame({"cmd": "get", "filename": "large"}),
    frame({"cmd": "ls"}) * 5,
]
"""How far a connection has come when it is cut. Uploads that can be resumed are not among them: they are to be kept."""


async def connect_and_vanish(server: ServerProcess, number: int) -> None:
    """Cut a connection at one of the stages, with or without having waited for an answer."""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(PATIENCE_S):
            address = server.host, server.port
            reader, writer = await asyncio.open_connection(*address, local_addr=(place(number % 1000), 0))
            writer.write(STAGES[number % len(STAGES)])
            if number % 2 and number % len(STAGES) in {3, 4, 6, 7}:
                await reader.read(1)
            leave(writer)


async def use_all_threads(server: ServerProcess) -> None:
    """Have every thread that reads files read, for which it keeps a buffer: on a busy machine some begin late."""
    peers = [
        await asyncio.open_connection(server.host, server.port, local_addr=(place(number), 0)) for number in range(64)
    ]
    for _, writer in peers:
        writer.write(frame({"cmd": "get", "filename": "large"}))
    for reader, _ in peers:
        await reader.read(1)
    for _, writer in peers:
        leave(writer)


@quick_and_long(3000, 700_000)
async def test_connections_come_and_go(tmp_path: Path, tell: Callable[[str], None], count: int) -> None:
    """Connections that are cut at any stage leave neither memory nor descriptors behind."""
    allow_files(5000)
    with (tmp_path / "large").open("wb") as out:
        out.truncate(64 * MIB)

    async def churn(numbers: Iterator[int]) -> None:
        for number in numbers:
            await connect_and_vanish(server, number)

    async def churn_all(first: int, last: int) -> int:
        numbers = iter(range(first, last))
        await asyncio.gather(*(churn(numbers) for _ in range(50)))
        await asyncio.to_thread(eventually, lambda: files_of(server) <= files, "descriptors are given back")
        await asyncio.to_thread(eventually, server.has_no_temporaries, "nothing half done is left")
        return server.memory_kib()

    with served(tmp_path, "-q") as server:
        assert server.answers()
        files = files_of(server)
        await use_all_threads(server)
        settled = max(count // 2, count - MEASURED)
        before = await churn_all(0, settled)  # what is needed once and for all
        after = await churn_all(settled, count)
        grown = after - before
        tell(f"{count} connections cut at {len(STAGES)} stages: {grown:+} KiB with the last {count - settled}")
        assert server.answers()
    assert grown < (CHURN_KIB * MEASURED / 1000 + LATE_KIB if count > MEASURED else SETTLING_KIB)


@pytest.mark.parametrize("stage", STAGES[:6], ids=range(6))
async def test_what_has_gone_is_freed(port: int, stage: bytes) -> None:
    """What a connection has used is freed when it has gone, and not by a collection of garbage later on.

    Unless it is cut while a thread works for it.
    """
    gc.collect()
    gc.disable()
    try:
        others = weakref.WeakSet(found(Session, ChannelProtocol))  # of tests that hold on to theirs
        for waits in (False, True):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(stage)
            if waits and stage in {STAGES[3], STAGES[4]}:
                await reader.read(1)
            else:
                await asyncio.to_thread(eventually, lambda: any(one not in others for one in found(Session)), "let in")
            leave(writer)
            await asyncio.to_thread(
                eventually, lambda: all(one in others for one in found(Session, ChannelProtocol)), "nothing is left"
            )
    finally:
        gc.enable()


def found(*kinds: type) -> list[object]:
    """Give the objects of some kinds in this process."""
    return [one for one in gc.get_objects() if isinstance(one, kinds)]


FLOODER = """
import socket, sys, threading
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
data = bytes.fromhex(sys.argv[2]) * 1000
def write():
    while True:
        peer.sendall(data)
threading.Thread(target=write, daemon=True).start()
while peer.recv(1 << 20):
    pass
"""


@quick_and_long(20, 500)
@pytest.mark.parametrize("request_", [{"cmd": "ping"}, {"cmd": "ls"}], ids=lambda request: request["cmd"])
async def test_one_who_asks_without_end(
    tmp_path: Path, tell: Callable[[str], None], count: int, request_: dict[str, object]
) -> None:
    """While one sends requests without waiting, as many as the line holds, twenty others have their answers as ever."""
    (tmp_path / "file").write_bytes(b"abc")
    with ServerProcess(tmp_path, "-q") as server:
        alone = await p99_of_others(server, count)
        data = frame({**request_, "id": 1}).hex()
        flooder = await asyncio.create_subprocess_exec(sys.executable, "-c", FLOODER, str(server.port), data)
        try:
            cpu = server.cpu_s()
            await asyncio.to_thread(eventually, lambda: server.cpu_s() > cpu + 0.2, "the flood has come")
            flooded = await p99_of_others(server, count)
        finally:
            flooder.kill()
            await flooder.wait()
        assert server.answers()
    tell(f"{request_['cmd']} without end: others wait {flooded * 1000:.1f} ms (p99), {alone * 1000:.1f} ms without")
    assert flooded < 1


async def p99_of_others(server: ServerProcess, count: int) -> float:
    """Ask for so many signs of life on each of twenty connections; give what only one in a hundred waits longer for."""
    times: list[float] = []

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        for _ in range(count):
            started = time.monotonic()
            writer.write(frame({"cmd": "ping"}))
            (size,) = struct.unpack("<i", await reader.readexactly(4))
            assert json.loads(await reader.readexactly(size))["ok"]
            times.append(time.monotonic() - started)
            await asyncio.sleep(0.01)
        writer.close()

    async with asyncio.timeout(100):
        await asyncio.gather(*(ask() for _ in range(20)))
    return sorted(times)[len(times) * 99 // 100]


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of processes that has little memory (cgroups(7), version 1 or 2)."""
    first, second = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    parent, limit = (first, "memory.limit_in_bytes") if first.is_dir() else (second, "memory.max")
    folder = parent / f"ftpd-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("groups of processes can not be made here")
    try:
        (folder / limit).write_text(str(MEMORY))
        yield folder
    except OSError:
        pytest.skip("memory can not be limited here")
    finally:
        eventually(lambda: remove(folder), "its processes have ended")


def remove(folder: Path) -> bool:
    """Remove a group, if nobody is in it any more."""
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


async def is_ok(reader: asyncio.StreamReader) -> bool:
    """Read a reply; tell whether it is a good one."""
    (size,) = struct.unpack("<i", await reader.readexactly(4))
    return bool(json.loads(await reader.readexactly(size))["ok"])


@quick_and_long(100, 1000)
async def test_little_memory(tmp_path: Path, group: Path, tell: Callable[[str], None], count: int) -> None:
    """With 256 MiB for all, its page cache included, a server takes so many uploads at once and is not killed.

    All have logged in.
    Half of them stop in the middle until the others are stored: nobody waits for what they hold, and others are
    answered.
    """
    allow_files(5000)
    data = bytes(range(256)) * (MIB // 256)
    prefix = ("sh", "-c", 'echo $$ >"$0"; exec "$@"', str(group / "cgroup.procs"))
    manage(tmp_path, "user", "add", "alice", "--quota", "100G")
    login = frame({"cmd": "auth", "token": manage(tmp_path, "token", "create", "alice"), "id": 1})
    begun, stored, few = asyncio.Barrier(count), asyncio.Barrier(count), asyncio.Semaphore(20)

    async def come(number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with few:  # a crowd that has not logged in yet would be sent away
            local = place(number), 0
            reader, writer = await asyncio.open_connection(server.host, server.port, local_addr=local)
            writer.write(login)
            assert await is_ok(reader)
            return reader, writer

    async def put(number: int) -> None:
        reader, writer = await come(number + 2)
        writer.write(frame({"cmd": "put", "id": 1, "filename": f"f{number}", "filesize": len(data)}))
        writer.write(data[: len(data) // 2])
        await writer.drain()
        await begun.wait()
        if number % 2:
            await stored.wait()
        writer.write(data[len(data) // 2 :])
        assert await is_ok(reader)
        writer.close()
        if not number % 2:
            await stored.wait()

    async def ask() -> int:
        answered = 0
        while not putting.done():
            reader, writer = await come(1)
            writer.write(frame({"cmd": "ls", "id": 1}))
            assert await is_ok(reader)
            leave(writer)
            answered += 1
        return answered

    options = ("-q", "--durability", "none")
    with ServerProcess(tmp_path, *options, prefix=prefix) as server:
        assert str(server.pid) in (group / "cgroup.procs").read_text().split()
        async with asyncio.timeout(200):
            putting = asyncio.gather(*(put(number) for number in range(count)))
            _, answered = await asyncio.gather(putting, ask())
        tell(
            f"{count} uploads of 1 MiB at once within {MEMORY // MIB} MiB: all stored, {answered} others answered,"
            f" {server.memory_kib('VmHWM') / 1024:.0f} MiB used by the process"
        )
        assert {len(data)} == {(tmp_path / f"f{number}").stat().st_size for number in range(count)}
        ended = server.stop()
    assert (0, "") == (ended.returncode, ended.traceback)


@quick_and_long(400, 1000)
async def test_little_memory_and_nobody_reads(
    tmp_path: Path, group: Path, tell: Callable[[str], None], count: int
) -> None:
    """So many clients may ask for many small files and read nothing: the server goes on, and answers others."""
    allow_files(5000)
    (tmp_path / "f").write_bytes(bytes(SMALL_FILE))
    prefix = ("sh", "-c", 'echo $$ >"$0"; exec "$@"', str(group / "cgroup.procs"))
    asked = asyncio.Barrier(count + 1)

    async def ask(number: int) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port, local_addr=(place(number), 0))
        writer.write(frame({"cmd": "get", "filename": "f"}) * 256)
        await reader.read(1)  # the stream takes a little more, and then nothing
        await asked.wait()
        leave(writer)

    with ServerProcess(tmp_path, "-q", prefix=prefix) as server:
        async with asyncio.timeout(200):
            asking = asyncio.gather(*(ask(number) for number in range(count)))
            for _ in range(20):
                assert await say(server, place(1), {"cmd": "ls"}) == "ok"
            await asked.wait()
            await asking
        assert server.answers()
        tell(
            f"{count} clients that read nothing within {MEMORY // MIB} MiB:"
            f" {server.memory_kib('VmHWM') / 1024:.0f} MiB used by the process"
        )
        ended = server.stop()
    assert (0, "") == (ended.returncode, ended.traceback)


def test_connections_that_memory_has_room_for(tmp_path: Path, group: Path) -> None:
    """More connections than the memory has room for are not let in; who asks for them is told how many those are."""
    prefix = ("sh", "-c", 'echo $$ >"$0"; exec "$@"', str(group / "cgroup.procs"))
    with ServerProcess(tmp_path, "--max-connections", "9000", prefix=prefix) as server:
        most = MEMORY // 2 // MEMORY_PER_CONNECTION
        assert f"only {most} connections of 9000: there is too little memory" in server.log
