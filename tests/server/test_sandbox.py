"""The belt: with it the server does all that it does without, and the process reaches nothing else."""

import hashlib
import json
import logging
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from ftpd.certificate import make
from ftpd.sandbox import OLDEST, Sandbox, SandboxError, around, confine, landlock_version
from ftpd.tls import pin_of
from tests.peer import PATIENCE_S, Peer, ServerProcess, command, eventually, manage, server_environment
from tests.server import test_chunks as chunks
from tests.server.test_key_login import begin, connect, finish, proof, public, sign
from tests.server.test_tls import shown_pin

needs_landlock = pytest.mark.skipif(landlock_version() < OLDEST, reason="this kernel has no Landlock that would do")


def confined_threads(server: ServerProcess) -> tuple[int, int]:
    """Count the threads that can gain no privileges, which is what every thread of a confined process has; and all."""
    status = [file.read_text() for file in Path(f"/proc/{server.pid}/task").glob("*/status")]
    return sum("\nNoNewPrivs:\t1\n" in text for text in status), len(status)


@needs_landlock
def test_everything_works(tmp_path: Path) -> None:
    """Uploads, small, in folders and resumed, downloads, digests, log-ins, new users and a new certificate."""
    root, access, live, archive = (tmp_path / name for name in ("root", "access", "live", "archive"))
    for folder in (root, live, archive):
        folder.mkdir()
    for number in ("1", "2"):  # kept as certbot keeps them
        make(archive / f"cert{number}.pem", archive / f"key{number}.pem", "localhost")
    point(live, archive, "1")
    reach = ("--access", str(access))
    manage(root, "user", "add", "first", *reach)
    token = manage(root, "token", "create", "first", *reach)
    options = ("--tls-cert", str(live / "cert.pem"), "--tls-key", str(live / "key.pem"), "--sandbox", "require", *reach)
    with ServerProcess(root, *options) as server:
        line = next(line for line in server.log.splitlines() if "sandbox" in line)
        places = ", ".join(map(str, (access, archive, live, root)))
        assert line.endswith(f' INFO sandbox path="{places}" outcome="Landlock {landlock_version()}"')
        with connect(server) as peer:
            assert peer.ask({"cmd": "auth", "token": token})["ok"]
            move_files(server, peer)
        live_log_in(server, root, reach, pin_of(archive / "cert1.pem"))
        point(live, archive, "2")
        server.signal(signal.SIGHUP)
        eventually(lambda: "certificate was read again" in server.log, "a new certificate is read")
        assert pin_of(archive / "cert2.pem") == shown_pin(server.port)
        confined, threads = confined_threads(server)
        assert confined == threads > 2  # what is done in a thread is confined too
        ended = server.stop()
    assert (0, "") == (ended.returncode, ended.traceback)


def point(live: Path, archive: Path, number: str) -> None:
    """Let the links lead to another certificate and its key."""
    for kind in ("cert", "key"):
        (live / "new").symlink_to(archive / f"{kind}{number}.pem")
        (live / "new").replace(live / f"{kind}.pem")


def move_files(server: ServerProcess, peer: Peer) -> None:
    """Store files in every way there is, and fetch one."""
    for name in ("a", "new/folder/b", "a"):
        assert peer.ask({"cmd": "put", "filename": name, "filesize": 3}, b"abc")["ok"]
    assert peer.ask({"cmd": "put", "filename": "a", "filesize": 1, "if_exists": "rename"}, b"x")["ok"]
    assert peer.ask({"cmd": "mkdir", "path": "empty/one"})["ok"]
    upload = chunks.begin(peer, "new/large")
    for index, piece in enumerate(chunks.PIECES[:-1]):
        assert chunks.send(peer, upload, index, piece)["ok"]
    assert peer.ask({"cmd": "begin", "filename": "new/large", "filesize": len(chunks.DATA), "upload": upload})["have"]
    assert chunks.send(peer, upload, len(chunks.PIECES) - 1, chunks.PIECES[-1])["ok"]
    assert chunks.commit(peer, upload)["ok"]
    assert chunks.DATA == (server.root / "new" / "large").read_bytes()
    (server.root / "brought by others").write_bytes(b"content")
    reply = peer.ask({"cmd": "get", "filename": "brought by others"})
    peer.read_bytes(32 * reply["leaves"])
    assert b"content" == peer.read_bytes(7)
    assert not reply["trailer"] or peer.read()["ok"]
    names = [entry["name"] for entry in peer.ask({"cmd": "ls"})["entries"]]
    assert {"a", "a (1)", "brought by others", "empty", "new"} == set(names)
    assert hashlib.md5(b"abc").hexdigest() == peer.ask({"cmd": "md5", "filename": "a"})["digest"]  # noqa: S324 (md5sum)


def live_log_in(server: ServerProcess, root: Path, reach: tuple[str, ...], pin: str) -> None:
    """Make a user while the server runs, who logs in with a key, a password, and shares something."""
    key = ed25519.Ed25519PrivateKey.generate()
    manage(root, "user", "add", "second", *reach)
    manage(root, "user", "key", "add", "second", *reach, given=public(key))
    manage(root, "user", "passwd", "second", *reach, given="a long one\n")
    with connect(server) as peer:
        nonces = begin(peer, public(key), "second")  # which imports what nobody has needed yet
        reply = finish(peer, sign(key, proof(*nonces, bytes.fromhex(pin), "second")))
        assert (True, "second") == (reply["ok"], reply.get("user"))
        assert peer.ask({"cmd": "share", "path": "new"})["ok"]
    with connect(server) as peer:
        reply = peer.ask({"cmd": "auth", "method": "password", "user": "second", "password": "a long one"})
        assert (True, "second") == (reply["ok"], reply.get("user"))


@needs_landlock
@pytest.mark.parametrize("mode", ["off", "auto", "require"])
def test_what_lies_outside(tmp_path: Path, mode: str) -> None:
    """A file of users that is swapped for a link to outside is followed by a server without a belt, and by no other."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    manage(root, "user", "add", "first")
    token = manage(root, "token", "create", "first")
    users = root / ".ftpd" / "access" / "users.toml"
    with ServerProcess(root, "--sandbox", mode) as server, server.connect() as peer:
        assert peer.ask({"cmd": "auth", "token": token})["ok"]
        outside.write_text(users.read_text().replace('rights = ["full"]', "rights = []"))
        outside.chmod(0o600)
        users.unlink()
        users.symlink_to(outside)
        said = "the users file was read again" if mode == "off" else "the old one holds"

        def is_seen() -> bool:
            peer.ask({"cmd": "whoami"})
            return said in server.log

        eventually(is_seen, "the change is seen")
        assert (mode != "off") == peer.ask({"cmd": "ls"})["ok"]
        assert mode == "off" or "Permission denied" in server.log


PROBE = """
import errno, json, os, signal, socket, subprocess, sys, threading
from pathlib import Path
from ftpd.sandbox import Sandbox, confine, landlock_version

here = Path(sys.argv[1])
root, access, readable, outside = (here / name for name in ("root", "access", "readable", "outside"))
confine(Sandbox.REQUIRE, landlock_version(), write=[root, access, here / "missing"], read=[readable, readable / "file"])

def connect():
    with socket.socket() as sock:
        sock.connect(("127.0.0.1", int(sys.argv[2])))

def in_thread():
    result = []
    thread = threading.Thread(target=lambda: result.append(code(lambda: (outside / "file").read_bytes())))
    thread.start()
    thread.join()
    if result[0]:
        raise OSError(errno.errorcode and getattr(errno, result[0]), "")

ACTIONS = {
    "read root": lambda: (root / "file").read_bytes(),
    "replace across folders": lambda: (root / "file").rename(root / "folder" / "file"),
    "link across folders": lambda: os.link(root / "folder" / "file", root / "file"),
    "rename a folder": lambda: (root / "folder").rename(root / "other"),
    "make and remove folders": lambda: ((root / "x").mkdir(), (root / "x").rmdir()),
    "make and remove files": lambda: ((root / "y").touch(), (root / "y").unlink()),
    "truncate": lambda: os.truncate(root / "file", 1),
    "write access": lambda: (access / "file").write_bytes(b"x"),
    "read readable": lambda: ((readable / "file").read_bytes(), os.listdir(readable)),
    "import": lambda: __import__("wave"),
    "write readable": lambda: (readable / "file").write_bytes(b"x"),
    "make in readable": lambda: (readable / "new").touch(),
    "read outside": lambda: (outside / "file").read_bytes(),
    "read outside in a thread": in_thread,
    "read the system": lambda: Path("/etc/passwd").read_bytes(),
    "read beside the script": lambda: Path(sys.argv[0]).read_bytes(),
    "read through a link": lambda: (root / "link").read_bytes(),
    "list outside": lambda: os.listdir(outside),
    "write outside": lambda: (outside / "file").write_bytes(b"x"),
    "truncate outside": lambda: os.truncate(outside / "file", 0),
    "make outside": lambda: (outside / "new").mkdir(),
    "remove outside": lambda: (outside / "file").unlink(),
    "rename to outside": lambda: (root / "file").rename(outside / "new"),
    "link from outside": lambda: os.link(outside / "file", root / "stolen"),
    "make a link": lambda: (root / "new").symlink_to(outside),
    "make a pipe": lambda: os.mkfifo(root / "pipe"),
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "open a device": lambda: Path("/dev/null").read_bytes(),
    "connect": connect,
    "listen": lambda: socket.create_server(("127.0.0.1", 0)).close(),
    "signal another process": lambda: os.kill(os.getppid(), 0),
}

def code(action):
    try:
        action()
    except OSError as exc:
        return errno.errorcode[exc.errno]

print(json.dumps({name: code(action) for name, action in ACTIONS.items()}))
"""

ALLOWED = {
    "read root", "replace across folders", "link across folders", "rename a folder", "make and remove folders",
    "make and remove files", "truncate", "write access", "read readable", "import",
}  # fmt: skip
SINCE = {"truncate outside": 3, "connect": 4, "listen": 4, "signal another process": 6}
"""What older kernels can not forbid, and the version of Landlock that can."""
OTHER_CODES = {"link from outside": "EXDEV", "signal another process": "EPERM"}


@needs_landlock
def test_what_a_confined_process_can_do(tmp_path: Path) -> None:
    """Code that runs in the process has the root, its state and the program, and nothing else; its threads neither."""
    for name in ("root", "root/folder", "access", "readable", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"content")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside" / "file")
    script = tmp_path / "probe.py"
    script.write_text(PROBE)
    environment = server_environment({})
    del environment["PYTHONSAFEPATH"]  # so that the folder of the script is searched for modules
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        done = subprocess.run(
            [sys.executable, script, tmp_path, port],
            env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    version = landlock_version()
    expected = {
        name: None if name in ALLOWED or version < SINCE.get(name, 0) else OTHER_CODES.get(name, "EACCES")
        for name in found
    }
    assert expected == found
    assert set(found) > ALLOWED | SINCE.keys() | OTHER_CODES.keys()
    assert b"content" == (tmp_path / "outside" / "file").read_bytes()


@pytest.mark.parametrize("version", [0, 1])
def test_kernel_without(version: int, caplog: pytest.LogCaptureFixture) -> None:
    """Where the kernel has no Landlock, or the first that breaks renames, `require` refuses, and `auto` says so."""
    caplog.set_level(logging.INFO)
    with pytest.raises(SandboxError, match="--sandbox require: this kernel has no Landlock"):
        confine(Sandbox.REQUIRE, version, write=[], read=[])
    confine(Sandbox.OFF, version, write=[], read=[])
    assert [] == caplog.messages
    confine(Sandbox.AUTO, version, write=[], read=[])
    assert ["no sandbox"] == caplog.messages
    assert "NoNewPrivs:\t0\n" in Path("/proc/self/status").read_text() or sys.platform != "linux"


@needs_landlock
@pytest.mark.parametrize("mode", ["auto", "require"])
def test_kernel_that_refuses(tmp_path: Path, mode: str) -> None:
    """Where a process is confined as often as it can be, `require` refuses to start, `auto` serves without a belt."""
    most_often = 16  # LANDLOCK_MAX_NUM_LAYERS; version 3 lets it listen
    program = (
        "import sys; from pathlib import Path; from ftpd.cli import main; from ftpd.sandbox import restrict\n"
        f"for _ in range({most_often}): restrict(3, write=[Path('/')], read=[])\n"
        "raise SystemExit(main(sys.argv[1:]))"
    )
    line = [sys.executable, "-c", program, "--root", str(tmp_path), "--port", "0", "--sandbox", mode]
    with subprocess.Popen(
        line, env=server_environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        started = process.stdout.readline()
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_S)
    refusal = "ftpd: --sandbox require: Landlock: Argument list too long; --sandbox auto does without it\n"
    assert (("", refusal, 2) if mode == "require" else (started, errors, 0)) == (started, errors, process.returncode)
    assert mode == "require" or 'WARNING no sandbox outcome="Landlock: Argument list too long"\n' in errors


def test_where_a_file_may_come_from(tmp_path: Path) -> None:
    """Read again are a file's own folder and that of its target; but never the whole file system."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "cert").symlink_to("archive/cert1")
    assert [tmp_path, tmp_path / "archive"] == [*around(tmp_path / "cert")]
    assert [Path("/cert.pem")] * 2 == [*around(Path("/cert.pem"))]


@needs_landlock
def test_digests_of_a_server_that_may_write_nowhere(tmp_path: Path) -> None:
    """A read-only server keeps more digests than the memory SQLite uses before it asks for a temporary file."""
    program = """
import sys
from ftpd.sandbox import Sandbox, confine, landlock_version
from ftpd.store.local.digests import DigestCache, State
from ftpd.wire.digests import tree_of
from ftpd.wire.paths import RemotePath

cache, tree = DigestCache(None), tree_of(b"content")
confine(Sandbox.REQUIRE, landlock_version(), write=[], read=[])
files = [(RemotePath.parse(f"{number:0200}"), State(7, number, number, number)) for number in range(10_000)]
cache.learn_trees([(*file, tree) for file in files])
sys.exit(any(found != tree for found in (cache.tree(*file) for file in files)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=server_environment({}), capture_output=True, text=True, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)


def test_option_in_the_help() -> None:
    """`ftpd --help` says what there is to choose from."""
    done = subprocess.run(command("--help"), env=server_environment({}), capture_output=True, text=True, check=True)
    assert "--sandbox auto|require|off" in done.stdout
