"""Exit statuses, and the one place where errors become one. Listed in `docs/exit-codes.md`."""

from collections.abc import Iterable
from enum import IntEnum

from ftpc.errors import (
    AbandonedError,
    AddressError,
    ChangedError,
    ConnectError,
    ConnectionLostError,
    FtpcError,
    IntegrityError,
    InUseError,
    LocalFileError,
    LocalNotFoundError,
    RefusedError,
    RemoteNameError,
    TrustError,
)


class Exit(IntEnum):
    """What a script needs to know of how a command ended."""

    OK = 0
    OTHER = 1
    USAGE = 2
    NOT_FOUND = 3
    LOCAL = 4
    TEMPORARY = 5
    FORBIDDEN = 6
    CONFLICT = 7
    INTEGRITY = 8
    LIMIT = 10
    INTERRUPTED = 130
    PIPE = 141
    TERMINATED = 143


_BY_KIND: tuple[tuple[type[FtpcError], Exit], ...] = (
    (AbandonedError, Exit.INTERRUPTED),
    (AddressError, Exit.USAGE),
    (RemoteNameError, Exit.USAGE),
    (TrustError, Exit.FORBIDDEN),
    (LocalNotFoundError, Exit.NOT_FOUND),
    (LocalFileError, Exit.LOCAL),
    (ConnectError, Exit.TEMPORARY),
    (ConnectionLostError, Exit.TEMPORARY),
    (ChangedError, Exit.CONFLICT),
    (InUseError, Exit.CONFLICT),
    (IntegrityError, Exit.INTEGRITY),
)

_BY_CODE = {
    "bad_path": Exit.USAGE,
    "bad_range": Exit.USAGE,
    "not_found": Exit.NOT_FOUND,
    "busy": Exit.TEMPORARY,
    "timeout": Exit.TEMPORARY,
    "going_away": Exit.TEMPORARY,
    "lease_lost": Exit.CONFLICT,
    "unavailable": Exit.TEMPORARY,
    "forbidden": Exit.FORBIDDEN,
    "unauthorized": Exit.FORBIDDEN,
    "tls_required": Exit.FORBIDDEN,
    "read_only": Exit.FORBIDDEN,
    "symlink": Exit.FORBIDDEN,
    "exists": Exit.CONFLICT,
    "is_directory": Exit.CONFLICT,
    "not_directory": Exit.CONFLICT,
    "not_regular": Exit.CONFLICT,
    "changed": Exit.CONFLICT,
    "integrity": Exit.INTEGRITY,
    "no_space": Exit.LIMIT,
}


def exit_of(error: FtpcError) -> Exit:
    """Give the exit status of one error."""
    if isinstance(error, RefusedError):
        return _BY_CODE.get(error.code, Exit.OTHER)
    return next((status for kind, status in _BY_KIND if isinstance(error, kind)), Exit.OTHER)


def exit_of_all(errors: Iterable[FtpcError]) -> Exit:
    """Give the exit status of a job: damage always shows, one kind of error is named, several are OTHER."""
    statuses = {exit_of(error) for error in errors}
    if Exit.INTEGRITY in statuses:
        return Exit.INTEGRITY
    return statuses.pop() if len(statuses) == 1 else Exit.OTHER if statuses else Exit.OK
