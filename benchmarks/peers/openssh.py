"""scp, to an sshd of its own: with its own host key, and one key that it lets in. Encrypted and authenticated."""

import contextlib
import os
import pwd
import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.peers.base import LOOPBACK, Client, Peer, Route, Verb
from benchmarks.peers.tools import program
from benchmarks.processes import FailedError

_SERVER = """\
ListenAddress {host}:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
AllowUsers {user}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
PrintMotd no
LogLevel ERROR
Subsystem sftp internal-sftp
"""

_CLIENT = """\
Host *
User {user}
Port {port}
IdentityFile {folder}/user
IdentitiesOnly yes
IdentityAgent none
UserKnownHostsFile {folder}/known
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
BatchMode yes
LogLevel ERROR
"""

_TOOLS = ("sshd", "scp", "ssh-keygen")
_NO_FOLDER = re.compile(r"Missing privilege separation directory: (\S+)")


class OpenSsh(Peer):
    """`cipher` is one of OpenSSH's names; without it, the one that both sides like best."""

    def __init__(self, cipher: str | None = None, route: Route = LOOPBACK) -> None:
        super().__init__(route)
        self._cipher = cipher
        self._options: Sequence[str] = ()

    @property
    def name(self) -> str:  # type: ignore[override]  # one class, several entries
        """A folder for each cipher."""
        return f"ssh-{self._cipher or 'default'}"

    @property
    def clients(self) -> Mapping[Verb, Client]:
        """All verbs."""
        how = "default cipher" if self._cipher is None else self._cipher.partition("@")[0]
        files, trees = Client(f"scp, {how}", _TOOLS), Client(f"scp -r, {how}", _TOOLS)
        return {Verb.PUT: files, Verb.GET: files, Verb.PUT_TREE: trees, Verb.GET_TREE: trees}

    def _serve(self) -> Sequence[str]:
        host, port, user, folder = self.route.host, self.port, _user(), self.folder
        for key in ("host", "user"):
            subprocess.run([program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        public = (folder / "host.pub").read_text(encoding="ascii")
        (folder / "known").write_text(f"[{host}]:{port} {public}", encoding="ascii")
        server_config, client_config = folder / "sshd_config", folder / "ssh_config"
        server_config.write_text(_SERVER.format(host=host, port=port, folder=folder, user=user), encoding="utf-8")
        client_config.write_text(_CLIENT.format(port=port, folder=folder, user=user), encoding="utf-8")
        self._options = ["-q", "-F", str(client_config), *(["-c", self._cipher] if self._cipher else [])]
        command = [program("sshd"), "-f", str(server_config)]
        _make_folder(self.stack, command)
        return [*command, "-D", "-e"]

    def _move(self, verb: Verb, local: Path, name: str) -> Sequence[str]:
        remote = f"{self.route.host}:{self.root / name}"
        here_and_there = (str(local), remote) if verb.is_up else (remote, str(local))
        recursive = [] if verb in {Verb.PUT, Verb.GET} else ["-r"]
        return [program("scp"), *self._options, *recursive, *here_and_there]


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise FailedError("sshd lets nobody in who has no name") from None


def _make_folder(stack: ExitStack, command: Sequence[str]) -> None:
    """Make the folder that sshd wants when root starts it, and which its service makes where there is one."""
    done = subprocess.run([*command, "-t"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    missing = _NO_FOLDER.search(done.stdout)
    if missing is None:
        if done.returncode:
            raise FailedError(f"sshd does not take its configuration: {done.stdout.strip()}")
        return
    folder = Path(missing[1])
    try:
        folder.mkdir(mode=0o755)
    except OSError as error:
        raise FailedError(f"sshd wants a folder {folder}: {error.strerror}") from None

    def remove() -> None:
        with contextlib.suppress(OSError):  # somebody else's sshd may have begun to use it
            folder.rmdir()

    stack.callback(remove)
