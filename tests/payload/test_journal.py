"""Journals: every chunk that was noted is there, whatever happened to the file behind it."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftpd.payload.journal import Found, Journal, Value

HEAD: dict[str, Value] = {"path": "a ü\udc80", "size": 2**53 - 1, "done": False, "nothing": None}
LEAVES = {index: bytes([index % 251]) * 32 for index in (0, 7, 8191, 2**32 - 1)}


def written(path: Path) -> bytes:
    """Make a journal; give its bytes."""
    journal = Journal.create(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), HEAD)
    for index, leaf in LEAVES.items():
        journal.add(index, leaf)
    journal.close()
    return path.read_bytes()


def read(path: Path) -> Found | None:
    """Read a journal."""
    opened = Journal.open(os.open(path, os.O_RDWR))
    if opened is None:
        return None
    journal, found = opened
    journal.close()
    return found


def test_what_was_noted_is_found(tmp_path: Path) -> None:
    """The head and all chunks come back; one that was dropped does not, and one that was added again does."""
    written(tmp_path / "j")
    assert Found(dict(HEAD), LEAVES) == read(tmp_path / "j")
    opened = Journal.open(os.open(tmp_path / "j", os.O_RDWR))
    assert opened is not None
    opened[0].drop(7)
    opened[0].drop(8191)
    opened[0].add(8191, b"x" * 32)
    opened[0].close()
    assert Found(dict(HEAD), {0: LEAVES[0], 8191: b"x" * 32, 2**32 - 1: LEAVES[2**32 - 1]}) == read(tmp_path / "j")


def test_cut_at_every_byte(tmp_path: Path) -> None:
    """A journal cut anywhere has the chunks whose records are whole, and can be gone on with."""
    whole = written(tmp_path / "j")
    start = whole.index(b"\n") + 1
    size = (len(whole) - start) // len(LEAVES)
    for end in range(len(whole)):
        (tmp_path / "j").write_bytes(whole[:end])
        found = read(tmp_path / "j")
        if end < start:
            assert found is None
            continue
        expected = dict([*LEAVES.items()][: (end - start) // size])
        assert Found(dict(HEAD), expected) == found
        opened = Journal.open(os.open(tmp_path / "j", os.O_RDWR))
        assert opened is not None
        opened[0].add(5, b"5" * 32)
        opened[0].close()
        assert Found(dict(HEAD), {**expected, 5: b"5" * 32}) == read(tmp_path / "j")


@settings(max_examples=200)
@given(data=st.data())
def test_flipped_bits(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """No flipped bit makes a journal say what was not noted."""
    path = tmp_path_factory.mktemp("flip") / "j"
    whole = bytearray(written(path))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    found = read(path)
    assert found is None or (dict(HEAD) == found.head and found.leaves.items() <= LEAVES.items())


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record for which there is no room leaves the journal as it was: what comes later is found."""
    written(tmp_path / "j")
    opened = Journal.open(os.open(tmp_path / "j", os.O_RDWR))
    assert opened is not None
    pwrite, room = os.pwrite, [10]

    def full(fd: int, data: bytes, offset: int) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return pwrite(fd, data[: room.pop()], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        opened[0].add(1, b"1" * 32)
    monkeypatch.undo()
    opened[0].add(2, b"2" * 32)
    opened[0].close()
    assert Found(dict(HEAD), {**LEAVES, 2: b"2" * 32}) == read(tmp_path / "j")
