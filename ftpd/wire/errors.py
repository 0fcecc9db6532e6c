"""The error codes of the protocol, and the one exception that carries them.

This module is the floor of the project: it imports nothing of ours.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Why a request was refused. Stable: a code is never renamed or reused."""

    BAD_FRAME = "bad_frame"
    """The byte stream is not frames any more; the connection is closed."""
    BAD_REQUEST = "bad_request"
    """A key is missing, or has the wrong type or an impossible value."""
    UNKNOWN_COMMAND = "unknown_command"
    """The server has no such command."""
    BAD_PATH = "bad_path"
    """The remote name is empty, too long, reserved, or has a part that is not allowed."""
    NOT_FOUND = "not_found"
    """Nothing has that name."""
    EXISTS = "exists"
    """Something has that name already, and `if_exists` was `fail`."""
    IS_DIRECTORY = "is_directory"
    """The name is a directory where a file was needed."""
    NOT_DIRECTORY = "not_directory"
    """The name, or a part of it, is not a directory where one was needed."""
    NOT_REGULAR = "not_regular"
    """The name is a FIFO, socket or device; only regular files are served."""
    SYMLINK = "symlink"
    """The name, or a part of it, is a symbolic link; they are not followed."""
    BAD_RANGE = "bad_range"
    """`offset` lies beyond the end of the file, or a chunk outside its upload."""
    INTEGRITY = "integrity"
    """The bytes do not have the digest that was announced for them."""
    CHANGED = "changed"
    """The file changed while it was being read."""
    UNKNOWN_UPLOAD = "unknown_upload"
    """No upload with that id belongs to this connection, or can be resumed."""
    LEASE_LOST = "lease_lost"
    """The upload, or this chunk of it, is somebody else's now; or the upload that was joined is over."""
    INCOMPLETE = "incomplete"
    """A commit came before all chunks of the upload were confirmed."""
    BAD_CURSOR = "bad_cursor"
    """The cursor of a listing is unknown, used up or from another connection."""
    NO_SPACE = "no_space"
    """The server's disk or quota is full."""
    FORBIDDEN = "forbidden"
    """The operating system or the server's rules do not allow it."""
    UNAUTHORIZED = "unauthorized"
    """Nobody has logged in on this connection, or what was shown for it is not valid (any more)."""
    TLS_REQUIRED = "tls_required"
    """The server speaks only TLS; the connection is closed."""
    READ_ONLY = "read_only"
    """The server or its file system does not accept changes."""
    BUSY = "busy"
    """The server has as much to do as it accepts; try again later."""
    TIMEOUT = "timeout"
    """The peer was silent for too long; the connection is closed."""
    GOING_AWAY = "going_away"
    """The server is shutting down, or wants to be logged in to again; the connection is closed."""
    UNAVAILABLE = "unavailable"
    """The served folder is gone or can not be used."""
    IO_ERROR = "io_error"
    """The server's disk failed."""
    INTERNAL = "internal"
    """A bug in the server; its log has the details."""


Fact = str | int | bool


class FtpdError(Exception):
    """A refusal with a code for programs, a sentence for people, and facts for both.

    Every exception that `ftpd` raises on purpose is one of these.
    """

    def __init__(self, code: ErrorCode, message: str, **facts: Fact) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.facts = facts


class BadFrameError(FtpdError):
    """The peer sent what can not be a frame: nothing after it can be trusted."""

    def __init__(self, message: str, **facts: Fact) -> None:
        super().__init__(ErrorCode.BAD_FRAME, message, **facts)


class BadRequestError(FtpdError):
    """A header has a missing, mistyped or impossible key."""

    def __init__(self, message: str, **facts: Fact) -> None:
        super().__init__(ErrorCode.BAD_REQUEST, message, **facts)
