"""Our code against the test vectors that other implementations use as well."""

import json
from pathlib import Path
from typing import Any

import pytest

from ftpd.commands.table import COMMANDS
from ftpd.wire import messages, replies
from ftpd.wire.digests import TreeHasher, chunk_count, chunk_size_for
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.frames import Header, decode_header, decode_length
from ftpd.wire.limits import LENGTH_SIZE
from ftpd.wire.paths import RemotePath

Case = dict[str, Any]
VECTORS = Path(__file__).parent.parent / "vectors"

REPLIES: dict[str, type[replies.Reply]] = {
    "hello": replies.Greeting,
    "ping": replies.Pong,
    "auth": replies.Identity,
    "whoami": replies.Identity,
    "share": replies.Shared,
    "shares": replies.SharePage,
    "unshare": replies.Done,
    "put": replies.Stored,
    "begin": replies.Begun,
    "join": replies.Done,
    "chunk": replies.Confirmed,
    "commit": replies.Stored,
    "abort": replies.Done,
    "mkdir": replies.Made,
    "check": replies.Checked,
    "same": replies.Twins,
    "df": replies.Disk,
    "get": replies.Content,
    "ls": replies.Page,
    "stat": replies.Status,
    "md5": replies.Checksum,
    "sum": replies.Checksum,
}


def cases(file: str, member: str) -> list[Case]:
    """Read one list of cases."""
    found: list[Case] = json.loads((VECTORS / f"{file}.json").read_text("ascii"))[member]
    assert found, "a file without cases proves nothing"
    return found


def decode(frame: bytes) -> Header:
    """Decode a frame without payload."""
    length = decode_length(frame[:LENGTH_SIZE])
    header = frame[LENGTH_SIZE:]
    assert length == len(header)
    return decode_header(header)


def read_request(frame: bytes) -> tuple[Header, int]:
    """Read a request as the server does. Returns the header and how many bytes of payload follow it."""
    header = decode(frame)
    messages.request_id_of(header)
    name = header.get("cmd")
    if not isinstance(name, str) or name not in COMMANDS:
        raise FtpdError(ErrorCode.UNKNOWN_COMMAND, "")
    kind = COMMANDS[name].request
    payload = messages.payload_size_of(header, kind)
    messages.parse(header, kind)
    return header, payload


def named(case: Case) -> str:
    """Give the id of a case for the test report."""
    keys = ("name", "why", "command", "size")
    return next((str(case[key]) for key in keys if key in case), ascii(case.get("path")))[:40]


@pytest.mark.parametrize("case", cases("frames", "requests"), ids=named)
def test_request_frames(case: Case) -> None:
    """A request of the vectors gives the header and payload they say, or is refused with the code they say."""
    frame = bytes.fromhex(case["hex"])
    if "error" not in case:
        assert (case["header"], case["payload"]) == read_request(frame)
        return
    with pytest.raises(FtpdError) as refused:
        read_request(frame)
    assert case["error"] == refused.value.code.value


@pytest.mark.parametrize("case", cases("frames", "replies"), ids=named)
def test_reply_frames(case: Case) -> None:
    """A reply of the vectors gives the header they say, and is a reply to its command."""
    header = decode(bytes.fromhex(case["hex"]))
    assert case["header"] == header
    messages.parse(header, REPLIES[case["command"]] if header["ok"] else replies.Refusal)


def test_vectors_have_every_command_both_ways() -> None:
    """There is a request and a reply for every command there is."""
    asked = {case["header"]["cmd"] for case in cases("frames", "requests") if "cmd" in case.get("header", {})}
    answered = {case["command"] for case in cases("frames", "replies")}
    assert set(COMMANDS) == asked == answered | {"sum"} == set(REPLIES)


@pytest.mark.parametrize("case", cases("digests", "digests"), ids=named)
def test_digests(case: Case) -> None:
    """The content that the vectors describe has the leaves and the root that they say."""
    hasher = TreeHasher(case["chunk_size"])
    hasher.update((bytes(range(251)) * (case["size"] // 251 + 1))[: case["size"]])
    tree = hasher.finish()
    assert case["root"] == tree.root
    assert case["leaves"] == [tree.leaf(index).hex() for index in range(tree.leaf_count)]
    assert tree.leaf_count == chunk_count(case["size"], case["chunk_size"])


@pytest.mark.parametrize("case", cases("digests", "chunk_sizes"), ids=named)
def test_chunk_sizes(case: Case) -> None:
    """A file of that size is cut as the vectors say."""
    chunk_size = chunk_size_for(case["size"])
    assert (case["chunk_size"], case["chunks"]) == (chunk_size, chunk_count(case["size"], chunk_size))


@pytest.mark.parametrize("case", cases("paths", "accepted"), ids=named)
def test_accepted_paths(case: Case) -> None:
    """A name of the vectors has the parts they say, as a file and as a folder."""
    for path in (RemotePath.parse(case["path"]), RemotePath.parse_folder(case["path"])):
        assert case["parts"] == list(path)


@pytest.mark.parametrize("case", cases("paths", "refused"), ids=named)
def test_refused_paths(case: Case) -> None:
    """A name that the vectors refuse is refused with `bad_path`."""
    with pytest.raises(FtpdError) as refused:
        RemotePath.parse(case["path"])
    assert refused.value.code is ErrorCode.BAD_PATH


@pytest.mark.parametrize("case", cases("paths", "folders"), ids=named)
def test_folders(case: Case) -> None:
    """The served folder itself can be named where a folder is asked for."""
    assert case["parts"] == list(RemotePath.parse_folder(case["path"]))
