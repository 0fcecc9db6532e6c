"""The client's command line as a real process."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ftpc.cli import main
from tests.client.support import PATIENCE_S
from tests.peer import REPOSITORY


class Result(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Its standard output as JSON, one object per line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Ftpc(NamedTuple):
    """A user in a folder, with a server to talk to."""

    server: str
    folder: Path
    remote: Path
    """The folder on the server that names are relative to, as it is on disk."""

    def environment(self, values: Mapping[str, str] | None = None) -> dict[str, str]:
        """Give an environment with nothing of ours in it but what Python needs; every warning is an error."""
        paths = filter(None, (os.environ.get("PYTHONPATH"), str(REPOSITORY), str(REPOSITORY / "client")))
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONWARNINGS": "error",
            "FTPC_SERVER": self.server,
            **(values or {}),
        }

    def run(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Result:
        """Run a command to its end. Whatever happens, a user never sees a traceback."""
        done = subprocess.run(
            command(*arguments),
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            env=self.environment(env),
            timeout=PATIENCE_S,
            check=False,
        )
        result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in result.err, result.err
        return result

    def shell(self, script: str, env: Mapping[str, str] | None = None) -> Result:
        """Run a shell script in which `$ftpc` is the client."""
        done = subprocess.run(
            ["bash", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.folder,
            env=self.environment({"ftpc": f"{sys.executable} -m ftpc", **(env or {})}),
            timeout=PATIENCE_S,
            check=False,
        )
        result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in result.err, result.err
        return result

    def write(self, name: str, data: bytes = b"content") -> Path:
        """Make a local file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def serve(self, name: str, data: bytes = b"content") -> Path:
        """Make a file on the server."""
        path = self.remote / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


class Caller(NamedTuple):
    """The command line in this process: for tables, of which every row would pay for a start of Python."""

    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> Result:
        """Run a command to its end."""
        try:
            status = main(arguments)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        return Result(status, *self.capsys.readouterr())


def command(*arguments: str) -> list[str]:
    """Give the command line of the client."""
    return [sys.executable, "-m", "ftpc", *arguments]
