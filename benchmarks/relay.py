"""A long path on one machine: two network namespaces, and a relay between them that takes its time.

    python -m benchmarks.relay [--rtt MS] [--rate MBIT] [--loss PERCENT] [--seed N] [--queue MIB]

Needs root and /dev/net/tun. Prints the name and the address of each end, and relays until it is ended or its standard
input is closed; `ip netns exec NAME COMMAND` runs a command at an end. Every packet that goes in at one end comes out
at the other half a round trip later. TCP is the kernel's own, from end to end.

The MTU is 1500. As with a network card, the kernel hands packets of one connection over in bundles of up to 64 KiB
(segmentation offload), so that Python keeps up; with a loss rate it does not, and single packets are lost.
"""

import argparse
import contextlib
import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

PREFIX = "relay-"
ADDRESSES = ("10.213.0.1", "10.213.0.2")
MTU = 1500
KERNEL_QUEUE = 10_000
"""Packets that may wait to be read."""

READS = 64
"""Packets that are read in a row before it is seen which are due."""

# linux/if_tun.h
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x1, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x1, 0x2, 0x4
LARGEST = 2**16 + 64


class Way(NamedTuple):
    """What a way from end to end is like."""

    rtt_s: float = 0.1
    rate: float | None = None
    """Bytes a second, in each direction; without it as fast as the machine is."""
    loss: float = 0.0
    """The share of packets that get lost."""
    seed: int = 1
    queue: int = 256 * 2**20
    """Bytes under way or waiting in each direction. What comes when it is full is lost."""


class Direction:
    """Packets on their way from one end to the other."""

    def __init__(self, way: Way, source: int, target: int) -> None:
        self._way = way
        self._source, self._target = source, target
        self._random = random.Random(way.seed)  # noqa: S311 (the same losses in every run)
        self._packets: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._free = 0.0
        self.lost = 0

    @property
    def due(self) -> float:
        """When the next packet is to arrive."""
        return self._packets[0][0] if self._packets else float("inf")

    def take(self) -> None:
        """Read what has been sent."""
        for _ in range(READS):
            try:
                packet = os.read(self._source, LARGEST)
            except BlockingIOError:
                return
            if self._size > self._way.queue or (self._way.loss and self._random.random() < self._way.loss):
                self.lost += 1
                continue
            sent = time.monotonic()
            if self._way.rate:
                sent = self._free = max(sent, self._free) + len(packet) / self._way.rate
            self._packets.append((sent + self._way.rtt_s / 2, packet))
            self._size += len(packet)

    def deliver(self) -> None:
        """Write what has arrived."""
        now = time.monotonic()
        while self._packets and self._packets[0][0] <= now:
            _, packet = self._packets.popleft()
            self._size -= len(packet)
            with contextlib.suppress(OSError):  # an end that is down loses packets
                os.write(self._target, packet)


def relay(way: Way, devices: tuple[int, int], until: int) -> None:
    """Relay packets between two devices until a descriptor is closed at its other end."""
    one, two = devices
    directions = {one: Direction(way, one, two), two: Direction(way, two, one)}
    while True:
        # A packet is due to the microsecond, which poll(2) does not know.
        wait = min(direction.due for direction in directions.values()) - time.monotonic()
        ready, _, _ = select.select([one, two, until], [], [], None if wait == float("inf") else max(wait, 0))
        for fd in ready:
            if fd != until:
                directions[fd].take()
            elif not os.read(until, 1):
                break
        else:
            for direction in directions.values():
                direction.deliver()
            continue
        print(f"lost: {[direction.lost for direction in directions.values()]}", file=sys.stderr)
        return


@contextlib.contextmanager
def ends(*, bundles: bool) -> Iterator[tuple[list[str], tuple[int, int]]]:
    """Make two namespaces, each with a device that leads to the other; give their names and the descriptors."""
    names = [f"{PREFIX}{os.getpid()}-{side}" for side in "ab"]
    with contextlib.ExitStack() as stack:
        fds = []
        for side, name in enumerate(names):
            ip("netns", "add", name)
            stack.callback(ip, "netns", "delete", name)
            device = f"rl{os.getpid()}{'ab'[side]}"[-15:]
            fds.append(open_tun(device, bundles=bundles))
            stack.callback(os.close, fds[side])
            ip("link", "set", device, "netns", name)
            within = ("-n", name)
            ip(*within, "link", "set", device, "mtu", str(MTU), "txqueuelen", str(KERNEL_QUEUE))
            ip(*within, "address", "add", ADDRESSES[side], "peer", ADDRESSES[1 - side], "dev", device)
            for link in (device, "lo"):
                ip(*within, "link", "set", link, "up")
        yield names, (fds[0], fds[1])


def open_tun(name: str, *, bundles: bool) -> int:
    """Make a TUN device and open it."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    flags = IFF_TUN | IFF_NO_PI | (IFF_VNET_HDR if bundles else 0)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    if bundles:
        fcntl.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
    return fd


def sweep() -> None:
    """Remove what a relay has left that was killed."""
    for path in Path("/run/netns").glob(f"{PREFIX}*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", pid).exists():
            ip("netns", "delete", path.name)


def ip(*args: str) -> None:
    """Run the program of that name."""
    subprocess.run(["ip", *args], check=True)


def main() -> None:
    """Be the relay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rtt", type=float, default=100, metavar="MS")
    parser.add_argument("--rate", type=float, metavar="MBIT")
    parser.add_argument("--loss", type=float, default=0, metavar="PERCENT")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queue", type=float, default=256, metavar="MIB")
    args = parser.parse_args()
    rate = args.rate * 125_000 if args.rate else None
    way = Way(args.rtt / 1000, rate, args.loss / 100, args.seed, int(args.queue * 2**20))
    signal.signal(signal.SIGTERM, lambda *_: _end())
    sweep()
    with contextlib.suppress(KeyboardInterrupt), ends(bundles=not way.loss) as (names, devices):
        print(*(f"{name} {address}" for name, address in zip(names, ADDRESSES, strict=True)), flush=True)
        relay(way, devices, sys.stdin.fileno())


def _end() -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
