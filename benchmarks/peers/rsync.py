"""rsync and its daemon: whole files, verified by a digest of its own, put in place by a rename."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.base import LOOPBACK, Client, Peer, Route, Verb
from benchmarks.peers.tools import program

_CONFIG = """\
address = {host}
port = {port}
use chroot = no
pid file = {folder}/pid
log file = /dev/null
[files]
path = {root}
read only = no
"""

_AS_ROOT = """\
uid = 0
gid = 0
"""
"""Root's daemon would become nobody; another's can become nobody else, and refuses to try."""


class Rsync(Peer):
    """With `fsync` it syncs each file before it renames it, as we do; the folder it does not."""

    name = "rsync"

    def __init__(self, route: Route = LOOPBACK, *, fsync: bool = False) -> None:
        super().__init__(route)
        self._fsync = ["--fsync"] if fsync else []

    @property
    def clients(self) -> Mapping[Verb, Client]:
        """All verbs."""
        files = Client(" ".join(["rsync -W", *self._fsync]), ["rsync"])
        trees = Client(" ".join(["rsync -a", *self._fsync]), ["rsync"])
        return {Verb.PUT: files, Verb.GET: files, Verb.PUT_TREE: trees, Verb.GET_TREE: trees}

    def _serve(self) -> Sequence[str]:
        config = self.folder / "rsyncd.conf"
        text = _CONFIG.format(host=self.route.host, port=self.port, root=self.root, folder=self.folder)
        config.write_text(text + _AS_ROOT * (os.getuid() == 0), encoding="utf-8")
        return [program("rsync"), "--daemon", "--no-detach", "--config", str(config)]

    def _move(self, verb: Verb, local: Path, name: str) -> Sequence[str]:
        url = f"rsync://{self.route.host}:{self.port}/files/{name}"
        match verb:
            case Verb.PUT:
                return [program("rsync"), "-W", *self._fsync, str(local), url]
            case Verb.GET:
                return [program("rsync"), "-W", *self._fsync, url, str(local)]
            case Verb.PUT_TREE:
                return [program("rsync"), "-a", *self._fsync, f"{local}/", f"{url}/"]
            case Verb.GET_TREE:
                return [program("rsync"), "-a", *self._fsync, f"{url}/", f"{local}/"]
