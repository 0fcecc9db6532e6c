"""The limit: a raw copy over TCP, or over TLS, see `benchmarks/programs/raw_copy.py`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.base import Client, Peer, Verb
from benchmarks.programs import raw_copy
from ftpd.certificate import make


class RawCopy(Peer):
    """No framing, no checksum, no temporary file; one file, whose name it does not ask for."""

    name = "raw"

    @property
    def clients(self) -> Mapping[Verb, Client]:
        """Files only."""
        return {Verb.PUT: Client("raw TCP copy"), Verb.GET: Client("raw TCP copy")}

    def _serve(self) -> Sequence[str]:
        return [sys.executable, raw_copy.__file__, "serve", str(self.root), self.route.host, str(self.port)]

    def _move(self, verb: Verb, local: Path, name: str) -> Sequence[str]:
        what = "send" if verb is Verb.PUT else "receive"
        return [sys.executable, raw_copy.__file__, what, str(local), self.route.host, str(self.port), name]


class RawTlsCopy(RawCopy):
    """The same over TLS 1.3."""

    name = "raw-tls"

    @property
    def clients(self) -> Mapping[Verb, Client]:
        """Files only."""
        return {Verb.PUT: Client("raw TLS copy"), Verb.GET: Client("raw TLS copy")}

    def _serve(self) -> Sequence[str]:
        certificate, key = self.folder / "certificate.pem", self.folder / "key.pem"
        make(certificate, key, self.route.host)
        return [*super()._serve(), str(certificate), str(key)]

    def _move(self, verb: Verb, local: Path, name: str) -> Sequence[str]:
        return [*super()._move(verb, local, name), str(self.folder / "certificate.pem")]
