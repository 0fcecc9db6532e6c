"""How fast the commands start, beside what Python itself takes: ratios, taken in turns in one run.

python benchmarks/startup.py [--rounds N]
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.timing import seconds, spread, start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    rounds: int = parser.parse_args().rounds
    ftpc = str(Path(sys.executable).with_name("ftpc"))
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("a", "b", "c"):
            (root / name).touch()
        line = start(stack, [sys.executable, "-m", "ftpd", "--root", str(root), "--port", "0", "-q"])
        server = line.split(" on ")[1].split()[0]
        compare("ftpc --version", [ftpc, "--version"], "pass", 3.0, rounds)
        compare("ftpc ls", [ftpc, "--server", server, "ls"], "import asyncio", 1.6, rounds)


def compare(name: str, command: Sequence[str], statement: str, bar: float, rounds: int) -> None:
    """Take turns with Python doing next to nothing."""
    ratios = []
    for _ in range(rounds):
        base = seconds([sys.executable, "-c", statement])
        ratios.append(seconds(command) / base)
    print(f"{name} against python -c '{statement}': {spread(ratios)}  (bar: {bar})")


if __name__ == "__main__":
    main()
