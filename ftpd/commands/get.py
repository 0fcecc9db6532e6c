"""`get`: a file, or a range of it, with what proves that it arrived as it was stored."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ftpd.commands.exchange import Exchange, Transfer
from ftpd.store.base import StoredFile
from ftpd.store.values import Details, WholeFile
from ftpd.wire.digests import Buffer, Tree, TreeHasher, chunk_count, chunk_size_for
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.frames import Header
from ftpd.wire.limits import DIGEST_SIZE
from ftpd.wire.messages import parse, request_id_of
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Content, Trailer
from ftpd.wire.requests import Get
from ftpd.wire.terms import RequestId


async def get(request: Get, exchange: Exchange) -> Trailer | None:
    """Send what is asked for.

    Where the leaves of the file are known they go first and the server hashes nothing; otherwise, and for ranges that
    are not made of chunks, the digests are computed beside the sending and their root follows.
    """
    path = RemotePath.parse(request.filename)
    file = await exchange.store.open(path)
    try:
        _check_root(request, path, file)
        length = _length(request, path, file.details.size)
        if request.resume:
            _check_chunks(request, path, file, length)
        trailer = None
        if not request.resume and length != file.details.size:
            trailer = await _send_range(file, request.offset, length, exchange)
        elif file.tree is not None:
            await _send_known(file, file.tree, request.offset, length, exchange)
        else:
            trailer = await _send_unknown(file, request.offset, exchange)
        exchange.transfer = Transfer(path, length)
        return trailer
    finally:
        await file.close()


class Answered(NamedTuple):
    """What became of one get of several."""

    request_id: RequestId | None
    reply: Content | FtpdError | None
    """None for a file that is not small: it has to be sent by itself."""
    transfer: Transfer | None = None
    leaves: bytes = b""
    data: Buffer = b""


async def get_all(headers: Sequence[Header], exchange: Exchange, room: int) -> list[Answered]:
    """Read small files together, until they have `room` bytes. Each is answered as `get` would answer it.

    At least the first is answered. Behind one that is not small there are no answers.
    """
    prepared = [_prepare(header) for header in headers]
    paths = [path for _, path in prepared if isinstance(path, RemotePath)]
    try:
        async with exchange.budget.working_on("get"):
            results = deque(await exchange.store.read_small(paths, room) if paths else ())
    except FtpdError as exc:
        results = deque([exc] * len(paths))
    answers: list[Answered] = []
    for request_id, path in prepared:
        if isinstance(path, RemotePath) and not results:
            break
        answers.append(_answer(request_id, path, results.popleft() if isinstance(path, RemotePath) else None))
        if answers[-1].reply is None:
            break
    return answers


def _prepare(header: Header) -> tuple[RequestId | None, RemotePath | FtpdError]:
    request_id = None
    try:
        request_id = request_id_of(header)
        return request_id, RemotePath.parse(parse(header, Get).filename)
    except FtpdError as exc:
        return request_id, exc


def _answer(
    request_id: RequestId | None, path: RemotePath | FtpdError, result: WholeFile | FtpdError | None
) -> Answered:
    if isinstance(path, FtpdError):
        return Answered(request_id, path)
    if not isinstance(result, WholeFile):
        return Answered(request_id, result)
    details, tree, data = result
    reply = _content(details, 0, details.size, tree)
    return Answered(request_id, reply, Transfer(path, details.size), tree.leaves, data)


async def _send_known(file: StoredFile, tree: Tree, offset: int, length: int, exchange: Exchange) -> None:
    """Send chunks, and their leaves before them."""
    first = offset // tree.chunk_size
    leaves = tree.leaves[first * DIGEST_SIZE : (first + chunk_count(length, tree.chunk_size)) * DIGEST_SIZE]
    content = _content(file.details, offset, length, tree)
    if file.content is not None:
        await exchange.send_all(content, leaves + file.content[offset : offset + length])
        return
    await exchange.send(content, leaves)
    await exchange.send_payload(file, offset, length, None)


async def _send_unknown(file: StoredFile, offset: int, exchange: Exchange) -> Trailer:
    """Send a file whose tree is not known from `offset` to its end; what is found out about it stays."""
    hasher, length = TreeHasher(chunk_size_for(file.details.size)), file.details.size - offset
    before = file.prefix[: offset // hasher.chunk_size * DIGEST_SIZE]
    try:
        await _send_hashing(file, offset, length, hasher, exchange)
    except BaseException:
        await file.remember_prefix(before + hasher.complete)
        raise
    tree = Tree(file.details.size, hasher.chunk_size, before + hasher.finish().leaves)
    await file.remember(tree)
    return Trailer(root=tree.root)


async def _send_range(file: StoredFile, offset: int, length: int, exchange: Exchange) -> Trailer:
    hasher = TreeHasher(chunk_size_for(length))
    await _send_hashing(file, offset, length, hasher, exchange)
    await file.check_unchanged()
    return Trailer(root=hasher.finish().root)


async def _send_hashing(file: StoredFile, offset: int, length: int, hasher: TreeHasher, exchange: Exchange) -> None:
    await exchange.send(_content(file.details, offset, length, None, hasher.chunk_size))
    await exchange.send_payload(file, offset, length, hasher)


def _content(details: Details, offset: int, length: int, tree: Tree | None, chunk_size: int = 0) -> Content:
    return Content(
        filesize=details.size,
        offset=offset,
        length=length,
        chunk_size=tree.chunk_size if tree else chunk_size,
        leaves=chunk_count(length, tree.chunk_size) if tree else 0,
        trailer=tree is None,
        root=tree.root if tree else None,
        mtime=details.mtime,
        mtime_ns=details.mtime_ns,
        mode=details.mode,
    )


def _length(request: Get, path: RemotePath, size: int) -> int:
    if request.offset > size:
        message = f"{path}: offset {request.offset} lies beyond the end, the file has {size} bytes"
        raise FtpdError(ErrorCode.BAD_RANGE, message, filesize=size)
    rest = size - request.offset
    return rest if request.length is None else min(request.length, rest)


def _check_root(request: Get, path: RemotePath, file: StoredFile) -> None:
    if request.if_root is not None and (file.tree is None or file.tree.root != request.if_root):
        raise FtpdError(ErrorCode.CHANGED, f"{path}: it is not known to be the file with the root that you expect")


def _check_chunks(request: Get, path: RemotePath, file: StoredFile, length: int) -> None:
    """Refuse to go on where nothing could be proven of what lies before."""
    size, end = file.details.size, request.offset + length
    chunk_size = file.tree.chunk_size if file.tree else chunk_size_for(size)
    if request.offset % chunk_size or (end % chunk_size and end != size) or not length > 0:
        message = f"{path}: bytes {request.offset} to {end} are not made of chunks of {chunk_size} bytes"
        raise FtpdError(ErrorCode.BAD_RANGE, message, filesize=size)
    if file.tree is None and (end != size or request.offset // chunk_size * DIGEST_SIZE > len(file.prefix)):
        message = f"{path}: nothing is known of what lies before byte {request.offset}; fetch it from its beginning"
        raise FtpdError(ErrorCode.CHANGED, message)
