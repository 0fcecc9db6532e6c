"""What a server says is shown, and never acted on by the terminal."""

import pytest

from tests.client.command import Ftpc
from tests.client.scripted import CONTENT, GREETING, answering, refusal, scripted
from tests.client.test_cli_exits import run
from tests.peer import frame

EVIL = "x\x1b]0;title\x07\x1b[2J\r\x9b31m\u202e\u2028\x00y"
STORED = frame({"ok": True, "filename": EVIL, "filesize": 7, "root": "0" * 64, "skipped": True})
STATUS = {"ok": True, "type": "file", "filesize": 1, "mtime": 0, "mtime_ns": 0, "mode": 0, "root": EVIL}
ENTRIES = [{"name": EVIL, "type": "file", "size": 1, "mtime": 0, "mode": 0}, {"name": "b", "type": "dir"}]


@pytest.mark.parametrize(
    ("answers", "arguments"),
    [
        ({"ls": frame({"ok": True, "entries": ENTRIES})}, ["ls"]),
        ({"ls": frame({"ok": True, "entries": ENTRIES})}, ["ls", "-lh"]),
        ({"ls": frame({"ok": True, "entries": ENTRIES})}, ["ls", "--json"]),
        ({"ls": refusal("not_found", EVIL)}, ["ls"]),
        ({"ls": refusal(EVIL, EVIL, fact=EVIL)}, ["ls", "--json"]),
        ({"hello": frame({**GREETING, "server": EVIL}), "ping": frame({"ok": True, "time": 0})}, ["ping"]),
        ({"hello": frame({**GREETING, "durability": EVIL})}, ["ping"]),
        ({"stat": frame(STATUS)}, ["stat", "a"]),
        ({"stat": frame({**STATUS, "type": EVIL})}, ["stat", "a"]),
        ({"stat": frame({**STATUS, "root": None, "mtime": 2**53 - 1})}, ["stat", "a"]),
        ({"ls": frame({"ok": True, "entries": [{"name": "a", "type": "file", "mtime": 2**53 - 1}]})}, ["ls", "-l"]),
        ({"md5": frame({"ok": True, "algo": "md5", "digest": EVIL}), "sum": refusal("x", EVIL)}, ["md5", "a"]),
        ({"md5": refusal("x", EVIL), "sum": frame({"ok": True, "algo": "md5", "digest": EVIL})}, ["md5", "a"]),
        ({"sum": frame({"ok": True, "algo": "sha256", "digest": EVIL})}, ["sum", "a"]),
        ({"stat": refusal("not_found", EVIL), "put": STORED}, ["put", "here"]),
        (
            {
                "stat": refusal("not_found", EVIL),
                "put": frame({"ok": True, "filename": EVIL, "filesize": 7, "root": EVIL}),
            },
            ["put", "here"],
        ),
        ({"get": frame({**CONTENT, "length": EVIL})}, ["get", "a"]),
    ],
)
async def test_escape_sequences_never_reach_the_terminal(
    ftpc: Ftpc, answers: dict[str, bytes], arguments: list[str]
) -> None:
    """Names and messages from a server are printed without a character that could do anything, and nothing crashes."""
    ftpc.write("here")
    async with scripted(answering(answers)) as address:
        result = await run(ftpc, address, *arguments)
    for text in (result.out, result.err):
        assert text.replace("\n", "").isprintable(), ascii(text)
    assert result.out or result.err
