"""What answers need not be an ftpd, need not be right, and may mean harm."""

import asyncio
from pathlib import Path

import pytest

from ftpc import ConnectionLostError, FtpcError, IntegrityError, Item, ProtocolError, RefusedError
from ftpc.progress import NoProgress
from tests.client.scripted import CONTENT, GREETING, answering, read_request, refusal, saying, scripted
from tests.client.support import connected, hidden, names_in
from tests.peer import frame, raw_frame
from tests.server.tree import leaf_of, root_of, tree_of

HELLO = b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 welcome\r\n",
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\x7f",
        b"\x01\x00\x01\x00" + b" " * 65537,
        raw_frame(b"{"),
        raw_frame(b"[]"),
        raw_frame(b"null"),
        raw_frame(b"\xff\xfe{\x00}\x00"),
        raw_frame(b'{"ok": true}'),
        raw_frame(b'{"ok": 1, "version": 1}'),
        raw_frame(b'{"ok": false}'),
        raw_frame(b'{"ok": false, "error": "no"}'),
        raw_frame(b'{"ok": false, "error": {"code": 7, "message": "x"}}'),
        raw_frame(b"[" * 60000),
        frame({**GREETING, "version": 2}),
        frame({**GREETING, "version": "1"}),
        frame({**GREETING, "durability": "perhaps"}),
        frame({**GREETING, "limits": {"max_header": "big"}}),
    ],
    ids=lambda answer: repr(answer[:24]),
)
async def test_what_answers_is_no_ftpd(answer: bytes) -> None:
    """Garbage in place of a greeting is a `ProtocolError`, and nothing is said of what only programmers know."""
    said = r"speaks version \d of the protocol, not 1$|does not speak our protocol; is it an ftpd\?$"
    async with scripted(saying(answer)) as address, connected(address) as client:
        for question in (client.ping(), client.stat("a"), client.hello()):
            with pytest.raises(ProtocolError, match=said):
                await question


@pytest.mark.parametrize("answer", [b"", b"\x05", frame(GREETING)[:-1], frame(GREETING)[:7], frame(GREETING)])
async def test_server_hangs_up(answer: bytes) -> None:
    """A connection that ends in or after the greeting is a `ConnectionLostError`."""
    async with scripted(saying(answer)) as address, connected(address) as client:
        with pytest.raises(ConnectionLostError):
            await client.stat("a")


@pytest.mark.parametrize("code", ["busy", "going_away", "out_of_tea"])
async def test_hello_is_refused(code: str) -> None:
    """A refusal of the greeting is the refusal of the request, each time anew, and puts no reply in a wrong place."""
    status = frame({"ok": True, "type": "file", "filesize": 1, "mtime": 0, "mtime_ns": 0, "mode": 0})
    handler = answering({"hello": refusal(code, "come back later"), "stat": status})
    async with scripted(handler) as address, connected(address) as client:
        for _ in range(3):
            with pytest.raises(RefusedError, match="come back later") as caught:
                await client.stat("a")
            assert code == caught.value.code


async def test_busy_server_that_hangs_up(tmp_path: Path) -> None:
    """A server that says `busy` before it is asked and closes is heard, also by somebody who sends a file."""
    (tmp_path / "a").write_bytes(bytes(1000))
    async with scripted(saying(refusal("busy", "full"))) as address, connected(address) as client:
        with pytest.raises(RefusedError, match="full"):
            await client.put(tmp_path / "a")


async def test_what_is_shown_while_the_server_is_busy(tmp_path: Path) -> None:
    """Who waits for a busy server is told what it has said, not that a connection was lost, while it takes nothing."""
    (tmp_path / "a").write_bytes(bytes(1000))
    states = []

    class Watch(NoProgress):
        def update(self, item: Item) -> None:
            states.append(item.state)

    async with scripted(saying(refusal("busy", "full"))) as address, connected(address, retries=1) as client:
        with pytest.raises(RefusedError):
            await client.put(tmp_path / "a", progress=Watch())
    assert ["try 1 of 1 in 1 s: full"] == states


async def test_unknown_code_and_facts() -> None:
    """A code that we do not know is passed on with all its facts."""
    answer = refusal("out_of_tea", "the tea is gone", cups=0, when="noon")
    async with scripted(answering({"stat": answer})) as address, connected(address) as client:
        with pytest.raises(RefusedError, match="the tea is gone") as caught:
            await client.stat("a")
    assert ("out_of_tea", {"cups": 0, "when": "noon"}) == (caught.value.code, caught.value.facts)


@pytest.mark.parametrize(
    "change",
    [
        {"leaves": 2**50, "trailer": False},
        {"leaves": 2, "trailer": False},
        {"leaves": 0, "trailer": False},
        {"leaves": 1},
        {"chunk_size": 0},
        {"chunk_size": 1},
        {"chunk_size": 8 * 1024 * 1024 - 1},
        {"length": 6},
        {"length": 4},
        {"length": 0},
        {"length": 2**50},
        {"filesize": 4},
        {"filesize": 2**53 - 1, "length": 2**53 - 1},
        {"filesize": 2**53 - 1, "length": 2**53 - 1, "leaves": 2**30, "trailer": False},
        {"offset": 1},
        {"offset": 1, "length": 4},
        {"length": -1},
        {"length": 5.0},
        {"length": None},
        {"mode": 0o7777},
        {"mtime_ns": 10**9},
        {"root": 5},
    ],
    ids=str,
)
async def test_description_of_a_file_that_makes_no_sense(tmp_path: Path, change: dict[str, object]) -> None:
    """A description that can not be true is a `ProtocolError` before any memory is taken, and no file appears.

    One that is shorter than the file would otherwise be a file that ends early, and is verified.
    """
    given = {**CONTENT, **change}
    length = given["length"] if isinstance(given["length"], int) and 0 <= given["length"] <= 5 else 5
    answer = frame(given) + HELLO[:length] + frame({"ok": True, "root": tree_of(HELLO[:length]).root})
    async with scripted(answering({"get": answer})) as address, connected(address) as client:
        with pytest.raises(ProtocolError):
            await client.get("a", tmp_path / "a")
    assert [] == names_in(tmp_path)


GREETINGS: list[dict[str, object]] = [
    *[dict.fromkeys([key]) for key in GREETING],
    {"version": 0},
    {"version": 2},
    {"features": ["sum"]},
    {"features": ["plain", "md5"]},
    {"limits": {"min_chunk": 0}},
    {"limits": {"max_header": 0}},
    {"durability": "none"},
    {"read_only": True},
    {"auth": ["password"]},
    {"auth": ["none"]},
    {"server": "ftpd/0"},
]
"""Every field of the greeting is left out, or says something weaker."""

LEAF = bytes.fromhex(leaf_of(HELLO))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (frame(CONTENT), ConnectionLostError),
        (frame(CONTENT) + b"hell", ConnectionLostError),
        (frame(CONTENT) + HELLO, ConnectionLostError),
        (frame(CONTENT) + HELLO + b"\x09\x00", ConnectionLostError),
        (frame(CONTENT) + HELLO + raw_frame(b"{}"), ProtocolError),
        (frame(CONTENT) + HELLO + frame({"ok": True}), ProtocolError),
        (frame(CONTENT) + HELLO + frame({"ok": True, "root": "00" * 32}), IntegrityError),
        (frame(CONTENT) + HELLO + frame({"ok": True, "root": ""}), IntegrityError),
        (frame(CONTENT) + HELLO + refusal("changed", "the file changed"), RefusedError),
        (frame({**CONTENT, "leaves": 1, "trailer": False, "root": "00" * 32}) + LEAF + HELLO, IntegrityError),
        (frame({**CONTENT, "leaves": 1, "trailer": False}) + LEAF + HELLO, IntegrityError),
        (
            frame({**CONTENT, "leaves": 1, "trailer": False, "root": root_of(5, bytes(32))}) + bytes(32) + HELLO,
            ConnectionLostError,  # it is asked for again
        ),
        (frame({**CONTENT, "leaves": 1, "trailer": False, "root": root_of(5, LEAF)}) + LEAF[:9], ConnectionLostError),
    ],
)
async def test_download_that_goes_wrong(tmp_path: Path, answer: bytes, kind: type[FtpcError]) -> None:
    """Bytes that are cut, unproved or refused at their end are no file."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await read_request(reader)
        writer.write(frame(GREETING) + answer)

    async with scripted(once) as address, connected(address) as client:
        with pytest.raises(kind):
            await client.get("a", tmp_path / "a")
    assert [] == hidden(tmp_path)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("lie", GREETINGS, ids=str)
async def test_greeting_that_promises_less(tmp_path: Path, lie: dict[str, object]) -> None:
    """Whatever a greeting says or leaves out, no byte is taken that is not proved: nobody talks us out of that."""
    greeting = frame({key: value for key, value in {**GREETING, **lie}.items() if value is not None})
    damaged = frame(CONTENT) + b"jello" + frame({"ok": True, "root": tree_of(HELLO).root})
    async with scripted(answering({"hello": greeting, "get": damaged})) as address, connected(address) as client:
        with pytest.raises((IntegrityError, ProtocolError)):
            await client.get("a", tmp_path / "a")
    assert [] == names_in(tmp_path)


async def test_download_that_is_right(tmp_path: Path) -> None:
    """The pieces that the tests above damage make a file when they are whole."""
    good = frame({**CONTENT, "leaves": 1, "trailer": False, "root": root_of(5, LEAF)}) + LEAF + HELLO
    async with scripted(answering({"get": good})) as address, connected(address) as client:
        await client.get("a", tmp_path / "a")
    assert HELLO == (tmp_path / "a").read_bytes()


@pytest.mark.parametrize(
    "answer",
    [
        frame({"ok": True, "filename": "a", "filesize": 4, "root": "00" * 32}),
        frame({"ok": True, "filename": "a", "filesize": 4}),
    ],
)
async def test_upload_that_the_server_misunderstood(tmp_path: Path, answer: bytes) -> None:
    """A server that stored something else than what was sent is not believed."""
    (tmp_path / "a").write_bytes(b"data")
    async with (
        scripted(answering({"stat": refusal("not_found"), "put": answer})) as address,
        connected(address) as client,
    ):
        with pytest.raises(IntegrityError, match="something else"):
            await client.put(tmp_path / "a")


@pytest.mark.parametrize(
    ("is_stream", "chunk_size"),
    [*((False, size) for size in (0, 1, 2**20)), *((True, size) for size in (0, 1, 2**20, 2**40))],
)
async def test_upload_that_is_to_be_cut_absurdly(tmp_path: Path, *, is_stream: bool, chunk_size: int) -> None:
    """A chunk size that would cost memory or millions of requests is a `ProtocolError`."""
    path = tmp_path / "a"
    path.write_bytes(bytes(9 * 1024 * 1024))
    answers = {
        "stat": refusal("not_found", "no"),
        "begin": frame({"ok": True, "upload": "x", "chunk_size": chunk_size, "have": [], "skipped": False}),
    }
    async with scripted(answering(answers)) as address, connected(address) as client:
        with path.open("rb") as file, pytest.raises(ProtocolError):
            await client.put(file.fileno() if is_stream else path, "a")


async def test_names_that_mean_another_place(tmp_path: Path) -> None:
    """A listing may say what it likes: nothing is done with its names but showing them."""
    names = ["../x", "/etc/passwd", "", "a/b", "\x1b[2J", "\u202e"]
    page = frame({"ok": True, "entries": [{"name": name, "type": "file"} for name in names]})
    async with scripted(answering({"ls": page})) as address, connected(address) as client:
        assert names == [entry.name async for entry in client.ls()]


@pytest.mark.parametrize(
    "change",
    [{"chunk_size": 0}, {"chunk_size": 2**20}, {"leaves": 2}, {"filesize": 2**53 - 1}, {"type": "dir"}],
    ids=str,
)
async def test_digests_that_make_no_sense(tmp_path: Path, change: dict[str, object]) -> None:
    """Digests of a remote file that can not be are a `ProtocolError` before any memory is taken for them."""
    path = tmp_path / "a"
    path.write_bytes(bytes(100_000))
    status = {"type": "file", "filesize": 100_000, "mtime": 0, "mtime_ns": 0, "mode": 0, "root": "00", "leaves": 1}
    answer = frame({"ok": True, **status, "chunk_size": 8 * 2**20, **change}) + bytes(32)
    async with scripted(answering({"stat": answer})) as address, connected(address) as client:
        with pytest.raises(ProtocolError):
            await client.put(path)


@pytest.mark.parametrize(("index", "blamed"), [(1, ["b"]), (2, []), (2**40, []), (-1, []), (-(2**40), [])])
async def test_objections_to_files_it_was_not_asked_about(tmp_path: Path, index: int, blamed: list[str]) -> None:
    """A server that refuses a file by a number that none has is not believed: no other file is blamed for it.

    The uploads themselves will show what is true.
    """
    refused = [{"index": index, "code": "exists", "message": "no"}]
    answer = frame({"ok": True, "free": 10**9, "size": 0, "replaced": 0, "new_files": 2, "refused": refused, "more": 0})
    files = [(str(tmp_path / name), name) for name in ("a", "b")]
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x")
    async with scripted(answering({"check": answer})) as address, connected(address) as client:
        found = await client.check(files)
    assert blamed == [Path(objection.local or "").name for objection in found]
