"""FTP servers, with curl for files and lftp for folders. None of them verifies or syncs."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.base import Client, Peer, Verb
from benchmarks.peers.tools import program

_VSFTPD = """\
listen=YES
listen_ipv6=NO
listen_address={host}
listen_port={port}
background=NO
run_as_launching_user=YES
anonymous_enable=YES
no_anon_password=YES
anon_root={root}
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
write_enable=YES
xferlog_enable=NO
use_sendfile=YES
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
"""
"""Without isolation, which needs root and costs time on every connection."""


class FtpServer(Peer):
    """What they have in common: anybody may do anything."""

    can_list: ClassVar[bool] = True

    @property
    def clients(self) -> Mapping[Verb, Client]:
        """Folders where the server's listings are understood by lftp."""
        files = {
            Verb.PUT: Client(f"curl -T, {self.name}", [self.name, "curl"]),
            Verb.GET: Client(f"curl, {self.name}", [self.name, "curl"]),
        }
        trees = {
            Verb.PUT_TREE: Client(f"lftp mirror -P 8, {self.name}", [self.name, "lftp"]),
            Verb.GET_TREE: Client(f"lftp mirror -P 8, {self.name}", [self.name, "lftp"]),
        }
        return files | trees if self.can_list else files

    def _move(self, verb: Verb, local: Path, name: str) -> Sequence[str]:
        # -q and --norc: without the settings of whoever runs this.
        url = f"ftp://{self.route.host}:{self.port}"
        match verb:
            case Verb.PUT:
                return [program("curl"), "-q", "-sS", "-T", str(local), f"{url}/{name}"]
            case Verb.GET:
                return [program("curl"), "-q", "-sS", "-o", str(local), f"{url}/{name}"]
            case Verb.PUT_TREE:
                return [program("lftp"), "--norc", "-c", f"open {url}; mirror -R -P 8 '{local}' {name}"]
            case Verb.GET_TREE:
                return [program("lftp"), "--norc", "-c", f"open {url}; mirror -P 8 {name} '{local}'"]

    def put_at_once(self, files: Sequence[Path]) -> Sequence[str]:
        """Give the command of one client that uploads many files at the same time."""
        listed = ",".join(str(path) for path in files)
        at_once = ["-Z", "--parallel-immediate", "--parallel-max", str(len(files))]
        return [program("curl"), "-q", "-sS", *at_once, "-T", f"{{{listed}}}", f"ftp://{self.route.host}:{self.port}/"]


class Vsftpd(FtpServer):
    """A process for each connection, in C."""

    name = "vsftpd"

    def _serve(self) -> Sequence[str]:
        config = self.folder / "vsftpd.conf"
        config.write_text(_VSFTPD.format(host=self.route.host, port=self.port, root=self.root), encoding="utf-8")
        return [program("vsftpd"), str(config)]


class Pyftpdlib(FtpServer):
    """One loop of its own, with sendfile, in Python."""

    name = "pyftpdlib"

    def _serve(self) -> Sequence[str]:
        where = ["-i", self.route.host, "-p", str(self.port), "-d", self.root.name]
        return [sys.executable, "-m", "pyftpdlib", "-w", *where]


class Aioftp(FtpServer):
    """asyncio's streams."""

    name = "aioftp"
    can_list = False

    def _serve(self) -> Sequence[str]:
        where = ["--host", self.route.host, "--family", "ipv4", "--port", str(self.port), "-d", self.root.name]
        return [sys.executable, "-m", "aioftp", "-q", *where]
