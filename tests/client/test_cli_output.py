"""What the command line prints: data on standard output, talk on standard error, JSON for programs."""

import os
import re
import subprocess

import pytest

from ftpc.cli.df import quota_lines
from ftpc.cli.jobs import Outcome, run_job
from ftpc.cli.terminal import Terminal
from ftpc.errors import RefusedError
from ftpc.ui.base import Display
from ftpd.wire.replies import Disk
from tests.client.command import Ftpc
from tests.client.support import MIB, content

SUMMARY = re.compile(r"(\d+ files?), ([\d.]+ \w+) in ([\d.]+ s) \(([\d.]+ \w+/s)\)((?:, \d+ \w+)*), verified\n")


def test_files_go_up_and_come_back(ftpc: Ftpc) -> None:
    """Several files go up into a folder and come back into another; each command says files, bytes, time and rate."""
    for name, size in (("a b.txt", 5), ("-x", 0), ("big", 9 * MIB)):
        ftpc.write(name, content(size))
    put = ftpc.run("put", "--to", "in/side", "--", "a b.txt", "-x", "big")
    assert (0, "") == (put.status, put.out)
    found = SUMMARY.fullmatch(put.err)
    assert found is not None, put.err
    assert ("3 files", "9.0 MiB", "") == (found[1], found[2], found[5])
    got = ftpc.run("get", "in/side/a b.txt", "in/side/-x", "in/side/big", "-o", "out/deep")
    assert (0, "") == (got.status, got.out)
    assert SUMMARY.fullmatch(got.err), got.err
    for name in ("a b.txt", "-x", "big"):
        data = (ftpc.folder / name).read_bytes()
        assert data == (ftpc.remote / "in/side" / name).read_bytes() == (ftpc.folder / "out/deep" / name).read_bytes()


def test_one_file_under_another_name(ftpc: Ftpc) -> None:
    """`--as` and `-o` name the one file, and the aliases of the verbs work."""
    ftpc.write("a")
    assert 0 == ftpc.run("upload", "a", "--as", "x/y").status
    assert 0 == ftpc.run("download", "x/y", "-o", "b").status
    assert b"content" == (ftpc.folder / "b").read_bytes()


def test_streams(ftpc: Ftpc) -> None:
    """Standard input goes up and standard output gets the bytes, one file after the other, and nothing else."""
    data = content(9 * MIB)
    assert 0 == ftpc.run("put", "-", "--as", "s", stdin=data).status
    assert data == (ftpc.remote / "s").read_bytes()
    ftpc.serve("t", b"tail")
    both = ftpc.shell("$ftpc get s t -o - | md5sum")
    assert hash_of(ftpc, data + b"tail") == both.out.split()[0]
    assert SUMMARY.fullmatch(both.err), both.err


def hash_of(ftpc: Ftpc, data: bytes) -> str:
    """Let md5sum say what the digest is."""
    done = subprocess.run(["md5sum"], input=data, capture_output=True, check=True)
    return done.stdout.decode().split()[0]


def test_input_that_is_no_pipe(ftpc: Ftpc) -> None:
    """Standard input may be a file or /dev/null, and that it is closed is said in one line."""
    ftpc.write("a", b"0123456789")
    assert 0 == ftpc.shell("$ftpc put - --as file < a").status
    assert b"0123456789" == (ftpc.remote / "file").read_bytes()
    null = ftpc.shell("$ftpc put - --as null < /dev/null")
    assert (0, b"") == (null.status, (ftpc.remote / "null").read_bytes()), null.err


@pytest.mark.parametrize("command", ["put - --as x <&-", "ls >&-", "ls > /dev/full", "md5 a > /dev/full"])
def test_standard_streams_that_are_closed_or_full(ftpc: Ftpc, command: str) -> None:
    """A standard stream that can not be used is no traceback, and not a success if something is lost by it."""
    ftpc.serve("a")
    result = ftpc.shell(f"$ftpc {command}")
    assert result.err.count("\n") <= 2
    assert 0 != result.status or "ls >&-" == command


def test_ls(ftpc: Ftpc) -> None:
    """Names are sorted, one per line; `-l` adds mode, size and time in columns, `-h` sizes for people."""
    assert (0, "", "") == ftpc.run("ls")
    for name, size in (("b", 5), ("a", 2048), ("ü", 0)):
        path = ftpc.serve(name, bytes(size))
        path.chmod(0o640)
        os.utime(path, (0, 86400))
    (ftpc.remote / "dir").mkdir()
    assert (0, "a\nb\ndir\nü\n", "") == ftpc.run("ls")
    long = ftpc.run("ls", "-l").out.splitlines()
    assert ["-rw-r-----  2048  1970-01-02 00:00:00  a", "-rw-r-----     5  1970-01-02 00:00:00  b"] == long[:2]
    assert long[2].startswith("drwxr-xr-x  ")
    assert "-rw-r-----  2.0 KiB  1970-01-02 00:00:00  a" == ftpc.run("list", "-lh", "a").out.strip()


def test_stat_sum_and_ping(ftpc: Ftpc) -> None:
    """The questions print what they found, one thing per line."""
    ftpc.serve("a", b"abc")
    stat = ftpc.run("stat", "a")
    assert (0, "") == (stat.status, stat.err)
    assert ["name  a", "type  file", "size  3 (3 B)"] == stat.out.splitlines()[:3]
    assert ["time", "mode", "root"] == [line[:4] for line in stat.out.splitlines()[3:]]
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (0, f"{digest}  a\n", "") == ftpc.run("sum", "a")
    assert "6437b3ac" == ftpc.run("sum", "--algo", "blake3", "a").out[:8]
    ping = ftpc.run("ping")
    assert re.fullmatch(r"127\.0\.0\.1:\d+ ftpd/\S+: [\d.]+ ms, durability none\n", ping.out), ping.out


def test_json_of_questions(ftpc: Ftpc) -> None:
    """With --json every question prints one object, with the version of the format."""
    ftpc.serve("a", b"abc")
    expected = {
        ("ls",): {"path", "entries"},
        ("stat", "a"): {"path", "type", "size", "mtime", "mode", "root"},
        ("md5", "a"): {"path", "algo", "digest"},
        ("sum", "a"): {"path", "algo", "digest"},
        ("ping",): {"server", "version", "address", "seconds", "durability", "read_only", "features"},
    }
    for command, keys in expected.items():
        result = ftpc.run(*command, "--json")
        [found] = result.objects
        assert (0, "", 1, keys) == (result.status, result.err, found.pop("schema"), {*found}), command
    [listing] = ftpc.run("ls", "--json").objects
    [entry] = listing["entries"]
    assert ("a", "file", 3, 0o644) == (entry["name"], entry["type"], entry["size"], entry["mode"])


def test_json_of_transfers(ftpc: Ftpc) -> None:
    """With --json a transfer prints an object per event and one for the sum, errors included."""
    ftpc.write("a", content(9 * MIB))
    os.mkfifo(ftpc.folder / "fifo")
    put = ftpc.run("put", "a", "fifo", "--json", "-q")
    assert 4 == put.status
    assert {1} == {found["schema"] for found in put.objects}
    events = [found["event"] for found in put.objects]
    assert (["error", "start"], "summary") == (events[:2], events[-1])  # what can not be read is told first
    assert {"start", "progress", "done", "error"} == {*events[:-1]}
    [done] = [found for found in put.objects if found["event"] == "done"]
    assert ("a", 9 * MIB, False) == (done["local"], done["size"], done["skipped"])
    [error] = [found for found in put.objects if found["event"] == "error"]
    assert "local_io" == error["error"]["code"]
    summary = put.objects[-1]
    assert (1, 0, 1, 9 * MIB, False) == tuple(
        summary[key] for key in ("files", "skipped", "failed", "bytes", "verified")
    )
    for progress in (found for found in put.objects if found["event"] == "progress"):
        assert progress["done"] <= progress["size"] == 9 * MIB
        assert progress["phase"] in {"sending", "committing"}
    get = ftpc.run("get", done["remote"].partition("/")[2], "-o", "b", "--json", "-q")
    [done] = [found for found in get.objects if found["event"] == "done"]
    assert ("b", 9 * MIB, True) == (done["local"], done["size"], get.objects[-1]["verified"])


def test_quiet(ftpc: Ftpc) -> None:
    """With -q nothing is said but errors."""
    ftpc.write("a")
    assert (0, "", "") == ftpc.run("put", "-q", "a")
    assert (0, "", "") == ftpc.run("-q", "get", "a", "-o", "b")
    missing = ftpc.run("get", "-q", "no")
    assert (3, "", 1) == (missing.status, missing.out, missing.err.count("\n"))


def test_skipped_and_renamed(ftpc: Ftpc) -> None:
    """What is not stored, or not under its name, is said."""
    ftpc.write("a")
    ftpc.serve("a", b"old")
    skipped = ftpc.run("put", "a", "--if-exists", "skip")
    assert (0, True, True) == (skipped.status, "a: skipped" in skipped.err, "0 files" in skipped.err), skipped.err
    assert "1 skipped" in skipped.err
    renamed = ftpc.run("put", "a", "--if-exists", "rename")
    assert (0, True) == (renamed.status, "a (1)" in renamed.err), renamed.err


def test_a_reader_that_has_enough(ftpc: Ftpc) -> None:
    """A pipe that is closed early ends the command quietly, as it does others."""
    for number in range(900):  # more than a pipe holds
        ftpc.serve(f"{number:03}{'x' * 200}", b"")
    listing = ftpc.shell("$ftpc ls | head -1; echo ${PIPESTATUS[0]}")
    assert ("141", "") == (listing.out.splitlines()[-1], listing.err)
    ftpc.serve("big", bytes(9 * MIB))
    got = ftpc.shell("$ftpc get big -o - | head -c 1 > /dev/null; echo ${PIPESTATUS[0]}")
    assert ("141\n", "") == (got.out, got.err)


@pytest.mark.parametrize("code", ["no_space", "forbidden"])
async def test_refusals_of_one_of_many_name_it(capsys: pytest.CaptureFixture[str], code: str) -> None:
    """A refusal that does not say which file it is about does so when there are several, once, and not of one alone."""

    async def put(task: str, display: Display) -> Outcome:
        if task == "tree":
            return Outcome(errors=[("tree/c", RefusedError(code, "no", {})), (None, RefusedError(code, "all", {}))])
        raise RefusedError(code, "data/b: no" if task == "b" else "no", {})

    await run_job(["a", "b", "tree"], put, 1, Terminal(), Display())
    said = capsys.readouterr().err.splitlines()
    assert ["ftpc: a: no", "ftpc: data/b: no", "ftpc: tree/c: no", "ftpc: all"] == said[:4]
    await run_job(["a"], put, 1, Terminal(), Display())
    assert ["ftpc: no"] == capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("files", "quota_files", "line"),
    [(0, 1, "quota: 0 of 1 file"), (1, 10, "quota: 1 of 10 files"), (5003, 10_000, "quota: 5,003 of 10,000 files")],
)
def test_quota_of_files(files: int, quota_files: int, line: str) -> None:
    """A quota of files is written as one says it."""
    assert [line] == quota_lines(Disk(total=1, free=1, files=files, quota_files=quota_files))
