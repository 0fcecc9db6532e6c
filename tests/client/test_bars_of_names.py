"""What the bars show of several names, of which some are small files, large ones, and folders."""

import re

from ftpd.wire.limits import SMALL_FILE
from tests.client.command import Ftpc
from tests.client.screen import Screen
from tests.client.support import MIB, content
from tests.client.test_named import Counted, through
from tests.client.test_trees import make


def shown(ftpc: Ftpc, *arguments: str, until: str) -> list[str]:
    """Run a command of which one large file stops after 6 MiB; give what is drawn from a line on that is awaited."""
    counted = Counted(int(ftpc.server.rpartition(":")[2].partition("/")[0]))
    with counted.running() as proxy:
        proxy.down.hold_at, proxy.down.holds_one = 6 * MIB, True
        with Screen(ftpc, *arguments, env={"FTPC_SERVER": through(ftpc, proxy)}) as screen:
            screen.read_until_line(until)
            seen = len(screen.lines)
            screen.read_until_line(until, after=seen)
            place = next(at for at, line in enumerate(screen.lines) if at >= seen and re.search(until, line))
            lines = screen.lines[place:]
    return lines


def test_only_a_large_file_is_left(ftpc: Ftpc) -> None:
    """When the small files are here nothing speaks of them any more, and it is said how much there is in all."""
    make(ftpc.remote, {"x1": b"1", "x2": b"2", "big": content(9 * MIB)})
    lines = shown(ftpc, "get", "x1", "x2", "big", until=r"^2/3 files .*5\.9 MiB/9\.0 MiB")
    assert [] == [line for line in lines if "small files" in line or "127.0.0.1" in line], lines


def test_folders_are_no_files(ftpc: Ftpc) -> None:
    """A folder counts as the files in it, and they are part of what there is in all."""
    make(ftpc.remote, {"copies/a": content(SMALL_FILE), "copies/b": b"b", "copies/c": b"c", "big": content(9 * MIB)})
    shown(ftpc, "get", "-r", "copies", "big", until=r"^3/4 files .*/9\.1 MiB")
