"""The protocol's document against the code and against a real server."""

import asyncio
import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftpd import proxy, requests, session, tls
from ftpd.commands.table import COMMANDS
from ftpd.config import DEFAULT_PORT
from ftpd.payload import channel
from ftpd.replies import HELD_BYTES
from ftpd.wire import limits, replies, terms
from ftpd.wire.errors import ErrorCode
from ftpd.wire.terms import Durability

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "protocol.md").read_text("utf-8")
VECTORS = json.loads((ROOT / "tests" / "vectors" / "digests.json").read_text("ascii"))

REPLIES: dict[str, dict[str, type[msgspec.Struct]]] = {
    "hello": {"reply": replies.Greeting},
    "ping": {"reply": replies.Pong},
    "auth": {"reply": replies.Identity},
    "whoami": {"reply": replies.Identity},
    "share": {"reply": replies.Shared},
    "shares": {"reply": replies.SharePage, "share": replies.SharedPath},
    "unshare": {},
    "check": {"reply": replies.Checked, "refusal": replies.Refused},
    "same": {"reply": replies.Twins},
    "put": {"reply": replies.Stored},
    "begin": {"reply": replies.Begun},
    "join": {},
    "chunk": {"reply": replies.Confirmed},
    "commit": {},
    "abort": {},
    "mkdir": {"reply": replies.Made},
    "df": {"reply": replies.Disk},
    "get": {"reply": replies.Content, "trailer": replies.Trailer},
    "ls": {"reply": replies.Page, "entry": replies.Entry},
    "stat": {"reply": replies.Status},
    "md5": {"reply": replies.Checksum},
    "sum": {"reply": replies.Checksum},
}
"""The tables in the section of a command, and what they describe.

`commit` has the reply of `put`; `join`, `abort` and `unshare` have none.
"""

WORDS = {int: "integer", bool: "boolean", str: "string"}


def section(title: str, level: str = "##") -> str:
    """Give the text under a heading."""
    found = re.search(
        rf"^{level} {re.escape(title)}\n(.*?)(?=^#{{2,{len(level)}}} |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL
    )
    assert found, f"there is no section {title}"
    return found[1]


def table(text: str, title: str) -> dict[str, list[str]]:
    """Give the rows of the table whose first column has that title, by their first cell."""
    found = re.search(rf"^\| {title} \|.*\n\|[-:| ]+\|\n((?:\|.*\n)*)", text, re.MULTILINE)
    assert found, f"there is no table with a column {title}"
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].splitlines()]
    assert len(rows) == len({row[0] for row in rows}), f"a row of {title} is there twice"
    return {row[0].strip("` "): row[1:] for row in rows}


def program(name: str) -> str:
    """Give a program that the document prints."""
    found = re.search(rf"<!-- runs as a test: {name} -->\n```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found, f"there is no program {name}"
    return found[1]


async def run(code: str) -> str:
    """Run a program and give what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    return output.decode()


def test_every_error_code_is_explained() -> None:
    """The two tables of errors have every code, once, and nothing else."""
    text = section("Errors")
    anywhere, particular = (table(part, "code") for part in text.split("These answer the request"))
    assert not anywhere.keys() & particular.keys()
    assert {code.value for code in ErrorCode} == anywhere.keys() | particular.keys()


def test_every_command_has_a_section() -> None:
    """The table of commands and the sections below it are those of the server, with the rights they need."""
    listed = {name.split("`")[1]: cells[-1] for name, cells in table(section("Commands"), "command").items()}
    assert {name: command.right.value.replace("none", "nothing") for name, command in COMMANDS.items()} == listed
    assert [f"`{name}`" for name in COMMANDS] == re.findall(r"^### (`.*`)$", section("Commands"), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_of_a_request_is_described(command: str) -> None:
    """The section of a command has each key of its request, with its type and its default, and no other."""
    fields = [field for field in msgspec.structs.fields(COMMANDS[command].request) if field.name != "id"]
    text = section(f"`{command}`", "###")
    if not fields:
        assert "no keys" in text
        return
    expected = {}
    for field in fields:
        default = (
            "required" if field.required else "none" if field.default is None else f"`{json.dumps(field.default)}`"
        )
        expected[field.name] = [type_word(field.type), default]
    assert expected == {key: cells[:2] for key, cells in table(text, "request").items()}


def type_word(kind: Any) -> str:  # noqa: ANN401 (whatever stands in an annotation)
    """Give the document's word for the type of a key, as JSON sees it."""
    schema = msgspec.json.schema(kind)
    schema = schema.get("$defs", {}).get(schema.get("$ref", "").rpartition("/")[2], schema)
    names = {choice.get("type", "string") for choice in schema.get("anyOf", [schema])} - {"null"}
    assert len(names) == 1, f"{kind} has {names}"
    return str(names.pop())


@pytest.mark.parametrize(
    ("command", "title"), [(command, title) for command, kinds in REPLIES.items() for title in kinds]
)
def test_every_key_of_a_reply_is_described(command: str, title: str) -> None:
    """The section of a command has each key of its reply, and no other; simple types are named."""
    described = table(section(f"`{command}`", "###"), title)
    fields = {field.name: field for field in msgspec.structs.fields(REPLIES[command][title])}
    assert fields.keys() == described.keys()
    simple = {name: WORDS[field.type] for name, field in fields.items() if field.type in WORDS}
    assert simple == {name: described[name][0] for name in simple}


def test_every_reply_is_described() -> None:
    """There is no reply that the tables leave out, but the one without keys."""
    covered = {kind for kinds in REPLIES.values() for kind in kinds.values()}
    assert {*replies.Reply.__subclasses__(), replies.Entry, replies.SharedPath, replies.Refused} == covered | {
        replies.Done
    }
    assert COMMANDS.keys() == REPLIES.keys()


@pytest.mark.parametrize("key", ["if_exists", "type", "algo", "durability"])
def test_every_word_is_described(key: str) -> None:
    """Each value of a key with a fixed set of words is in the document."""
    words = {
        "if_exists": terms.IfExists,
        "type": terms.EntryType,
        "algo": terms.Algorithm,
        "durability": Durability,
    }
    assert not {word.value for word in words[key] if f"`{word.value}`" not in section("Commands")}


def test_every_limit_is_there_with_its_number() -> None:
    """The table of limits has every bound of the protocol with its value, and no other."""
    expected = {
        name: f"{value:,}" for name, value in vars(limits).items() if name.isupper() and name not in {"KIB", "MIB"}
    }
    assert expected == {row[1].split("`")[1]: row[0] for row in table(section("Limits"), "limit").values()}


async def test_every_limit_of_the_greeting_is_in_the_table(port: int) -> None:
    """What `hello` calls a limit is named in the table of limits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(struct.pack("<i", 15) + b'{"cmd":"hello"}')
    greeting = await read_header(reader)
    writer.close()
    await writer.wait_closed()
    assert not {name for name in greeting["limits"] if f"`{name}` of `hello`" not in section("Limits")}


def test_timeouts_are_those_of_the_server() -> None:
    """The table of timeouts has the server's values, and the text about classic clients too."""
    values = [
        requests.FIRST_FRAME_S, requests.IDLE_S, requests.HEADER_S, tls.HANDSHAKE_S, proxy.HEADER_S, requests.STALL_S,
        requests.QUIET_S, channel.LINGER_S,
    ]  # fmt: skip
    assert requests.HEADER_S == session.LOGIN_S, "they share a row"
    assert [f"{value:g}" for value in values] == list(table(section("Timeouts"), "seconds"))
    assert f"quiet for {requests.QUIET_S:g} s" in DOCUMENT
    assert f"{HELD_BYTES // limits.MIB} MiB of replies" in DOCUMENT
    assert f"{channel.LINGER_S:g} s or {channel.LINGER_BYTES // limits.MIB} MiB" in DOCUMENT
    assert f"the default port is {DEFAULT_PORT}" in DOCUMENT


def test_links_lead_somewhere() -> None:
    """Links within the document have a heading, links to files have a file."""
    headings = re.findall(r"^#+ (.*)$", DOCUMENT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\((?!https:)([^)]+)\)", DOCUMENT):
        assert target[1:] in anchors if target.startswith("#") else (ROOT / "docs" / target).exists(), target


async def test_ten_line_client_works(port: int) -> None:
    """The client that the document prints stores a file and fetches it again."""
    code = program("client")
    assert len(code.splitlines()) == 10
    output = await run(code.replace(str(DEFAULT_PORT), str(port)))
    stored, fetched = output.splitlines()
    assert "'ok': True" in stored
    assert repr(b"hello\n") == fetched


async def test_classic_client_works(port: int, tmp_path: Path) -> None:
    """The client that never reads has its files stored after it is gone."""
    await run(program("classic").replace(str(DEFAULT_PORT), str(port)))
    async with asyncio.timeout(20):
        while not (tmp_path / "b.txt").exists():  # noqa: ASYNC110 (nothing tells a client that has left)
            await asyncio.sleep(0.01)
    assert ((tmp_path / "a.txt").read_bytes(), (tmp_path / "b.txt").read_bytes()) == (b"first", b"second")


async def test_root_is_computed_as_printed() -> None:
    """The function that the document prints gives the roots of the test vectors."""
    small = [case for case in VECTORS["digests"] if case["size"] < 10_000]
    calls = "".join(f"print(root(data[:{case['size']}], {case['chunk_size']}))\n" for case in small)
    output = await run(f"{program('root')}\ndata = bytes(range(251)) * 40\n{calls}print(root(b''))\n")
    *roots, of_nothing = output.split()
    assert [case["root"] for case in small] == roots
    assert of_nothing in section("Digests")


def hex_bytes(example: str, mark: str) -> bytes:
    """Give the bytes that one side sends in an example."""
    return bytes.fromhex("".join(re.findall(rf"^{mark} ((?:[0-9a-f]{{2}} ?){{1,16}})(?: |$)", example, re.MULTILINE)))


def split_frame(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Give the first frame's header, without words for people, and what follows."""
    (size,) = struct.unpack("<i", data[:4])
    header: dict[str, Any] = json.loads(data[4 : 4 + size])
    header.get("error", {}).pop("message", None)
    return header, data[4 + size :]


async def read_header(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Read one frame, without words for people."""
    length = await reader.readexactly(4)
    return split_frame(length + await reader.readexactly(*struct.unpack("<i", length)))[0]


async def test_examples_in_hex_are_what_happens(port: int) -> None:
    """A server answers the bytes of each example with the bytes beside them, but for the words of an error."""
    examples = re.findall(r"```text\n(.*?)```", section("Examples in hex"), re.DOTALL)
    assert len(examples) > 4
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for example in examples:
        writer.write(hex_bytes(example, ">"))
        expected, rest = split_frame(hex_bytes(example, "<"))
        assert expected == await read_header(reader)
        assert rest == await reader.readexactly(len(rest))
    writer.close()
    await writer.wait_closed()
