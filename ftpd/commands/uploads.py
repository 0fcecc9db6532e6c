"""Uploads in chunks, between `begin` and `commit`: what the connections that carry one of them share.

One connection owns an upload; others may join it with the lease that its owner was given. Each chunk is written by one
of them at a time, and the newest has it: whoever sends a chunk again knows why, and the older one may be half dead.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator

from ftpd.store.base import Upload
from ftpd.store.chunks import OpenChunk, lease_lost, unknown_upload
from ftpd.wire.digests import size_of_chunk
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath


class ArrivingChunk(OpenChunk):
    """A chunk on its way in over one connection."""

    def __init__(self, index: int, offset: int, size: int, leaf: bytes) -> None:
        super().__init__(index, offset, size, leaf)
        self.writing = asyncio.Lock()
        """Held while its bytes are being written."""
        self.is_replaced = False
        """Whether another connection sends the same chunk now."""


class OpenUpload:
    """An upload in chunks, and who is at it."""

    def __init__(self, upload: Upload, path: RemotePath, size: int | None, chunk_size: int) -> None:
        self.upload = upload
        self.path = path
        self.started = time.monotonic()
        self.size = size
        self.chunk_size = chunk_size
        known = upload.leaves if size is not None else ()
        self.sizes = {index: size_of_chunk(size or 0, chunk_size, index) for index in known}
        """Sizes of the confirmed chunks, by index."""
        self.lease = secrets.token_hex(16)
        """Lets other connections join. Not to be guessed."""
        self.user = ""
        """Whose connections may join."""
        self.guests = 0
        """Connections that have joined."""
        self.is_over = False
        """Whether its owner has ended it, lost it or gone."""
        self._arriving: dict[int, ArrivingChunk] = {}
        self._refused: set[int] = set()
        self._change = asyncio.Event()

    @contextlib.asynccontextmanager
    async def writing(self, chunk: ArrivingChunk) -> AsyncIterator[None]:
        """Change what is stored of a chunk, if it is still its sender's to change.

        Raises:
            FtpdError: `lease_lost`.
        """
        async with chunk.writing:
            self._check_open()
            if chunk.is_replaced:
                raise FtpdError(ErrorCode.LEASE_LOST, f"{self.path}: another connection sends chunk {chunk.index} now")
            try:
                yield
            except FtpdError as exc:
                if exc.code in {ErrorCode.UNKNOWN_UPLOAD, ErrorCode.INTEGRITY}:
                    self._check_open()  # it may have ended meanwhile, and then sending the chunk again helps nobody
                raise

    def _check_open(self) -> None:
        if self.is_over:
            raise lease_lost(self.path)

    async def claim(self, chunk: ArrivingChunk) -> None:
        """Be the one who sends a chunk. Whoever was at it has stopped writing when this returns."""
        while (other := self._arriving.setdefault(chunk.index, chunk)) is not chunk:
            async with other.writing:
                if self._arriving.get(chunk.index) is other:
                    self._arriving[chunk.index] = chunk
                    other.is_replaced = True
        self._refused.discard(chunk.index)

    def try_claim(self, index: int, chunk: ArrivingChunk) -> bool:
        """Let a chunk's sender go on with another one, if nobody is at that. For any thread."""
        if index in self.upload.leaves or self._arriving.setdefault(index, chunk) is not chunk:
            return False
        self._refused.discard(index)
        return True

    def seal(self, chunk: ArrivingChunk) -> None:
        """Take note that a chunk is verified and stored. For any thread."""
        self.sizes[chunk.index] = chunk.size
        self._arriving.pop(chunk.index, None)

    def release(self, chunk: ArrivingChunk, *, is_refused: bool) -> None:
        """Take note that nobody sends a chunk any more."""
        if self._arriving.get(chunk.index) is chunk:
            del self._arriving[chunk.index]
            if is_refused:
                self._refused.add(chunk.index)
        self._change.set()

    def leave(self) -> None:
        """Take note that a connection which had joined is gone."""
        self.guests -= 1
        self._change.set()

    def end(self) -> None:
        """Take note that it is over: nothing that is sent from here on is stored."""
        self.is_over = True
        self._change.set()

    async def complete(self, count: int) -> None:
        """Wait until all chunks are there, or one has been refused, or nobody is left who could bring them."""
        while len(self.upload.leaves) < count and self.guests and not self._refused and not self.is_over:
            self._change.clear()
            await self._change.wait()


class Leases:
    """The uploads that connections can join."""

    def __init__(self) -> None:
        self._uploads: dict[str, OpenUpload] = {}

    def add(self, opened: OpenUpload) -> None:
        """Let an upload be joined. If it was somebody else's, that is over."""
        before = self._uploads.get(opened.upload.name)
        if before is not None:
            before.end()
        self._uploads[opened.upload.name] = opened

    def end(self, opened: OpenUpload) -> None:
        """Let an upload be joined no more."""
        opened.end()
        if self._uploads.get(opened.upload.name) is opened:
            del self._uploads[opened.upload.name]

    def find(self, name: str, lease: str) -> OpenUpload:
        """Give the upload of that name.

        Raises:
            FtpdError: `unknown_upload` if there is none, or the lease is another one.
        """
        opened = self._uploads.get(name)
        if opened is None or not secrets.compare_digest(opened.lease.encode(), lease.encode()):
            raise unknown_upload(name)
        return opened
