"""nginx, from which curl downloads."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.base import Client, Peer, Verb
from benchmarks.peers.tools import program

_CONFIG = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr error;
events {{ }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen {host}:{port}; root {root}; }}
}}
"""


class Nginx(Peer):
    """One process, which sends with sendfile."""

    name = "nginx"

    @property
    def clients(self) -> Mapping[Verb, Client]:
        """Downloads."""
        return {Verb.GET: Client("curl, nginx", ["nginx", "curl"])}

    def _serve(self) -> Sequence[str]:
        config = self.folder / "nginx.conf"
        text = _CONFIG.format(folder=self.folder, host=self.route.host, port=self.port, root=self.root)
        config.write_text(text, encoding="utf-8")
        return [program("nginx"), "-p", str(self.folder), "-e", "stderr", "-c", str(config)]

    def _move(self, verb: Verb, local: Path, name: str) -> Sequence[str]:
        assert verb is Verb.GET
        return [program("curl"), "-q", "-sS", "-f", "-o", str(local), f"http://{self.route.host}:{self.port}/{name}"]
