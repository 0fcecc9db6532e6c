"""Exit statuses, wrong usage, and where the server is said to be."""

import asyncio
import os
import socket
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from ftpc.cli import VALUED, VERBS, main
from tests.client.command import Caller, Ftpc, Result, command
from tests.client.scripted import CONTENT, GREETING, read_request, refusal, scripted
from tests.client.support import MIB, PATIENCE_S, content, names_in
from tests.peer import ServerProcess, frame


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["get", "no"], 3, "no"),
        (["put", "no"], 3, "no"),
        (["ls", "no"], 3, "no"),
        (["put", "folder"], 4, "folder"),
        (["put", "fifo"], 4, "regular"),
        (["put", "a" * 300, "--as", "x"], 4, "long"),
        (["get", "a", "-o", "a" * 300], 4, "long"),
        (["get", "a", "b", "-o", "here"], 4, "folder"),
        (["get", "a", "-o", "here/x"], 3, "here/x"),
        (["put", "here", "--as", "a", "--if-exists", "fail"], 7, "taken"),
        (["put", "here", "--as", "dir"], 7, "folder"),
        (["put", "here", "--as", "a/b"], 7, "folder"),
        (["get", "dir"], 7, "get -r"),
        (["get", "pipe"], 7, "regular"),
        (["get", "link"], 6, "symbolic"),
        (["get", "../x"], 2, ".."),
        (["put", "here", "--as", "x\x1b[2Jy"], 2, "control"),
        (["get", "no", "dir"], 1, "2 failed"),
        (["put", "here", "--as", "y/"], 2, "--as y/: that is no name of a file; --to"),
        (["get", "."], 2, ". is no remote file; -o . says where"),
        (["get", "a", "./"], 2, "./ is no remote file; -o ./ says where"),
        (["get", "dir/*"], 3, "there are no patterns on the server; get -r FOLDER fetches a folder"),
        (["get", "-r", "di?"], 3, "there are no patterns on the server; get -r FOLDER fetches a folder"),
        (["ls", "[a-z]*"], 3, "there are no patterns on the server; get -r FOLDER fetches a folder"),
        (["get", "same"], 4, "same: it is a folder; get -r fetches folders"),
        (["get", "-r", "same", "-o", "here"], 4, "here: this has to be a folder"),
        (["put", "-r", ""], 2, "ftpc put: a name is empty;"),
        (["ls", "a", "dir"], 2, "ftpc ls: dir: more names than it takes;"),
        (["ls", "--server", "nohost.invalid"], 5, "can not connect to nohost.invalid:9527: "),
        (["get", "a", "dir/a", "-o", "out"], 2, "a"),
        (["put", "here", "folder/../here"], 2, "here"),
        (["get", "a", "no", "-o", "out"], 3, "1 file"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_status(ftpc: Ftpc, caller: Caller, arguments: list[str], status: int, word: str) -> None:
    """What went wrong can be told by the exit status, and by a line that says it without escape sequences."""
    ftpc.write("here")
    (ftpc.folder / "folder").mkdir()
    os.mkfifo(ftpc.folder / "fifo")
    ftpc.serve("a")
    (ftpc.remote / "dir").mkdir()
    (ftpc.folder / "same").mkdir()
    (ftpc.remote / "same").mkdir()
    os.mkfifo(ftpc.remote / "pipe")
    (ftpc.remote / "link").symlink_to("a")
    result = caller.run(*arguments)
    assert (status, "") == (result.status, result.out), result.err
    assert word in result.err
    assert result.err.replace("\n", "").isprintable()


def test_nobody_answers(ftpc: Ftpc) -> None:
    """No server is status 5: running again makes sense."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        result = ftpc.run("ls", env={"FTPC_SERVER": address})
    assert (5, 1) == (result.status, result.err.count("\n"))
    assert address in result.err


@pytest.mark.parametrize(
    "arguments",
    [["a", "b", "-o", "new"], ["a", "-o", "new/in/new/"], ["-r", "dir", "-o", "new"], ["-r", "dir", "a", "-o", "new"]],
    ids=" ".join,
)
def test_no_folder_is_made_for_nothing(ftpc: Ftpc, caller: Caller, arguments: list[str]) -> None:
    """Where no server answers, and where it has none of the names, no empty folder is left, but one that was there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nowhere = f"127.0.0.1:{bound.getsockname()[1]}"
        assert (5, []) == (caller.run("get", *arguments, "--server", nowhere).status, names_in(ftpc.folder))
        assert (3, []) == (caller.run("get", *arguments).status, names_in(ftpc.folder))
        (ftpc.folder / "new").mkdir()
        assert (5, ["new"]) == (caller.run("get", *arguments, "--server", nowhere).status, names_in(ftpc.folder))
    assert [] == names_in(ftpc.folder / "new")


@pytest.mark.parametrize("target", ["n" * 300, "new/in/" + "n" * 300], ids=["name", "path"])
def test_a_folder_that_can_not_be_made(ftpc: Ftpc, caller: Caller, target: str) -> None:
    """It is named, with the reason, and none of those it would have been in is left."""
    result = caller.run("get", "a", "b", "-o", target)
    assert (4, f"ftpc: {target}: ") == (result.status, result.err[: len(target) + 8])
    assert "File name too long" in result.err
    assert [] == names_in(ftpc.folder)


def test_an_empty_folder_may_be_what_was_asked_for(ftpc: Ftpc, caller: Caller) -> None:
    """A folder into which nothing came is kept if there was nothing."""
    assert (0, ["new"]) == (caller.run("get", "-r", ".", "-o", "new/").status, names_in(ftpc.folder))


@pytest.mark.parametrize(
    "arguments",
    [
        ["a", "b", "-o", "plain"],
        ["a", "-o", "plain/"],
        ["a", "b", "-o", "plain/x"],
        ["-r", "dir", "-o", "plain"],
        ["-r", "dir", "-o", "plain/x/y"],
        ["-r", "a", "dir", "-o", "plain"],
        ["a", "b", "-o", "nowhere"],
    ],
    ids=" ".join,
)
def test_what_is_in_the_way_of_a_folder(ftpc: Ftpc, caller: Caller, arguments: list[str]) -> None:
    """Where a folder is needed and there is something else, one line says what, and what to do; nothing is fetched."""
    for name in ("a", "b", "dir/a"):
        ftpc.serve(name)
    ftpc.write("plain")
    (ftpc.folder / "nowhere").symlink_to("missing")
    place = arguments[-1].partition("/")[0]
    result = caller.run("get", *arguments)
    said = f"ftpc: {place}: this has to be a folder, for files to go into, and it is none; move it away, or say with "
    assert (4, True, 1) == (result.status, result.err.startswith(said), result.err.count("\n")), result.err
    assert (["nowhere", "plain"], b"content") == (names_in(ftpc.folder), (ftpc.folder / "plain").read_bytes())


def test_what_is_asked_behind_no_answer(ftpc: Ftpc, caller: Caller) -> None:
    """Whether ftpd runs there is asked where there is a machine, and not behind a name that nobody knows."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        there = f"127.0.0.1:{bound.getsockname()[1]}"
        said = [caller.run("ls", "--server", server).err for server in (there, "nohost.invalid")]
    assert [True, False] == [line.endswith("; is ftpd running there?\n") for line in said], said
    assert "can not connect to nohost.invalid:9527: " in said[1]


def test_read_only_server(ftpc: Ftpc, tmp_path: Path) -> None:
    """A server that changes nothing is status 6."""
    ftpc.write("a")
    with ServerProcess(tmp_path, "--read-only") as server:
        assert 6 == ftpc.run("--server", f"127.0.0.1:{server.port}", "put", "a").status
        assert "read-only" in ftpc.run("--server", f"127.0.0.1:{server.port}", "ping").out


@pytest.mark.root
def test_full_disk(ftpc: Ftpc, tmp_path: Path) -> None:
    """A server whose disk is full is status 10, for a file and for a stream, and nothing is left there."""
    root = tmp_path / "small"
    root.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "t", root], check=False).returncode
    ):
        pytest.skip("mounting is not possible here")
    try:
        ftpc.write("big", content(12 * MIB))
        with ServerProcess(root) as server:
            address = f"127.0.0.1:{server.port}"
            assert 10 == ftpc.run("--server", address, "put", "big").status
            assert 10 == ftpc.run("--server", address, "put", "-", "--as", "s", stdin=content(12 * MIB)).status
            assert ([], "") == (server.temporaries(), ftpc.run("--server", address, "ls").out)
    finally:
        subprocess.run(["umount", root], check=True)


async def run(ftpc: Ftpc, address: str, *arguments: str) -> Result:
    """Run a command against a server in the test's own event loop."""
    process = await asyncio.create_subprocess_exec(
        *command("--server", address, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ftpc.folder,
        env=ftpc.environment(),
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Result(process.returncode, out.decode(), err.decode())


NOT_THERE = refusal("not_found")


@pytest.mark.parametrize(
    ("answers", "arguments", "status"),
    [
        ({"ls": refusal("out_of_tea", "no \x1b[31mtea")}, ["ls"], 1),
        ({"hello": refusal("busy", "full")}, ["ls"], 5),
        ({"hello": b"HTTP/1.1 400 Bad Request\r\n"}, ["ls"], 1),
        ({"get": frame(CONTENT) + b"hellx" + frame({"ok": True, "root": "0" * 64})}, ["get", "a"], 8),
        ({"get": frame(CONTENT) + b"hel"}, ["get", "a", "--retries", "1"], 5),
        (
            {"stat": NOT_THERE, "put": frame({"ok": True, "filename": "x", "filesize": 7, "root": "0" * 64})},
            ["put", "here"],
            8,
        ),
    ],
)
async def test_status_for_odd_servers(ftpc: Ftpc, answers: dict[str, bytes], arguments: list[str], status: int) -> None:
    """Damage is 8, a busy server or a broken connection 5, what we do not know 1; nothing appears."""
    ftpc.write("here")

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the greeting and the requests that are expected, and close."""
        for _ in range(len(answers.keys() - {"hello"} or answers) + 1):
            command = (await read_request(reader))["cmd"]
            writer.write(answers.get(command, frame(GREETING)))

    async with scripted(handler) as address:
        result = await run(ftpc, address, *arguments)
    assert (status, "") == (result.status, result.out), result.err
    assert result.err.replace("\n", "").isprintable(), result.err
    assert ["here"] == [path.name for path in ftpc.folder.iterdir()]


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["--bogus"],
        ["--server"],
        ["put"],
        ["put", "a", "b", "--as", "x"],
        ["put", "a", "--as", "x", "--to", "y"],
        ["put", "-"],
        ["put", "a", "-", "--to", "d"],
        ["put", "a", "--if-exists", "perhaps"],
        ["put", "a", "-j", "0"],
        ["put", "a", "-j", "65"],
        ["put", "a", "--jobs", "x"],
        ["get"],
        ["get", "a", "-o", "-", "--json"],
        ["get", "a", "--progress", "loud"],
        ["ls", "a", "b"],
        ["ls", "--lon"],
        ["stat"],
        ["md5"],
        ["md5", "a", "-c", "b"],
        ["sum", "a", "--algo", "crc"],
        ["ping", "a"],
        ["ls", "--server", "::1"],
        ["ls", "--server", "ftp://host"],
    ],
    ids=" ".join,
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Wrong usage is one line and status 2, before anybody is connected to."""
    monkeypatch.setenv("FTPC_SERVER", "127.0.0.1:1")
    result = Caller(capsys).run(*arguments)
    assert (2, "", 1) == (result.status, result.out, result.err.count("\n")), result.err
    assert result.err.startswith("ftpc")


def test_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    """An option that does not exist is named, whatever else is missing."""
    for arguments in (["put", "--frob"], ["get", "x", "--frob=3"], ["ls", "--frob", "a", "b"]):
        assert "there is no option --frob;" in Caller(capsys).run(*arguments).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["put", "-x", "a"], "-x;"),
        (["-Z", "ls"], "-Z;"),
        (["put", "-x"], "-x;"),  # and no file
        (["put", "-rqx", "a"], "-x;"),
        (["put", "-psecret", "a"], "-s;"),
        (["get", "-R", "a"], "-R, but -r;"),
        (["put", "-recursive", "a"], "-e, but --recursive;"),
        (["get", "--recursiv", "a"], "--recursiv, but --recursive;"),
        (["put", "--connect", "3", "a"], "--connect, but --connect-timeout;"),
        (["put", "--re", "a"], "--re;"),  # it could be several
    ],
    ids=str,
)
def test_option_that_is_none(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """An option that does not exist, short or long, is named in one line, with the one that may have been meant."""
    done = Caller(capsys).run(*arguments)
    assert (2, 1) == (done.status, done.err.count("\n"))
    assert f"there is no option {said} see ftpc" in done.err


@pytest.mark.parametrize("name", ["-5", "-", "x"])
@pytest.mark.parametrize("options", [["-qj4"], ["-j", "4"], ["-oout"], ["--"]], ids=" ".join)
def test_what_is_no_option(ftpc: Ftpc, caller: Caller, options: list[str], name: str) -> None:
    """Values behind short options, numbers and what stands behind `--` are no options."""
    ftpc.serve(name)
    assert 0 == caller.run("get", *options, name).status


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "a", "-o", "out", "b"],
        ["get", "-q", "a", "-j4", "b", "-o", "out"],
        ["get", "a", "-o", "out", "--", "b"],
        ["get", "-o", "out", "--", "a", "b"],
        ["--progress", "none", "-o", "out", "-q", "get", "a", "b"],
    ],
    ids=" ".join,
)
def test_options_between_names(ftpc: Ftpc, caller: Caller, arguments: list[str]) -> None:
    """Options may stand before the verb and anywhere behind it, as long as `--` does not say that none follow."""
    ftpc.serve("a")
    ftpc.serve("b")
    assert 0 == caller.run(*arguments).status
    assert ["a", "b"] == names_in(ftpc.folder / "out")


def test_options_that_have_a_value() -> None:
    """It is known of every option of every verb whether a value follows, so that none is taken for the verb."""
    parsers = [import_module(module).make_parser(verb) for verb, (module, _) in VERBS.items()]
    actions = [action for parser in parsers for action in parser._actions]
    assert {name for action in actions if action.nargs != 0 for name in action.option_strings} == VALUED
    assert not VALUED & {name for action in actions if action.nargs == 0 for name in action.option_strings}


@pytest.mark.parametrize(
    "arguments", [["-q", "bogus", "put"], ["--server", "x", "bogus"], ["--", "bogus"]], ids=" ".join
)
def test_which_verb_there_is_not(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """The word that stands in the place of the verb is named, and no value of an option."""
    assert 2 == main(arguments)
    assert "there is no verb 'bogus'" in capsys.readouterr().err


def test_wrong_usage_of_the_command(ftpc: Ftpc) -> None:
    """The same from a shell, found before and after the command line is read."""
    for arguments in (["bogus"], ["put", "a", "--bogus"], ["put", "-"], ["ls", "--server", "::1"]):
        result = ftpc.run(*arguments)
        assert (2, "", 1) == (result.status, result.out, result.err.count("\n")), result.err


def test_where_the_server_is(ftpc: Ftpc, server: ServerProcess) -> None:
    """The server is that of --server, before or behind the verb, else that of FTPC_SERVER."""
    ftpc.serve("a")
    url = ftpc.server
    nowhere = {"FTPC_SERVER": "127.0.0.1:1"}
    assert "a\n" == ftpc.run("ls").out
    for arguments in (["--server", url, "ls"], ["ls", "--server", url], [f"--server={url}", "ls"]):
        assert "a\n" == ftpc.run(*arguments, env=nowhere).out
    assert ftpc.remote.name in ftpc.run("ls", "--server", f"127.0.0.1:{server.port}", env=nowhere).out
    assert 5 == ftpc.run("ls", env=nowhere).status
    assert 2 == ftpc.run("ls", env={"FTPC_SERVER": "::"}).status


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["help"], [], *([verb, "--help"] for verb in VERBS)], ids=str
)
def test_help_leads_with_examples(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Every help shows examples before anything else, and fits on a terminal."""
    if arguments[1:]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert 0 == ended.value.code
    else:
        assert 0 == main(arguments)
    text, errors = capsys.readouterr()
    assert "" == errors
    first, rest = (f"  ftpc {arguments[0]}", "\n  --server") if arguments[1:] else ("  ftpc put", "\nverbs:")
    assert 0 < text.index("examples:\n") < text.index(first) < text.index(rest)
    assert [] == [line for line in text.splitlines() if len(line) > 120]


def test_unknown_verb_is_told_what_there_is(ftpc: Ftpc) -> None:
    """A verb that does not exist is answered with those that do."""
    result = ftpc.run("bogus")
    assert [] == [verb for verb in VERBS if verb not in result.err]


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--version"], {"asyncio", "rich", "msgspec", "pathlib", "argparse"}),
        (["ls"], {"rich", "blake3", "pathlib", "aiofiles", "urllib", "sqlite3", "concurrent.futures.thread"}),
    ],
    ids=["version", "ls"],
)
def test_what_is_not_imported(ftpc: Ftpc, arguments: list[str], forbidden: set[str]) -> None:
    """A command starts fast because it imports no more than it needs."""
    script = (
        "import sys\nfrom ftpc.cli import main\n"
        f"status = main({arguments!r})\nprint(*sorted(sys.modules), sep='\\n', file=sys.stderr)\nsys.exit(status)"
    )
    environment = ftpc.environment({"FTPC_SERVER": ftpc.server.removeprefix("ftpd://").partition("/")[0]})
    done = subprocess.run(
        [*command()[:1], "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    bare = subprocess.run(
        [*command()[:1], "-c", "import sys; print(*sys.modules, sep='\\n')"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert set() == (forbidden & {*done.stderr.split()}) - {*bare.stdout.split()}
    assert done.stdout
