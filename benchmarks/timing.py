"""What the benchmarks share: starting servers, timing whole commands, writing spreads."""

import os
import platform
import socket
import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack

PATIENCE_S = 10.0
"""How long a server may take to listen."""


def start(stack: ExitStack, command: Sequence[str]) -> str:
    """Start a server and give its first line."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    assert process.stdout is not None
    stack.callback(process.stdout.close)
    return process.stdout.readline()


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start_on(port: int, stack: ExitStack, command: Sequence[str]) -> None:
    """Start a server that says nothing, and wait until it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def machine() -> str:
    """Say what this was measured on."""
    python = platform.python_version()
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {python}"


def seconds(command: Sequence[str]) -> float:
    """Run a command to its end and give the time it took."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def spread(values: Sequence[float]) -> str:
    """Write minimum, median and maximum."""
    return f"min {min(values):.2f}  median {statistics.median(values):.2f}  max {max(values):.2f}"
