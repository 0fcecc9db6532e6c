"""nginx, from which curl downloads; and to which it uploads, encrypted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.base import Client, Peer, Verb
from benchmarks.peers.tools import program
from ftpd.certificate import make

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
    server {{ listen {host}:{port}{how}; root {root}; client_max_body_size 0; dav_methods PUT; }}
}}
"""


class Nginx(Peer):
    """One process, which sends with sendfile."""

    name = "nginx"
    how = ""
    """What follows the address that it listens at."""

    @property
    def clients(self) -> Mapping[Verb, Client]:
        """Downloads."""
        return {Verb.GET: Client("curl, nginx", ["nginx", "curl"])}

    def _serve(self) -> Sequence[str]:
        config = self.folder / "nginx.conf"
        text = _CONFIG.format(folder=self.folder, host=self.route.host, port=self.port, how=self.how, root=self.root)
        config.write_text(text, encoding="utf-8")
        return [program("nginx"), "-p", str(self.folder), "-e", "stderr", "-c", str(config)]

    def _move(self, verb: Verb, local: Path, name: str) -> Sequence[str]:
        assert verb is Verb.GET
        return [program("curl"), "-q", "-sS", "-f", "-o", str(local), f"http://{self.route.host}:{self.port}/{name}"]


class EncryptedNginx(Nginx):
    """The same over TLS 1.3. What is uploaded goes to a file of another name first, on the same file system."""

    name = "nginx-tls"
    how = " ssl; ssl_protocols TLSv1.3; ssl_certificate certificate.pem; ssl_certificate_key key.pem"

    @property
    def clients(self) -> Mapping[Verb, Client]:
        """Files only."""
        tools = ["nginx", "curl"]
        return {Verb.PUT: Client("curl -T, nginx, TLS", tools), Verb.GET: Client("curl, nginx, TLS", tools)}

    def _serve(self) -> Sequence[str]:
        make(self.folder / "certificate.pem", self.folder / "key.pem", self.route.host)
        return super()._serve()

    def _move(self, verb: Verb, local: Path, name: str) -> Sequence[str]:
        way = ["-T", str(local)] if verb is Verb.PUT else ["-o", str(local)]
        url = f"https://{self.route.host}:{self.port}/{name}"
        return [program("curl"), "-q", "-sS", "-f", "-k", *way, url]  # nobody vouches for it
