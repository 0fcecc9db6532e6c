"""Small files that are named one by one come down together, and all is told of each as if it went alone."""

import asyncio
import os
from pathlib import Path

import pytest

from ftpc import Client, RefusedError, RemoteNameError, TreeFile
from ftpd.wire.limits import PAGE_ENTRIES, SMALL_FILE
from tests.client.command import Caller, Ftpc
from tests.client.proxy import Proxy
from tests.client.support import MIB, Recorder, Service, connected, content, hidden
from tests.client.test_named import COUNT, Counted, bytes_of, names, through
from tests.client.test_trees import all_in, make


def pairs(files: object, folder: Path) -> list[tuple[str, str]]:
    """Give the names of files on the server, and what they are to become here."""
    assert isinstance(files, (list, dict))
    return [(name, str(folder / name)) for name in files]


def test_few_round_trips(ftpc: Ftpc) -> None:
    """A thousand files cost a few round trips, and no more the second time, when they are here."""
    make(ftpc.folder / "source", {name: bytes_of(name) for name in names()})
    assert 0 == ftpc.run("put", "-r", "source/", "--as", ".").status  # so that the server knows what they are
    counted = Counted(int(ftpc.server.rpartition(":")[2].partition("/")[0]))
    with counted.running() as proxy:
        for expected in ("1,000 files", "1,000 the same already"):
            before = proxy.up.turns
            done = ftpc.run("get", *names(), "-o", "here", env={"FTPC_SERVER": through(ftpc, proxy)})
            assert (0, True) == (done.status, expected in done.err), done.err
            assert proxy.up.turns - before < 50
    assert {name: bytes_of(name) for name in names()} == all_in(ftpc.folder / "here")


async def test_files_of_all_sizes(service: Service, client: Client, folder: Path) -> None:
    """Small and large files arrive as they are, in folders of any depth, which are made; each is reported once."""
    sizes = (0, 1, SMALL_FILE, SMALL_FILE + 1, 9 * MIB)
    files = {f"{'in/' * number}{size}": content(size) for number, size in enumerate(sizes)}
    make(service.root, files)
    told: list[TreeFile] = []
    result = await client.get_many(pairs(files, folder / "x"), report=told.append)
    assert files == all_in(folder / "x")
    assert (len(sizes), sum(sizes), []) == (result.files, result.size, result.errors)
    assert sorted(files) == sorted(file.remote for file in told)
    assert all(int((service.root / file.remote).stat().st_mtime) == int(file.mtime or 0) for file in told)


async def test_from_a_folder_of_the_server(service: Service, folder: Path) -> None:
    """Names are relative to the folder of the address, those of large files too."""
    files = {"a": b"a", "x/b": content(SMALL_FILE + 1)}
    make(service.root / "inner/most", files)
    async with connected(f"ftpd://{service.address}/inner/most") as client:
        await client.get_many(pairs(files, folder / "here"))
    assert files == all_in(folder / "here")


async def test_more_than_are_looked_at_once(service: Service, client: Client, folder: Path) -> None:
    """However many are named, each comes once; those that are here and another in their turn."""
    files = {name: bytes_of(name) for name in names(3 * PAGE_ENTRIES + 7)}
    make(service.root, files)
    make(folder / "here", {name: data[::-1] for name, data in list(files.items())[::2]})
    told: list[str] = []
    result = await client.get_many(pairs(files, folder / "here"), report=lambda file: told.append(file.remote))
    assert (len(files), 0, []) == (result.files, result.skipped, result.errors)
    assert sorted(files) == sorted(told)
    assert files == all_in(folder / "here")


async def test_one_that_fails_costs_no_other(service: Service, client: Client, folder: Path) -> None:
    """What is not there, no name, a folder there or here, and a place that can not be are an error each."""
    make(service.root, {name: name.encode() for name in ("a", "b", "c", "taken")})
    (service.root / "folder").mkdir()
    make(folder, {"file": b"mine"})
    (folder / "taken").mkdir()
    wanted = {"a": "a", "no": "no", "../x": "x", "folder": "folder", "taken": "taken", "b": "file/b", "c": "c"}
    told: dict[str, TreeFile] = {}
    result = await client.get_many(
        [(remote, str(folder / local)) for remote, local in wanted.items()],
        report=lambda file: told.update({file.remote: file}),
    )
    errors = {remote: getattr(file.error, "code", None) for remote, file in told.items()}
    assert {
        "a": None,
        "no": "not_found",
        "../x": RemoteNameError.code,
        "folder": "is_directory",
        "taken": "local_io",
        "b": "local_io",
        "c": None,
    } == errors
    assert (2, 5) == (result.files, len(result.errors))
    assert {"a": b"a", "c": b"c", "file": b"mine"} == all_in(folder)
    assert [] == hidden(folder)


async def test_many_that_can_not_be_put_anywhere(service: Service, client: Client, folder: Path) -> None:
    """Files after those of which not one has a place come nevertheless, however many these are."""
    make(service.root, {"a": b"a"})
    make(folder, {"file": b"mine"})
    bad = [("a", str(folder / "file" / name)) for name in names(3 * PAGE_ENTRIES)]
    told: list[TreeFile] = []
    result = await client.get_many([*bad, ("a", str(folder / "a"))], report=told.append)
    assert (1, len(bad), len(bad) + 1) == (result.files, len(result.errors), len(told))
    assert {"a": b"a", "file": b"mine"} == all_in(folder)


@pytest.mark.parametrize("place", [5000, 100_000])
async def test_a_cut_is_mended(service: Service, proxy: Proxy, folder: Path, place: int) -> None:
    """After a lost connection the rest comes over another; every file is here, and reported once."""
    files = {name: bytes_of(name) for name in names()}
    make(service.root, files)
    proxy.down.cut_at = place
    mend = Recorder(lambda moment: setattr(proxy.down, "cut_at", None) if moment.phase.startswith("conn") else None)
    told: list[TreeFile] = []
    async with connected(proxy.address, retries=3) as client:
        result = await client.get_many(pairs(files, folder / "here"), progress=mend, report=told.append)
    assert files == all_in(folder / "here")
    assert (COUNT, COUNT) == (result.files, len(told))


@pytest.mark.parametrize("kind", ["named", "tree"])
async def test_damage_is_mended(service: Service, proxy: Proxy, folder: Path, kind: str) -> None:
    """A file of which a bit flips on its way is fetched again by itself, one of a folder too."""
    files = {f"{number:02}": content(1000, number) for number in range(30)}
    make(folder / "source", files)
    async with connected(proxy.address, retries=3) as client:
        await client.put_tree(folder / "source", "tree")  # so that the server knows what they are
        proxy.down.flip_at = proxy.down.count + 20_000
        if kind == "tree":
            result = await client.get_tree("tree", folder / "tree")
        else:
            result = await client.get_many(pairs([f"tree/{name}" for name in files], folder))
    assert (30, []) == (result.files, result.errors)
    assert files == all_in(folder / "tree")


async def test_a_large_one_that_is_left_goes_on(service: Service, proxy: Proxy, folder: Path) -> None:
    """A large file that was broken off goes on with the same call in another client, and says so."""
    data = content(40 * MIB)
    make(folder / "source", {"a": b"a", "large": data})
    async with connected(service.address) as client:
        await client.put_tree(folder / "source", "")  # so that the server knows what they are
    wanted = pairs(["a", "large"], folder / "here")
    proxy.down.cut_at = 30 * MIB
    async with connected(proxy.address, jobs=folder / "jobs", retries=0) as client:
        assert 1 == len((await client.get_many(wanted)).errors)
    told: list[TreeFile] = []
    proxy.down.cut_at = None
    async with connected(proxy.address, jobs=folder / "jobs") as client:
        result = await client.get_many(wanted, report=told.append)
    [large] = [file for file in told if file.remote == "large"]
    assert (0, 1, 1, True) == (len(result.errors), result.files, result.identical, large.resumed >= 8 * MIB)
    assert {"a": b"a", "large": data} == all_in(folder / "here")


async def test_a_download_is_cancelled(service: Service, client: Client, folder: Path) -> None:
    """Files that are given up are whole or not here, none is hidden, and the client can be used."""
    files = {name: bytes_of(name) for name in names()}
    make(service.root, files)
    begun = asyncio.Event()
    getting = asyncio.create_task(client.get_many(pairs(files, folder / "here"), report=lambda _: begun.set()))
    await begun.wait()
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    assert all_in(folder / "here").items() <= files.items()
    assert [] == hidden(folder / "here")
    await client.ping()


def test_what_is_mixed(ftpc: Ftpc) -> None:
    """With -r files and folders come together, each to its name; without it a folder is an error that says so."""
    files = {"a": b"a", "large": content(SMALL_FILE + 1), "tree/c": b"c", "tree/d/e": b"e", "other/f": b"f"}
    make(ftpc.remote, files)
    done = ftpc.run("get", "-r", "--json", "a", "tree/", "large", "no", "other", "-o", "here")
    assert files == all_in(ftpc.folder / "here")
    assert (3, [("no", "not_found")]) == (
        done.status,
        [(one["name"], one["error"]["code"]) for one in done.objects if one["event"] == "error"],
    )
    assert (5, 1, SMALL_FILE + 5) == tuple(done.objects[-1][key] for key in ("files", "failed", "bytes"))
    plain = ftpc.run("get", "a", "tree", "-o", "plain")
    assert (7, True) == (plain.status, "tree: it is a folder; get -r fetches folders" in plain.err), plain.err
    assert {"a": b"a"} == all_in(ftpc.folder / "plain")
    hint = ftpc.run("get", "a", "*.jpg", "-o", "plain")
    assert (3, True) == (hint.status, "there are no patterns on the server" in hint.err)


def test_what_is_mixed_again(ftpc: Ftpc) -> None:
    """The same command with -r goes on in the folders that are here, and says what can not become one."""
    files = {"a": b"a", "tree/c": b"c", "other/d": b"d", ".../e": b"e"}
    make(ftpc.remote, {**files, "dots/...": b"f", "file": b"f"})
    command = ("get", "-r", "a", "tree", "other/", "...", "-o", "here", "--json")
    for missing in (4, 0, 1):
        if missing == 1:
            (ftpc.folder / "here/tree/c").unlink()
        done = ftpc.run(*command)
        assert (0, missing, 0) == (done.status, done.objects[-1]["files"], done.objects[-1]["failed"]), done.err
        assert files == all_in(ftpc.folder / "here")
    make(ftpc.folder / "here", {"file/f": b"mine"})
    for large in (b"mine", content(SMALL_FILE + 1)):
        make(ftpc.folder / "here", {"dots": large})
        mixed = ftpc.run("get", "-r", "a", "file", "dots", "-o", "here")
        assert (4, True) == (mixed.status, "1 the same already" in mixed.err), mixed.err
        assert "here/file: it is a folder; get -r fetches folders" in mixed.err
        assert "here/dots: this has to be a folder, for files to go into" in mixed.err
    assert 0 == ftpc.run("get", "-r", "a", "dots/...").status
    assert {"a": b"a", "...": b"f"} == {name: (ftpc.folder / name).read_bytes() for name in ("a", "...")}


def test_the_whole_of_it_and_a_file(ftpc: Ftpc) -> None:
    """Of several names one may be the folder of the address."""
    make(ftpc.remote, {"a": b"a", "x/b": b"b"})
    assert 0 == ftpc.run("get", "-r", ".", "x/b", "-o", "here").status
    assert {"a": b"a", "x/b": b"b", "b": b"b"} == all_in(ftpc.folder / "here")


def test_one_connection_is_enough(ftpc: Ftpc) -> None:
    """Large files come among small ones with --jobs 1."""
    files = {"a": b"a", "b": content(SMALL_FILE + 1), "c": content(SMALL_FILE + 2), "d": b"d"}
    make(ftpc.remote, files)
    done = ftpc.run("get", "--jobs", "1", *files, "-o", "here")
    assert (0, files) == (done.status, all_in(ftpc.folder / "here")), done.err


def test_events(ftpc: Ftpc) -> None:
    """Each file has one `start` with its size, and then a `done` with the keys of a file that goes alone."""
    files = {name: name.encode() for name in ("a", "bb", "ccc")}
    make(ftpc.remote, files)
    [expected] = [one for one in ftpc.run("get", "a", "--json").objects if "done" == one["event"]]
    together = ftpc.run("get", *files, "--json", "-o", "here").objects
    for name in files:
        [start] = [
            one for one in together if ("start", f"{ftpc.remote.name}/{name}") == (one["event"], one.get("name"))
        ]
        [done] = [one for one in together if ("done", name) == (one["event"], one.get("remote"))]
        assert together.index(start) < together.index(done)
        mtime = (ftpc.remote / name).stat().st_mtime
        assert {**expected, "remote": name, "local": f"here/{name}", "size": len(name), "mtime": mtime} == done
        assert len(name) == start["size"]
    assert 3 == sum("start" == one["event"] for one in together)


def test_times_and_modes(ftpc: Ftpc) -> None:
    """With -p they come along."""
    for name in "ab":
        os.utime(ftpc.serve(name), ns=(1, 1_234_567_890_123_456_789))
        (ftpc.remote / name).chmod(0o640)
    assert 0 == ftpc.run("get", "-p", "a", "b").status
    for name in "ab":
        found = (ftpc.folder / name).stat()
        assert (1_234_567_890_123_456_789, 0o640) == (found.st_mtime_ns, found.st_mode & 0o777)


def test_a_server_that_goes(ftpc: Ftpc) -> None:
    """Files that a lost connection has kept from arriving are errors by their names; the same command goes on."""
    make(ftpc.folder / "source", {name: bytes_of(name) for name in names()})
    assert 0 == ftpc.run("put", "-r", "source/", "--as", ".").status  # so that the server knows what they are
    counted = Counted(int(ftpc.server.rpartition(":")[2].partition("/")[0]))
    with counted.running() as proxy:
        proxy.down.cut_at = 200_000
        done = ftpc.run("get", *names(), "--json", "--retries", "0", env={"FTPC_SERVER": through(ftpc, proxy)})
    stored = {one["remote"] for one in done.objects if "done" == one["event"]}
    failed = {one["name"] for one in done.objects if "error" == one["event"]}
    assert (5, COUNT, {*names()}) == (done.status, len(stored) + len(failed), stored | failed)
    assert failed
    assert (len(stored), len(failed)) == (done.objects[-1]["files"], done.objects[-1]["failed"])
    assert f"{len(stored):,} of 1,000 files are stored; give the same command again to go on" in done.err
    again = ftpc.run("get", *names(), "--json").objects[-1]
    assert (len(failed), len(stored)) == (again["files"], again["identical"])


def test_a_name_that_is_a_folder_here(ftpc: Ftpc, caller: Caller) -> None:
    """A place that a file can not take is an error of that file, and what is there stays."""
    make(ftpc.remote, {"a": b"a", "b": b"b"})
    (ftpc.folder / "a").mkdir()
    done = caller.run("get", "a", "b")
    assert (4, True) == (done.status, "a: it is a folder; get -r fetches folders" in done.err), done.err
    assert {"b": b"b"} == all_in(ftpc.folder)


async def test_a_refusal_is_not_kept_for_others(service: Service, client: Client, folder: Path) -> None:
    """Thousands of names that are not there are as many errors, and nothing else."""
    result = await client.get_many(pairs(names(3000), folder / "here"))
    assert 3000 == len(result.errors)
    assert {RefusedError} == {type(error) for error in result.errors}
    assert [] == service.published()
