"""Which chunks of a transfer are done, in a small file beside it that only grows.

    line      check, a space, a JSON object, a newline    what the transfer is
    48 bytes  index, kind, digest, check                  a chunk is done (1), or is done no more (0)
    ...

Both sides keep one: the server of the chunks it has verified, the client of the digests it has computed. A record is
written after the chunk it speaks of, without waiting for the disk. So a killed process loses nothing that is written
here, and a machine that crashes may lose bytes of chunks that are: `boot_id` tells whether it could have.

Whatever is cut or damaged ends the journal at that place. What was lost is only sent, or hashed, again.
"""

import functools
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from ftpd.payload.files import write_all
from ftpd.wire.limits import DIGEST_SIZE, MIB

_BODY = struct.Struct(f"<II{DIGEST_SIZE}s")
_RECORD = struct.Struct(f"<II{DIGEST_SIZE}s8s")
_DONE = 1

MAX_JOURNAL = 16 * MIB
"""Largest journal that is read: five times what a file with the most chunks needs."""

Value = str | int | bool | None


class Found(NamedTuple):
    """What a journal says."""

    head: dict[str, Value]
    leaves: dict[int, bytes]


class Journal:
    """An open journal. Calls are short writes and reads; none of them waits for the disk to be durable."""

    def __init__(self, fd: int, length: int, salt: bytes) -> None:
        self._fd = fd
        self._length = length
        self._salt = salt

    @classmethod
    def create(cls, fd: int, head: Mapping[str, Value]) -> "Journal":
        """Begin a journal in an empty file. The journal takes the descriptor if this succeeds.

        Raises:
            OSError: the disk is full, or broken.
        """
        text = json.dumps(head, ensure_ascii=True, separators=(",", ":")).encode()
        line = _check(b"", text).hex().encode() + b" " + text + b"\n"
        journal = cls(fd, 0, line)
        journal._append(line)
        return journal

    @classmethod
    def open(cls, fd: int) -> "tuple[Journal, Found] | None":
        """Read a journal, to go on with it. Takes the descriptor, or gives None if not even its first line is intact.

        Raises:
            OSError: it can not be read.
        """
        data = os.pread(fd, MAX_JOURNAL, 0)
        end = data.find(b"\n") + 1
        head = cls.head_of(data[: end - 1]) if end else None
        if head is None:
            return None
        salt, leaves = data[:end], dict[int, bytes]()
        while end + _RECORD.size <= len(data):
            index, kind, digest, check = _RECORD.unpack_from(data, end)
            if check != _check(salt, data[end : end + _BODY.size]):
                break
            if kind == _DONE:
                leaves[index] = digest
            else:
                leaves.pop(index, None)
            end += _RECORD.size
        if end < len(data):
            os.ftruncate(fd, end)  # what is appended behind a broken record would never be read
        return cls(fd, end, salt), Found(head, leaves)

    @staticmethod
    def head_of(line: bytes) -> dict[str, Value] | None:
        """Read the first line of a journal, without its end; None if it is not intact."""
        check, _, text = line.partition(b" ")
        if not text or check != _check(b"", text).hex().encode():
            return None
        head: dict[str, Value] = json.loads(text)
        return head

    def add(self, index: int, digest: bytes) -> None:
        """Note that a chunk is done.

        Raises:
            OSError: the disk is full, or broken. The journal is as before.
        """
        self._append(self._record(index, _DONE, digest))

    def drop(self, index: int) -> None:
        """Note that a chunk is done no more: its bytes are about to be written again. Raises as `add` does."""
        self._append(self._record(index, 0, bytes(DIGEST_SIZE)))

    def close(self) -> None:
        """Close the file. May be called more than once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _record(self, index: int, kind: int, digest: bytes) -> bytes:
        body = _BODY.pack(index, kind, digest)
        return body + _check(self._salt, body)

    def _append(self, data: bytes) -> None:
        try:
            write_all(self._fd, data, self._length)
        except OSError:
            os.ftruncate(self._fd, self._length)
            raise
        self._length += len(data)


def _check(salt: bytes, data: bytes) -> bytes:
    return blake3(salt + data).digest(8)


@functools.cache
def boot_id() -> str:
    """Name this run of the machine: chunks that were written in another one have to be looked at. "" is unknown.

    Source: random(4), "/proc interfaces".
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
