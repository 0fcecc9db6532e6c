"""What transfers result in."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class PutResult(NamedTuple):
    """What became of an upload. It is stored, verified, and as durable as the server's greeting says."""

    remote: str
    """The name it got, which differs from the one asked for after `IfExists.RENAME`."""
    size: int
    root: str | None
    """The root digest; None if it was skipped."""
    skipped: bool
    resumed: int = 0
    """Bytes of it that the server had already."""
    repaired: int = 0
    """Chunks that arrived damaged and were sent again."""
    changed: bool = False
    """Whether the local file changed since the upload was broken off; what was new was sent again."""
    restarted: bool = False
    """Whether nothing of an upload that was broken off could be used."""


class GetResult(NamedTuple):
    """What became of a download. It is verified, and durable if it went to a file."""

    local: "Path | None"
    size: int
    mtime: float
    mode: int
    resumed: int = 0
    """Bytes of it that were here already when a broken connection was mended for the last time."""
    restarted: bool = False
    """Whether it was begun afresh after a break: the remote file had changed, or could not be proven not to have."""
