"""A file that is not the same at the end of its upload as at its beginning is never published."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ftpc import ChangedError, Client, IntegrityError, LocalFileError
from ftpc.files import SETTLED_NS, is_torn
from tests.client.proxy import Proxy
from tests.client.support import MIB, Service, content
from tests.peer import eventually

SIZE = 60 * MIB
"""More than the client hashes ahead and the kernel's socket buffers hold, so that the end is still to be read."""


def overwrite_end(path: Path) -> None:
    """Change bytes that have not been sent, keeping the size and setting the time back."""
    found = path.stat()
    with path.open("r+b") as file:
        file.seek(SIZE - 100)
        file.write(b"changed")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def overwrite_both_ends(path: Path) -> None:
    """Change bytes that have been sent and bytes that have not, keeping the size and setting the time back."""
    found = path.stat()
    with path.open("r+b") as file:
        file.write(b"changed")
    overwrite_end(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def overwrite_hashed(path: Path) -> None:
    """Change bytes whose digest is announced but which are not sent: held back by the full socket."""
    with path.open("r+b") as file:
        for place in range(0, SIZE, MIB):
            file.seek(place)
            file.write(b"changed")


def grow(path: Path) -> None:
    """Append."""
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    """Cut."""
    os.truncate(path, SIZE // 2)


def empty(path: Path) -> None:
    """Cut to nothing, as a shell does with `> file`."""
    path.write_bytes(b"")


def touch(path: Path) -> None:
    """Set another modification time."""
    os.utime(path, (1, 1))


async def put_while(proxy: Proxy, client: Client, path: Path, change: Callable[[Path], object]) -> None:
    """Put a file, and change it when a part of it is on its way."""
    proxy.up.hold_at = 9 * MIB
    task = asyncio.create_task(client.put(path, "a"))
    await proxy.up.held.wait()
    change(path)
    proxy.up.go.set()
    await task


@pytest.mark.parametrize("change", [overwrite_hashed, grow, shrink, empty, touch])
async def test_file_that_changes(
    service: Service, proxy: Proxy, far_client: Client, folder: Path, change: Callable[[Path], None]
) -> None:
    """Whatever is done to a file while it is sent, nothing is published, the old file stays and the client goes on."""
    (service.root / "a").write_bytes(b"old")
    path = folder / "a"
    path.write_bytes(content(SIZE))
    with pytest.raises((ChangedError, IntegrityError), match=r"chang|digest|shorter"):
        await put_while(proxy, far_client, path, change)
    assert b"old" == (service.root / "a").read_bytes()
    await service.settles()
    proxy.up.hold_at = None
    path.write_bytes(b"new")
    await far_client.put(path)
    assert b"new" == (service.root / "a").read_bytes()


@pytest.mark.parametrize("change", [overwrite_end, overwrite_both_ends])
async def test_file_that_changes_in_secret(
    service: Service, proxy: Proxy, far_client: Client, folder: Path, change: Callable[[Path], None]
) -> None:
    """After a change behind a time set back one version goes up, or nothing; never some bytes of each."""
    path = folder / "a"
    path.write_bytes(content(SIZE))
    try:
        await put_while(proxy, far_client, path, change)
    except (ChangedError, IntegrityError):
        assert [] == service.published()
    else:
        assert path.read_bytes() == (service.root / "a").read_bytes()


def test_a_write_that_was_under_way(tmp_path: Path) -> None:
    """What was read of a file while it was written to is found in its bytes, where its times tell nothing."""
    file = tmp_path / "file"
    file.write_bytes(b"half of it" * 2)
    with file.open("rb") as opened:
        fd, state = opened.fileno(), file.stat().st_ctime_ns
        assert is_torn(fd, b"half of it", state)  # the second half came after it was read
        assert not is_torn(fd, b"half of it" * 2, state)
        eventually(lambda: time.time_ns() - state > SETTLED_NS, "the file has settled")
        assert not is_torn(fd, b"half of it", state)  # nothing is read: nobody has written to it for long
        assert is_torn(fd, b"half of it", state - 1)  # a time that was set back does not hide a change
        assert not is_torn(fd, b"half of it" * 2, state - 1)  # a link more is no other content


async def test_file_that_vanishes(service: Service, proxy: Proxy, far_client: Client, folder: Path) -> None:
    """A file whose name goes while it is sent was whole when it was opened, and is stored whole."""
    path = folder / "a"
    path.write_bytes(content(SIZE))
    await put_while(proxy, far_client, path, Path.unlink)
    assert content(SIZE) == (service.root / "a").read_bytes()


async def test_file_that_is_replaced(service: Service, proxy: Proxy, far_client: Client, folder: Path) -> None:
    """A file that is replaced as a whole while it is sent is stored as it was when it was opened."""
    path = folder / "a"
    path.write_bytes(content(SIZE))
    (folder / "new").write_bytes(b"new")
    await put_while(proxy, far_client, path, (folder / "new").rename)
    assert content(SIZE) == (service.root / "a").read_bytes()


async def test_a_file_that_hides_its_size(client: Client) -> None:
    """A file of the kernel that says it is empty is not stored as an empty one."""
    with pytest.raises(LocalFileError, match="says that it has none"):
        await client.put("/proc/self/stat", "a")
