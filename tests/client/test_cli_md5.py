"""`ftpc md5`: what it prints is what md5sum prints, and it checks what md5sum checks."""

import subprocess

import pytest

from tests.client.command import Caller, Ftpc

ABC = "900150983cd24fb0d6963f7d28e17f72"
WRONG = "0" * 32
NAMES = ["a", "a b", "ü", "-x", "back\\slash", "*star", "\\", "a\\nb", "'\"$"]


def test_lines_are_those_of_md5sum(ftpc: Ftpc) -> None:
    """For any name the line is, byte by byte, the one of md5sum."""
    for name in NAMES:
        ftpc.serve(name, name.encode())
    theirs = subprocess.run(["md5sum", "--", *NAMES], cwd=ftpc.remote, capture_output=True, check=True)
    assert (0, theirs.stdout.decode(), "") == ftpc.run("md5", "--", *NAMES)


@pytest.mark.parametrize("option", ["--text", "--tag", "--binary"])
def test_list_of_md5sum_is_checked(ftpc: Ftpc, option: str) -> None:
    """A list that md5sum wrote, in either format, is found right, from a file or from standard input."""
    for name in NAMES:
        ftpc.serve(name, name.encode())
    theirs = subprocess.run(["md5sum", option, "--", *NAMES], cwd=ftpc.remote, capture_output=True, check=True)
    ftpc.write("LIST", theirs.stdout)
    expected = "".join(f"{name}: OK\n" for name in NAMES)
    assert (0, expected, "") == ftpc.run("md5", "-c", "LIST")
    assert (0, expected, "") == ftpc.run("md5", "-c", "-", stdin=theirs.stdout)


@pytest.fixture
def two_files(ftpc: Ftpc) -> Ftpc:
    """A user whose server has the files a and b, of the same content."""
    ftpc.serve("a", b"abc")
    ftpc.serve("b", b"abc")
    return ftpc


@pytest.mark.parametrize(
    ("text", "status", "out", "words"),
    [
        (f"{ABC}  a\n{WRONG}  b\n", 1, "a: OK\nb: FAILED\n", ["1 digest did NOT match"]),
        (f"{ABC.upper()} *a\r\n", 0, "a: OK\n", []),
        (f"# comment\n\n{ABC}  a", 0, "a: OK\n", []),
        (f"{ABC}  a\n{ABC}  no\n", 3, "a: OK\nno: FAILED open or read\n", ["no such file", "1 file could not be read"]),
        (f"{ABC}  no\n{WRONG}  a\n", 1, "no: FAILED open or read\na: FAILED\n", ["1 file", "1 digest"]),
        (f"{ABC}  a\nnonsense\n{ABC} a\n{ABC[1:]}  a\n", 0, "a: OK\n", ["3 lines improperly formatted"]),
        ("nonsense\n", 1, "", ["no MD5 line"]),
        ("", 1, "", ["no MD5 line"]),
        (f"{ABC}  ../x\n", 2, "../x: FAILED open or read\n", ["1 file could not be read"]),
        (f"MD5 (a) = {WRONG}\n", 1, "a: FAILED\n", ["1 digest"]),
        ("\0\n\x1b[2J\n", 1, "", ["2 lines improperly formatted"]),
    ],
)
def test_check(two_files: Ftpc, caller: Caller, text: str, status: int, out: str, words: list[str]) -> None:
    """Each line of a list gets its verdict, the troubles are counted, and the exit status says what was the matter."""
    two_files.write("LIST", text.encode())
    result = caller.run("md5", "-c", "LIST")
    assert (status, out) == (result.status, result.out), result.err
    assert [] == [word for word in words if word not in result.err], result.err
    assert bool(words) == bool(result.err)


def test_check_as_json(two_files: Ftpc) -> None:
    """A verdict is an object for programs."""
    result = two_files.run("md5", "--json", "-q", "-c", "-", stdin=f"{ABC}  a\n{WRONG}  b\n".encode())
    assert [True, False] == [found["ok"] for found in result.objects]
    assert {1} == {found["schema"] for found in result.objects}
    assert (1, "") == (result.status, result.err)


def test_list_that_can_not_be_read(ftpc: Ftpc) -> None:
    """A list that is missing, a folder or not text is one line and a status of its own."""
    assert 3 == ftpc.run("md5", "-c", "no").status
    assert 4 == ftpc.run("md5", "-c", ".").status
    ftpc.write("binary", bytes(range(256)))
    assert 1 == ftpc.run("md5", "-c", "binary").status
