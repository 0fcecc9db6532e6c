"""`begin`, `join`, `chunk`, `commit`, `abort`: a file in chunks, each verified and confirmed as it arrives."""

from ftpd.commands.exchange import Exchange, Transfer
from ftpd.commands.ranges import ranges_of
from ftpd.commands.uploads import ArrivingChunk, OpenUpload
from ftpd.payload.direct import Stretch
from ftpd.store.base import Upload
from ftpd.store.chunks import incomplete, unknown_upload
from ftpd.store.values import UploadPlan
from ftpd.wire.digests import Tree, chunk_count, chunk_size_for, parse_digest
from ftpd.wire.errors import BadRequestError, ErrorCode, FtpdError
from ftpd.wire.frames import decode_header
from ftpd.wire.limits import MAX_STREAM_CHUNKS, MAX_UPLOADS, STREAM_CHUNK
from ftpd.wire.messages import parse, request_id_of
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Begun, Confirmed, Done, Stored
from ftpd.wire.requests import Abort, Begin, Chunk, Commit, Join


async def begin(request: Begin, exchange: Exchange) -> Begun:
    """Open an upload, or go on with one. The server chooses how it is cut."""
    path = RemotePath.parse(request.filename)
    if len(exchange.uploads) >= MAX_UPLOADS:
        raise FtpdError(ErrorCode.BUSY, f"this connection has {MAX_UPLOADS} uploads open already")
    size = request.filesize
    if size is None and request.upload is not None:
        raise BadRequestError(f"{path}: only an upload of known size can be resumed")
    chunk_size = STREAM_CHUNK if size is None else chunk_size_for(size)
    plan = UploadPlan(
        path, size, request.if_exists, request.mtime, request.mtime_ns, request.mode, chunk_size if size else None
    )
    if not exchange.budget.take():
        raise FtpdError(ErrorCode.BUSY, "the server has as many uploads open as it can; try again later")
    upload = None
    try:
        upload = await _open(request.upload, plan, exchange)
    finally:
        if upload is None:
            exchange.budget.give_back()
    if upload is None:
        return Begun(skipped=True)
    if upload.name in exchange.uploads:  # resumed by the connection that has it
        exchange.take_upload(upload.name)
    opened = exchange.uploads[upload.name] = OpenUpload(upload, path, size, chunk_size)
    have = ranges_of(sorted(upload.leaves))
    begun = Begun(upload=upload.name, chunk_size=chunk_size, have=have, filename=str(path))
    if plan.chunk_size is not None:
        opened.user = exchange.principal.name
        exchange.leases.add(opened)
        begun.lease = opened.lease
    return begun


async def _open(name: str | None, plan: UploadPlan, exchange: Exchange) -> Upload | None:
    if name is None:
        return await exchange.store.begin(plan)
    return await exchange.store.resume(name, plan)


async def join(request: Join, exchange: Exchange) -> Done:
    """Let another connection bring chunks of an upload."""
    opened = exchange.leases.find(request.upload, request.lease)
    if opened.user != exchange.principal.name:  # its name holds for who has begun it
        raise unknown_upload(request.upload)
    for name in [name for name, joined in exchange.joined.items() if joined.is_over]:
        exchange.leave_upload(name)
    if request.upload in exchange.uploads or request.upload in exchange.joined:
        return Done()
    if len(exchange.joined) >= MAX_UPLOADS:
        raise FtpdError(ErrorCode.BUSY, f"this connection has joined {MAX_UPLOADS} uploads already")
    exchange.joined[request.upload] = opened
    opened.guests += 1
    return Done()


async def chunk(request: Chunk, exchange: Exchange) -> None:
    """Take a chunk, and those that follow it at once; confirm each when it is verified and stored."""
    name = request.upload
    opened = exchange.uploads.get(name) or exchange.joined.get(name) or _find(name, exchange)
    _check_place(request, opened)
    chunks = _Chunks(request, opened, exchange)
    await opened.claim(chunks)
    try:
        if request.index in opened.upload.leaves:  # sent again: what was there is being overwritten
            async with opened.writing(chunks):
                await opened.upload.reopen(request.index)
        while not chunks.are_sealed:
            chunks.stretch = await exchange.receive()
            async with opened.writing(chunks):
                await opened.upload.fill(chunks, chunks.stretch or b"")
    finally:
        opened.release(chunks, is_refused=not chunks.are_sealed)


class _Chunks(ArrivingChunk):
    """The chunks of one upload that arrive without anything between them."""

    def __init__(self, request: Chunk, opened: OpenUpload, exchange: Exchange) -> None:
        self.stretch: Stretch | None = None
        self.are_sealed = False
        self._opened = opened
        self._exchange = exchange
        super().__init__(*self._place(request))

    def go_on(self) -> Stretch | None:
        """See `OpenChunk.go_on`."""
        self._opened.seal(self)
        is_sent = self._exchange.post(Confirmed(index=self.index))
        if is_sent and self.stretch is not None and self.stretch.follow(self._accept):
            return self.stretch
        self.are_sealed = True
        return None

    def _accept(self, raw: bytes) -> int | None:
        """Begin the next chunk, if that is what the next request is about, and nothing speaks against it."""
        try:
            header = decode_header(raw)
            request = parse(header, Chunk) if header.get("cmd") == "chunk" else None
            if request is None or request.upload != self._opened.upload.name or not request.size:
                return None
            if not self._opened.upload.takes_runs:
                return None
            _check_place(request, self._opened)
            place = self._place(request)
            if not self._opened.try_claim(request.index, self):
                return None
            self._exchange.request_id = request_id_of(header)
        except FtpdError:  # found again by whoever reads it next, and answered
            return None
        self.begin(*place)
        return request.size

    def _place(self, request: Chunk) -> tuple[int, int, int, bytes]:
        offset = request.index * self._opened.chunk_size
        return request.index, offset, request.size, parse_digest(request.digest)


async def commit(request: Commit, exchange: Exchange) -> Stored:
    """Publish an upload if all of it is there and both sides mean the same by it."""
    opened = _find(request.upload, exchange)
    if request.wait:
        await opened.complete(request.chunks)
    tree = _tree(request, opened)
    if tree.root != parse_digest(request.root).hex():
        raise FtpdError(
            ErrorCode.INTEGRITY,
            f"{opened.path}: the file has another root than announced",
            expected=request.root,
            actual=tree.root,
        )
    exchange.take_upload(request.upload)
    published = await opened.upload.publish(tree)
    if published is None:
        return Stored(filename=str(opened.path), filesize=tree.size, skipped=True)
    exchange.transfer = Transfer(published, tree.size, opened.started)
    return Stored(filename=str(published), filesize=tree.size, root=tree.root)


async def abort(request: Abort, exchange: Exchange) -> Done:
    """Drop an upload."""
    opened = _find(request.upload, exchange)
    exchange.take_upload(request.upload)
    await opened.upload.discard()
    return Done()


def _find(name: str, exchange: Exchange) -> OpenUpload:
    if name not in exchange.uploads:
        raise FtpdError(ErrorCode.UNKNOWN_UPLOAD, f"this connection has no upload {name[:64]!r}")
    return exchange.uploads[name]


def _check_place(request: Chunk, opened: OpenUpload) -> None:
    index, chunk_size = request.index, opened.chunk_size
    if opened.size is None:
        if index >= MAX_STREAM_CHUNKS or request.size > chunk_size:
            limit = MAX_STREAM_CHUNKS * chunk_size
            raise FtpdError(ErrorCode.BAD_RANGE, f"{opened.path}: chunk {index} lies beyond the limit of {limit} bytes")
    elif index >= chunk_count(opened.size, chunk_size) or request.size != min(
        chunk_size, opened.size - index * chunk_size
    ):
        raise FtpdError(
            ErrorCode.BAD_RANGE,
            f"{opened.path}: there is no chunk {index} of {request.size} bytes in a file of {opened.size}",
        )


def _tree(request: Commit, opened: OpenUpload) -> Tree:
    count = request.chunks
    if opened.size is not None and count != chunk_count(opened.size, opened.chunk_size):
        raise BadRequestError(f"{opened.path}: the upload does not have {count} chunks")
    missing = next((index for index in range(count) if index not in opened.upload.leaves), None)
    if missing is not None or not count:
        raise incomplete(opened.path, missing or 0)
    if count != len(opened.upload.leaves):
        raise BadRequestError(f"{opened.path}: {len(opened.upload.leaves)} chunks were sent, the commit says {count}")
    short = next((index for index in range(count - 1) if opened.sizes[index] != opened.chunk_size), None)
    if short is not None:
        raise BadRequestError(f"{opened.path}: chunk {short} is short but not the last")
    if count > 1 and not opened.sizes[count - 1]:
        raise BadRequestError(f"{opened.path}: the last chunk is empty")
    size = (count - 1) * opened.chunk_size + opened.sizes[count - 1]
    return Tree(size, opened.chunk_size, b"".join(opened.upload.leaves[index] for index in range(count)))
