"""What a download does to the disk: a hidden file that replaces the target only as a whole, or goes."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from ftpc import Client, IntegrityError, LocalFileError, LocalNotFoundError
from ftpc.files import Partial
from tests.client.proxy import Proxy
from tests.client.support import MIB, Service, content, hidden, names_in


async def test_target_changes_only_as_a_whole(service: Service, proxy: Proxy, far_client: Client, folder: Path) -> None:
    """While bytes come the target is the old file; those who have it open keep it; then it is the new one."""
    (service.root / "a").write_bytes(content(9 * MIB))
    target = folder / "a"
    target.write_bytes(b"old")
    proxy.down.hold_at = 5 * MIB
    task = asyncio.create_task(far_client.get("a", target))
    await proxy.down.held.wait()
    assert b"old" == target.read_bytes()
    [name] = hidden(folder)
    assert name.startswith(".a.")
    assert name.endswith(".part")
    with target.open("rb") as reader:
        proxy.down.go.set()
        await task
        assert b"old" == reader.read()
    assert content(9 * MIB) == target.read_bytes()
    assert [] == hidden(folder)


async def test_cancelled_download_leaves_nothing(
    service: Service, proxy: Proxy, far_client: Client, folder: Path
) -> None:
    """A cancelled download removes its hidden file, and the client can be used afterwards."""
    (service.root / "a").write_bytes(content(9 * MIB))
    (folder / "a").write_bytes(b"old")
    proxy.down.hold_at = 5 * MIB
    task = asyncio.create_task(far_client.get("a", folder))
    await proxy.down.held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (b"old", []) == ((folder / "a").read_bytes(), hidden(folder))
    proxy.down.hold_at = None
    await far_client.get("a", folder)
    assert content(9 * MIB) == (folder / "a").read_bytes()


async def test_damaged_download_leaves_nothing(
    service: Service, proxy: Proxy, far_client: Client, folder: Path
) -> None:
    """A damaged download removes its hidden file; the old target stays."""
    (service.root / "a").write_bytes(content(9 * MIB))
    (folder / "a").write_bytes(b"old")
    proxy.down.flip_at = 5 * MIB
    with pytest.raises(IntegrityError):
        await far_client.get("a", folder)
    assert (b"old", []) == ((folder / "a").read_bytes(), hidden(folder))


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "€" * 85, ".", "-", "a b'\"\\\x01\n"])
async def test_names_of_all_lengths(service: Service, client: Client, folder: Path, name: str) -> None:
    """A local name as long as the system allows works, cut in the middle of no character."""
    (service.root / "a").write_bytes(b"content")
    target = folder / ("a" if name == "." else name)
    await client.get("a", folder if name == "." else target)
    assert b"content" == target.read_bytes()
    assert [] == hidden(folder)


def read(path: str) -> bytes:
    """Read a file."""
    return Path(path).read_bytes()


async def test_name_that_is_not_unicode(service: Service, client: Client, folder: Path) -> None:
    """A local name that is no UTF-8 is as good as any."""
    (service.root / "a").write_bytes(b"content")
    target = os.fsdecode(os.fsencode(folder) + b"/\xff\xfe")
    await client.get("a", target)
    assert b"content" == read(target)


@pytest.mark.parametrize("kind", ["fifo", "device"])
async def test_target_that_is_no_file_is_not_replaced(
    service: Service, client: Client, folder: Path, kind: str
) -> None:
    """A FIFO or a device as target is refused or written to, but never replaced: `-o /dev/null` must not remove it."""
    (service.root / "a").write_bytes(b"content")
    target = folder / "x"
    if kind == "fifo":
        os.mkfifo(target)
    else:
        if os.geteuid() != 0:
            pytest.skip("making a device needs root")
        os.mknod(target, 0o666 | 0o020000, os.makedev(1, 3))
    reading = os.open(target, os.O_RDONLY | os.O_NONBLOCK)  # so that a writer need not wait
    try:
        with contextlib.suppress(LocalFileError):
            await client.get("a", target)
    finally:
        os.close(reading)
    assert not target.is_file()


async def test_link_is_replaced_not_followed(service: Service, client: Client, folder: Path) -> None:
    """A target that is a symbolic link gets replaced, and what it pointed to stays as it was."""
    (service.root / "a").write_bytes(b"new")
    (folder / "far").write_bytes(b"far")
    (folder / "link").symlink_to("far")
    await client.get("a", folder / "link")
    assert (b"new", b"far") == ((folder / "link").read_bytes(), (folder / "far").read_bytes())


async def test_places_where_nothing_can_be(service: Service, client: Client, folder: Path) -> None:
    """A missing folder and a file in place of one are errors that name it, and nothing is made."""
    (service.root / "a").write_bytes(b"content")
    (folder / "file").write_bytes(b"")
    for target, named in ((folder / "no" / "a", folder / "no"), (folder / "file" / "a", folder / "file" / "a")):
        with pytest.raises(LocalNotFoundError, match=f"^{named}: there is no such"):
            await client.get("a", target)
    assert ["file"] == names_in(folder)


async def test_folder_that_takes_the_targets_place(
    service: Service, proxy: Proxy, far_client: Client, folder: Path
) -> None:
    """A folder that appears under the target's name meanwhile is not replaced, and the partial goes."""
    (service.root / "a").write_bytes(content(9 * MIB))
    proxy.down.hold_at = 5 * MIB
    task = asyncio.create_task(far_client.get("a", folder / "b"))
    await proxy.down.held.wait()
    (folder / "b").mkdir()
    proxy.down.go.set()
    with pytest.raises(LocalFileError, match="directory"):
        await task
    assert (True, []) == ((folder / "b").is_dir(), hidden(folder))


async def test_partial_is_private_to_its_download(client: Client, folder: Path) -> None:
    """Two downloads to one target have a hidden file each, and closing one takes only its own away."""
    first, second = Partial(folder / "a", client._pool.workers), Partial(folder / "a", client._pool.workers)
    assert 2 == len(hidden(folder))
    first.close()
    assert 1 == len(hidden(folder))
    await second.publish(None, None)
    second.close()
    assert (["a"], []) == (names_in(folder), hidden(folder))
