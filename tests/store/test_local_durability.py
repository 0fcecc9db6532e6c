"""What survives a power cut is decided by the order of system calls: they are read from a trace of a real process."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ftpd.wire.limits import MIB
from ftpd.wire.terms import IfExists
from tests.store import publish_once
from tests.store.helpers import PATIENCE_S

TRACED = "write,pwrite64,mkdir,mkdirat,fsync,fdatasync,sync,syncfs,fadvise64,rename,renameat,renameat2,link,linkat"

_CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)$")

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


class Call(NamedTuple):
    """One successful system call."""

    name: str
    arguments: str

    def is_sync_of(self, path: Path) -> bool:
        """Tell whether this makes a file or folder durable."""
        return self.name == "fsync" and self.arguments.endswith(f"<{path}>")


def calls_in(trace: str) -> list[Call]:
    """Read a trace, putting together the calls that another thread has cut in two."""
    begun: dict[str, str] = {}
    calls = []
    for line in trace.splitlines():
        pid = line.split(maxsplit=1)[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>")
            continue
        resumed = _RESUMED.match(line)
        found = _CALL.match(begun.pop(pid) + resumed["rest"] if resumed else line)
        if found and int(found["result"]) >= 0:
            calls.append(Call(found["name"], found["arguments"].strip()))
    return calls


def traced(tmp_path: Path, durability: str, name: str, what: str, size: int = publish_once.SIZE) -> list[Call]:
    """Publish one file, or make one folder, in a process of its own; give the calls that matter, in their order."""
    log = tmp_path / "trace"
    work = [sys.executable, "-m", publish_once.__name__, str(tmp_path / "root"), durability, name, what, str(size)]
    done = subprocess.run(
        ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={TRACED}", *work],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if b"ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert (0, b"published") == (done.returncode, done.stdout), done.stderr.decode()
    made = tmp_path / "root" / name
    assert made.is_dir() if what == "mkdir" else publish_once.content(size) == made.read_bytes()
    return calls_in(log.read_text())


def only(calls: list[Call], *names: str, holding: str = "") -> int:
    """Give the place of the one call with one of these names that holds a text."""
    found = [place for place, call in enumerate(calls) if call.name in names and holding in call.arguments]
    assert 1 == len(found), (names, holding, calls)
    return found[0]


@pytest.mark.parametrize("if_exists", [IfExists.OVERWRITE, IfExists.FAIL])
def test_the_name_comes_after_the_bytes_and_the_reply_after_the_name(
    tmp_path: Path, root: Path, if_exists: IfExists
) -> None:
    """With durability full: write, fsync of the file, its name, fsync of the folder, reply; one fsync for each."""
    calls = traced(tmp_path, "full", "a.bin", if_exists)
    written = only(calls, "pwrite64", holding=f"{root}/.ftpd/tmp/")
    named = only(calls, "renameat", "renameat2", "linkat", holding='"a.bin"')
    replied = only(calls, "write", holding='"published"')
    temporary = Path(calls[written].arguments.partition("<")[2].partition(">")[0])
    syncs = [place for place, call in enumerate(calls) if call.name == "fsync"]
    file_synced, folder_synced = syncs
    assert calls[file_synced].is_sync_of(temporary)
    assert calls[folder_synced].is_sync_of(root)
    assert sorted(order := [written, file_synced, named, folder_synced, replied]) == order


def test_the_disk_begins_before_the_end(tmp_path: Path, root: Path) -> None:
    """With durability full a large file is on its way to the disk before it is synced, as soon as it is written."""
    calls = traced(tmp_path, "full", "a.bin", IfExists.OVERWRITE, 3 * MIB)
    begun = only(calls, "fadvise64", holding=f"{3 * MIB}, POSIX_FADV_DONTNEED")
    temporary = Path(calls[begun].arguments.partition("<")[2].partition(">")[0])
    written = [
        place for place, call in enumerate(calls) if call.name == "pwrite64" and str(temporary) in call.arguments
    ]
    [synced] = [place for place, call in enumerate(calls) if call.is_sync_of(temporary)]
    assert max(written) < begun < synced


def test_without_durability_the_disk_is_left_alone(tmp_path: Path, root: Path) -> None:
    """With durability none nothing is on its way to the disk before the system thinks it is time."""
    calls = traced(tmp_path, "none", "a.bin", IfExists.OVERWRITE, 3 * MIB)
    assert [] == [call for call in calls if call.name == "fadvise64"]


def test_new_parents_are_durable_before_the_reply(tmp_path: Path, root: Path) -> None:
    """With durability full the folder around each new folder is synced after that was made, and before the reply."""
    calls = traced(tmp_path, "full", "a/b/c.bin", IfExists.OVERWRITE)
    replied = only(calls, "write", holding='"published"')
    named = only(calls, "renameat", "renameat2", holding='"c.bin"')
    for parent, name in ((root, "a"), (root / "a", "b")):
        made = only(calls, "mkdirat", holding=f'<{parent}>, "{name}"')
        assert any(call.is_sync_of(parent) for call in calls[made + 1 : replied]), (parent, calls)
    assert any(call.is_sync_of(root / "a" / "b") for call in calls[named + 1 : replied])


def test_new_folders_are_durable_before_the_reply(tmp_path: Path, root: Path) -> None:
    """With durability full the folder around each new one is synced, after that was made and before the reply."""
    (root / "a").mkdir()
    calls = traced(tmp_path, "full", "a/b/c", "mkdir")
    replied = only(calls, "write", holding='"published"')
    order = []
    for parent, name in ((root / "a", "b"), (root / "a" / "b", "c")):
        order.append(only(calls, "mkdirat", holding=f'<{parent}>, "{name}"'))
        [synced] = [place for place, call in enumerate(calls) if call.is_sync_of(parent)]
        order.append(synced)
    assert sorted(order) == order
    assert order[-1] < replied


def test_new_folders_without_durability(tmp_path: Path, root: Path) -> None:
    """With durability none `mkdir` waits for no sync."""
    calls = traced(tmp_path, "none", "a/b", "mkdir")
    only(calls, "mkdirat", holding='"b"')
    assert [] == [call for call in calls if "sync" in call.name]


@pytest.mark.parametrize("if_exists", [IfExists.OVERWRITE, IfExists.FAIL])
def test_without_durability_nothing_waits_for_the_disk(tmp_path: Path, root: Path, if_exists: IfExists) -> None:
    """With durability none there is no sync of any kind, for the file, its folders or the cache of digests."""
    calls = traced(tmp_path, "none", "a/b/c.bin", if_exists)
    only(calls, "renameat", "renameat2", "linkat", holding='"c.bin"')
    assert [] == [call for call in calls if "sync" in call.name]
