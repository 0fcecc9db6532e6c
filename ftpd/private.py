"""Files with secrets: only their owner reads them, and after a crash they are what they were before or afterwards."""

import contextlib
import os
from pathlib import Path


def write_private(file: Path, data: bytes) -> None:
    """Write a file that nobody else can read, whole and durable, in the place of what was there.

    Raises:
        OSError: as open(2), write(2), fsync(2) and rename(2) do. What was there is as it was.
    """
    hidden = file.with_name(f".{file.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):  # of a process that was killed here: it may be readable for others
        hidden.unlink()
    fd = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as out:  # noqa: PTH123 (a descriptor)
            out.write(data)
            out.flush()
            os.fsync(fd)
        hidden.replace(file)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise


def exposure(file: Path, mode: int) -> str | None:
    """Say how to mend it if a file of this mode can be read or changed by others; None if it can not."""
    if os.name != "posix" or not mode & 0o077:
        return None
    return f"{file}: others can read it (mode {mode & 0o777:o}); run: chmod 600 {file}"
