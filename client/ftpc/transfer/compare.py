"""What both sides have already under the name a file goes to: the same bytes need not be moved."""

from ftpc.connection import Connection
from ftpc.errors import GarbledError, RefusedError
from ftpc.files import LocalSource
from ftpc.progress import Item, Phase, Progress
from ftpd.wire.digests import Tree, chunk_count, size_of_chunk
from ftpd.wire.limits import DIGEST_SIZE, MAX_STREAM_CHUNKS, MIN_CHUNK
from ftpd.wire.replies import Status
from ftpd.wire.requests import Stat
from ftpd.wire.terms import EntryType


async def ask_for_tree(connection: Connection, remote: str) -> None:
    """Ask what the server has. More may be asked for behind it before `compare` reads the reply."""
    await connection.send(Stat(filename=remote, leaves=True))


async def compare(
    connection: Connection, source: LocalSource, item: Item, progress: Progress, *, preserve: bool
) -> Status | None:
    """Give what the remote file is if it is the same as the local one, by its digests.

    Stops reading at the first chunk that is not.

    `ask_for_tree` has been sent before. With `preserve` time and mode have to be the same as well. Cancelling is safe.

    Raises:
        ChangedError: the local file changed meanwhile.
        FtpcError: the connection is lost, the file can not be read.
    """
    try:
        async with connection.patience():
            status = await connection.read_reply(Status)
            tree = await read_tree(connection, status)
    except RefusedError:
        if not connection.is_usable:  # it is the connection that was refused
            raise
        return None  # mostly because it is not there; whatever else it is, the transfer will hear of it
    if tree is None or tree.size != source.size or (preserve and _time_and_mode(status) != _own(source)):
        return None
    phase, item.phase = item.phase, Phase.COMPARING
    is_same = await _is_same(source, tree, item, progress)
    item.phase = phase
    if not is_same:
        item.done = 0
        progress.update(item)
        return None
    source.check_unchanged()
    status.root = tree.root
    return status


async def read_tree(connection: Connection, status: Status) -> Tree | None:
    """Read the leaves behind the answer to a `stat` that has asked for them."""
    if not status.leaves:
        return None
    count = chunk_count(status.filesize, max(status.chunk_size, 1))
    is_sane = status.chunk_size >= MIN_CHUNK and status.leaves == count <= MAX_STREAM_CHUNKS
    if not is_sane or status.type is not EntryType.FILE:
        connection.is_usable = False
        raise GarbledError("the server's digests of the file that it has make no sense")
    return Tree(status.filesize, status.chunk_size, await connection.read_bytes(count * DIGEST_SIZE))


async def _is_same(source: LocalSource, tree: Tree, item: Item, progress: Progress) -> bool:
    for index in range(tree.leaf_count):
        size = size_of_chunk(tree.size, tree.chunk_size, index)
        if await source.leaf(index * tree.chunk_size, size) != tree.leaf(index):
            return False
        item.done += size
        progress.update(item)
    return True


def _time_and_mode(status: Status) -> tuple[int, int]:
    return status.mtime * 1_000_000_000 + status.mtime_ns, status.mode


def _own(source: LocalSource) -> tuple[int, int]:
    return source.mtime_ns, source.mode
