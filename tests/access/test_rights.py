"""What a principal may do: rights hold below a folder until a nearer grant says otherwise."""

import pytest

from ftpd.access.rights import ALL, PRESETS, ROOT, Grant, Principal, Right, narrowed, parse_rights
from ftpd.wire.paths import RemotePath

READ_ONLY = PRESETS["read-only"]


def path_of(text: str) -> RemotePath:
    """Parse a path, where "" is the root."""
    return RemotePath.parse_folder(text)


def test_the_nearest_grant_holds() -> None:
    """Rights on a path are those of the longest granted folder above it, not their sum; names are compared whole."""
    somebody = Principal(
        "a", (Grant(ROOT, READ_ONLY), Grant(path_of("in"), PRESETS["upload-only"]), Grant(path_of("in/x"), frozenset()))
    )
    assert READ_ONLY == somebody.rights_at(path_of("")) == somebody.rights_at(path_of("inbox/y"))
    assert {Right.WRITE} == somebody.rights_at(path_of("in")) == somebody.rights_at(path_of("in/y/z"))
    assert frozenset() == somebody.rights_at(path_of("in/x/y"))
    assert {Right.NONE, Right.LIST, Right.READ, Right.WRITE} == somebody.rights


def test_nothing_is_granted_outside() -> None:
    """Where no grant reaches there is no right, but the way to what is granted can be seen."""
    somebody = Principal("a", (Grant(path_of("a/b"), READ_ONLY),))
    assert frozenset() == somebody.rights_at(path_of("a")) == somebody.rights_at(path_of("a/bc"))
    assert somebody.sees_below(path_of(""))
    assert somebody.sees_below(path_of("a"))
    assert not somebody.sees_below(path_of("b"))


@pytest.mark.parametrize(
    ("folder", "rights", "path", "expected"),
    [
        ("", None, "x", READ_ONLY),
        ("", frozenset({Right.WRITE}), "x", frozenset()),
        ("in", None, "x", frozenset()),
        ("in", None, "in/x", PRESETS["upload-only"]),
        ("in/deep", None, "in/x", frozenset()),
        ("in/deep", None, "in/deep/x", PRESETS["upload-only"]),
        ("", ALL, "in/x", PRESETS["upload-only"]),
    ],
)
def test_narrowed_is_never_more(
    folder: str, rights: frozenset[Right] | None, path: str, expected: frozenset[Right]
) -> None:
    """A narrowed principal has at most what it had, and nothing outside the folder."""
    somebody = Principal("a", (Grant(ROOT, READ_ONLY), Grant(path_of("in"), PRESETS["upload-only"])))
    less = narrowed(somebody, path_of(folder), rights)
    assert expected == less.rights_at(path_of(path))
    assert less.rights_at(path_of(path)) <= somebody.rights_at(path_of(path))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("full", PRESETS["full"]),
        ("read-only", READ_ONLY),
        ("list, read", READ_ONLY),
        ("list read,write", READ_ONLY | {Right.WRITE}),
        (["read-only", "admin"], READ_ONLY | {Right.ADMIN}),
        ([], frozenset()),
    ],
)
def test_words_become_rights(words: str | list[str], expected: frozenset[Right]) -> None:
    """Rights are written as words, or as a preset."""
    assert expected == parse_rights(words)


@pytest.mark.parametrize("words", ["none", "everything", "read;write", ["full ", "x"]])
def test_what_is_no_right(words: str | list[str]) -> None:
    """A word that is none is an error that lists those there are."""
    with pytest.raises(ValueError, match="there are: full"):
        parse_rights(words)
