"""What has to be known to go on with a download.

What the server said of the file, the hidden local file, and the digest of every chunk that is in it. Where the server
knows the file's root these chunks are verified; where it does not, they are what arrived, and the root that comes last
proves them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from ftpc.files import Partial
from ftpc.jobs import JobFile, Task
from ftpd.payload.journal import Found, Value, boot_id
from ftpd.payload.workers import Workers
from ftpd.wire.digests import Tree, chunk_count, size_of_chunk


class DownloadJob:
    """A download under way: what the file is, and which of its chunks are here."""

    def __init__(self) -> None:
        self.size = 0
        self.chunk_size = 0
        """0 before anything is known of the file."""
        self.root: str | None = None
        """None where the server did not know it."""
        self.leaves: dict[int, bytes] = {}
        self.was_lost = False
        """Whether there was something to go on with that is not here any more."""

    @property
    def count(self) -> int:
        """How many chunks the file has."""
        return chunk_count(self.size, self.chunk_size)

    @property
    def done(self) -> int:
        """Bytes that are here."""
        return sum(size_of_chunk(self.size, self.chunk_size, index) for index in self.leaves)

    @property
    def tree(self) -> Tree:
        """The tree of a file all of whose chunks are here."""
        return Tree(self.size, self.chunk_size, b"".join(self.leaves[index] for index in range(self.count)))

    def missing(self) -> range | None:
        """Give the first run of chunks that are not here."""
        first = next((index for index in range(self.count) if index not in self.leaves), None)
        if first is None:
            return None
        return range(first, next((index for index in range(first, self.count) if index in self.leaves), self.count))

    def begin(self, size: int, chunk_size: int, root: str | None) -> None:
        """Take note of what the file is; what was known is void."""
        self.size, self.chunk_size, self.root, self.leaves = size, chunk_size, root, {}

    def forget(self) -> None:
        """Take note that nothing of what is here is of any use."""
        self.size, self.chunk_size, self.root, self.leaves = 0, 0, None, {}

    def note(self, index: int, leaf: bytes) -> None:
        """Take note of a chunk that has been written."""
        self.leaves[index] = leaf

    def close(self, *, done: bool) -> None:
        """Give the job back; if it is done, forget it."""


async def open_job(
    folder: Path | None, task: Task, partial: Partial, workers: Workers, options: Mapping[str, Value]
) -> DownloadJob:
    """Open what is known of a download. Cancelling is safe.

    Raises:
        InUseError: another process is at it.
        LocalFileError: what is known can not be read.
    """
    if folder is None:
        return DownloadJob()
    return await workers.acquire(
        lambda: StoredDownloadJob(folder, task, partial, options), lambda job: job.close(done=False)
    )


class StoredDownloadJob(DownloadJob):
    """A download that is remembered in a file once it has more than one chunk."""

    def __init__(self, folder: Path, task: Task, partial: Partial, options: Mapping[str, Value]) -> None:
        """Open what is known of the job, if anything is, in a thread: it may have to be read again.

        Raises as `JobFile.open` does.
        """
        super().__init__()
        self._open: Callable[[], JobFile | None] = lambda: JobFile.open(folder, task)
        self._partial = partial
        self._options = options
        self._file = JobFile.open(folder, task, create=False)
        if self._file is not None and self._file.found is not None:
            self.was_lost = not self._take(self._file.found)

    def begin(self, size: int, chunk_size: int, root: str | None) -> None:
        """See `DownloadJob.begin`."""
        super().begin(size, chunk_size, root)
        if self.count == 1:
            return
        if self._file is None:
            self._file = self._open()
        self._begin()
        self._partial.is_kept = True

    def _begin(self) -> None:
        assert self._file is not None
        facts: dict[str, Value] = {"size": self.size, "chunk_size": self.chunk_size, "root": self.root}
        part: dict[str, Value] = {"part": str(self._partial.path), "inode": self._partial.inode, "boot": boot_id()}
        self._file.begin({**self._options, **facts, **part})

    def note(self, index: int, leaf: bytes) -> None:
        """See `DownloadJob.note`."""
        super().note(index, leaf)
        if self._file is not None and self._partial.is_kept:
            self._file.note(index, leaf)

    def close(self, *, done: bool) -> None:
        """See `DownloadJob.close`."""
        if not self.leaves:
            self._partial.is_kept = False
        if self._file is not None:
            self._file.close(done=done or not self._partial.is_kept)

    def _take(self, found: Found) -> bool:
        head = found.head
        size, chunk_size, root, part = (head.get(key) for key in ("size", "chunk_size", "root", "part"))
        if not (isinstance(size, int) and isinstance(chunk_size, int) and isinstance(part, str) and chunk_size > 0):
            return False
        if not self._partial.reopen(Path(part), head.get("inode")):
            return False
        self.size, self.chunk_size, self.root = size, chunk_size, root if isinstance(root, str) else None
        self.leaves = {index: leaf for index, leaf in found.leaves.items() if index < self.count}
        self._partial.is_kept = True
        if head.get("boot") != boot_id():
            # The machine has been started again since: what was written may not have reached the disk.
            leaves = {index: leaf for index, leaf in self.leaves.items() if self._holds(index, leaf)}
            self._begin()
            self.leaves = {}
            for index, leaf in leaves.items():
                self.note(index, leaf)
        return True

    def _holds(self, index: int, leaf: bytes) -> bool:
        offset, size = index * self.chunk_size, size_of_chunk(self.size, self.chunk_size, index)
        return self._partial.leaf(offset, size) == leaf
