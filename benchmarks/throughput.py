"""One large file up and down, beside a raw TCP copy: ratios of whole commands, taken in turns in one run.

    python -m benchmarks.throughput [--size MIB] [--rounds N] [--folder DIR]

Everything lies in memory (/dev/shm where there is one), so that the way is measured and not a disk. Both sides verify,
and the server runs with its defaults. The first round is thrown away.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.timing import machine, seconds, spread, start

HERE = Path(__file__).parent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)  # noqa: S108
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        compare(stack, folder, args.size * 2**20, args.rounds)


def compare(stack: ExitStack, folder: Path, size: int, rounds: int) -> None:
    """Take turns."""
    source, target = folder / "source", folder / "target"
    with source.open("wb") as file:
        for _ in range(size // 2**20):
            file.write(os.urandom(2**20))
    for name in ("raw", "root"):
        (folder / name).mkdir()
    python = sys.executable
    raw = [python, str(HERE / "raw_copy.py")]
    raw_port = start(stack, [*raw, "serve", str(folder / "raw")]).strip()
    line = start(stack, [python, "-m", "ftpd", "--root", str(folder / "root"), "--port", "0", "-q"])
    ftpc = [python, "-m", "ftpc", "-q", "--server", line.split(" on ")[1].split()[0]]
    ways: dict[str, tuple[Path, Callable[[], float]]] = {
        "raw put": (folder / "raw" / "raw", lambda: seconds([*raw, "send", str(source), raw_port])),
        "raw get": (target, lambda: seconds([*raw, "receive", str(target), raw_port, str(size)])),
        "ftpc put": (folder / "root" / "file", lambda: seconds([*ftpc, "put", str(source), "--as", "file"])),
        "ftpc get": (target, lambda: seconds([*ftpc, "get", "file", "-o", str(target)])),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, (written, way) in ways.items():
            # Every run writes a new file: replacing one would also measure giving its memory back. The old one goes at
            # the last moment: a virtual machine gives free memory to its host, and waits when it takes it again.
            written.unlink(missing_ok=True)
            times[name].append(way())
    print(machine())
    print(f"{size / 2**20:.0f} MiB, {rounds} rounds in turns after one to warm up, whole commands, in {folder.parent}")
    for name in ways:
        rates = [size / 1e9 / taken for taken in times[name][1:]]
        print(f"{name:9} GB/s   {spread(rates)}")
    for verb in ("put", "get"):
        pairs = zip(times[f"raw {verb}"][1:], times[f"ftpc {verb}"][1:], strict=True)
        print(f"{verb} as a share of the raw copy: {spread([ours and theirs / ours for theirs, ours in pairs])}")


if __name__ == "__main__":
    main()
