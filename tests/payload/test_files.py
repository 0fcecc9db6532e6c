"""Files at the ends of a transfer: written whole at their offsets, read in pieces, never beyond their end."""

import hashlib
import os
import socket
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest

from ftpd.payload.files import READ_SIZE, FileSink, FileSource, read_pieces, write_all
from ftpd.payload.workers import Workers
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import MIB
from tests.payload.helpers import some_bytes

DATA = some_bytes(2 * READ_SIZE + 7)
RANGES = [(0, len(DATA)), (0, 0), (len(DATA), 0), (5, 1), (READ_SIZE - 1, READ_SIZE + 2), (READ_SIZE, READ_SIZE)]
BEYOND = [(0, len(DATA) + 1), (len(DATA), 1), (len(DATA) + MIB, MIB)]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[FileIO]:
    """An open file with `DATA`."""
    (tmp_path / "file").write_bytes(DATA)
    with FileIO(tmp_path / "file", "r+b") as opened:
        yield opened


@pytest.mark.parametrize(("offset", "size"), RANGES)
def test_a_range_is_read_in_pieces(file: FileIO, offset: int, size: int) -> None:
    """The pieces are the range, each at most `READ_SIZE`, and the file's own position plays no part."""
    pieces: list[bytes] = []
    read_pieces(file.fileno(), offset, size, lambda piece: pieces.append(bytes(piece)))
    assert DATA[offset : offset + size] == b"".join(pieces)
    assert all(0 < len(piece) <= READ_SIZE for piece in pieces)
    assert 0 == file.tell()


@pytest.mark.parametrize(("offset", "size"), BEYOND)
def test_a_range_beyond_the_end_is_changed(file: FileIO, offset: int, size: int) -> None:
    """A range that the file does not have is `changed`, not a shorter range."""
    with pytest.raises(FtpdError) as caught:
        read_pieces(file.fileno(), offset, size, len)
    assert ErrorCode.CHANGED is caught.value.code


@pytest.mark.parametrize("data", [b"", b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4]])
def test_writing_puts_everything_at_its_offset(file: FileIO, data: bytes | bytearray | memoryview) -> None:
    """`write_all` replaces just these bytes; the file's own position plays no part."""
    write_all(file.fileno(), data, 1000)
    expected = DATA[:1000] + bytes(data) + DATA[1000 + len(data) :]
    assert expected == file.read()


async def test_a_sink_hashes_what_it_writes(file: FileIO, workers: Workers) -> None:
    """`write` feeds the digest the same bytes that it writes."""
    sink, digest = FileSink(file.fileno(), workers), hashlib.sha256()
    await sink.write(3, b"abc", digest)
    await sink.write(6, memoryview(b"def"), digest)
    assert hashlib.sha256(b"abcdef").digest() == digest.digest()
    assert DATA[:3] + b"abcdef" + DATA[9:] == file.read()


async def test_a_sink_lets_errors_out(workers: Workers) -> None:
    """A descriptor that can not be written at an offset is an `OSError`, not silence."""
    one, other = socket.socketpair()
    with one, other, pytest.raises(OSError, match="Illegal seek"):
        await FileSink(one.fileno(), workers).write(0, b"abc", hashlib.sha256())


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("is_cached", [True, False], ids=["cached", "cold"])
@pytest.mark.parametrize(("offset", "size"), RANGES)
async def test_a_source_loads_a_range(
    file: FileIO,
    workers: Workers,
    offset: int,
    size: int,
    is_cached: bool,  # noqa: FBT001 (a column)
    copy: bool,  # noqa: FBT001 (a column)
) -> None:
    """`load` returns the bytes where a copy is asked for and only then, with or without a digest."""
    source, expected = FileSource(file, workers), DATA[offset : offset + size]
    if not is_cached:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for digest in (None, hashlib.sha256()):
        data = await source.load(offset, size, digest, copy=copy)
        assert (expected if copy else None) == (bytes(data) if data is not None else None)
        assert digest is None or hashlib.sha256(expected).digest() == digest.digest()
    assert file is source.file()


@pytest.mark.parametrize(("offset", "size"), BEYOND)
@pytest.mark.parametrize(("copy", "has_digest"), [(True, True), (True, False), (False, True)])
async def test_a_source_that_is_too_short_is_changed(
    file: FileIO,
    workers: Workers,
    offset: int,
    size: int,
    copy: bool,  # noqa: FBT001 (a column)
    has_digest: bool,  # noqa: FBT001 (a column)
) -> None:
    """Where bytes are looked at, a file that ends too early is `changed`."""
    with pytest.raises(FtpdError) as caught:
        await FileSource(file, workers).load(offset, size, hashlib.sha256() if has_digest else None, copy=copy)
    assert ErrorCode.CHANGED is caught.value.code
