"""The contract of a store.

Commands know nothing else of how files are kept. The contract speaks of chunks at offsets and of whole files, not of
descriptors, renames or appends: an object store has none of these. `tests/store/test_contract.py` is its other half:
every implementation passes it.

All methods raise `FtpdError` and nothing else on purpose. Cancelling any of them is safe: nothing half done stays
visible, and what an upload had taken is given back by `discard`, `suspend` or `close`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from blake3 import blake3

from ftpd.payload.direct import Stretch
from ftpd.payload.files import Source
from ftpd.store.chunks import OpenChunk
from ftpd.store.values import Details, Growth, Likeness, SmallFile, Space, Twin, UploadPlan, Usage, WholeFile
from ftpd.wire.digests import Buffer, Digest, Tree
from ftpd.wire.errors import FtpdError
from ftpd.wire.limits import SMALL_FILE
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Entry
from ftpd.wire.terms import Algorithm, Durability, EntryType


class Listing(ABC):
    """The names in one folder, in no particular order, each that stays there exactly once."""

    unnameable = 0
    """How many names were left out of the pages so far because no request could name them."""
    is_over = False
    """Whether it is known that nothing follows, so that nobody has to ask."""

    @abstractmethod
    async def next(self, limit: int) -> list[Entry]:
        """Give up to `limit` further entries; an empty list is the end."""

    @abstractmethod
    async def close(self) -> None:
        """Give back what the listing holds."""


class StoredFile(Source, ABC):
    """A whole file as it was when it was opened: replacing or removing its name does not change what is read."""

    details: Details
    tree: Tree | None
    """Its leaves and root, where the store knows them."""
    prefix: bytes = b""
    """Where they are not known: the leaves of the first chunks, as far as an earlier reader has got."""
    content: memoryview | None = None
    """Its bytes, if they are in memory."""

    @abstractmethod
    async def check_unchanged(self) -> None:
        """Compare the file with what it was when it was opened.

        Raises:
            FtpdError: `changed` if it has been written to.
        """

    @abstractmethod
    async def remember(self, tree: Tree) -> None:
        """Keep the tree of this very content for later.

        Raises:
            FtpdError: `changed` if the file has been written to since it was opened.
        """

    async def remember_prefix(self, leaves: bytes) -> None:
        """Keep the leaves of the first chunks, cut by `chunk_size_for` the size, for whoever goes on behind them.

        Best effort: a store that does not keep them makes him begin afresh.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give back what the open file holds."""


class Upload(ABC):
    """A file on its way in. Nobody can see it until it is published.

    With a `chunk_size` in its plan it is *resumable*: chunks that were sealed stay when it is suspended, or its server
    dies, and `Store.resume` goes on with them. It has one owner: whoever resumes it takes it away from whoever had it,
    whose calls raise `lease_lost` from then on. `write`, `fill` and `reopen` may run at the same time for different
    chunks; what ends the upload waits for them.
    """

    name: str
    """Tells it from all other uploads, past and present; not to be guessed."""

    leaves: dict[int, bytes]
    """The digests of the sealed chunks, by index."""

    takes_runs = True
    """Whether a chunk may follow the one before it within a call of `fill` (`OpenChunk.go_on`)."""

    @abstractmethod
    async def write(self, offset: int, data: Buffer | Stretch, digest: Digest) -> int:
        """Store bytes at `offset` and feed them to `digest`. `data` may be reused when this returns.

        Returns how many they were.
        """

    @abstractmethod
    async def fill(self, chunk: OpenChunk, data: Buffer | Stretch) -> None:
        """Store the next bytes of a chunk as `write` does. If they complete it and its digest is right, it is sealed.

        So are those with which the chunk goes on then.

        Raises:
            FtpdError: `integrity` if the digest is another one.
        """

    @abstractmethod
    async def reopen(self, index: int) -> None:
        """Make a sealed chunk one that is not, before its bytes are written again."""

    @abstractmethod
    async def publish(self, tree: Tree) -> RemotePath | None:
        """Give the file its name, in one step, and keep its tree. Durable when this returns, if the store is.

        The file is cut to `tree.size`. Returns the name, which differs from the plan's after `IfExists.RENAME`, or
        None if the name was taken and the plan says `SKIP`. The upload is over, however this ends; but with no room for
        the name, for now, one that is resumable is suspended, and so it is if this is cancelled. When it is too late
        for that, it returns nevertheless: what is stored is told.

        Raises:
            FtpdError: `exists` if the name is taken and the plan says `FAIL`; `no_space`, `busy` for now; `incomplete`
                if a chunk of a resumable upload is not sealed, or is another one than the tree says.
        """

    @abstractmethod
    async def suspend(self) -> None:
        """Give back what the upload holds. What is sealed can be resumed, if it is resumable; else as `discard`."""

    @abstractmethod
    async def discard(self) -> None:
        """Drop what was stored, if it was not published. May be called at any time and more than once."""


class Store(ABC):
    """A tree of files."""

    durability: Durability
    read_only: bool

    @abstractmethod
    async def stat(self, path: RemotePath, *, sync: bool = False) -> tuple[Details, Tree | None]:
        """Tell what a name is, and its tree if that is known without reading. Symbolic links are not followed.

        With `sync` a file whose tree is given is durable, if the store is, as if it had been published just now.
        """

    @abstractmethod
    async def list(self, path: RemotePath, *, long: bool) -> Listing:
        """Open a folder; `long` fills in sizes and times."""

    @abstractmethod
    async def open(self, path: RemotePath) -> StoredFile:
        """Open a file for reading.

        Raises:
            FtpdError: `not_regular` for anything but a regular file, without ever waiting for it (a FIFO would).
        """

    async def read_small(self, paths: Sequence[RemotePath], room: int) -> Sequence[WholeFile | FtpdError | None]:
        """Read whole files in their order, as `open` would, until they have `room` bytes together.

        Returns for each its content or the error, at least for the first. None stands for a file that is not small and
        has to be opened; it is the last then.
        """
        results: list[WholeFile | FtpdError | None] = []
        for path in paths:
            result = await self._read(path)
            results.append(result)
            if isinstance(result, WholeFile):
                room -= len(result.data)
            if result is None or room <= 0:
                break
        return results

    async def _read(self, path: RemotePath) -> WholeFile | FtpdError | None:
        try:
            file = await self.open(path)
        except FtpdError as exc:
            return exc
        try:
            if file.content is None or file.tree is None or file.details.size > SMALL_FILE:
                return None
            return WholeFile(file.details, file.tree, file.content)
        finally:
            await file.close()

    @abstractmethod
    async def begin(self, plan: UploadPlan) -> Upload | None:
        """Open an upload, or give None if the name is taken and the plan says `SKIP`.

        Raises:
            FtpdError: for all that can be known before the first byte: `exists`, `is_directory`, `not_directory`,
                `symlink`, `no_space`, `read_only`.
        """

    @abstractmethod
    async def check(self, plans: Sequence[UploadPlan]) -> Sequence[Growth | FtpdError]:
        """Tell for each of some uploads what it would add if it were the only one, or the error `begin` would raise.

        A file that would be skipped adds nothing, and so does the size of one that is not known. Nothing is reserved.

        Raises:
            FtpdError: `read_only`, all would be refused.
        """

    @abstractmethod
    async def resume(self, name: str, plan: UploadPlan) -> Upload | None:
        """Go on with a resumable upload, taking it from whoever has it open; or give None as `begin` does.

        Path, size and chunk size have to be those it was begun with; the rest of the plan holds from now on. Chunks
        that may have been lost with their machine are read again, all others are not.

        Raises:
            FtpdError: `unknown_upload` if there is none of that name for that path, size and chunk size; or as `begin`.
        """

    async def put_all(self, files: Sequence[SmallFile]) -> Sequence[RemotePath | FtpdError | None]:
        """Store small files in their order, each as `begin`, `write` and `publish` would.

        Returns for each what `publish` would return, or the error, and when it is cancelled as that does. One that
        fails costs none of the others.
        """
        return [await self._put(file) for file in files]

    async def _put(self, file: SmallFile) -> RemotePath | FtpdError | None:
        try:
            upload = await self.begin(file.plan)
            if upload is None:
                return None
            try:
                await upload.write(0, file.data, blake3())
                return await upload.publish(file.tree)
            finally:
                await upload.discard()
        except FtpdError as exc:
            return exc

    async def same(self, files: Sequence[Twin]) -> Sequence[Likeness]:
        """Tell which files are there already, going by the trees that are known without reading.

        Those that are have nothing left to be done for them: they are as durable as if they had just been published.
        """
        return [await self._likeness(file) for file in files]

    async def _likeness(self, file: Twin) -> Likeness:
        try:
            details, tree = await self.stat(file.path, sync=True)
        except FtpdError:
            pass
        else:
            is_same = tree is not None and (tree.size, tree.root) == (file.size, file.root)
            return Likeness.SAME if is_same and file.details in {None, details[2:]} else Likeness.OTHER
        try:
            folder, _ = await self.stat(file.path.parent)
        except FtpdError:
            return Likeness.NO_FOLDER
        return Likeness.OTHER if folder.type is EntryType.DIRECTORY else Likeness.NO_FOLDER

    @abstractmethod
    async def make_folder(self, path: RemotePath) -> bool:
        """Make a folder and those it is in, where they are missing. New names are durable as those of files are.

        Returns whether it is new; of many at once, exactly one hears so. The root is never new.

        Raises:
            FtpdError: `not_directory`, `symlink`, `no_space`, `read_only`.
        """

    @abstractmethod
    async def space(self) -> Space:
        """Tell how much room there is."""

    @abstractmethod
    async def usage(self, folder: RemotePath) -> Usage:
        """Count the files beneath a folder. May take a while."""

    @abstractmethod
    async def sweep(self) -> None:
        """Drop what uploads have left that nobody has gone on with for longer than the store keeps them."""

    @abstractmethod
    async def checksum(self, path: RemotePath, algorithm: Algorithm) -> str:
        """Give the digest over the content of a file, in hex; kept until the file changes by any means."""

    @abstractmethod
    async def close(self) -> None:
        """Give back what the store holds. Open uploads are lost, but for what is sealed of resumable ones."""
