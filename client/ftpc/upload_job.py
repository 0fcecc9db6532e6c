"""What has to be known to go on with an upload.

The name that the server gave it, the state of the local file, and the digest of every chunk that was announced.
"""

from collections.abc import Mapping
from pathlib import Path

from ftpc.files import State
from ftpc.jobs import JobFile, Task
from ftpd.payload.journal import Value


class UploadJob:
    """An upload under way: its name on the server, and the digests of its chunks as far as they are known."""

    def __init__(self, source: State) -> None:
        self.source = source
        """The state of the local file that the digests are of."""
        self.upload: str | None = None
        """The server's name for it, once it has been begun."""
        self.chunk_size = 0
        self.leaves: dict[int, bytes] = {}
        self.has_changed = False
        """Whether the local file is not the one any more that the digests are of."""
        self.outdated: tuple[str, int] | None = None
        """The server's name for an upload of what the file was before, and its bytes in all: nobody goes on with it."""
        self.is_known = False
        """Whether it was begun by an earlier process."""
        self.is_needed = False
        """Whether what the server has under the name was looked at, and is something else."""

    def begin(self, upload: str, chunk_size: int) -> None:
        """Take note of a new upload; what was known of an older one is void."""
        self.upload, self.chunk_size, self.leaves = upload, chunk_size, {}
        self.has_changed = False

    def note(self, index: int, leaf: bytes) -> None:
        """Take note of the digest of a chunk, before the chunk is sent."""
        self.leaves[index] = leaf

    def close(self, *, done: bool) -> None:
        """Give the job back; if it is done, forget it."""


class StoredUploadJob(UploadJob):
    """An upload that is remembered in a file."""

    def __init__(self, folder: Path, task: Task, source: State, options: Mapping[str, Value]) -> None:
        """Open what is known of the job, or begin to know something. Raises as `JobFile.open` does."""
        super().__init__(source)
        self._options = options
        file = JobFile.open(folder, task)
        assert file is not None
        self._file = file
        if file.found is not None:
            self.is_known = True
            self._take(file.found.head, file.found.leaves)

    def begin(self, upload: str, chunk_size: int) -> None:
        """See `UploadJob.begin`."""
        super().begin(upload, chunk_size)
        facts: dict[str, Value] = {"upload": upload, "chunk_size": chunk_size}
        self._file.begin({**self._options, **self.source._asdict(), **facts})

    def note(self, index: int, leaf: bytes) -> None:
        """See `UploadJob.note`."""
        if self.leaves.get(index) != leaf:
            self._file.note(index, leaf)
        super().note(index, leaf)

    def close(self, *, done: bool) -> None:
        """See `UploadJob.close`."""
        self._file.close(done=done or self.upload is None)

    def _take(self, head: Mapping[str, Value], leaves: dict[int, bytes]) -> None:
        upload, chunk_size = head.get("upload"), head.get("chunk_size")
        if (size := head.get("size")) != self.source.size:
            self.has_changed = True
            if isinstance(upload, str) and isinstance(size, int):
                self.outdated = upload, size
        elif isinstance(upload, str) and isinstance(chunk_size, int):
            self.upload, self.chunk_size, self.leaves = upload, chunk_size, leaves
            self.has_changed = any(head.get(key) != value for key, value in self.source._asdict().items())
