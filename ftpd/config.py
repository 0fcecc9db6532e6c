"""The server's configuration: one frozen value, built from the command line and the environment."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from ftpd.log import LogFormat
from ftpd.proxy import Network
from ftpd.sandbox import Sandbox
from ftpd.store.local import PARTIAL_TTL_S
from ftpd.wire.paths import STATE_FOLDER
from ftpd.wire.terms import Durability

DEFAULT_PORT = 9527


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a server needs to know before it starts."""

    root: Path = Path("storage")
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    read_only: bool = False
    durability: Durability = Durability.FULL
    grace_s: float = 30.0
    max_connections: int | None = None
    """None: as many as `ftpd.descriptors` says."""
    workers: int | None = None
    """None: as many as `ftpd.payload.workers` says."""
    max_per_source: int | None = None
    """None: as many as `ftpd.admission` says."""
    proxy_from: tuple[Network, ...] = ()
    limit_rate: int = 0
    partial_ttl_s: float = PARTIAL_TTL_S
    log_format: LogFormat = LogFormat.TEXT
    verbosity: int = 0
    insecure: bool = False
    tls: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    client_crl: Path | None = None
    access: Path | None = None
    sandbox: Sandbox = Sandbox.AUTO

    @property
    def access_folder(self) -> Path:
        """Where users and keys are kept. Nobody but us reads in it."""
        return self.access or self.root / STATE_FOLDER / "access"

    @property
    def is_public(self) -> bool:
        """Whether other machines can connect. A name that is no address, or a proxy, may be reached from anywhere."""
        if self.proxy_from:
            return True
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return True


class ConfigError(Exception):
    """The server can not start like this; the message says what to change."""


def check_root(config: Config) -> None:
    """Check that the root can be served, and make the default one.

    Raises:
        ConfigError: with what is wrong with it.
    """
    root = config.root
    if root == Config().root and not root.exists() and not config.read_only:
        root.mkdir()
    if not root.exists():
        raise ConfigError(f"--root {root}: there is no such folder; make it first")
    if not root.is_dir():
        raise ConfigError(f"--root {root}: it is not a folder")
    needed = os.R_OK | os.X_OK | (0 if config.read_only else os.W_OK)
    if not os.access(root, needed):
        what = "read" if config.read_only else "written to (use --read-only to serve it as it is)"
        raise ConfigError(f"--root {root}: it can not be {what}")
