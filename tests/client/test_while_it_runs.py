"""What is told, and begun, while a large file is still on its way."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ftpc import FtpcError, connect
from ftpc.progress import Phase
from ftpd.wire.limits import SMALL_FILE
from tests.client.command import Ftpc, command
from tests.client.proxy import Proxy
from tests.client.support import MIB, PATIENCE_S, Recorder, Service, content
from tests.client.test_trees import all_in, make

BIG = content(9 * MIB)


class Held:
    """A command of which a large file does not come to its end."""

    def __init__(self, process: asyncio.subprocess.Process, proxy: Proxy) -> None:
        self.process = process
        self._proxy = proxy
        self.events: list[dict[str, Any]] = []

    async def read_until(self, is_it: Callable[[dict[str, Any]], bool]) -> None:
        """Read events until one is there."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while not self.events or not is_it(self.events[-1]):
                line = await self.process.stdout.readline()
                assert line, self.events
                self.events.append(json.loads(line))

    async def end(self, number: signal.Signals | None = None) -> int:
        """End it, or let it go on; read all that it says."""
        if number is not None:
            self.process.send_signal(number)
        else:
            self._proxy.down.hold_at = self._proxy.up.hold_at = None
            self._proxy.down.go.set()
            self._proxy.up.go.set()
        async with asyncio.timeout(PATIENCE_S):
            said, self.talk = await self.process.communicate()
        self.events += map(json.loads, said.splitlines())
        return await self.process.wait()

    @property
    def errors(self) -> list[tuple[str, str]]:
        """The errors that were told, and of which file."""
        return [(one["name"], one["error"]["code"]) for one in self.events if one["event"] == "error"]

    @property
    def done(self) -> set[str]:
        """What has arrived."""
        return {one["remote"] for one in self.events if one["event"] == "done"}


@asynccontextmanager
async def held(user: Ftpc, proxy: Proxy, *arguments: str) -> AsyncIterator[Held]:
    """Run a command, of which one connection stops after 4 MiB in either direction."""
    for line in (proxy.up, proxy.down):
        line.hold_at, line.holds_one = 4 * MIB, True
    process = await asyncio.create_subprocess_exec(
        *command(*arguments, "--json"), cwd=user.folder, env=user.environment(), stdout=-1, stderr=-1
    )
    try:
        yield Held(process, proxy)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def user(service: Service, proxy: Proxy) -> Ftpc:
    """A user behind a network, and three files on the server."""
    make(service.root, {"x1": b"1", "x2": b"2", "big": BIG})
    folder = service.root.parent / "user"
    folder.mkdir()
    return Ftpc(proxy.address, folder, service.root)


@pytest.mark.parametrize("number", [None, signal.SIGINT])
async def test_an_error_is_told_at_once(user: Ftpc, proxy: Proxy, number: signal.Signals | None) -> None:
    """That a named file is not there is told while a large one is on its way, once, whatever becomes of that."""
    async with held(user, proxy, "get", "nope", "x1", "big") as command:
        await command.read_until(lambda event: event["event"] == "error")
        assert (3 if number is None else 130) == await command.end(number)
    assert [("nope", "not_found")] == command.errors
    assert 1 == command.talk.count(b"nope: "), command.talk
    if number is None:
        sums = command.events[-1]
        assert ("summary", 2, 1, False) == tuple(sums[key] for key in ("event", "files", "failed", "verified"))
        assert {"x1": b"1", "big": BIG} == all_in(user.folder)


@pytest.mark.parametrize("kind", ["small", "large"])
async def test_an_error_of_a_put_is_told_at_once(user: Ftpc, proxy: Proxy, kind: str) -> None:
    """So it is with files that can not be read, be they small or large."""
    make(user.folder, {"x1": b"1", "x2": b"2", "new": BIG[::-1]})
    if kind == "small":
        (user.folder / "bad").symlink_to("/proc/self/mem")  # a file of no bytes that nobody can read
    else:
        os.mkfifo(user.folder / "bad")  # which is no file
    async with held(user, proxy, "put", "bad", "x1", "x2", "new") as command:
        await command.read_until(lambda event: event["event"] == "error")
        assert 4 == await command.end()
    assert [("bad", "local_io")] == command.errors
    assert (3, 1) == tuple(command.events[-1][key] for key in ("files", "failed"))


@pytest.mark.parametrize("kind", ["unreadable", "no file"])
async def test_an_error_of_the_last_name_is_told_at_once(user: Ftpc, proxy: Proxy, kind: str) -> None:
    """What can not be read is told before the first file is sent, and its turn is not waited for; the others arrive."""
    make(user.folder, {"x1": b"1", "new": BIG[::-1]})
    if kind == "no file":
        os.mkfifo(user.folder / "bad")
    else:
        make(user.folder, {"bad": b"secret"})
        (user.folder / "bad").chmod(0)
        if os.access(user.folder / "bad", os.R_OK):
            pytest.skip("root can read everything")
    async with held(user, proxy, "put", "--jobs", "1", "new", "x1", "bad") as command:
        await command.read_until(lambda event: event["event"] == "error")
        assert 4 == await command.end()
    assert [("bad", "local_io")] == command.errors
    assert (2, 1) == tuple(command.events[-1][key] for key in ("files", "failed"))


async def test_folders_begin_at_once(user: Ftpc, proxy: Proxy) -> None:
    """What turns out to be a folder comes while a large file is on its way; so does one that is here."""
    make(user.remote, {"one/a": b"a", "two/b": b"b"})
    (user.folder / "two").mkdir()
    async with held(user, proxy, "get", "-r", "big", "one", "two", "x1") as command:
        await command.read_until(lambda _: len(command.done) == 3)
        assert {"one/a", "two/b", "x1"} == command.done
        assert 0 == await command.end()
    assert {"one/a": b"a", "two/b": b"b", "x1": b"1", "big": BIG} == all_in(user.folder)


async def test_no_more_jobs_than_asked_for(user: Ftpc, proxy: Proxy) -> None:
    """With --jobs 1 a folder waits until the files are here, and comes then."""
    make(user.remote, {"one/a": b"a"})
    async with held(user, proxy, "get", "-r", "big", "one", "x1", "--jobs", "1") as command:
        await proxy.down.held.wait()
        assert 0 == await command.end()
    order = [one["remote"] for one in command.events if one["event"] == "done"]
    assert ("one/a", {"one/a", "x1", "big"}) == (order[-1], command.done)


@pytest.mark.parametrize("verb", ["get", "put", "get_tree", "put_tree", "get_many", "put_many"])
async def test_a_server_that_does_not_answer(service: Service, proxy: Proxy, folder: Path, verb: str) -> None:
    """As long as a server takes connections and says nothing, no try counts as one that goes on."""
    is_get = verb.startswith("get")
    name = "big" if verb in {"get", "put"} else "tree"
    files = {"big": BIG, **{f"tree/{number}": content(SMALL_FILE, number) for number in range(100)}}
    make(service.root if is_get else folder, files)
    (proxy.down if is_get else proxy.up).hold_at = 4 * MIB
    recorder = Recorder()
    async with connect(proxy.address, retries=2, stall_timeout_s=0.3) as client:
        there = [(f"tree/{number}", str(folder / str(number))) for number in range(100)]
        here = [(str(folder / "tree" / str(number)), str(number)) for number in range(100)]
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "get": lambda: client.get(name, folder / "x", progress=recorder),
            "put": lambda: client.put(folder / name, "x", progress=recorder),
            "get_tree": lambda: client.get_tree(name, folder / "x", progress=recorder),
            "put_tree": lambda: client.put_tree(folder / name, "x", progress=recorder),
            "get_many": lambda: client.get_many(there, progress=recorder),
            "put_many": lambda: client.put_many(here, progress=recorder),
        }
        with pytest.raises(FtpcError):
            await calls[verb]()
    phases = [moment.phase for moment in recorder.moments if moment.verb == "update"]
    broken = phases[phases.index(Phase.WAITING) :]
    assert (3, [Phase.WAITING] * len(broken)) == (proxy.accepted, broken)
