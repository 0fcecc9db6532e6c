"""A folder that is sent again: small files that the server has already are asked about, and not sent."""

import asyncio
import os
from pathlib import Path

import pytest

from ftpc import Client, IfExists, TreeFile
from ftpc.credentials import Credentials
from ftpc.errors import DamagedError
from ftpc.transfer import repeat
from ftpc.transfer.loader import LOAD_FILES
from ftpc.transfer.tree_upload import MOST_PENDING
from ftpd.access.credentials import new_token
from ftpd.access.door import UsersDoor
from ftpd.access.users import Token, User, edit
from ftpd.commands.table import COMMANDS
from ftpd.payload.channel import Channel
from ftpd.wire.digests import tree_of
from ftpd.wire.limits import SMALL_FILE
from ftpd.wire.messages import encode_request
from ftpd.wire.requests import Request, Same
from tests.client.command import Ftpc
from tests.client.proxy import Proxy, proxied
from tests.client.scripted import answering, scripted
from tests.client.support import Moment, Recorder, Service, connected, content, soon
from tests.client.test_trees import all_in, make, many
from tests.peer import frame

COUNT = 700


@pytest.fixture
def tree(folder: Path) -> Path:
    """A folder with files in many folders."""
    make(folder / "tree", many(COUNT))
    return folder / "tree"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names that the server is asked about, question by question."""
    names: list[list[str]] = []

    def encode(request: Request) -> bytes:
        if isinstance(request, Same):
            names.append([name for name, _, _ in request.files])
        return encode_request(request)

    monkeypatch.setattr(repeat, "encode_request", encode)
    return names


async def test_the_same_again(service: Service, proxy: Proxy, tree: Path) -> None:
    """Little more than names and digests are sent; each file is reported as skipped with its root, and left alone."""
    async with connected(proxy.address) as client:
        first = await client.put_tree(tree)
        before = {path: path.stat().st_ctime_ns for path in (service.root / "tree").rglob("*")}
        sent = proxy.up.count
        reported: list[TreeFile] = []
        again = await client.put_tree(tree, report=reported.append)
    assert (COUNT, 0, COUNT, []) == (first.files, again.files, again.skipped, again.errors)
    assert proxy.up.count - sent < COUNT * 110 < sent / 2
    files = all_in(tree)
    assert {f"tree/{name}": (len(data), tree_of(data).root, True) for name, data in files.items()} == {
        file.remote: (file.size, file.root, file.skipped) for file in reported
    }
    assert before == {path: path.stat().st_ctime_ns for path in before}


@pytest.mark.parametrize("check", [False, True])
async def test_only_what_is_new_or_another_is_sent(service: Service, proxy: Proxy, tree: Path, *, check: bool) -> None:
    """Files that changed, were added or are gone on the server are stored; all others are skipped."""
    async with connected(proxy.address) as client:
        await client.put_tree(tree)
        make(tree, {"1/1/1": b"1" * 2, "new/file": b"new", "1/new": b"new", "large": content(SMALL_FILE + 1)})
        make(tree, dict.fromkeys(map(str, range(7, 40)), b"x"))
        (service.root / "tree" / "2" / "2" / "2").unlink()
        sent = proxy.up.count
        result = await client.put_tree(tree, check=check)
    assert (2 + 3 + 33, COUNT - 2, []) == (result.files, result.skipped, result.errors)
    assert all_in(tree) == all_in(service.root / "tree")
    assert proxy.up.count - sent < SMALL_FILE + COUNT * 150


async def test_a_new_folder_is_not_asked_about(client: Client, tree: Path, asked: list[list[str]]) -> None:
    """Of a folder that is not there no file is asked about; of one that is new in a folder that is there, the first."""
    await client.put_tree(tree)
    assert [] == asked
    make(tree, {f"new/{n % 3}/{n % 5}/{n}": b"%d" % n for n in range(600)})
    result = await client.put_tree(tree / "new", "tree/new")
    assert (600, []) == (result.files, asked)
    await client.put_tree(tree, "tree")
    asked.clear()
    make(tree, {f"other/{n}": b"%d" % n for n in range(3000)})
    assert 3000 == (await client.put_tree(tree)).files
    about = sum(name.startswith("tree/other/") for names in asked for name in names)
    assert 0 < about < MOST_PENDING + LOAD_FILES


async def test_on_a_long_path(
    service: Service, proxy: Proxy, tree: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the first answer to send something, and only what is sent before it is sent again."""
    monkeypatch.setattr(Channel, "is_far", property(lambda _: True))
    proxy.down.hold_at = 0
    async with connected(proxy.address) as client:
        putting = asyncio.create_task(client.put_tree(tree))
        await soon(lambda: len(service.published()) > 100, "files arrive while not one answer does")
        proxy.down.go.set()
        assert (COUNT, 0) == ((first := await putting).files, first.skipped)
    async with proxied(service.port) as second, connected(second.address) as client:
        second.down.hold_at = 0
        before = {path: path.stat().st_ino for path in (service.root / "tree").rglob("*") if path.is_file()}
        putting = asyncio.create_task(client.put_tree(tree))
        await soon(lambda: any(path.stat().st_ino != number for path, number in before.items()), "some are sent again")
        second.down.go.set()
        again = await putting
    assert COUNT == again.files + again.skipped
    assert 0 < again.files <= LOAD_FILES
    assert again.skipped == sum(map(len, asked))


async def test_time_and_mode_count_when_they_are_kept(service: Service, client: Client, tree: Path) -> None:
    """With `preserve` a file with another time or mode is stored again, so that it gets them."""
    await client.put_tree(tree)
    assert (COUNT, 0) == ((first := await client.put_tree(tree, preserve=True)).files, first.skipped)
    os.utime(tree / "1" / "1" / "1", ns=(0, 1_600_000_000_123_456_789))
    (tree / "2" / "2" / "2").chmod(0o600)
    again = await client.put_tree(tree, preserve=True)
    assert (2, COUNT - 2) == (again.files, again.skipped)
    there = service.root / "tree"
    assert 1_600_000_000_123_456_789 == (there / "1" / "1" / "1").stat().st_mtime_ns
    assert 0o600 == (there / "2" / "2" / "2").stat().st_mode & 0o777
    assert COUNT == (await client.put_tree(tree)).skipped


@pytest.mark.parametrize("if_exists", IfExists)
async def test_the_other_answers_to_a_taken_name(
    service: Service, client: Client, folder: Path, if_exists: IfExists
) -> None:
    """`fail` and `rename` are about the name, whatever is under it; `skip` skips other files as well."""
    make(folder / "tree", {"a": b"a", "b": b"b"})
    await client.put_tree(folder / "tree")
    make(folder / "tree", {"b": b"c"})
    result = await client.put_tree(folder / "tree", if_exists=if_exists)
    expected = {
        IfExists.OVERWRITE: (1, 1, 0, {"a": b"a", "b": b"c"}),
        IfExists.SKIP: (0, 2, 0, {"a": b"a", "b": b"b"}),
        IfExists.FAIL: (0, 0, 2, {"a": b"a", "b": b"b"}),
        IfExists.RENAME: (2, 0, 0, {"a": b"a", "b": b"b", "a (1)": b"a", "b (1)": b"c"}),
    }
    assert expected[if_exists] == (
        result.files, result.skipped, len(result.errors), all_in(service.root / "tree"),
    )  # fmt: skip


async def test_an_older_server(service: Service, client: Client, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not know the question gets all files, as it always did."""
    monkeypatch.setattr("ftpd.requests.COMMANDS", {name: one for name, one in COMMANDS.items() if name != "same"})
    for _ in range(2):
        result = await client.put_tree(tree)
        assert (COUNT, 0, []) == (result.files, result.skipped, result.errors)


async def test_who_may_only_bring_files(service: Service, tree: Path, tmp_path: Path) -> None:
    """What somebody may not read he is not told to be the same: it is sent, and replaced."""
    token = new_token()
    with edit(tmp_path / "users.toml") as users:
        users.users["guest"] = User(rights=["write", "overwrite"], paths={"tree/1": ["full"]})
        users.tokens[token.id] = Token(user="guest", sha256=token.sha256)
    await service.stop()
    await service.start(door=UsersDoor(tmp_path / "users.toml"))
    async with connected(service.address, credentials=Credentials(token.text)) as client:
        for skipped in (0, COUNT // 7):
            result = await client.put_tree(tree)
            assert (COUNT - skipped, skipped, []) == (result.files, result.skipped, result.errors)


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("place", [300, 700])
async def test_a_cut_is_mended(service: Service, proxy: Proxy, tree: Path, place: int, way: str) -> None:
    """After a lost connection what has not been answered is asked about over another; each file is told of once."""
    async with connected(service.address) as client:
        await client.put_tree(tree)
    make(tree, {f"3/new{n}": b"new" for n in range(50)})
    line = getattr(proxy, way)
    line.cut_at = place if way == "down" else 50 * place
    cuts: list[int] = []

    def mend(moment: Moment) -> None:
        if moment.phase.startswith("conn"):
            line.cut_at = None
            cuts.append(line.count)

    async with connected(proxy.address, retries=3) as client:
        told: list[TreeFile] = []
        result = await client.put_tree(tree, progress=Recorder(mend), report=told.append)
    assert cuts
    assert (50, COUNT, []) == (result.files, result.skipped, result.errors)
    assert COUNT + 50 == len({file.remote for file in told}) == len(told)
    assert all_in(tree) == all_in(service.root / "tree")


@pytest.mark.parametrize(
    "answer",
    [
        {"same": [[0, 0]]},
        {"same": [[0, 0]], "digest": "00" * 32},
        {"same": [[0, 2**52]], "digest": tree_of(b"").root},
        {"same": [[7, 9]], "digest": tree_of(b"").root},
    ],
)
async def test_a_server_that_means_other_files(folder: Path, answer: dict[str, object]) -> None:
    """What a server says is not believed unless its digest says that it was asked about these very files."""
    make(folder / "tree", {"a": b"a"})
    status = {"ok": True, "type": "dir", "filesize": 0, "mtime": 0, "mtime_ns": 0, "mode": 0}
    answers = {"stat": frame(status), "same": frame({"ok": True, **answer})}
    async with scripted(answering(answers)) as address, connected(address) as client:
        with pytest.raises(DamagedError, match="other files"):
            await client.put_tree(folder / "tree")


async def test_long_names(service: Service, client: Client, folder: Path) -> None:
    """Names that hardly fit in a request are asked about in as many as it takes."""
    deep = "/".join(['"' * 200] * 8)
    make(folder / "tree", {f"{deep}/{n}": b"%d" % n for n in range(200)})
    await client.put_tree(folder / "tree")
    assert 200 == (await client.put_tree(folder / "tree")).skipped


def test_on_the_command_line(ftpc: Ftpc) -> None:
    """The summary tells what is the same from taken names, -v says why, and in JSON each file says which it is."""
    make(ftpc.folder / "tree", {"a": b"a", "sub/b": b"b"})
    assert 0 == ftpc.run("put", "-r", "tree").status
    again = ftpc.run("put", "-rv", "tree")
    assert (0, True, True) == (again.status, "0 files" in again.err, "2 the same already (2 B), verified" in again.err)
    assert "a: the server has it already, the same to the last byte" in again.err
    events = ftpc.run("put", "-r", "--json", "tree").objects
    done = {event["local"]: event for event in events if event["event"] == "done"}
    assert {"tree/a": tree_of(b"a").root, "tree/sub/b": tree_of(b"b").root} == {
        name: event["root"] for name, event in done.items() if event["skipped"] and event["identical"]
    }
    keys = ("files", "skipped", "identical", "identical_bytes")
    assert (0, 2, 2, 2) == tuple(events[-1][key] for key in keys)
    ftpc.write("tree/a", b"other")
    left = ftpc.run("put", "-r", "tree", "--if-exists", "skip")
    assert "1 the same already (1 B), 1 skipped, the name being taken, verified" in left.err
    events = ftpc.run("put", "-r", "tree", "--if-exists", "skip", "--json").objects
    assert (0, 2, 1, 1) == tuple(events[-1][key] for key in keys)


def test_several_small_files(ftpc: Ftpc) -> None:
    """Small files that are named one by one are not sent again either."""
    for name in ("a", "b"):
        ftpc.write(name, name.encode())
    assert 0 == ftpc.run("put", "a", "b").status
    ftpc.write("b", b"other")
    again = ftpc.run("put", "a", "b")
    assert (0, True, True) == (again.status, "1 file," in again.err, "1 the same already (1 B)" in again.err)
    assert b"other" == (ftpc.remote / "b").read_bytes()
    assert "1 the same already" in ftpc.run("put", "a").err
