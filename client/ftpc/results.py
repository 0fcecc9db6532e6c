"""What transfers result in."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from ftpc.errors import FtpcError


class PutResult(NamedTuple):
    """What became of an upload. It is stored, verified, and as durable as the server's greeting says."""

    remote: str
    """The name it got, which differs from the one asked for after `IfExists.RENAME`."""
    size: int
    root: str | None
    """The root digest; None if it was skipped because something has its name."""
    skipped: bool
    resumed: int = 0
    """Bytes of it that the server had already."""
    repaired: int = 0
    """Chunks that arrived damaged and were sent again."""
    changed: bool = False
    """Whether the local file changed since the upload was broken off; what was new was sent again."""
    restarted: bool = False
    """Whether nothing of an upload that was broken off could be used."""
    identical: bool = False
    """Whether it was skipped because the server has the very same content under that name."""


class Objection(NamedTuple):
    """What speaks against an upload before it is begun."""

    local: str | None
    """The file; None if it is all of them together."""
    error: "FtpcError"


class TreeFile(NamedTuple):
    """What became of one file of a folder, or of a folder in it that was to be made by itself."""

    local: str
    remote: str
    size: int
    root: str | None = None
    skipped: bool = False
    error: "FtpcError | None" = None
    """Why it was not stored. The others were not affected."""
    resumed: int = 0
    """Bytes of it that were there already."""
    left_out: str | None = None
    """Why it is none that could be stored: a symbolic link, a FIFO; a folder, for a server that makes none."""
    is_folder: bool = False
    mtime: float | None = None
    """Of the remote file, if it was fetched."""
    restarted: bool = False
    repaired: int = 0
    lost: bool = False
    """As in `GetResult`, of a file that was fetched by itself."""

    @property
    def identical(self) -> bool:
        """Whether it was skipped because the other side has the very same content under that name."""
        return self.skipped and self.root is not None


class TreeResult:
    """What became of a folder."""

    def __init__(self) -> None:
        self.files = self.size = self.skipped = self.resumed = 0
        self.identical = self.identical_size = 0
        """Those of the skipped that are there already, the same to the last byte; and their bytes."""
        self.errors: list[FtpcError] = []
        """One for each file that failed."""
        self.is_ended = False
        """Whether it was given up because of what the server had to say beforehand. What is stored stays."""
        self.not_sent = 0
        """Files that were not sent for that, beside those with an error."""
        self.left_out = 0
        self.folders = 0
        """Folders that are there now although no file in them was stored."""
        self.folders_left_out = 0
        """Those that were not made, the server being too old for it."""

    def add(self, file: TreeFile) -> None:
        """Count a file."""
        if file.error is not None:
            self.errors.append(file.error)
        elif file.left_out is not None:
            self.left_out += not file.is_folder
            self.folders_left_out += file.is_folder
        elif file.is_folder:
            self.folders += 1
        elif file.skipped:
            self.skipped += 1
            self.identical += file.identical
            self.identical_size += file.size if file.identical else 0
        else:
            self.files += 1
            self.size += file.size
            self.resumed += file.resumed


class GetResult(NamedTuple):
    """What became of a download. It is verified, and durable if it went to a file."""

    local: "Path | None"
    size: int
    mtime: float
    mode: int
    resumed: int = 0
    """Bytes of it that were here already, from an earlier try."""
    restarted: bool = False
    """Whether it was begun afresh after a break: the remote file had changed, or could not be proven not to have."""
    repaired: int = 0
    """Chunks that arrived damaged and were sent again."""
    lost: bool = False
    """Whether it was begun afresh because what was here of it is gone."""
    root: str | None = None
    """The root digest; None of a range or a stream."""
    identical: bool = False
    """Whether it was not fetched because it is here already, the same to the last byte."""
