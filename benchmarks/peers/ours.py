"""Ours: ftpd with its defaults, which are to verify everything and to be durable, and ftpc."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.base import LOOPBACK, Client, Peer, Verb
from benchmarks.processes import seconds
from ftpd.certificate import make
from ftpd.tls import pin_of


class Ftpd(Peer):
    """The server and client that this is about."""

    name = "ftpd"
    is_ours = True

    @property
    def clients(self) -> Mapping[Verb, Client]:
        """All verbs."""
        return {
            Verb.PUT: Client("ftpc put"),
            Verb.GET: Client("ftpc get"),
            Verb.PUT_TREE: Client("ftpc put -r"),
            Verb.GET_TREE: Client("ftpc get -r"),
        }

    @property
    def address(self) -> str:
        """What `--server` takes."""
        return f"{self.route.host}:{self.port}"

    def _serve(self) -> Sequence[str]:
        options = [] if self.route is LOOPBACK else ["--host", self.route.host, "--insecure"]
        return [sys.executable, "-m", "ftpd", "--root", str(self.root), "--port", str(self.port), "-q", *options]

    def _move(self, verb: Verb, local: Path, name: str) -> Sequence[str]:
        # Folders with times and modes, as `rsync -a` keeps them.
        ftpc = [sys.executable, "-m", "ftpc"]
        options = ["-q", "--server", self.address]
        match verb:
            case Verb.PUT:
                return [*ftpc, *options, "put", str(local), "--as", name]
            case Verb.GET:
                return [*ftpc, *options, "get", name, "-o", str(local)]
            case Verb.PUT_TREE:
                return [*ftpc, *options, "put", "-rp", str(local), "--as", name]
            case Verb.GET_TREE:
                return [*ftpc, *options, "get", "-rp", name, "-o", str(local)]

    def stock(self, source: Path, name: str) -> None:
        """Upload it, which is how files get onto this server."""
        seconds(self.command(Verb.PUT_TREE if source.is_dir() else Verb.PUT, source, name))


class EncryptedFtpd(Ftpd):
    """The same with TLS 1.3, as a public server has it: with a certificate of its own, that clients know by its pin."""

    name = "ftpds"

    @property
    def clients(self) -> Mapping[Verb, Client]:
        """All verbs."""
        return {verb: Client(f"{client.label}, TLS") for verb, client in super().clients.items()}

    @property
    def address(self) -> str:
        """What `--server` takes."""
        return f"ftpds://{super().address}#sha256:{pin_of(self.folder / 'certificate.pem')}"

    def _serve(self) -> Sequence[str]:
        certificate, key = self.folder / "certificate.pem", self.folder / "key.pem"
        make(certificate, key, self.route.host)
        return [*super()._serve(), "--tls-cert", str(certificate), "--tls-key", str(key)]
