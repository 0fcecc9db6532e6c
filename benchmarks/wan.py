"""A long path: one file beside scp and rsync, and many small files beside rsync, in turns in one run.

    python -m benchmarks.wan [--rtt MS] [--rate MBIT] [--loss PERCENT] [--size MIB] [--files N] [--rounds N] [--only X]

Whole commands, through `benchmarks/relay.py`, so it needs root. Client and server have a network namespace each; scp
has an sshd of its own there, rsync a daemon. Compression is off, and the kernel's settings are what they are. All lies
in memory (/dev/shm where there is one). Without scp or rsync the others are measured.
"""

import argparse
import getpass
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import machine
from benchmarks.processes import seconds
from benchmarks.table import machine_text

SSHD = """\
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
PasswordAuthentication no
UseDNS no
Subsystem sftp internal-sftp
"""

RSYNCD = """\
address = {address}
use chroot = no
log file = /dev/stdout
[files]
path = {folder}/rsync
read only = no
uid = {uid}
gid = {gid}
"""

CIPHERS = {"scp": (), "scp-gcm": ("-c", "aes128-gcm@openssh.com")}


class Place(NamedTuple):
    """Where the race is run."""

    folder: Path
    here: Sequence[str]
    """What runs a command at the client's end."""
    there: Sequence[str]
    address: str
    """The server's."""


class Way(NamedTuple):
    """One way to move something."""

    command: Sequence[str]
    written: Path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, metavar in (("--rtt", "MS"), ("--rate", "MBIT"), ("--loss", "PERCENT")):
        parser.add_argument(option, metavar=metavar, help="as of benchmarks.relay")
    parser.add_argument("--size", type=int, default=64, metavar="MIB")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", metavar="WORD", help="only what has this in its name")
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)  # noqa: S108
    args = parser.parse_args()
    options = [f"--{name}={value}" for name in ("rtt", "rate", "loss") if (value := getattr(args, name)) is not None]
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        fill(folder, args.size, args.files)
        place = open_path(stack, folder, options)
        ways = {**ours(stack, place), **scp(stack, place), **rsync(stack, place)}
        times = measure({name: way for name, way in ways.items() if args.only in name}, args.rounds)
    print(machine_text(machine()), settings(), f"{' '.join(options) or 'the relay as it is'}", sep="\n")
    print(f"{args.rounds} rounds in turns after one; {args.size} MiB in one file, {args.files} files of 4 KiB")
    tell(times)


def fill(folder: Path, size: int, files: int) -> None:
    """Write what is to be moved."""
    with (folder / "file").open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(2**20))
    for number in range(files):
        path = folder / "tree" / f"{number // 100}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(4096))


def open_path(stack: ExitStack, folder: Path, options: Sequence[str]) -> Place:
    """Start the relay."""
    relay = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.relay", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us; it ends with its standard input, and cleans up
    )
    assert relay.stdin is not None
    assert relay.stdout is not None
    stack.callback(relay.wait)
    stack.callback(relay.stdin.close)
    stack.callback(relay.stdout.close)
    here, _, there, address = relay.stdout.readline().split()
    enter = ("ip", "netns", "exec")
    return Place(folder, (*enter, here), (*enter, there), address)


def settings() -> str:
    """Say how the kernel's TCP is set, here and so in new namespaces."""
    congestion, receive, send = (
        Path("/proc/sys/net/ipv4", name).read_text().split()[-1]
        for name in ("tcp_congestion_control", "tcp_rmem", "tcp_wmem")
    )
    return f"{congestion}, buffers of up to {receive} bytes to receive and {send} to send"


def serve(stack: ExitStack, command: Sequence[str], says: str) -> None:
    """Start a server, and wait for the words that tell that it listens."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    stack.callback(process.wait)
    stack.callback(process.terminate)
    stack.callback(process.stdout.close)
    while says not in (line := process.stdout.readline()):
        if not line:
            raise RuntimeError(f"{command} does not start")


def ours(stack: ExitStack, place: Place) -> dict[str, Way]:
    """Start our server; give our ways."""
    root, target = place.folder / "root", place.folder / "target"
    root.mkdir()
    command = [sys.executable, "-m", "ftpd", "--root", str(root), "--host", place.address, "--insecure", "-q"]
    serve(stack, [*place.there, *command], " on ")
    ftpc = [*place.here, sys.executable, "-m", "ftpc", "-q", "--server", place.address]
    return {
        "file put ftpc": Way([*ftpc, "put", str(place.folder / "file")], root / "file"),
        "file get ftpc": Way([*ftpc, "get", "file", "-o", str(target)], target),
        "tree put ftpc": Way([*ftpc, "put", "-rp", str(place.folder / "tree")], root / "tree"),
        "tree get ftpc": Way([*ftpc, "get", "-rp", "tree", "-o", str(target)], target),
    }


def scp(stack: ExitStack, place: Place) -> dict[str, Way]:
    """Start an sshd that nobody else knows; give the ways of scp."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None or not shutil.which("scp"):
        return {}
    folder = place.folder
    (folder / "scp").mkdir()
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "sshd_config").write_text(SSHD.format(address=place.address, folder=folder))
    # It wants a folder of its own in /run. `ip netns exec` has given it file systems that nobody else sees.
    script = "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec $0 -D -e -f $1"
    serve(stack, [*place.there, "sh", "-c", script, sshd, str(folder / "sshd_config")], "listening")
    command = [*place.here, "scp", "-q", "-F", "none", "-i", str(folder / "key")]
    for option in ("StrictHostKeyChecking=no", f"UserKnownHostsFile={os.devnull}", "IdentitiesOnly=yes"):
        command += ["-o", option]
    there, target = folder / "scp" / "file", folder / "target"
    url = f"{getpass.getuser()}@{place.address}:{there}"
    ways = {}
    for name, cipher in CIPHERS.items():
        ways[f"file put {name}"] = Way([*command, *cipher, str(folder / "file"), url], there)
        ways[f"file get {name}"] = Way([*command, *cipher, f"{url.removesuffix('scp/file')}file", str(target)], target)
    return ways


def rsync(stack: ExitStack, place: Place) -> dict[str, Way]:
    """Start a daemon; give the ways of rsync. What it is asked for is what it was given."""
    program = shutil.which("rsync")
    if program is None:
        return {}
    root, target = place.folder / "rsync", place.folder / "target"
    root.mkdir()
    config = place.folder / "rsyncd.conf"
    config.write_text(RSYNCD.format(address=place.address, folder=place.folder, uid=os.getuid(), gid=os.getgid()))
    serve(stack, [*place.there, program, "--daemon", "--no-detach", "--config", str(config)], "listening")
    command, url = [*place.here, program, "-a"], f"rsync://{place.address}/files"
    return {
        "file put rsync": Way([*command, str(place.folder / "file"), f"{url}/file"], root / "file"),
        "file get rsync": Way([*command, f"{url}/file", str(target)], target),
        "tree put rsync": Way([*command, f"{place.folder}/tree/", f"{url}/tree/"], root / "tree"),
        "tree get rsync": Way([*command, f"{url}/tree/", f"{target}/"], target),
    }


def measure(ways: dict[str, Way], rounds: int) -> dict[str, list[float]]:
    """Take turns. Every way writes new files, so what is there is removed."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            if way.written.is_dir():
                shutil.rmtree(way.written)
            way.written.unlink(missing_ok=True)
            taken = seconds(way.command)
            if number:
                times[name].append(taken)
    return times


def tell(times: dict[str, list[float]]) -> None:
    """Print times, and how many times faster ours was than each of the others in its turn."""
    for name, taken in sorted(times.items()):
        what, tool = name.rsplit(" ", 1)
        base = times.get(f"{what} ftpc")
        ratios = [] if base is None else [theirs / our for theirs, our in zip(taken, base, strict=True)]
        ratio = f"   x {statistics.median(ratios):.2f} (min {min(ratios):.2f})" if ratios and tool != "ftpc" else ""
        print(f"{name:18} s   {_spread(taken)}{ratio}")


def _spread(values: Sequence[float]) -> str:
    return f"min {min(values):.2f}  median {statistics.median(values):.2f}  max {max(values):.2f}"


if __name__ == "__main__":
    main()
