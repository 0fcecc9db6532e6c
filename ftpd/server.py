"""The server: listens, admits connections up to its limits, and ends them in good order."""

import asyncio
import contextlib
import logging
import resource

from ftpd.payload.channel import Channel, ChannelProtocol
from ftpd.session import Session
from ftpd.store.base import Store
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import MAX_HEADER, MAX_UPLOADS, MIN_CHUNK
from ftpd.wire.messages import encode_refusal

BACKLOG = 1024
"""Connections the kernel queues while the loop is busy: a burst of clients that start at once."""

RESERVED_FILES = 64
"""Descriptors kept for what is not a connection: the listening socket, the store's own, the log."""

FILES_PER_CONNECTION = 3
"""Descriptors a busy connection needs: its socket, the file, and for moments the file's folder."""

MAX_FAREWELLS = 256
"""Connections that are being refused politely at the same time; beyond that they are cut."""

log = logging.getLogger(__name__)


class Server:
    """Serves one store on one port.

    Use: `start`, then wait for whatever ends it, then `drain`. All from one event loop.
    """

    def __init__(self, store: Store, max_connections: int) -> None:
        self._store = store
        self.max_connections = min(max_connections, _affordable_connections())
        self._limits = {"max_header": MAX_HEADER, "min_chunk": MIN_CHUNK, "max_uploads": MAX_UPLOADS}
        self._listener: asyncio.Server | None = None
        self._sessions: dict[Session, asyncio.Task[None]] = {}
        self._farewells: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Server {len(self._sessions)}/{self.max_connections} connections>"

    async def start(self, host: str, port: int) -> list[tuple[str, int]]:
        """Listen; port 0 picks one. Returns the addresses.

        Raises:
            OSError: the address can not be used.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: ChannelProtocol(self._admit), host, port, backlog=BACKLOG, start_serving=True
        )
        return [(name[0], name[1]) for name in (listening.getsockname() for listening in self._listener.sockets)]

    async def drain(self, grace_s: float) -> None:
        """Stop: no new connections, idle ones end, running transfers have `grace_s` to finish, then they are cut.

        Cancelling cuts them at once.
        """
        if self._listener is not None:
            self._listener.close()
        for session in self._sessions:
            session.finish()
        try:
            if self._sessions:
                await asyncio.wait(self._sessions.values(), timeout=grace_s)
        finally:
            rest = [*self._sessions.values(), *self._farewells]
            if self._sessions:
                log.warning("the grace period is over, cutting %d connections", len(self._sessions))
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    def _admit(self, channel: Channel) -> None:
        if len(self._sessions) >= self.max_connections:
            self._turn_away(channel)
            return
        session = Session(channel, self._store, self._limits)
        task = asyncio.get_running_loop().create_task(session.run())
        self._sessions[session] = task
        task.add_done_callback(lambda _: self._sessions.pop(session))

    def _turn_away(self, channel: Channel) -> None:
        if len(self._farewells) >= MAX_FAREWELLS:
            channel.abort()
            return
        message = f"the server has {self.max_connections} connections, which is its limit; try again later"
        task = asyncio.get_running_loop().create_task(channel.refuse(encode_refusal(ErrorCode.BUSY, message)))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)
        log.debug("turned away", extra={"peer": channel.peer, "outcome": "busy"})


def _affordable_connections() -> int:
    """Raise the limit of open files as far as we may, and give the connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS says that it has no limit, and refuses it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return max(1, (soft - RESERVED_FILES) // FILES_PER_CONNECTION)
