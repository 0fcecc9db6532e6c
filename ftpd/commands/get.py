"""`get`: a file, or a range of it, with what proves that it arrived as it was stored."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ftpd.commands.exchange import Exchange, Transfer
from ftpd.store.base import Details, Store, StoredFile, WholeFile
from ftpd.wire.digests import Buffer, Tree, TreeHasher, chunk_size_for
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.frames import Header
from ftpd.wire.messages import Content, Get, RequestId, Trailer, parse, request_id_of
from ftpd.wire.paths import RemotePath


async def get(request: Get, exchange: Exchange) -> Trailer | None:
    """Send what is asked for.

    Where the leaves of the file are known they go first and the server hashes nothing; otherwise, and for ranges, the
    digests are computed beside the sending and their root follows.
    """
    path = RemotePath.parse(request.filename)
    file = await exchange.store.open(path)
    try:
        length = _length(request, path, file.details.size)
        if length == file.details.size:
            trailer = await _send_whole(file, exchange)
        else:
            trailer = await _send_range(file, request.offset, length, exchange)
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


async def get_all(headers: Sequence[Header], store: Store, room: int) -> list[Answered]:
    """Read small files together, until they have `room` bytes. Each is answered as `get` would answer it.

    At least the first is answered. Behind one that is not small there are no answers.
    """
    prepared = [_prepare(header) for header in headers]
    paths = [path for _, path in prepared if isinstance(path, RemotePath)]
    try:
        results = deque(await store.read_small(paths, room) if paths else ())
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


async def _send_whole(file: StoredFile, exchange: Exchange) -> Trailer | None:
    size, tree = file.details.size, file.tree
    if tree is not None and file.content is not None:
        await exchange.send_all(_content(file.details, 0, size, tree), tree.leaves + file.content)
        return None
    if tree is not None:
        await exchange.send(_content(file.details, 0, size, tree), tree.leaves)
        await exchange.send_payload(file, 0, size, None)
        return None
    tree = await _send_hashing(file, 0, size, exchange)
    await file.remember(tree)
    return Trailer(root=tree.root)


async def _send_range(file: StoredFile, offset: int, length: int, exchange: Exchange) -> Trailer:
    tree = await _send_hashing(file, offset, length, exchange)
    await file.check_unchanged()
    return Trailer(root=tree.root)


async def _send_hashing(file: StoredFile, offset: int, length: int, exchange: Exchange) -> Tree:
    hasher = TreeHasher(chunk_size_for(length))
    await exchange.send(_content(file.details, offset, length, None))
    await exchange.send_payload(file, offset, length, hasher)
    return hasher.finish()


def _content(details: Details, offset: int, length: int, tree: Tree | None) -> Content:
    return Content(
        filesize=details.size,
        offset=offset,
        length=length,
        chunk_size=tree.chunk_size if tree else chunk_size_for(length),
        leaves=tree.leaf_count if tree else 0,
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
