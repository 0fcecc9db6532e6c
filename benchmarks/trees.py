"""Many small files up and down, beside rsync and its daemon: ratios of whole commands, taken in turns in one run.

    python -m benchmarks.trees [--files N] [--size BYTES] [--rounds N] [--folder DIR]

Without rsync only ours is measured. `rsync -a` keeps times and modes, so ours gets `-p`; it makes whole files appear by
a rename, as we do, and has no digests of files that are new to it. Neither waits for the disk here: all lies in memory.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.timing import free_port, machine, seconds, spread, start, start_on

RSYNCD = """\
port = {port}
use chroot = no
[files]
path = {path}
read only = no
uid = {uid}
gid = {gid}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=4096, metavar="BYTES")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)  # noqa: S108
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        source = folder / "source"
        for number in range(args.files):
            path = source / f"{number // 100}" / f"{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(args.size))
        times = measure(ways_of(stack, folder, source), args.rounds)
        print(machine())
        print(f"{args.files} files of {args.size} bytes, {args.rounds} rounds in turns after one, in {folder.parent}")
        for name, taken in times.items():
            print(f"{name:9} s        {spread(taken)}   {args.files / statistics.median(taken):,.0f} files/s")
        for verb in ("put", "get"):
            if f"rsync {verb}" in times:
                pairs = zip(times[f"rsync {verb}"], times[f"ftpc {verb}"], strict=True)
                print(f"{verb} -r against rsync -a: {spread([theirs / ours for theirs, ours in pairs])}")


def ways_of(stack: ExitStack, folder: Path, source: Path) -> dict[str, tuple[Path, Callable[[], float]]]:
    """Start the servers; give for each way what it writes, and the way."""
    (folder / "root").mkdir()
    line = start(stack, [sys.executable, "-m", "ftpd", "--root", str(folder / "root"), "--port", "0", "-q"])
    ftpc = [sys.executable, "-m", "ftpc", "-q", "--server", line.split(" on ")[1].split()[0]]
    ours, copy = folder / "root" / "source", folder / "copy"
    ways: dict[str, tuple[Path, Callable[[], float]]] = {
        "ftpc put": (ours, lambda: seconds([*ftpc, "put", "-rp", str(source)])),
        "ftpc get": (copy, lambda: seconds([*ftpc, "get", "-rp", "source", "-o", str(copy)])),
    }
    rsync = shutil.which("rsync")
    if rsync is not None:
        theirs, port = folder / "rsync", free_port()
        theirs.mkdir()
        config = folder / "rsyncd.conf"
        config.write_text(RSYNCD.format(port=port, path=theirs, uid=os.getuid(), gid=os.getgid()))
        start_on(port, stack, [rsync, "--daemon", "--no-detach", "--config", str(config)])
        url = f"rsync://127.0.0.1:{port}/files/source/"
        ways["rsync put"] = (theirs / "source", lambda: seconds([rsync, "-a", f"{source}/", url]))
        ways["rsync get"] = (copy, lambda: seconds([rsync, "-a", url, f"{copy}/"]))
    return ways


def measure(ways: dict[str, tuple[Path, Callable[[], float]]], rounds: int) -> dict[str, list[float]]:
    """Take turns. Every way writes new files, so what it wrote before is removed."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (written, way) in ways.items():
            shutil.rmtree(written, ignore_errors=True)
            taken = way()
            if number:
                times[name].append(taken)
    return times


if __name__ == "__main__":
    main()
