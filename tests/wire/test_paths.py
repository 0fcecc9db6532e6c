"""Remote names: what the one parser lets through."""

import itertools
import re

import pytest

from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import MAX_COMPONENT, MAX_PATH
from ftpd.wire.paths import STATE_FOLDER, BadPathError, RemotePath, is_nameable

PIECES = (
    "a", ".", "..", "/", "//", "\\", "%2e", "\0", "\udc80", ":", " ", "~", ".ftpd", ".FTPD", ".ftpd ", ".f\u200ctpd",
)  # fmt: skip


def should_pass(text: str) -> bool:
    """Say by other means than the parser's whether a name made of `PIECES` is allowed."""
    parts = text.removeprefix("/").split("/")
    if {"", ".", ".."} & set(parts) or re.search("[\0\udc80]", text):
        return False
    return parts[0].replace("\u200c", "").lower().rstrip(" .") != STATE_FOLDER


def check_products(length: int) -> int:
    """Try every name of that many pieces. Returns how many passed."""
    passed = 0
    for pieces in itertools.product(PIECES, repeat=length):
        text = "".join(pieces)
        try:
            parts = RemotePath.parse(text).parts
        except BadPathError:
            assert not should_pass(text), f"{text!r} was refused"
            continue
        passed += 1
        assert should_pass(text), f"{text!r} was let through"
        assert text.removeprefix("/") == "/".join(parts)
        assert not {"", ".", ".."} & set(parts), f"{text!r} gives {parts!r}"
        assert not any("/" in part or "\0" in part for part in parts), f"{text!r} gives {parts!r}"
        assert parts[0].casefold() != STATE_FOLDER, f"{text!r} gives {parts!r}"
    return passed


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_no_combination_of_traversal_pieces_escapes(length: int) -> None:
    """Every product of traversal pieces is refused, or is parts that stay beneath the root and off the state folder."""
    assert check_products(length)


@pytest.mark.long
def test_no_longer_combination_of_traversal_pieces_escapes() -> None:
    """The same for the million products of five pieces."""
    assert check_products(5)


def refuse(text: str) -> str:
    """Parse a name that has to be refused, as a file and as a folder, and give the reason."""
    with pytest.raises(BadPathError) as refused:
        RemotePath.parse(text)
    with pytest.raises(BadPathError, match=re.escape(refused.value.message)):
        RemotePath.parse_folder(text)
    assert refused.value.code is ErrorCode.BAD_PATH
    assert len(refused.value.message) < 4096
    refused.value.message.encode("utf-8", "strict")  # it can be sent
    return refused.value.message


@pytest.mark.parametrize("text", ["", "/"])
def test_root_is_a_folder_and_no_file(text: str) -> None:
    """The root has no name as a file; as a folder it has no parts."""
    with pytest.raises(BadPathError, match="the name is empty"):
        RemotePath.parse(text)
    root = RemotePath.parse_folder(text)
    assert (root.parts, root.name, str(root), repr(root)) == ((), "", "", "RemotePath('')")
    assert root == root.parent


@pytest.mark.parametrize(
    "text",
    ["ordner/größe €.txt", "日本語", "😀", "e\u0301", "a b", " a ", '"quoted"', "it's", "-rf", "--", ".hidden", "...",
     "a.", "a..b", "..a", "C:\\x", "*?", "a\\b", "$(x)", "%2e%2e", "~", "~root", "sub/.ftpd", "ftpd", ".ftpdx",
     "x.ftpd", "a\u200db", "\u202egpj.exe", "\ufeffa", "\u00a0"],
)  # fmt: skip
def test_names_that_people_give_are_allowed(text: str) -> None:
    """Unicode, spaces, quotes, leading dashes and dots are kept exactly as they are."""
    assert tuple(text.split("/")) == RemotePath.parse(text).parts
    assert text == str(RemotePath.parse("/" + text))


@pytest.mark.parametrize("text", ["a//b", "a/", "//a", "./a", "a/.", "a/./b", "..", "../a", "a/..", "a/../b", "/.."])
def test_parts_that_lead_elsewhere_are_refused(text: str) -> None:
    """Empty parts, `.` and `..` are refused, not resolved."""
    assert "a part of the name is" in refuse(text)


@pytest.mark.parametrize("code", [*range(32), *range(127, 160)])
def test_control_characters_are_refused(code: int) -> None:
    """NUL and every other control character, C0 and C1, is refused anywhere in a name."""
    for text in (chr(code), f"a{chr(code)}b", f"a/{chr(code)}"):
        assert "control character" in refuse(text)


@pytest.mark.parametrize("text", ["\udc80", "a\ud800b", "a/\udfff"])
def test_lone_surrogates_are_refused(text: str) -> None:
    """A name that has no UTF-8 form is refused."""
    assert "not valid Unicode" in refuse(text)


@pytest.mark.parametrize(
    "text",
    [".ftpd", "/.ftpd", ".ftpd/tmp", ".FTPD", ".Ftpd/x", ".ftpd ", ".ftpd.", ".ftpd. .", ".ft\u200cpd", "\ufeff.ftpd",
     ".f\u00adtpd", ".ftpd\u2060", "\uff0e\uff46\uff54\uff50\uff44", "\u2024ftpd", ".ⓕⓣⓟⓓ", ".\U0001d41f\U0001d42dpd"],
)  # fmt: skip
def test_state_folder_can_not_be_named(text: str) -> None:
    """The server's own folder is reserved, in every spelling that some file system takes for the same."""
    assert "reserved" in refuse(text)


@pytest.mark.parametrize("char", ["a", "é", "€", "😀"])
def test_part_is_limited_in_bytes(char: str) -> None:
    """A part may have 255 bytes of UTF-8, not 255 characters, and not one more."""
    count, rest = divmod(MAX_COMPONENT, len(char.encode()))
    longest = char * count + "x" * rest
    assert (longest,) == RemotePath.parse(longest).parts
    assert "256 bytes, 255 are allowed" in refuse(longest + "x")


def test_path_is_limited_in_bytes() -> None:
    """A path may have 4,095 bytes, not counting a leading slash, and not one more."""
    longest = "/".join(["é" * 127 + "x"] * 16)
    assert len(longest.encode()) == MAX_PATH
    assert longest == str(RemotePath.parse("/" + longest))
    assert "4096 bytes, 4095 are allowed" in refuse("x" + longest)


def test_reason_of_a_huge_name_is_short() -> None:
    """The reason quotes only the beginning of a name, so that it fits in a reply."""
    assert len(refuse("x" * 1_000_000)) < 400


def test_path_takes_part_in_sets_and_loops() -> None:
    """Equal parts are equal paths with equal hashes; a path is nothing but its parts."""
    path = RemotePath.parse("a/b/c")
    assert path == RemotePath(("a", "b", "c")) != RemotePath.parse("a/b")
    assert path != "a/b/c"
    assert len({path, RemotePath.parse("/a/b/c")}) == 1
    assert list(path) == ["a", "b", "c"]
    assert ("c", RemotePath.parse("a/b"), "RemotePath('a/b/c')") == (path.name, path.parent, repr(path))


def test_last_part_can_be_replaced() -> None:
    """A sibling's name goes through all checks."""
    assert RemotePath.parse("a/x") == RemotePath.parse("a/b").with_name("x")
    for name in ("", "..", "\0", "x" * 256):
        with pytest.raises(BadPathError):
            RemotePath.parse("a/b").with_name(name)
    with pytest.raises(BadPathError):
        RemotePath.parse("a").with_name(STATE_FOLDER)


@pytest.mark.parametrize(
    ("name", "nameable"),
    [("a", True), ("é \"'-", True), ("x" * 255, True), ("\udcff", False), ("a\nb", False), ("\0", False),
     ("x" * 256, False), ("..", False), ("\u200b", True)],
)  # fmt: skip
def test_names_on_the_disk_are_told_apart(name: str, nameable: bool) -> None:  # noqa: FBT001 (a column of the table)
    """A name found on the disk is listed only if a request could name it."""
    assert nameable is is_nameable(name, at_root=False)
