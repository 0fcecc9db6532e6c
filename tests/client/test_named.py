"""Small files that are named one by one go up together, and all is told of each as if it went alone."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ftpc as library
from ftpc import Client, ConnectionLostError, IfExists, RefusedError, RemoteNameError, TreeFile
from ftpc.transfer.loader import LOAD_FILES
from ftpc.transfer.tree_upload import MOST_PENDING
from ftpd.payload.channel import Channel
from ftpd.wire.digests import digest_of_twins, tree_of
from ftpd.wire.limits import SMALL_FILE
from tests.client.command import Caller, Ftpc
from tests.client.proxy import Proxy, proxied
from tests.client.scripted import GREETING, Handler, read_request, refusal, scripted
from tests.client.support import MIB, Recorder, Service, connected, content, soon
from tests.client.test_trees import all_in, make
from tests.peer import frame

COUNT = 1000


def names(count: int = COUNT) -> list[str]:
    """Make up names."""
    return [f"{number:04}.jpg" for number in range(count)]


def pairs(folder: Path, remote: str = "to") -> list[tuple[str, str]]:
    """Give all files of a folder, and what they are to be called."""
    return [(str(path), f"{remote}/{path.name}") for path in sorted(folder.iterdir())]


def bytes_of(name: str) -> bytes:
    """Give what is in a file."""
    return name.encode() * 2


@pytest.fixture
def many(folder: Path) -> Path:
    """A folder with many small files."""
    make(folder / "many", {name: bytes_of(name) for name in names()})
    return folder / "many"


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round trip that counts as long."""
    monkeypatch.setattr(Channel, "is_far", property(lambda _: True))


class Counted:
    """A proxy in a thread, for a client that is a process of its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._ready, self._over = threading.Event(), asyncio.Event()
        self.proxy = Proxy(target)

    async def _serve(self) -> None:
        async with proxied(self._target) as self.proxy:
            self._ready.set()
            await self._over.wait()

    @contextlib.contextmanager
    def running(self) -> Iterator[Proxy]:
        """Give the proxy for as long as it is needed."""
        thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])
        thread.start()
        try:
            assert self._ready.wait(20)
            yield self.proxy
        finally:
            self._loop.call_soon_threadsafe(self._over.set)
            thread.join()
            self._loop.close()


def through(ftpc: Ftpc, proxy: Proxy) -> str:
    """Give the address of the same folder behind a proxy."""
    return f"ftpd://{proxy.address}/{ftpc.server.rpartition('/')[2]}"


def test_few_round_trips(ftpc: Ftpc) -> None:
    """A thousand files cost a few round trips, and no more the second time, when the server has them."""
    make(ftpc.folder, {name: bytes_of(name) for name in names()})
    counted = Counted(int(ftpc.server.rpartition(":")[2].partition("/")[0]))
    with counted.running() as proxy:
        for expected in ("1,000 files", "1,000 the same already"):
            before = proxy.up.turns
            done = ftpc.run("put", *names(), "--to", "to", env={"FTPC_SERVER": through(ftpc, proxy)})
            assert (0, True) == (done.status, expected in done.err), done.err
            assert proxy.up.turns - before < 50
    assert {name: bytes_of(name) for name in names()} == all_in(ftpc.remote / "to")


@pytest.mark.usefixtures("far")
async def test_nobody_waits_for_a_reply(service: Service, proxy: Proxy, many: Path) -> None:
    """Hundreds of files are stored before the first reply has arrived, of no matter which question."""
    proxy.down.hold_at = 0
    async with connected(proxy.address) as client:
        putting = asyncio.create_task(client.put_many(pairs(many)))
        await soon(lambda: len(service.published()) > 200, "files arrive while not one reply does")
        proxy.down.go.set()
        assert COUNT == (await putting).files


async def test_files_of_all_sizes(service: Service, client: Client, folder: Path) -> None:
    """Small and large files arrive as they were, in folders of any depth; each is reported once with its root."""
    sizes = (0, 1, SMALL_FILE, SMALL_FILE + 1, 9 * MIB)
    files = {f"{'in/' * number}{size}": content(size) for number, size in enumerate(sizes)}
    make(folder, files)
    told: list[TreeFile] = []
    result = await client.put_many([(str(folder / name), f"x/{name}") for name in files], report=told.append)
    assert files == all_in(service.root / "x")
    assert (len(sizes), sum(sizes), []) == (result.files, result.size, result.errors)
    assert {(f"x/{name}", tree_of(data).root) for name, data in files.items()} == {
        (file.remote, file.root) for file in told
    }


async def test_in_a_folder_of_the_server(service: Service, folder: Path) -> None:
    """Names are relative to the folder of the address, those of large files too."""
    make(folder, {"a": b"a", "b": content(SMALL_FILE + 1)})
    async with connected(f"ftpd://{service.address}/inner/most") as client:
        await client.put_many([(str(folder / "a"), "a"), (str(folder / "b"), "x/b")])
    assert ["inner/most/a", "inner/most/x/b"] == service.published()


async def test_one_that_fails_costs_no_other(service: Service, client: Client, folder: Path) -> None:
    """What is not there, a name that no server has and one that is a folder there are an error each."""
    make(folder, {"a": b"a", "b": b"b", "c": b"c"})
    (service.root / "taken").mkdir()
    wanted = {"a": "a", "b": "../b", "c": "taken", "no": "no", "": "folder"}
    told: dict[str, TreeFile] = {}
    result = await client.put_many(
        [(str(folder / name), remote) for name, remote in wanted.items()],
        report=lambda file: told.update({file.remote: file}),
    )
    errors = {remote: type(file.error) for remote, file in told.items()}
    assert {
        "a": type(None),
        "../b": RemoteNameError,
        "taken": RefusedError,
        "no": library.LocalNotFoundError,
        "folder": library.LocalFileError,
    } == errors
    assert (1, 4, ["a"]) == (result.files, len(result.errors), service.published())


async def test_each_is_an_item(client: Client, many: Path) -> None:
    """A display is told of each file that it begins and is over, and of all together by an item that does not count."""
    recorder = Recorder()
    result = await client.put_many(pairs(many), progress=recorder)
    starts = [moment.name for moment in recorder.moments if "start" == moment.verb]
    stops = [moment.name for moment in recorder.moments if "stop" == moment.verb]
    assert [f"to/{name}" for name in names()] == sorted(starts[1:])
    assert sorted(starts) == sorted(stops)
    assert "small files" == starts[0] == stops[-1]
    assert result.size == recorder.done[-1]


@pytest.mark.parametrize("place", [10_000, 100_000])
async def test_a_cut_is_mended(service: Service, proxy: Proxy, many: Path, place: int) -> None:
    """After a lost connection the rest is sent over another; every file is there, and reported once."""
    proxy.up.cut_at = place
    mend = Recorder(lambda moment: setattr(proxy.up, "cut_at", None) if moment.phase.startswith("conn") else None)
    told: list[TreeFile] = []
    async with connected(proxy.address, retries=3) as client:
        result = await client.put_many(pairs(many), progress=mend, report=told.append)
    assert {name: bytes_of(name) for name in names()} == all_in(service.root / "to")
    assert (COUNT, COUNT) == (result.files, len({file.remote for file in told}))


@pytest.mark.parametrize("if_exists", [IfExists.OVERWRITE, IfExists.SKIP])
@pytest.mark.parametrize("place", [5000, 20_000])
async def test_replies_that_are_lost(
    service: Service, proxy: Proxy, many: Path, if_exists: IfExists, place: int
) -> None:
    """Files that were stored and not answered for are stored files, and neither skipped nor sent again."""
    proxy.down.cut_at = place
    mend = Recorder(lambda moment: setattr(proxy.down, "cut_at", None) if moment.phase.startswith("conn") else None)
    async with connected(proxy.address, retries=3) as client:
        result = await client.put_many(pairs(many), if_exists=if_exists, progress=mend)
    assert (COUNT, 0, []) == (result.files, result.skipped, result.errors)
    assert {name: bytes_of(name) for name in names()} == all_in(service.root / "to")


def told_to(answer: Callable[[dict[str, Any]], dict[str, object] | bytes | None]) -> Handler:
    """Answer requests one by one, as told; end where that is nothing."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            header = await read_request(reader)
            reply = GREETING if header["cmd"] == "hello" else answer(header)
            if reply is None:
                break
            writer.write(reply if isinstance(reply, bytes) else frame(reply))
            await writer.drain()

    return handle


def stored(header: dict[str, Any]) -> dict[str, object]:
    """Say that a file is stored; all are the same."""
    root = tree_of(b"abc").root
    return {"ok": True, "filename": header["filename"], "filesize": 3, "root": root, "skipped": False}


@pytest.fixture
def few(folder: Path) -> list[tuple[str, str]]:
    """Twenty files with the same content."""
    make(folder / "few", {f"{number:02}": b"abc" for number in range(20)})
    return pairs(folder / "few")


@pytest.mark.parametrize("if_exists", [IfExists.FAIL, IfExists.OVERWRITE])
async def test_no_room_for_one(few: list[tuple[str, str]], if_exists: IfExists) -> None:
    """A file that the server has no room for at the moment is tried again by itself, and no other is."""
    came: list[str] = []

    def answer(header: dict[str, Any]) -> dict[str, object] | bytes:
        if header["cmd"] != "put":
            return refusal("unknown_command")
        came.append(header["filename"])
        return refusal("busy") if [came[-1]] == [name for name in came if name.endswith("05")] else stored(header)

    async with scripted(told_to(answer)) as address, connected(address, retries=3) as client:
        result = await client.put_many(few, if_exists=if_exists)
    assert (20, []) == (result.files, result.errors)
    assert {"to/05": 2} == {name: came.count(name) for name in came if came.count(name) > 1}


async def test_may_not_replace(few: list[tuple[str, str]]) -> None:
    """Who may not replace files, nor ask for them, is told of his own that they may be stored, and of which."""
    came: list[str] = []

    def answer(header: dict[str, Any]) -> dict[str, object] | bytes | None:
        if header["cmd"] != "put":
            return refusal("forbidden")
        came.append(header["filename"])
        if len(came) <= 10:  # the first nine are stored, and nobody hears of that
            return b"" if len(came) < 10 else None
        return refusal("exists") if came[-1] in came[:9] else stored(header)

    async with scripted(told_to(answer)) as address, connected(address, retries=3) as client:
        result = await client.put_many(few)
    assert (11, 9) == (result.files, len(result.errors))
    assert set() == {f"{error!r}" for error in result.errors if not isinstance(error, ConnectionLostError)}
    assert all("may be stored or not" in error.message and "few/" in error.message for error in result.errors)


async def test_a_log_in_that_ends(few: list[tuple[str, str]]) -> None:
    """What ends the conversation is no answer to a file: the whole ends with it, and nothing is told of that file."""
    count = 0

    def answer(header: dict[str, Any]) -> dict[str, object] | bytes:
        nonlocal count
        count += header["cmd"] == "put"
        return refusal("unauthorized") if count > 10 else stored(header) if count else refusal("unknown_command")

    told: list[TreeFile] = []
    async with scripted(told_to(answer)) as address, connected(address, retries=3) as client:
        with pytest.raises(RefusedError, match="no"):
            await client.put_many(few, report=told.append)
    assert ([None] * 10, 10) == ([file.error for file in told], len(told))


async def test_what_was_understood_counts(few: list[tuple[str, str]]) -> None:
    """Of replies that arrived before one that makes no sense none is lost."""
    puts: list[dict[str, Any]] = []

    def answer(header: dict[str, Any]) -> dict[str, object] | bytes:
        if header["cmd"] != "put":
            return refusal("unknown_command")
        puts.append(header)
        return b"".join(frame(stored(put)) for put in puts[:10]) + frame({"ok": "perhaps"}) if len(puts) == 20 else b""

    async with scripted(told_to(answer)) as address, connected(address, retries=3) as client:
        result = await client.put_many(few, if_exists=IfExists.FAIL)
    assert (10, 10) == (result.files, len(result.errors))


@pytest.mark.parametrize("is_ours", [True, False])
async def test_what_was_just_being_stored(few: list[tuple[str, str]], *, is_ours: bool) -> None:
    """A file that was still being stored when that was asked, after a break, is no file that was there before."""
    puts: list[str] = []
    questions: list[int] = []

    def answer(header: dict[str, Any]) -> dict[str, object] | bytes | None:
        if header["cmd"] == "same":
            questions.append(len(header["files"]))
            files = [(name, root) for name, _, root in header["files"]] if is_ours and len(questions) > 1 else []
            return {"ok": True, "same": [(0, len(files) - 1)] if files else [], "digest": digest_of_twins(files)}
        if header["cmd"] != "put":
            return refusal("not_found")
        puts.append(header["filename"])
        if len(puts) <= 20:  # all are being stored; of half of them nobody hears
            return stored(header) if len(puts) <= 10 else b"" if len(puts) < 20 else None
        return {"ok": True, "filename": header["filename"], "filesize": 3, "skipped": True}

    told: list[TreeFile] = []
    async with scripted(told_to(answer)) as address, connected(address, retries=3) as client:
        result = await client.put_many(few, if_exists=IfExists.SKIP, report=told.append)
    assert [10, 10] == questions
    assert (30 if is_ours else 40) == len(puts)
    assert (20, 0 if is_ours else 10, []) == (len(told), result.skipped, result.errors)


@pytest.mark.parametrize("if_exists", [IfExists.FAIL, IfExists.RENAME])
async def test_what_may_be_stored_is_not_sent_again(
    service: Service, proxy: Proxy, folder: Path, if_exists: IfExists
) -> None:
    """Where a file would find its name taken by itself, those whose replies are lost fail, and only those."""
    count = 2 * (MOST_PENDING + LOAD_FILES)
    make(folder / "many", {name: bytes_of(name) for name in names(count)})
    proxy.down.cut_at = 20_000
    mend = Recorder(lambda moment: setattr(proxy.down, "cut_at", None) if moment.phase.startswith("conn") else None)
    told: list[TreeFile] = []
    async with connected(proxy.address, retries=3) as client:
        result = await client.put_many(pairs(folder / "many"), if_exists=if_exists, progress=mend, report=told.append)
    assert count == len({file.local for file in told}) == len(told)
    assert {ConnectionLostError} == {type(error) for error in result.errors}
    assert 0 < len(result.errors) < MOST_PENDING + LOAD_FILES
    assert count - len(result.errors) == result.files
    there = all_in(service.root / "to")
    assert {file.remote.rpartition("/")[2] for file in told if file.error is None} <= there.keys() <= {*names(count)}


@pytest.mark.parametrize("place", [3000, 20_011])
async def test_damage_is_mended(service: Service, proxy: Proxy, folder: Path, place: int) -> None:
    """A file of which a bit flips on its way is sent again by itself, one of a folder too."""
    files = {f"{number:02}": content(1000, number) for number in range(30)}
    make(folder / "tree", files)
    for number, remote in enumerate(("named", "tree")):
        proxy.up.flip_at = proxy.up.count + place
        async with connected(proxy.address) as client:
            if number:
                result = await client.put_tree(folder / "tree", remote)
            else:
                result = await client.put_many(pairs(folder / "tree", remote))
        assert (30, []) == (result.files, result.errors)
        assert files == all_in(service.root / remote)


@pytest.mark.parametrize("if_exists", IfExists)
def test_names_that_are_taken(ftpc: Ftpc, if_exists: IfExists) -> None:
    """They are overwritten, refused before anything is sent, skipped or evaded, and each is said."""
    make(ftpc.folder, dict.fromkeys("abc", b"new"))
    make(ftpc.remote, {"a": b"old"})
    done = ftpc.run("put", "a", "b", "c", "--if-exists", if_exists)
    new = {"b": b"new", "c": b"new"}
    status, there, words = {
        IfExists.OVERWRITE: (0, {"a": b"new", **new}, "3 files, 9 B in"),
        IfExists.FAIL: (7, {"a": b"old"}, "nothing was sent"),
        IfExists.SKIP: (0, {"a": b"old", **new}, "a: skipped, "),
        IfExists.RENAME: (0, {"a": b"old", "a (1)": b"new", **new}, "a: stored as "),
    }[if_exists]
    assert (status, there, True) == (done.status, all_in(ftpc.remote), words in done.err), done.err


def test_times_and_modes(ftpc: Ftpc) -> None:
    """With -p they go along."""
    for name in "ab":
        os.utime(ftpc.write(name), ns=(1, 1_234_567_890_123_456_789))
        (ftpc.folder / name).chmod(0o640)
    assert 0 == ftpc.run("put", "-p", "a", "b").status
    for name in "ab":
        found = (ftpc.remote / name).stat()
        assert (1_234_567_890_123_456_789, 0o640) == (found.st_mtime_ns, found.st_mode & 0o777)


def test_what_is_mixed(ftpc: Ftpc) -> None:
    """Small and large files, folders, links that are named and what can not be sent: each as if it were alone."""
    make(ftpc.folder, {"a": b"a", "b": b"b", "large": content(SMALL_FILE + 1), "tree/c": b"c", "tree/d/e": b"e"})
    (ftpc.folder / "link").symlink_to("a")
    (ftpc.folder / "tree/link").symlink_to("c")
    os.mkfifo(ftpc.folder / "fifo")
    bad = {
        "fifo": "fifo: it is not a regular file; only files can be sent",
        "/proc/self/status": "/proc/self/status: it has bytes, but says that it has none; send it through a pipe",
    }
    done = ftpc.run("put", "-r", "--json", "a", "fifo", "large", "tree", "link", "b", "/proc/self/status")
    assert {"a": b"a", "b": b"b", "link": b"a", "large": content(SMALL_FILE + 1), "tree/c": b"c", "tree/d/e": b"e"} == (
        all_in(ftpc.remote)
    )
    errors = {one["name"]: one["error"]["message"] for one in done.objects if "error" == one["event"]}
    assert (bad, 4) == (errors, done.status)
    summary = done.objects[-1]
    assert (6, 2, SMALL_FILE + 1 + 5) == (summary["files"], summary["failed"], summary["bytes"])


@pytest.mark.parametrize(
    ("names", "status", "told"),
    [
        (["a", "no"], 3, ["no: there is no such file or folder here"]),
        (["a", "loop"], 4, ["loop: Too many levels of symbolic links"]),
        (["tree", "a"], 4, ["tree: it is a folder; put -r sends folders"]),
        (["-r", "tree", "no"], 3, ["no: there is no such file or folder here"]),
        (["no", "tree", "taken", "--if-exists", "fail"], 1, ["no: there is no ", "tree: it is a folder", "taken: "]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_names_that_are_nothing_to_send(
    ftpc: Ftpc, caller: Caller, names: list[str], status: int, told: list[str]
) -> None:
    """Of several names those that are no files here are told before the first byte, with what the server objects to."""
    make(ftpc.folder, {"a": b"a", "taken": b"new", "tree/b": b"b"})
    make(ftpc.remote, {"taken": b"old"})
    (ftpc.folder / "loop").symlink_to("loop")
    done = caller.run("put", *names)
    *lines, end = done.err.splitlines()
    assert (status, "nothing was sent", len(told)) == (done.status, end, len(lines)), done.err
    for line, expected in zip(lines, told, strict=True):
        assert expected in line, line
    assert {"taken": b"old"} == all_in(ftpc.remote)


def test_what_is_there_already_is_summed_up(ftpc: Ftpc, caller: Caller) -> None:
    """Of several names that the server has already only the summary tells; each is told with -v, and one alone."""
    make(ftpc.folder, {"a": b"a", "b": b"b", "large": content(SMALL_FILE + 1)})
    names = "a", "b", "large"
    assert 0 == caller.run("put", *names).status
    assert 1 == len(caller.run("put", *names).err.splitlines())
    for arguments in (["-v", *names], ["a"]):
        said = caller.run("put", *arguments).err
        assert len(arguments[-3:]) == said.count(": the server has it already, the same to the last byte\n"), said


def test_events(ftpc: Ftpc) -> None:
    """Each file has one `start` with its size, and then a `done` with the keys of a file that goes alone."""
    make(ftpc.folder, {name: name.encode() for name in ("a", "bb", "ccc")})
    alone = ftpc.run("put", "a", "--json", "--to", "alone").objects
    together = ftpc.run("put", "a", "bb", "ccc", "--json", "--to", "together").objects
    [expected] = [one for one in alone if "done" == one["event"]]
    place = ftpc.remote.name
    for name in ("a", "bb", "ccc"):
        remote = f"{place}/together/{name}"
        [start] = [one for one in together if ("start", remote) == (one["event"], one.get("name"))]
        [done] = [one for one in together if ("done", name) == (one["event"], one.get("local"))]
        assert together.index(start) < together.index(done)
        root = tree_of(name.encode()).root
        assert {**expected, "local": name, "remote": remote, "size": len(name), "root": root} == done
        assert len(name) == start["size"]
    assert 3 == sum("start" == one["event"] for one in together)


def test_verbose(ftpc: Ftpc) -> None:
    """With -v each has a line that says where it went, with its size and root."""
    make(ftpc.folder, {"a": b"a", "b": b"b"})
    done = ftpc.run("put", "-v", "a", "b", "--to", "x")
    place = ftpc.server.removeprefix("ftpd://").partition("/")[0]
    for name in "ab":
        line = f"{name} -> {place}/{ftpc.remote.name}/x/{name}, 1 bytes, root {tree_of(name.encode()).root}\n"
        assert line in done.err, done.err


def test_a_server_that_goes(ftpc: Ftpc) -> None:
    """Each file that a lost connection has kept from arriving is an error by its name."""
    make(ftpc.folder, {name: bytes_of(name) for name in names()})
    counted = Counted(int(ftpc.server.rpartition(":")[2].partition("/")[0]))
    with counted.running() as proxy:
        proxy.up.cut_at = 200_000
        done = ftpc.run("put", *names(), "--json", "--retries", "0", env={"FTPC_SERVER": through(ftpc, proxy)})
    stored = {one["local"] for one in done.objects if "done" == one["event"]}
    failed = {one["name"] for one in done.objects if "error" == one["event"]}
    assert (5, COUNT, {*names()}) == (done.status, len(stored) + len(failed), stored | failed)
    assert failed
    assert (len(stored), len(failed)) == (done.objects[-1]["files"], done.objects[-1]["failed"])


def test_a_display_counts_the_files(ftpc: Ftpc) -> None:
    """Plain lines say of how many files how many are done, and how many bytes of all."""
    make(ftpc.folder, {name: content(500) for name in names(20)})
    counted = Counted(int(ftpc.server.rpartition(":")[2].partition("/")[0]))
    with counted.running() as proxy:
        proxy.up.cut_at = 6000
        done = ftpc.run(
            "put", *names(20), "--progress", "plain", "--retries", "1", env={"FTPC_SERVER": through(ftpc, proxy)}
        )
    [lost, *_] = [line for line in done.err.splitlines() if "connection lost, try 1 of " in line]
    assert " of 9.8 KiB (" in lost
    assert " of 20 files done" in lost
