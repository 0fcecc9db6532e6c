"""What tests of several folders need."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ftpd.listening import listen
from ftpd.payload.workers import Workers
from ftpd.server import Server
from ftpd.store.local import LocalStore
from ftpd.wire.terms import Durability


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """Serve the test's folder, and give the port."""
    workers = Workers()
    store = LocalStore(tmp_path, workers, durability=Durability.NONE)
    server = Server(store, 100)
    ((_, number),) = server.start(listen("127.0.0.1", 0))
    yield number
    await server.drain(5)
    await store.close()
    workers.close()


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Tell a figure; those of all tests are printed at the end of the run."""
    return lambda figure: record_property("figure", figure)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have told: a run in full is there for its figures, not only for its dots."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    told = [(report.nodeid, text) for report in reports for name, text in report.user_properties if name == "figure"]
    if told:
        terminalreporter.section("figures")
    for where, text in sorted(told, key=lambda figure: figure[0]):
        terminalreporter.line(f"{where}: {text}")
