"""A server in the test's own event loop for the library, and one in its own process for the command line."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ftpc.client import Client
from tests.client.command import Caller, Ftpc
from tests.client.proxy import Proxy, proxied
from tests.client.support import Service, connected
from tests.peer import ServerProcess

HANG_S = 40
"""When a test counts as hung. The slowest takes a few seconds."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let a test that hangs fail early, unless it says how long it may take."""
    if item.get_closest_marker("timeout") is None and item.get_closest_marker("long") is None:
        item.add_marker(pytest.mark.timeout(HANG_S))


@pytest.fixture
async def service(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Service]:
    """A server. After the test it has nothing half done on disk and no bug in its log."""
    root = tmp_path / "root"
    root.mkdir()
    service = Service(root)
    await service.start()
    yield service
    await service.settles()
    await service.stop()
    assert [] == [record.getMessage() for record in caplog.records if "ERROR" == record.levelname]


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    """A client of that server."""
    async with connected(service.address) as client:
        yield client


@pytest.fixture
async def proxy(service: Service) -> AsyncIterator[Proxy]:
    """A network between a client and that server."""
    async with proxied(service.port) as proxy:
        yield proxy


@pytest.fixture
async def far_client(proxy: Proxy) -> AsyncIterator[Client]:
    """A client on the other side of that network."""
    async with connected(proxy.address) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of the user's."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server process for the tests of a module; at its end it stops cleanly and has shown no traceback."""
    with ServerProcess(tmp_path_factory.mktemp("served"), "--durability", "none") as server:
        yield server
        ended = server.stop()
    assert (0, False) == (ended.returncode, "Traceback" in ended.log), ended.log


@pytest.fixture
def ftpc(server: ServerProcess, folder: Path, tmp_path: Path) -> Ftpc:
    """The command line in an empty folder, with an empty folder on the server as what its names are relative to."""
    remote = server.root / tmp_path.name
    remote.mkdir()
    return Ftpc(f"ftpd://127.0.0.1:{server.port}/{remote.name}", folder, remote)


@pytest.fixture
def caller(ftpc: Ftpc, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Caller:
    """The same user's command line, in this process."""
    monkeypatch.chdir(ftpc.folder)
    monkeypatch.setenv("FTPC_SERVER", ftpc.server)
    return Caller(capsys)
