"""What a server answers to an upload, looked at before it is believed."""

from collections.abc import Iterator
from contextlib import contextmanager

from ftpc.connection import Connection
from ftpc.errors import DamagedError, GarbledError, RefusedError
from ftpc.transfer.plan import Plan
from ftpc.transfer.shipment import MISHEARD
from ftpd.wire.digests import Tree, chunk_count
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import MAX_STREAM_CHUNKS, MIN_CHUNK, STREAM_CHUNK
from ftpd.wire.replies import Begun, Stored
from ftpd.wire.terms import IfExists


def check_begun(begun: Begun, connection: Connection, size: int | None) -> None:
    """Do not believe what can not be: a chunk size from the wire must not become memory or a loop of ours."""
    sane = begun.chunk_size == STREAM_CHUNK if size is None else begun.chunk_size >= MIN_CHUNK
    end = 0
    for first, last in begun.have if sane else ():
        sane = sane and end <= first <= last < chunk_count(size or 0, begun.chunk_size)
        end = last + 1
    if not sane or chunk_count(size or 0, begun.chunk_size) > MAX_STREAM_CHUNKS:
        connection.is_usable = False
        raise GarbledError(f"the server wants chunks of {begun.chunk_size} bytes, or has some, which makes no sense")


@contextmanager
def integrity() -> Iterator[None]:
    """Let the server's finding that bytes are damaged out as ours."""
    try:
        yield
    except RefusedError as exc:
        if exc.code == ErrorCode.INTEGRITY:
            raise DamagedError(exc.message) from exc
        raise


@contextmanager
def misheard(plan: Plan) -> Iterator[None]:
    """Let refusals of what we have not said out as damage: saying it again may help."""
    try:
        yield
    except RefusedError as exc:
        if exc.code in MISHEARD:
            raise DamagedError(f"{plan.remote}: the server heard something else than was said: {exc.message}") from exc
        raise


def check_root(stored: Stored, tree: Tree) -> None:
    """Make sure that what was stored is what was sent."""
    if not stored.skipped and stored.root != tree.root:
        raise DamagedError(f"{stored.filename}: the server stored something else (root {stored.root}, not {tree.root})")


def check_name(stored: Stored, plan: Plan) -> None:
    """Make sure that it was stored where it was meant to go."""
    if stored.filename != plan.remote and plan.if_exists is not IfExists.RENAME:
        raise DamagedError(f"{plan.remote}: the server has stored it as {stored.filename}")
