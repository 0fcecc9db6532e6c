"""The documents: every command and program in them works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ftpc.cli.exits import Exit
from tests import documents
from tests.documents import BadDocumentError, Step, prepare, steps_of
from tests.peer import REPOSITORY, ServerProcess

DOCUMENTS = sorted(
    str(path.relative_to(REPOSITORY))
    for path in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md"))
    if path.name != "protocol.md"  # its examples are bytes; a test of the wire reads them
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_document(document: str, tmp_path: Path) -> None:
    """Each command and each program of a document ends well, in the order in which they stand."""
    steps = [*steps_of(document, (REPOSITORY / document).read_text(encoding="utf-8"))]
    here, root = tmp_path / "here", tmp_path / "root"
    here.mkdir()
    root.mkdir()
    prepare(steps, here, root)
    with ServerProcess(root) as server:
        for step in steps:
            documents.run(step, here, f"127.0.0.1:{server.port}")
        ended = server.stop()
    assert (0, False) == (ended.returncode, "Traceback" in ended.log), ended.log


def test_something_is_run() -> None:
    """The README shows the client at work, and the description of the library has programs."""
    readme = [*steps_of("README.md", (REPOSITORY / "README.md").read_text(encoding="utf-8"))]
    verbs = {verb for step in readme for verb in re.findall(r"\bftpc (\w+)", step.text)}
    assert {"put", "get", "ls", "md5"} <= verbs
    library = [*steps_of("library.md", (REPOSITORY / "docs/library.md").read_text(encoding="utf-8"))]
    assert any(step.is_program and "async with ftpc.connect" in step.text for step in library)


def test_demonstration(tmp_path: Path) -> None:
    """`make demo` works, says so, and leaves nothing behind; here with a small file."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DEMO_MIB": "9",
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        ["bash", REPOSITORY / "docs/demo.sh"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (0, True) == (done.returncode, done.stdout.endswith("identical.\n")), done.stdout + done.stderr
    assert [] == [*tmp_path.iterdir()]


def test_exit_statuses_are_described() -> None:
    """Every exit status stands in its document."""
    text = (REPOSITORY / "docs/exit-codes.md").read_text(encoding="utf-8")
    assert [] == [status.name for status in Exit if not re.search(rf"\|\s*`?{status.value}`?\s*\|", text)]


def test_failing_command_is_found(tmp_path: Path) -> None:
    """A command that fails is reported with its document, its line and what it printed."""
    text = "# T\n\n```console\n$ true\noutput\n$ echo trouble; exit 3\n```\n"
    works, fails = steps_of("T.md", text)
    documents.run(works, tmp_path, "127.0.0.1:1")
    with pytest.raises(
        AssertionError, match=r"T\.md:6: exit status 3 from\s+echo trouble; exit 3\s+It printed:\ntrouble"
    ):
        documents.run(fails, tmp_path, "127.0.0.1:1")


@pytest.mark.parametrize("command", ["false | true", "ftpc ls", "no-such-command"])
def test_failure_anywhere_is_found(tmp_path: Path, command: str) -> None:
    """Also a failure at the beginning of a pipe, a server that is not there, and a command that does not exist."""
    with pytest.raises(AssertionError, match=r"T\.md:1"):
        documents.run(Step("T.md", 1, command), tmp_path, "127.0.0.1:1")


def test_failing_program_is_found(tmp_path: Path) -> None:
    """A program that fails is reported with its traceback; the default address in it stands for the server's."""
    [step] = steps_of("T.md", "```python\nprint('127.0.0.1:9527')\nraise SystemExit('bad')\n```")
    with pytest.raises(AssertionError, match=r"(?s)T\.md:2.*127\.0\.0\.1:7\nbad|bad\n127\.0\.0\.1:7"):
        documents.run(step, tmp_path, "127.0.0.1:7")


def test_what_is_run() -> None:
    """Lines with `$ ` are commands, also over several lines; other fences and blocks left out for a reason are not."""
    text = """
```console
$ one \\
    more
its output
$ two
```
<!-- not run: for a reason -->
```console
$ three
```
```text
$ four
```
```
$ five
```
```python
six
```
"""
    assert [
        Step("T", 3, "one \\\n    more"),
        Step("T", 6, "two"),
        Step("T", 19, "six", is_program=True),
    ] == [*steps_of("T", text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!-- not run: -->\n```console\n$ x\n```", "needs a reason"),
        ("```console\n$ x\n", "not closed"),
        ("```console\nftpc ls\n```", "starts with"),
    ],
)
def test_document_that_can_not_be_run(text: str, words: str) -> None:
    """A block that would silently not be run is an error."""
    with pytest.raises(BadDocumentError, match=words):
        [*steps_of("T", text)]


def test_files_are_made(tmp_path: Path) -> None:
    """Files that commands name are there: all of them here, on the server those that are not put first."""
    here, root = tmp_path / "here", tmp_path / "root"
    steps = [Step("T", 1, "ftpc put a.txt sub/b.csv"), Step("T", 2, "ftpc get a.txt c.d.txt --server 10.0.0.7:1")]
    prepare(steps, here, root)
    assert (
        {"a.txt", "b.csv", "c.d.txt"} >= {path.name for path in here.rglob("*") if path.is_file()} >= {"a.txt", "b.csv"}
    )
    assert not (root / "a.txt").exists()
