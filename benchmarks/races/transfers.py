"""Races of whole commands that move one file, or a folder of small ones, one way or the other."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.ground import GIB, Ground, Place, same
from benchmarks.peers.base import Peer, Verb
from benchmarks.peers.ftp import Aioftp, Pyftpdlib, Vsftpd
from benchmarks.peers.nginx import EncryptedNginx, Nginx
from benchmarks.peers.openssh import OpenSsh
from benchmarks.peers.ours import EncryptedFtpd, Ftpd
from benchmarks.peers.raw import RawCopy, RawTlsCopy
from benchmarks.peers.rsync import Rsync
from benchmarks.processes import FailedError, seconds
from benchmarks.race import Bar, Plan, Race, Way
from benchmarks.results import Better

SMALL = 4096
GCM = "aes128-gcm@openssh.com"

Measure = Callable[[Peer, Sequence[str]], float]
"""Runs a peer's command and gives the figure."""


def start_all(ground: Ground, plan: Plan, peers: Sequence[Peer], verb: Verb) -> list[Peer]:
    """Start servers. Those that can not take part are noted in the plan."""
    started = []
    for peer in peers:
        try:
            peer.start(ground.stack, ground.folder, verb)
        except FailedError as error:
            if peer.is_ours:
                raise
            plan.left_out[peer.clients[verb].label] = str(error)
        else:
            started.append(peer)
    return started


def add_ways(ground: Ground, plan: Plan, peers: Sequence[Peer], verb: Verb, source: Path, measure: Measure) -> None:
    """Add a way for each peer: to move the source, or to fetch what is the same on its server."""
    started = start_all(ground, plan, peers, verb)
    target = ground.folder / "target"
    written = [peer.root / "up" for peer in started] if verb.is_up else [target]
    for peer in started:
        if verb.is_up:
            command, made = peer.command(verb, source, "up"), peer.root / "up"
        else:
            peer.stock(source, "down")
            command, made = peer.command(verb, target, "down"), target
        run, clear, check = (
            partial(measure, peer, command),
            partial(ground.clear, *written),
            partial(same, source, made),
        )
        plan.ways.append(Way(peer.clients[verb].label, run, clear, check, is_ours=peer.is_ours))


def rate_of(amount: float) -> Measure:
    """Measure what is moved per second of the whole command."""
    return lambda _, command: amount / seconds(command)


def _plan_file(ground: Ground, verb: Verb, peers: Sequence[Peer], bars: Sequence[Bar], how: str = "") -> Plan:
    size = ground.size(GIB)
    ground.need(3 * size)
    durable = ", durable" if ground.place is Place.DISK else ""
    way = "up" if verb.is_up else "down"
    plan = Plan(f"One file of {size_text(size)}, {way}{durable}{how}", "GB/s", Better.MORE, [], list(bars))
    add_ways(ground, plan, peers, verb, ground.make_file("source", size), rate_of(size / 1e9))
    return plan


def _plan_tree(ground: Ground, verb: Verb, count: int, peers: Sequence[Peer], bars: Sequence[Bar]) -> Plan:
    count = ground.count(count)
    ground.need(3 * count * 2 * SMALL)
    durable = ", durable" if ground.place is Place.DISK else ""
    way = "up" if verb.is_up else "down"
    plan = Plan(f"{count:,} files of 4 KiB, {way}{durable}", "files/s", Better.MORE, [], list(bars))
    add_ways(ground, plan, peers, verb, ground.make_tree("source", count, SMALL), rate_of(count))
    return plan


def size_text(size: int) -> str:
    """Write a size of whole MiB."""
    return f"{size // GIB} GiB" if size % GIB == 0 else f"{size // 2**20} MiB"


def _put_file(ground: Ground) -> Plan:
    peers = [RawCopy(), Ftpd(), Rsync(), Vsftpd(), Pyftpdlib(), Aioftp(), OpenSsh(GCM), OpenSsh()]
    bars = [
        Bar("ftpc put", "raw TCP copy", 0.7),
        Bar("ftpc put", "rsync -W", 1.6),
        Bar("ftpc put", "curl -T, vsftpd", 1.0, is_aim=True),
    ]
    return _plan_file(ground, Verb.PUT, peers, bars)


def _get_file(ground: Ground) -> Plan:
    peers = [RawCopy(), Ftpd(), Nginx(), Vsftpd(), Rsync(), Pyftpdlib(), Aioftp(), OpenSsh(GCM), OpenSsh()]
    bars = [
        Bar("ftpc get", "raw TCP copy", 0.75),
        Bar("ftpc get", "curl, nginx", 1.3),
        Bar("ftpc get", "raw TCP copy", 0.95, is_aim=True),
    ]
    return _plan_file(ground, Verb.GET, peers, bars)


def _put_file_durable(ground: Ground) -> Plan:
    bars = [Bar("ftpc put", "rsync -W --fsync", 1.3)]
    return _plan_file(ground, Verb.PUT, [Ftpd(), Rsync(fsync=True)], bars)


def _put_encrypted(ground: Ground) -> Plan:
    label = "ftpc put, TLS"
    bars = [Bar(label, "scp, aes128-gcm", 2.0), Bar(label, "scp, aes128-gcm", 3.0, is_aim=True)]
    peers = [RawTlsCopy(), EncryptedFtpd(), EncryptedNginx(), OpenSsh(GCM), OpenSsh()]
    return _plan_file(ground, Verb.PUT, peers, bars, ", encrypted")


def _get_encrypted(ground: Ground) -> Plan:
    label = "ftpc get, TLS"
    bars = [Bar(label, "scp, aes128-gcm", 2.0), Bar(label, "scp, aes128-gcm", 3.0, is_aim=True)]
    peers = [RawTlsCopy(), EncryptedFtpd(), EncryptedNginx(), OpenSsh(GCM), OpenSsh()]
    return _plan_file(ground, Verb.GET, peers, bars, ", encrypted")


def _put_tree(ground: Ground) -> Plan:
    peers = [Ftpd(), Rsync(), Vsftpd(), OpenSsh()]
    return _plan_tree(ground, Verb.PUT_TREE, 10_000, peers, [Bar("ftpc put -r", "rsync -a", 1.0)])


def _get_tree(ground: Ground) -> Plan:
    peers = [Ftpd(), Rsync(), Vsftpd(), OpenSsh()]
    return _plan_tree(ground, Verb.GET_TREE, 10_000, peers, [Bar("ftpc get -r", "rsync -a", 1.0)])


def _put_large_tree(ground: Ground) -> Plan:
    bars = [Bar("ftpc put -r", "rsync -a", 1.0)]
    return _plan_tree(ground, Verb.PUT_TREE, 100_000, [Ftpd(), Rsync()], bars)


def _get_large_tree(ground: Ground) -> Plan:
    bars = [Bar("ftpc get -r", "rsync -a", 1.0)]
    return _plan_tree(ground, Verb.GET_TREE, 100_000, [Ftpd(), Rsync()], bars)


def _put_tree_durable(ground: Ground) -> Plan:
    bars = [Bar("ftpc put -r", "rsync -a --fsync", 1.1)]
    return _plan_tree(ground, Verb.PUT_TREE, 10_000, [Ftpd(), Rsync(fsync=True)], bars)


RACES = (
    Race("put", "one file of 1 GiB, up", _put_file),
    Race("get", "one file of 1 GiB, down", _get_file),
    Race("put-encrypted", "one file of 1 GiB, up, encrypted", _put_encrypted),
    Race("get-encrypted", "one file of 1 GiB, down, encrypted", _get_encrypted),
    Race("put-tree", "10,000 files of 4 KiB, up", _put_tree),
    Race("get-tree", "10,000 files of 4 KiB, down", _get_tree),
    Race("put-large-tree", "100,000 files of 4 KiB, up", _put_large_tree),
    Race("get-large-tree", "100,000 files of 4 KiB, down", _get_large_tree),
    Race("put-durable", "one file of 1 GiB, up, onto a disk and synced", _put_file_durable, Place.DISK),
    Race("put-tree-durable", "10,000 files of 4 KiB, up, onto a disk and synced", _put_tree_durable, Place.DISK),
)
