"""What the benchmarks share: starting servers, timing whole commands, writing spreads."""

import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack


def start(stack: ExitStack, command: Sequence[str]) -> str:
    """Start a server and give its first line."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    assert process.stdout is not None
    stack.callback(process.stdout.close)
    return process.stdout.readline()


def seconds(command: Sequence[str]) -> float:
    """Run a command to its end and give the time it took."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def spread(values: Sequence[float]) -> str:
    """Write minimum, median and maximum."""
    return f"min {min(values):.2f}  median {statistics.median(values):.2f}  max {max(values):.2f}"
