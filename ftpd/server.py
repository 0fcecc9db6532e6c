"""The server: listens, admits connections up to its limits, and ends them in good order."""

import asyncio
import functools
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import NamedTuple

from ftpd.access.door import Door
from ftpd.access.presence import Presence
from ftpd.access.quotas import Stores
from ftpd.access.rates import Rates
from ftpd.admission import Admission, Visit
from ftpd.commands.exchange import Budget, Common
from ftpd.commands.uploads import Leases
from ftpd.descriptors import share_out
from ftpd.handshake import shake_hands
from ftpd.memory import memory_limit
from ftpd.payload.channel import Channel, ChannelProtocol
from ftpd.payload.tcp import shown
from ftpd.proxy import HEADER_S, Network, Origin, ProxyError, is_proxy, receive_header
from ftpd.session import Session
from ftpd.store.base import Store
from ftpd.wire.errors import ErrorCode, Fact
from ftpd.wire.limits import KIB, MAX_HEADER, MAX_UPLOADS, MIN_CHUNK
from ftpd.wire.messages import encode_refusal

MEMORY_PER_CONNECTION = 128 * KIB
"""What one may need besides its part of the buffers, if half of the memory is for that."""

MAX_FAREWELLS = 32
"""Connections that are being refused politely at the same time; beyond that they are cut."""

MAX_HANDSHAKES = 100
"""Connections that have not shown yet that they speak TLS; beyond that some are cut, so that they cost little."""

FAIR_HANDSHAKE_S = 1.0
"""How long a handshake may take in any case, if it is the only one from its source: some round trips of the world."""

WATCH_S = 0.25
"""How often it is looked whether log-ins have ended."""

IN_A_ROW = 100
"""Connections whose log-ins are looked at before it is the turn of others."""

PAUSE_S = 1.0
"""How long nobody is let in after the system had no descriptor or memory left for a connection."""

log = logging.getLogger(__name__)


class _Handshake(NamedTuple):
    """One that is under way, or what a proxy says before it."""

    source: str
    began: float


class Server:
    """Serves one store on one port.

    Use: `start`, then wait for whatever ends it, then `drain`. All from one event loop.
    """

    def __init__(
        self,
        store: Store,
        max_connections: int | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        door: Door | None = None,
        max_per_source: int | None = None,
        limit_rate: int = 0,
    ) -> None:
        """Serve a store; `tls` gives what a new connection is encrypted with. None is what is usual."""
        door = door or Door()
        self._admission = Admission(max_per_source, needs_login=bool(door.methods))
        self._tls = tls
        by_files, working = share_out(max_connections, is_encrypted=tls is not None)
        by_memory = max(1, memory_limit() // 2 // MEMORY_PER_CONNECTION)
        self.max_connections = min(by_files, by_memory)
        if max_connections is not None and self.max_connections < max_connections:
            why = "open files are too few (raise ulimit -n)" if by_files < by_memory else "there is too little memory"
            log.warning("only %d connections of %d: %s", self.max_connections, max_connections, why)
        self._common = Common(
            Stores(store, Rates(limit_rate)),
            door,
            Presence(),
            Budget(working, is_short=working < self.max_connections),
            Leases(),
            {"max_header": MAX_HEADER, "min_chunk": MIN_CHUNK, "max_uploads": MAX_UPLOADS},
        )
        self._listeners: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._watching: asyncio.Task[None] | None = None
        self._sessions: dict[Session, asyncio.Task[None]] = {}
        self._farewells: set[asyncio.Task[None]] = set()
        self._handshakes: dict[asyncio.Task[None], _Handshake] = {}
        """Those under way, the oldest first."""

    def __repr__(self) -> str:
        return f"<Server {len(self._sessions)}/{self.max_connections} connections>"

    def start(self, listeners: Sequence[socket.socket], proxies: Sequence[Network] = ()) -> list[tuple[str, int]]:
        """Let in who comes (`ftpd.listening`). Connections from proxies begin with a word on whom they are for.

        Takes the sockets; returns their addresses.
        """
        loop = asyncio.get_running_loop()
        self._listeners = [*listeners]
        self._accepting = [loop.create_task(self._accept(listener, proxies)) for listener in self._listeners]
        self._watching = loop.create_task(self._watch()) if self._common.door.methods else None
        return self.addresses

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the server listens."""
        return [listener.getsockname()[:2] for listener in self._listeners]

    async def drain(self, grace_s: float) -> None:
        """Stop: no new connections, idle ones end, running transfers have `grace_s` to finish, then they are cut.

        Cancelling cuts them at once.
        """
        for task in self._accepting:
            task.cancel()
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(*self._accepting, *self._handshakes, return_exceptions=True)
        self._close_listeners()
        for session in self._sessions:
            session.finish()
        try:
            if self._sessions:
                await asyncio.wait(self._sessions.values(), timeout=grace_s)
        finally:
            rest = [*self._sessions.values(), *self._farewells, *([self._watching] if self._watching else [])]
            if self._sessions:
                log.warning("the grace period is over, cutting %d connections", len(self._sessions))
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    async def _watch(self) -> None:
        """End the conversations of those whose log-in does not hold any more."""
        is_due = False
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                if self._tls is not None:
                    self._tls()  # new lists are ready before somebody comes
            except Exception:
                log.exception("a bug kept lists of certificates from being looked at; it is tried again")
            try:
                is_due = self._common.door.has_changed() or is_due
                if is_due:
                    await self._recheck()
                    is_due = False
            except Exception:
                log.exception("a bug kept log-ins from being looked at; it is tried again")

    async def _recheck(self) -> None:
        for number, session in enumerate([*self._sessions], 1):
            try:
                session.recheck()
            except Exception:
                log.exception("a bug kept a log-in from being looked at; it is ended")
                session.expel()
            if number % IN_A_ROW == 0:
                await asyncio.sleep(0)

    def _close_listeners(self) -> None:
        while self._listeners:
            self._listeners.pop().close()

    async def _accept(self, listener: socket.socket, proxies: Sequence[Network]) -> None:
        """Let connections in, one by one.

        asyncio's own server accepts a whole backlog before it looks at any, and so runs out of descriptors first.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._have_room()
                sock, address = await loop.sock_accept(listener)
                if is_proxy(address[0], proxies):
                    proxy = Origin(*address[:2])
                    # Until it is known who comes each is a source of its own: they are no crowd because of the proxy.
                    self._begin(self._introduce(sock, proxy), sock, shown(proxy))
                    await asyncio.sleep(0)  # most headers are there already: then it is known who is in a crowd
                else:
                    await self._meet(sock, address[0])
            except ConnectionError:  # gone before it was let in
                continue
            except Exception as exc:  # whatever it is: others come after this one
                is_full = isinstance(exc, OSError)
                log.warning("nobody is let in for %g s: %s", PAUSE_S, exc, exc_info=not is_full)
                await asyncio.sleep(PAUSE_S)

    async def _introduce(self, sock: socket.socket, proxy: Origin) -> None:
        """Hear from a proxy for whom it speaks, and let him in. Never raises."""
        try:
            async with asyncio.timeout(HEADER_S):
                origin = await receive_header(sock) or proxy
        except ProxyError as exc:
            how = "HAProxy does with send-proxy-v2, nginx with proxy_protocol on"
            log.warning("a proxy has to say for whom it speaks, as %s: %s", how, exc, extra={"peer": shown(proxy)})
            sock.close()
        except OSError as exc:  # TimeoutError is one
            log.debug("a proxy said nothing: %s", str(exc) or "it took too long", extra={"outcome": "lost"})
            sock.close()
        else:
            await self._meet(sock, origin.host, origin)

    async def _meet(self, sock: socket.socket, host: str, origin: Origin | None = None) -> None:
        """Let somebody in. Never raises: a bug with one must not keep out all who come after."""
        try:
            tls = self._tls() if self._tls is not None else None
            visit = self._admission.enter(host)
            admit = functools.partial(self._admit, visit, self._common.door.authorities)
            protocol = functools.partial(ChannelProtocol, admit, origin)
            if tls is not None:
                self._encrypt(sock, tls, visit, protocol)
                return
            try:
                await asyncio.get_running_loop().connect_accepted_socket(protocol, sock)
            finally:
                self._forget(visit)
        except OSError as exc:
            log.debug("gone before it was let in: %s", exc, extra={"peer": host, "outcome": "lost"})
            sock.close()
        except Exception:
            log.exception("a bug ended a connection before it began", extra={"peer": host})
            sock.close()

    def _encrypt(
        self, sock: socket.socket, tls: ssl.SSLContext, visit: Visit, protocol: Callable[[], ChannelProtocol]
    ) -> None:
        """Let somebody in after a handshake, which must not keep others waiting.

        Who is refused hears so in private as well, as long as few are: a handshake costs more than a farewell.
        """
        if visit.refusal is not None and len(self._handshakes) >= MAX_FAREWELLS:
            sock.close()
            self._forget(visit)
            return
        task = self._begin(shake_hands(sock, tls, protocol()), sock, visit.source)
        task.add_done_callback(lambda _: self._forget(visit))

    def _begin(
        self, meeting: Coroutine[object, object, None], sock: socket.socket, source: str
    ) -> "asyncio.Task[None]":
        """Begin what takes a while, and may be cancelled to make room."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(meeting)
        self._handshakes[task] = _Handshake(source, loop.time())

        def end(task: "asyncio.Task[None]") -> None:
            del self._handshakes[task]
            if task.cancelled():  # perhaps before it took the socket
                sock.close()

        task.add_done_callback(end)
        return task

    async def _have_room(self) -> None:
        """Wait until another handshake may begin. Who is silent can not keep others out.

        The oldest of the most crowded source has to go: at once if there are several from there, or they would have all
        others wait in the kernel's queue.
        """
        now = asyncio.get_running_loop().time
        while len(self._handshakes) >= MAX_HANDSHAKES:
            crowds = Counter(handshake.source for handshake in self._handshakes.values())
            odd, handshake = max(self._handshakes.items(), key=lambda item: crowds[item[1].source])
            timeout = handshake.began + FAIR_HANDSHAKE_S - now()
            if crowds[handshake.source] > 1 or timeout <= 0:
                odd.cancel()
                await asyncio.wait([odd])
            else:
                await asyncio.wait(self._handshakes, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    def _forget(self, visit: Visit) -> None:
        """Take note that nothing has become of a connection, unless something has."""
        if not visit.is_admitted:
            self._admission.leave(visit)

    def _admit(self, visit: Visit, authorities: bytes, channel: Channel) -> None:
        if visit.refusal is not None:
            self._turn_away(channel, visit.refusal, visit.facts)
            return
        if authorities != self._common.door.authorities:  # with those it could not be compared any more
            self._turn_away(channel, "the server has been told to believe other authorities; try again now")
            return
        if len(self._sessions) >= self.max_connections:
            message = f"the server has {self.max_connections} connections, which is its limit; try again later"
            self._turn_away(channel, message)
            return
        session = Session(channel, self._common, visit.caller)
        task = asyncio.get_running_loop().create_task(session.run())
        self._admission.let_in(visit, lambda: session.is_stranger, session.expel)
        self._sessions[session] = task
        task.add_done_callback(lambda _: self._end(session, visit))

    def _end(self, session: Session, visit: Visit) -> None:
        del self._sessions[session]
        self._admission.leave(visit)

    def _turn_away(self, channel: Channel, message: str, facts: dict[str, Fact] | None = None) -> None:
        if len(self._farewells) >= MAX_FAREWELLS:
            channel.abort()
            return
        task = asyncio.get_running_loop().create_task(channel.refuse(encode_refusal(ErrorCode.BUSY, message, facts)))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)
        log.debug("turned away", extra={"peer": channel.peer, "outcome": "busy"})
