"""`put`: one file whose bytes follow the request at once."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from blake3 import blake3

from ftpd.commands.exchange import Exchange, Transfer
from ftpd.store.base import Upload
from ftpd.store.values import SmallFile, UploadPlan
from ftpd.wire.digests import Buffer, Digest, Hasher, Tree, TreeHasher, chunk_size_for, parse_digest, tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.frames import Header
from ftpd.wire.messages import parse, request_id_of
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Stored
from ftpd.wire.requests import Put
from ftpd.wire.terms import RequestId


async def put(request: Put, exchange: Exchange) -> Stored:
    """Store the payload under a name, verified against every digest that the request gives."""
    path = RemotePath.parse(request.filename)
    checks = Checks(request)
    plan = UploadPlan(path, request.filesize, request.if_exists, request.mtime, request.mtime_ns, request.mode)
    upload = await exchange.store.begin(plan)
    if upload is None:
        return Stored(filename=str(path), filesize=request.filesize, skipped=True)
    try:
        tree = await _receive(request.filesize, upload, checks, exchange)
        checks.compare()
        published = await upload.publish(tree)
    finally:
        await upload.discard()
    if published is None:
        return Stored(filename=str(path), filesize=tree.size, skipped=True)
    exchange.transfer = Transfer(published, tree.size)
    return Stored(filename=str(published), filesize=tree.size, root=tree.root)


class Answered(NamedTuple):
    """What became of one put of several."""

    request_id: RequestId | None
    reply: Stored | FtpdError
    transfer: Transfer | None


async def put_all(puts: Sequence[tuple[Header, Buffer]], exchange: Exchange) -> list[Answered]:
    """Store files that have arrived whole, together. Each is answered as `put` would answer it."""
    prepared = [_prepare(header, data) for header, data in puts]
    files = [file for _, file in prepared if isinstance(file, SmallFile)]
    try:
        async with exchange.budget.working_on("put"):
            results: Iterator[RemotePath | FtpdError | None] = iter(
                await exchange.store.put_all(files) if files else ()
            )
    except FtpdError as exc:
        results = itertools.repeat(exc)
    return [_answer(number, file, next(results) if isinstance(file, SmallFile) else None) for number, file in prepared]


def _answer(
    request_id: RequestId | None, file: SmallFile | FtpdError, result: RemotePath | FtpdError | None
) -> Answered:
    if isinstance(file, FtpdError):
        return Answered(request_id, file, None)
    if isinstance(result, FtpdError):
        return Answered(request_id, result, None)
    size = file.tree.size
    if result is None:
        return Answered(request_id, Stored(filename=str(file.plan.path), filesize=size, skipped=True), None)
    return Answered(
        request_id, Stored(filename=str(result), filesize=size, root=file.tree.root), Transfer(result, size)
    )


def _prepare(header: Header, data: Buffer) -> tuple[RequestId | None, SmallFile | FtpdError]:
    request_id = None
    try:
        request_id = request_id_of(header) if "id" in header else None
        return request_id, _check(parse(header, Put), data)
    except FtpdError as exc:
        return request_id, exc


def _check(request: Put, data: Buffer) -> SmallFile:
    path = RemotePath.parse(request.filename)
    announced = _announced(request)
    tree = tree_of(data)
    for name, expected in announced:
        # A small file is one chunk, whose leaf is the digest of it all: it is not computed twice.
        _compare(name, expected, tree.leaves if name == "blake3" else _whole(name, data))
    plan = UploadPlan(path, request.filesize, request.if_exists, request.mtime, request.mtime_ns, request.mode)
    return SmallFile(plan, data, tree)


async def _receive(size: int, upload: Upload, checks: "Checks", exchange: Exchange) -> Tree:
    hasher = TreeHasher(chunk_size_for(size))
    digest: Digest = _Several([hasher, *checks.digests]) if checks.digests else hasher
    offset = 0
    while (data := await exchange.receive()) is not None:
        offset += await upload.write(offset, data, digest)
    return hasher.finish()


class Checks:
    """The digests a request announces, and their computation."""

    def __init__(self, request: Put) -> None:
        self._wanted = [(name, expected, _ALGORITHMS[name][1]()) for name, expected in _announced(request)]
        self.digests: Sequence[Digest] = [hasher for _, _, hasher in self._wanted]

    def compare(self) -> None:
        """Compare what came with what was announced.

        Raises:
            FtpdError: `integrity`, with both digests.
        """
        for name, expected, hasher in self._wanted:
            _compare(name, expected, hasher.digest())


_ALGORITHMS: dict[str, tuple[int, Callable[[], Hasher]]] = {
    "blake3": (32, blake3),
    "md5": (16, lambda: hashlib.md5(usedforsecurity=False)),
    "sha256": (32, hashlib.sha256),
}
"""Bytes of each digest, and what computes it."""


def _announced(request: Put) -> list[tuple[str, bytes]]:
    texts = (("blake3", request.blake3), ("md5", request.md5), ("sha256", request.sha256))
    return [(name, parse_digest(text, _ALGORITHMS[name][0])) for name, text in texts if text is not None]


def _whole(name: str, data: Buffer) -> bytes:
    hasher = _ALGORITHMS[name][1]()
    hasher.update(data)
    return hasher.digest()


def _compare(name: str, expected: bytes, actual: bytes) -> None:
    if actual != expected:
        raise FtpdError(
            ErrorCode.INTEGRITY,
            f"the bytes that arrived have another {name} than announced; nothing was stored",
            algo=name,
            expected=expected.hex(),
            actual=actual.hex(),
        )


class _Several:
    def __init__(self, digests: Sequence[Digest]) -> None:
        self._digests = digests

    def update(self, data: Buffer, /) -> None:
        for digest in self._digests:
            digest.update(data)
