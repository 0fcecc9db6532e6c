"""`get`: a file, or a range of it, with what proves that it arrived as it was stored."""

from ftpd.commands.exchange import Exchange, Transfer
from ftpd.store.base import StoredFile
from ftpd.wire.digests import Tree, TreeHasher, chunk_size_for
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.messages import Content, Get, Trailer
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


async def _send_whole(file: StoredFile, exchange: Exchange) -> Trailer | None:
    size, tree = file.details.size, file.tree
    if tree is not None and file.content is not None:
        await exchange.send_all(_content(file, 0, size, tree), tree.leaves + file.content)
        return None
    if tree is not None:
        await exchange.send(_content(file, 0, size, tree), tree.leaves)
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
    await exchange.send(_content(file, offset, length, None))
    await exchange.send_payload(file, offset, length, hasher)
    return hasher.finish()


def _content(file: StoredFile, offset: int, length: int, tree: Tree | None) -> Content:
    details = file.details
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
