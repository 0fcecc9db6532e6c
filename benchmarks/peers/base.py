"""A peer: a server with its clients, started on a free port of loopback with a configuration of its own."""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, NamedTuple

from benchmarks.peers.tools import require
from benchmarks.processes import HOST, Server, free_port, start


class Verb(StrEnum):
    """What a peer may be able to do."""

    PUT = "put"
    GET = "get"
    PUT_TREE = "put-tree"
    GET_TREE = "get-tree"

    @property
    def is_up(self) -> bool:
        """Whether it writes on the server's side."""
        return self in {Verb.PUT, Verb.PUT_TREE}


class Route(NamedTuple):
    """The way between client and server, for races that are not run over loopback."""

    host: str = HOST
    """The server's address."""
    here: Sequence[str] = ()
    """What runs a command at the client's end, such as `ip netns exec NAME`."""
    there: Sequence[str] = ()
    """The same for the server's."""


LOOPBACK = Route()


class Client(NamedTuple):
    """How a verb is called in tables, and what has to be installed for it."""

    label: str
    tools: Sequence[str] = ()


class Peer(ABC):
    """A server that is not started yet. It serves `root`, an ordinary folder.

    Nothing of it is outside of its folder, and it needs no rights that the caller does not have.
    """

    name: ClassVar[str]
    is_ours: ClassVar[bool] = False

    stack: ExitStack
    folder: Path
    """For its configuration."""
    root: Path
    server: Server

    def __init__(self, route: Route = LOOPBACK) -> None:
        self.route = route
        self.port = 0

    @property
    @abstractmethod
    def clients(self) -> Mapping[Verb, Client]:
        """What it can do."""

    def start(self, stack: ExitStack, folder: Path, verb: Verb) -> None:
        """Start the server.

        Raises:
            FailedError: it is not installed, or can not run here.
        """
        for tool in self.clients[verb].tools:
            require(tool)
        self.stack, self.folder, self.root = stack, folder / self.name, folder / self.name / "root"
        self.root.mkdir(parents=True)
        self.port = free_port()
        self.server = start(stack, [*self.route.there, *self._serve()], cwd=self.folder)
        self.server.wait_for(self.route.host, self.port, self.route.here)

    @abstractmethod
    def _serve(self) -> Sequence[str]:
        """Write the server's configuration, and give its command."""

    def command(self, verb: Verb, local: Path, name: str) -> Sequence[str]:
        """Give the command that moves a file or folder between here and the root."""
        return [*self.route.here, *self._move(verb, local, name)]

    @abstractmethod
    def _move(self, verb: Verb, local: Path, name: str) -> Sequence[str]:
        """Give that command as it is at the client's end."""

    def stock(self, source: Path, name: str) -> None:
        """Bring a file or a folder there, to be fetched."""
        if source.is_dir():
            shutil.copytree(source, self.root / name, copy_function=os.link)
        else:
            os.link(source, self.root / name)
