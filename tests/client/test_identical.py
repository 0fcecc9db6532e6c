"""What the server has already under the same name, byte by byte, is not sent again; anything else is."""

import os
from pathlib import Path

import pytest

import ftpc
from ftpc import IfExists
from ftpd.payload import tcp
from ftpd.wire.digests import tree_of
from tests.client.command import Ftpc
from tests.client.proxy import Proxy
from tests.client.support import MIB, Recorder, Service, connected, content

SIZE = 17 * MIB


async def _put(service: Service, folder: Path, size: int = SIZE) -> Path:
    """Have the same file here and there."""
    path = folder / "a"
    path.write_bytes(content(size))
    async with connected(service.address) as client:
        await client.put(path)
    return path


@pytest.mark.parametrize("size", [65_537, 8 * MIB, SIZE])
async def test_the_same_again(service: Service, proxy: Proxy, folder: Path, size: int) -> None:
    """The second time nothing but a question is sent, and the result says why."""
    path = await _put(service, folder, size)
    before = (service.root / "a").stat()
    recorder = Recorder()
    async with connected(proxy.address) as client:
        result = await client.put(path, progress=recorder)
    assert (True, True, size, tree_of(content(size)).root) == (
        result.identical, result.skipped, result.size, result.root,
    )  # fmt: skip
    assert proxy.up.count < 1000
    assert before.st_ctime_ns == (service.root / "a").stat().st_ctime_ns
    assert {"comparing", "sending"} >= {moment.phase for moment in recorder.moments}
    assert size == recorder.moments[-1].done


async def test_the_same_again_on_a_long_path(
    service: Service, proxy: Proxy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the upload is opened in the same breath as the question is asked, it is dropped again."""
    path = await _put(service, folder)
    monkeypatch.setattr(tcp, "LONG_S", 0.0)
    async with connected(proxy.address) as client:
        result = await client.put(path)
    assert (True, True, SIZE) == (result.identical, result.skipped, result.size)
    assert proxy.up.count < 2000
    assert ([], ["a"]) == (service.partials(), service.published())


@pytest.mark.parametrize("place", [0, 8 * MIB, SIZE - 1])
async def test_one_byte_is_another(service: Service, folder: Path, place: int) -> None:
    """A file of the same size with one other byte replaces the old one, wherever that byte is."""
    path = await _put(service, folder)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes([content(SIZE)[place] ^ 1]))
    async with connected(service.address) as client:
        result = await client.put(path)
    assert not result.skipped
    assert path.read_bytes() == (service.root / "a").read_bytes()


async def test_a_file_that_changed_on_the_server(service: Service, folder: Path) -> None:
    """A file that was changed on the server by other means, its time set back, is not taken for the same."""
    path = await _put(service, folder)
    there = service.root / "a"
    before = there.stat()
    with there.open("r+b") as file:
        file.write(b"other")
    os.utime(there, ns=(before.st_atime_ns, before.st_mtime_ns))
    async with connected(service.address) as client:
        assert not (await client.put(path)).skipped
    assert path.read_bytes() == there.read_bytes()


async def test_a_file_of_which_the_server_knows_nothing(service: Service, folder: Path) -> None:
    """The same bytes that came by other means are replaced: the server does not read a file to compare it."""
    (folder / "a").write_bytes(content(SIZE))
    (service.root / "a").write_bytes(content(SIZE))
    async with connected(service.address) as client:
        assert not (await client.put(folder / "a")).skipped
        assert (await client.put(folder / "a")).identical


async def test_time_and_mode_count_when_they_are_kept(service: Service, folder: Path) -> None:
    """With `preserve` a file with another time or mode is stored again, so that it gets them."""
    path = await _put(service, folder)
    async with connected(service.address) as client:
        path.chmod(0o640)
        os.utime(path, ns=(0, 1_600_000_000_123_456_789))
        assert not (await client.put(path, preserve=True)).skipped
        found = (service.root / "a").stat()
        assert (0o640, 1_600_000_000_123_456_789) == (found.st_mode & 0o777, found.st_mtime_ns)
        assert (await client.put(path, preserve=True)).identical
        path.chmod(0o600)
        assert not (await client.put(path, preserve=True)).skipped


@pytest.mark.parametrize("if_exists", [IfExists.FAIL, IfExists.SKIP, IfExists.RENAME])
async def test_what_the_other_answers_to_a_taken_name_mean(service: Service, folder: Path, if_exists: IfExists) -> None:
    """`fail`, `skip` and `rename` are about the name, whatever is under it."""
    path = await _put(service, folder)
    async with connected(service.address) as client:
        if if_exists is IfExists.FAIL:
            with pytest.raises(ftpc.RefusedError, match="the name is taken"):
                await client.put(path, if_exists=if_exists)
        else:
            result = await client.put(path, if_exists=if_exists)
            assert not result.identical
            assert (if_exists is IfExists.SKIP) == result.skipped


def test_the_summary_says_so(ftpc: Ftpc) -> None:
    """The command says that the server has the file already, and how much that is."""
    (ftpc.folder / "a").write_bytes(content(MIB))
    assert 0 == ftpc.run("put", "a").status
    again = ftpc.run("put", "a")
    assert 0 == again.status
    assert "a: the server has it already, the same to the last byte" in again.err
    assert "0 files" in again.err
    assert "1 the same already (1.0 MiB), verified" in again.err
    assert '"identical": true' in ftpc.run("put", "a", "--json").out.replace('":true', '": true')
