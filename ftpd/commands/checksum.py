"""`md5` and `sum`: digests over whole files, computed once per state of a file."""

from ftpd.commands.exchange import Exchange
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Checksum
from ftpd.wire.requests import Md5, Sum
from ftpd.wire.terms import Algorithm


async def md5(request: Md5, exchange: Exchange) -> Checksum:
    """Give the MD5 of a file. For comparing with old lists; it protects against accidents, not against people."""
    return await _checksum(request.filename, Algorithm.MD5, exchange)


async def sum_(request: Sum, exchange: Exchange) -> Checksum:
    """Give the digest of a file that is asked for."""
    return await _checksum(request.filename, request.algo, exchange)


async def _checksum(filename: str, algorithm: Algorithm, exchange: Exchange) -> Checksum:
    digest = await exchange.store.checksum(RemotePath.parse(filename), algorithm)
    return Checksum(algo=algorithm, digest=digest)
