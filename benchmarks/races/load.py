"""Races about the server: many uploads at once, the processor time it takes, the memory it takes."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.ground import GIB, MIB, Ground, same
from benchmarks.peers.base import Peer, Verb
from benchmarks.peers.ftp import Vsftpd
from benchmarks.peers.ours import Ftpd
from benchmarks.peers.raw import RawCopy
from benchmarks.peers.rsync import Rsync
from benchmarks.processes import cpu_s, family, forget_peak, peak_mib, require_proc, seconds, settle
from benchmarks.programs import crowd, uploads
from benchmarks.race import Bar, Plan, Race, Way
from benchmarks.races.transfers import add_ways, size_text, start_all
from benchmarks.results import Better

TICK_S = 0.01

AT_ONCE = 32
CROWD = 200
BASE_MIB = 64.0
EACH_MIB = 2.5
"""What the server's memory may be, and what each running transfer may add."""


def _plan_at_once(ground: Ground) -> Plan:
    piece = ground.size(16 * MIB)
    ground.need(3 * AT_ONCE * piece)
    one, many = f"1 x {size_text(AT_ONCE * piece)}", f"{AT_ONCE} x {size_text(piece)}"
    plan = Plan("Uploads at once from one process", "GB/s", Better.MORE, [])
    plan.bars.append(Bar(f"library, {many}", f"library, {one}", 0.9))
    files = {one: [ground.make_file("large", AT_ONCE * piece)], many: []}
    files[many] = [ground.make_file(f"small{number}", piece) for number in range(AT_ONCE)]
    ours, vsftpd = Ftpd(), Vsftpd()
    started = start_all(ground, plan, [ours, vsftpd], Verb.PUT)
    written = [peer.root / path.name for peer in started for some in files.values() for path in some]

    def add(label: str, peer: Peer, command: Sequence[str], some: Sequence[Path]) -> None:
        def check() -> None:
            for path in some:
                same(path, peer.root / path.name)

        def run() -> float:
            return AT_ONCE * piece / 1e9 / seconds(command)

        plan.ways.append(Way(label, run, partial(ground.clear, *written), check, is_ours=peer is ours))

    for how, some in files.items():
        command = [sys.executable, str(uploads.__file__), ours.address, *map(str, some)]
        add(f"library, {how}", ours, command, some)
    if vsftpd in started:
        for how, some in files.items():
            add(f"curl -Z, vsftpd, {how}", vsftpd, vsftpd.put_at_once(some), some)
    return plan


def _plan_cpu(ground: Ground) -> Plan:
    require_proc()
    size = ground.size(GIB)
    ground.need(3 * size)
    title, bars = "Processor time of the server for 1 GiB received", [Bar("ftpc put", "rsync -W", 0.8)]
    plan = Plan(title, "s", Better.LESS, [], bars)

    def measure(peer: Peer, command: Sequence[str]) -> float:
        return _cpu_s(peer, command) * GIB / size

    peers = [RawCopy(), Ftpd(), Rsync(), Vsftpd()]
    add_ways(ground, plan, peers, Verb.PUT, ground.make_file("source", size), measure)
    return plan


def _cpu_s(peer: Peer, command: Sequence[str]) -> float:
    members = family(peer.server.pid)
    before = cpu_s(members)
    seconds(command)
    settle(peer.server.pid, members)
    # A tick of the clock at least: tiny runs may take less, and ratios need something to divide by.
    return max(cpu_s(members) - before, TICK_S)


def _plan_memory(ground: Ground) -> Plan:
    require_proc()
    count, size = ground.count(CROWD), ground.size(8 * MIB)
    ground.need((count + 2) * size)
    source = ground.make_file("source", size)
    plan = Plan(f"Memory of the server with {count} slow transfers running", "MiB", Better.LESS, [])
    for way in ("up", "down"):
        ours = Ftpd()  # one for each, so that neither starts with what the other has left
        ours.start(ground.stack, ground.folder / way, Verb.PUT)
        ours.stock(source, "down")
        command = [sys.executable, str(crowd.__file__), way, ours.route.host, str(ours.port), str(count), str(source)]
        run, clear = partial(_memory_mib, ours, command), partial(ground.clear, ours.root / "up")
        label = f"ftpd, {count} {way}loads"
        plan.ways.append(Way(label, run, clear, is_ours=True))
        plan.bars.append(Bar(label, None, BASE_MIB + EACH_MIB * count))
    return plan


def _memory_mib(peer: Peer, command: Sequence[str]) -> float:
    forget_peak(peer.server.pid)
    seconds(command)
    return peak_mib(peer.server.pid)


RACES = (
    Race("at-once", "32 uploads of 16 MiB at once, beside one of 512 MiB", _plan_at_once),
    Race("cpu", "processor time of the server for 1 GiB received", _plan_cpu),
    Race("memory", "memory of the server with 200 slow transfers running", _plan_memory),
)
