"""Asking before a job begins: who may not, what is taken and what has no room is told, and nothing is sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import ftpc
from ftpc.client import Client
from ftpc.credentials import Credentials
from ftpc.results import Objection
from ftpc.transfer import preflight
from ftpd.access.credentials import new_token
from ftpd.access.door import UsersDoor
from ftpd.access.users import Token, User, edit
from ftpd.commands.table import COMMANDS
from ftpd.payload.channel import Channel
from ftpd.store.local import LocalStore
from ftpd.wire.limits import MAX_CHECKED, MIN_CHUNK, SMALL_FILE
from ftpd.wire.terms import IfExists
from tests.client.command import Caller, Ftpc
from tests.client.proxy import proxied
from tests.client.support import MIB, Service, connected, content, names_in, soon
from tests.disks import only_root, small_disk

FIRST = preflight.FIRST_FILES


class Users:
    """A server on which people have to log in."""

    def __init__(self, service: Service, file: Path) -> None:
        self.service = service
        self.file = file

    @contextlib.asynccontextmanager
    async def client(self, name: str, user: User, address: str | None = None) -> AsyncIterator[Client]:
        """Add somebody, and give his client."""
        token = new_token()
        with edit(self.file) as users:
            users.users[name] = user
            users.tokens[token.id] = Token(user=name, sha256=token.sha256)
        credentials = Credentials(token.text)
        async with ftpc.connect(address or self.service.address, retries=0, credentials=credentials) as client:
            yield client


@pytest.fixture
async def users(service: Service, tmp_path: Path) -> Users:
    """That server, of which nobody is a user yet."""
    with edit(tmp_path / "users.toml"):
        pass
    await service.stop()
    await service.start(door=UsersDoor(tmp_path / "users.toml"))
    return Users(service, tmp_path / "users.toml")


def make(folder: Path, *names: str, size: int = 10) -> list[tuple[str, str]]:
    """Make files; give their local and their remote names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(size))
    return [(str(folder / name), name) for name in names]


def told(objections: list[Objection]) -> list[tuple[str | None, str]]:
    """Give the files, by the ends of their names, and what is wrong with them."""
    return [(local and Path(local).name, error.code) for local, error in objections]


async def test_nothing_speaks_against_it(service: Service, client: Client, folder: Path) -> None:
    """A job with room and free names is not objected to, and nothing of it is there for having been asked about."""
    assert [] == await client.check(make(folder, *map(str, range(2 * MAX_CHECKED + 1))))
    assert [] == service.published()


async def test_names_that_are_taken(service: Service, client: Client, folder: Path) -> None:
    """Each is told with what `put` would say, the first ten of them; the rest are counted."""
    files = make(folder, *map(str, range(30)))
    (service.root / "7").mkdir()
    for number in range(8, 30):
        (service.root / str(number)).write_bytes(b"there")
    found = await client.check(files, if_exists=IfExists.FAIL)
    assert [("7", "is_directory"), *((str(number), "exists") for number in range(8, 17)), (None, "exists")] == told(
        found
    )
    assert ("8: the name is taken", "and 13 more") == (found[1].error.message, found[-1].error.message)
    for local, name in files[8:10]:
        with pytest.raises(ftpc.RefusedError) as refused:
            await client.put(local, name, if_exists=IfExists.FAIL)
        assert (refused.value.code, refused.value.message) in {(one.error.code, one.error.message) for one in found}
    assert [("7", "is_directory")] == told(await client.check(files))


async def test_names_that_can_not_be(service: Service, client: Client, folder: Path) -> None:
    """A name that no server has is an objection to its file, and the others are asked about all the same."""
    (service.root / "a").write_bytes(b"")
    make(folder, "a", "b")
    names = [(str(folder / "a"), "a"), (str(folder / "b"), "../b")]
    found = await client.check(names, if_exists=IfExists.FAIL)
    assert {(str(folder / "a"), "exists"), (str(folder / "b"), "bad_path")} == {(one[0], one[1].code) for one in found}


async def test_long_names(service: Service, client: Client, folder: Path) -> None:
    """Names that hardly fit in a request are asked about, and refused, in as many pages as it takes."""
    (service.root / "file").write_bytes(b"")
    [(local, _)] = make(folder, "a")
    long = "/".join(['"' * 200] * 18)
    names = [f"file/{number}/{long}" for number in range(60)]
    found = await client.check([(local, name) for name in names])
    assert [("a", "not_directory")] * 10 == told(found[:10])
    assert "and 50 more" == found[10].error.message
    names = [f"file/{number:0>85}" for number in range(MAX_CHECKED)]  # of which the refusals do not fit in one reply
    assert "and 502 more" == (await client.check([(local, name) for name in names]))[10].error.message


async def test_pages_do_not_wait_for_each_other(service: Service, folder: Path) -> None:
    """Once the first reply is here several more pages are asked about before the next one is."""
    files = make(folder, *(f"{number:05}" for number in range(5 * MAX_CHECKED)))
    async with proxied(service.port) as proxy, connected(proxy.address) as client:
        await client.check(files[:MAX_CHECKED])
        page, reply = proxy.up.count, proxy.down.count
        await client.check(files[:MAX_CHECKED])
        page, reply = proxy.up.count - page, proxy.down.count - reply
        proxy.down.hold_at = proxy.down.count + reply + 10
        end = proxy.up.count + 5 * page
        checking = asyncio.create_task(client.check(files))
        await soon(lambda: proxy.up.count >= end, "all pages are asked about after one reply")
        proxy.down.go.set()
        assert [] == await checking


async def test_refusals_that_fill_the_line(service: Service, client: Client, folder: Path) -> None:
    """Pages of which all is refused, with as many words as fit, keep nobody from reading and writing on."""
    [(local, _)] = make(folder, "a")
    (service.root / "file").write_bytes(b"")
    names = [f"file/{number:0>85}" for number in range(20 * MAX_CHECKED)]
    found = await client.check([(local, name) for name in names])
    assert f"and {len(names) - 10:,} more" == found[10].error.message
    await client.ping()


async def test_too_little_quota(users: Users, folder: Path) -> None:
    """What does not fit together is told in one line with the figures; what is replaced counts for it."""
    files = make(folder, "a", "b", "c", "d", size=400)
    async with users.client("guest", User(rights=["full"], quota="1300", quota_files=10)) as client:
        [(local, error)] = await client.check(files)
        assert (None, "no_space") == (local, error.code)
        assert "all together need 1.6 KiB, and of the quota of 1.3 KiB 1.3 KiB are free" == error.message
        for file in files[:2]:
            await client.put(*file)
        assert [] == await client.check(files[:2])
        assert [(None, "no_space")] == told(await client.check(files))
        many = make(folder, *map(str, range(9)), size=0)
        assert ["the quota is 10 files, and there are 2; 9 more are too many"] == [
            error.message for _, error in await client.check(many)
        ]
        result = await client.put_tree(folder, "tree", check=True)
    assert (0, True, {"no_space"}) == (result.files, result.is_ended, {error.code for error in result.errors})
    assert ["a", "b"] == users.service.published()


async def test_more_than_the_quota_at_once(users: Users, folder: Path) -> None:
    """A file for which there is no room by itself is told by itself, as `put` would tell it."""
    files = make(folder, "a", "b", size=400)
    async with users.client("guest", User(rights=["full"], quota="399")) as client:
        assert [("a", "no_space"), ("b", "no_space")] == told(await client.check(files))


async def test_rights(users: Users, folder: Path) -> None:
    """Where somebody may not write he is told so, as `put` would tell him; with no right at all, once."""
    files = make(folder, "pub/a", "in/b")
    async with users.client("guest", User(rights=["read-only"], paths={"in": ["full"]})) as client:
        assert [("a", "forbidden")] == told(await client.check(files))
        result = await client.put_tree(folder, "", check=True)
        assert (0, ["forbidden"]) == (result.files, [error.code for error in result.errors])
    async with users.client("reader", User(rights=["read-only"])) as client:
        assert [(None, "forbidden")] == told(await client.check(files))
    assert [] == users.service.published()


async def test_a_drop_box(users: Users, folder: Path) -> None:
    """Who may only bring files hears of a taken name, as from `put`, and of nothing else that is there."""
    files = make(folder, "a", "b")
    (users.service.root / "a").write_bytes(b"there")
    async with users.client("guest", User(rights=["upload-only"])) as client:
        assert [("a", "exists")] == told(await client.check(files))
        assert [] == await client.check(files, if_exists=IfExists.SKIP)


class Seen(NamedTuple):
    """What one reply says of a job."""

    size: int
    replaced: int
    new_files: int


async def test_names_that_may_be_replaced_and_not_be_seen(users: Users, folder: Path) -> None:
    """Whether such a name is taken, and by how much, is not told by what is counted."""
    [file] = make(folder, "a")
    (users.service.root / "taken").write_bytes(b"there")
    async with users.client("guest", User(rights=["write", "overwrite"])) as client:
        asked = []
        for name in ("taken", "free"):
            job = preflight.Preflight(IfExists.OVERWRITE)
            async with client._pool.connection() as connection:
                page = [preflight.Candidate(file[0], name, 10)]
                await job.ask(connection, page)
                await job.hear(connection, page)
            assert job.room is not None
            asked.append(Seen(job.room.size, job.room.replaced, job.room.new_files))
    assert [Seen(0, 0, 0)] * 2 == asked


async def test_a_server_that_only_reads(service: Service, folder: Path) -> None:
    """It is told once, not for each file."""
    await service.stop()
    await service.start(read_only=True)
    async with connected(service.address) as client:
        assert [(None, "read_only")] == told(await client.check(make(folder, "a", "b")))
        result = await client.put_tree(folder, check=True)
        assert ["read_only"] == [error.code for error in result.errors]
    await service.stop()


async def test_an_older_server(service: Service, client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not know the question has no objections, and takes what it takes."""
    monkeypatch.setattr("ftpd.requests.COMMANDS", {name: one for name, one in COMMANDS.items() if name != "check"})
    files = make(folder, *map(str, range(10)))
    (service.root / "tree").mkdir()
    (service.root / "tree/3").mkdir()
    assert [] == await client.check(files)
    result = await client.put_tree(folder, "tree", check=True)
    assert (9, ["is_directory"], False) == (result.files, [error.code for error in result.errors], result.is_ended)


async def test_an_upload_that_is_gone_on_with(users: Users, folder: Path) -> None:
    """What was begun has its space already: it is not asked for a second time."""
    [file, *others] = make(folder, "large", "b", size=2 * MIN_CHUNK)
    async with (
        proxied(users.service.port) as proxy,
        users.client("guest", User(rights=["full"], quota="40M"), proxy.address) as client,
    ):
        client._jobs = folder.parent / "jobs"
        proxy.up.hold_at = MIN_CHUNK + MIB
        uploading = asyncio.create_task(client.put(*file))
        await proxy.up.held.wait()
        await soon(lambda: has_sealed(users.service), "a chunk is verified")
        uploading.cancel()
        await asyncio.wait([uploading])
        proxy.up.hold_at = None
        proxy.up.go.set()
        await soon(lambda: not users.service.temporaries(), "the upload is put aside")
        assert [] == await client.check([file, *others])
        assert MIN_CHUNK <= (await client.put(*file)).resumed


def has_sealed(service: Service) -> bool:
    """Tell whether the journal of an upload speaks of a chunk."""
    journals = (service.root / ".ftpd" / "partial").glob("*.journal")
    return any(path.read_bytes().partition(b"\n")[2] for path in journals)


@pytest.mark.parametrize("is_far", [False, True])
async def test_a_folder_with_taken_names(
    service: Service, client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_far: bool
) -> None:
    """What is wrong with its first files is known before any is sent; on a long path some may be on their way."""
    monkeypatch.setattr(Channel, "is_far", property(lambda _: is_far))
    make(folder / "tree", *map(str, range(40)), "large", size=SMALL_FILE + 1 if is_far else 10)
    (service.root / "tree").mkdir()
    for number in range(1, 20):
        (service.root / "tree" / str(number)).write_bytes(b"there")
    result = await client.put_tree(folder / "tree", if_exists=IfExists.FAIL, check=True)
    assert result.is_ended
    assert {"exists"} == {error.code for error in result.errors}
    assert [10] == [error.count + 1 for error in result.errors if error.message.startswith("and ")]
    if not is_far:
        assert (0, 19) == (result.files, len(service.published()))
    await client.ping()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for little."""
    at = tmp_path / "disk"
    at.mkdir()
    with small_disk("tmpfs", tmp_path / "image", at, 11 * MIB):
        yield at


@only_root
@pytest.mark.root
async def test_too_little_space(disk: Path, folder: Path) -> None:
    """Files that do not fit on the disk together are refused together, also in a folder; those that fit are not."""
    service = Service(disk)
    await service.start()
    async with connected(service.address) as client:
        await _fill(service, client, folder)
    await service.stop()


async def _fill(service: Service, client: Client, folder: Path) -> None:
    files = make(folder, "a", "b", "c", "d", size=3 * MIB)
    [(local, error)] = await client.check(files)
    assert (None, "no_space") == (local, error.code)
    assert "all together need 12.0 MiB, and " in error.message
    result = await client.put_tree(folder, "tree", check=True)
    assert (0, ["no_space"]) == (result.files, [error.code for error in result.errors])
    assert [] == service.published()
    assert [] == await client.check(files[:2])
    for file in files[:2]:
        await client.put(*file)
    assert [] == await client.check(files[:2])


async def test_a_folder_that_turns_out_to_be_too_large(
    users: Users, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up as soon as what was found does not fit, long before the room is used up; what is stored stays."""
    monkeypatch.setattr(preflight, "FIRST_FILES", 2)
    is_looking = False
    going_on = asyncio.Event()
    put_all = LocalStore.put_all

    async def slowly(self: LocalStore, files: object) -> object:
        if is_looking:
            await going_on.wait()
        return await put_all(self, files)  # type: ignore[arg-type] # passed on as it came

    monkeypatch.setattr(LocalStore, "put_all", slowly)
    make(folder / "tree", *(f"{number % 7}/{number}" for number in range(2600)), size=1000)
    async with users.client("guest", User(rights=["full"], quota="2M")) as client:
        go_on = preflight.Scout.go_on

        async def looked(self: preflight.Scout, *args: object) -> object:
            nonlocal is_looking
            is_looking = True
            found = await go_on(self, *args)  # type: ignore[arg-type] # passed on as it came
            going_on.set()
            return found

        monkeypatch.setattr(preflight.Scout, "go_on", looked)
        result = await client.put_tree(folder / "tree", check=True)
    assert result.is_ended
    [error] = result.errors
    assert "of the quota of 1.9 MiB " in error.message
    assert 0 < result.files < 2000
    assert 2600 == result.files + result.not_sent
    assert result.files == len(users.service.published())


async def test_a_folder_that_is_there_already(users: Users, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder larger than what is left of the quota is sent once more with other content: it replaces itself."""
    monkeypatch.setattr(preflight, "FIRST_FILES", 2)
    async with users.client("guest", User(rights=["full"], quota="2M")) as client:
        for size in (1000, 1001):
            make(folder / "tree", *(f"{number % 7}/{number}" for number in range(1500)), size=size)
            result = await client.put_tree(folder / "tree", check=True)
            assert (1500, [], False) == (result.files, result.errors, result.is_ended)


def test_the_command_line(caller: Caller, ftpc: Ftpc) -> None:
    """One line for each file, the exit status of the refusal, and nothing is stored, with several files or a folder."""
    names = [f"f{number:02}" for number in range(15)]
    for name in names:
        ftpc.write(name)
        ftpc.write(f"tree/{name}")
    for name in names[:12]:
        ftpc.serve(name, b"there")
        ftpc.serve(f"tree/{name}", b"there")
    before = sorted(path for path in ftpc.remote.rglob("*"))
    for arguments in (names, ["-r", "tree"]):
        result = caller.run("put", *arguments, "--if-exists", "fail")
        lines = [line for line in result.err.splitlines() if "taken" in line or " more" in line]
        assert (7, 11, "ftpc: and 2 more") == (result.status, len(lines), lines[-1])
        assert "" == result.out
        result = caller.run("put", *arguments, "--if-exists", "fail", "--json")
        errors = [one["error"] for one in result.objects if one["event"] == "error"]
        assert ["exists"] * 11 == [error["code"] for error in errors]
        assert 2 == errors[-1]["more"]
        summary = result.objects[-1]
        assert ("summary", 0, 12, False) == tuple(summary[key] for key in ("event", "files", "failed", "verified"))
    assert before == sorted(path for path in ftpc.remote.rglob("*"))
    assert 0 == caller.run("put", *names).status
    assert (ftpc.remote / "f00").read_bytes() == b"content"


def test_the_reasons_come_before_the_end(ftpc: Ftpc) -> None:
    """A folder that is refused says why before it says that it is given up, and that not all of it was looked at."""
    for number in range(3):
        ftpc.write(f"tree/{number}")
    assert 0 == ftpc.run("put", "-r", "tree").status
    done = ftpc.run("put", "-r", "tree", "--if-exists", "fail")
    *reasons, end, _ = done.err.splitlines()
    assert (7, 3) == (done.status, sum("the name is taken" in line for line in reasons)), done.err
    assert end.startswith("tree: given up for that, without a look at the rest; nothing was sent")


def test_how_many_were_not_sent(caller: Caller, ftpc: Ftpc) -> None:
    """Of a folder that is refused after a look at its first files, the others count as not sent, and not as failed."""
    for number in range(FIRST + 30):
        ftpc.write(f"tree/{number % 3}/{number}")
    (ftpc.folder / "tree" / "empty").mkdir()
    (ftpc.folder / "tree" / "link").symlink_to("0")
    assert 0 == caller.run("put", "-r", "tree").status
    again = ("put", "-r", "tree", "--if-exists", "fail")
    result = caller.run(*again)
    assert (7, True) == (result.status, result.err.endswith(f", but {FIRST} failed and 30 were not sent\n")), result.err
    summary = caller.run(*again, "--json").objects[-1]
    assert (0, FIRST, 30) == tuple(summary[key] for key in ("files", "failed", "not_sent"))


def test_a_name_that_can_not_be(ftpc: Ftpc) -> None:
    """A file that no server can have under its name is told once by that name, with what helps."""
    ftpc.write("tree/tab\tx")
    ftpc.write("tree/good")
    done = ftpc.run("put", "-r", "tree")
    assert "ftpc: tree/tab\\tx: the name has a control character; rename it\n" in done.err
    assert (2, ["good"]) == (done.status, names_in(ftpc.remote / "tree"))
