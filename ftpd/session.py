"""One connection of the server: reads requests, runs their commands in order, sends the replies.

    idle --header--> running --reply--> idle          (until the peer ends the conversation)
    idle, running --bad frame, silence, shutdown--> farewell --> closed
    running --connection lost, error inside payload--> closed

A refused request leaves the conversation intact: the payload it announced is read and thrown away. Only what makes the
stream meaningless ends it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import ClassVar

from ftpd.access.door import Login
from ftpd.access.penalties import Caller
from ftpd.access.rights import NOBODY, Principal
from ftpd.commands.account import MOST_TRIES
from ftpd.commands.exchange import Common, Exchange
from ftpd.commands.get import Answered, get_all
from ftpd.commands.put import put_all
from ftpd.commands.table import COMMANDS
from ftpd.payload.channel import Channel
from ftpd.payload.direct import Stretch
from ftpd.payload.files import Source
from ftpd.payload.receive import PayloadReader
from ftpd.payload.send import send_payload
from ftpd.requests import STALL_S, Requests, find_command, is_whole_get, silence
from ftpd.wire.digests import Buffer, Digest
from ftpd.wire.errors import BadFrameError, ErrorCode, FtpdError
from ftpd.wire.frames import Header
from ftpd.wire.limits import KIB, MAX_HEADER, MAX_ID, MAX_PATH, MAX_STRANGERS_HEADER, MIB, SMALL_FILE
from ftpd.wire.messages import (
    Put,
    Reply,
    encode_refusal,
    encode_reply,
    parse,
    payload_size_of,
    request_id_of,
)

PACED_BYTES = 64 * KIB
"""What is sent at once where there is a limit for that."""

HELD_BYTES = 16 * MIB
"""How much of its replies is kept back for one client: those of some 100,000 files."""

ALL_HELD_BYTES = 128 * MIB
"""How much of them is kept back for all clients together."""

LOGIN_S = 20.0
"""How long somebody may take to log in, from the first byte, where that is needed."""

MOST_PUTS = 64
"""Files that are stored together at most: none is to wait for long, and each is open meanwhile."""

MOST_GETS = 64
"""Files that are read together at most, likewise."""

GET_BYTES = 256 * KIB
"""How much of them is in memory at a time for one client, which may not read."""

log = logging.getLogger(__name__)


class Session(Exchange):
    """A conversation over a connection."""

    _all_held: ClassVar[int] = 0

    def __init__(self, channel: Channel, common: Common, caller: Caller) -> None:
        super().__init__(common, caller)
        self.login = self.door.by_certificate(channel.peer_certificate)
        self.principal = NOBODY
        self._channel = channel
        self._peer = channel.peer
        self._payload: PayloadReader | None = None
        self._requests = Requests(channel, self._release)
        self._unsent = 0
        self._held = bytearray()
        self._is_classic = True
        self._is_finishing = False
        self._is_late = False
        self._is_posting = False
        self._loop = asyncio.get_running_loop()
        self._recognise()

    def __repr__(self) -> str:
        return f"<Session {self._peer} {'idle' if self._requests.resting else 'running'} {len(self.uploads)} uploads>"

    @property
    def is_stranger(self) -> bool:
        """Whether nobody has logged in, so that nothing may be done here."""
        return self.principal is NOBODY

    async def run(self) -> None:
        """Serve until the conversation ends. Never raises; cancelling ends it at once, leaving nothing half done."""
        log.info("connected", extra={"peer": self._peer})
        started, outcome = time.monotonic(), "ok"
        expelling = self._loop.call_later(LOGIN_S, self._expel, asyncio.current_task()) if self.door.methods else None
        try:
            outcome = await self._run_to_end()
        except Exception:
            outcome = "bug"
            log.exception("a bug ended the conversation", extra={"peer": self._peer})
            await self._say_farewell(FtpdError(ErrorCode.INTERNAL, "the server has a bug; its log has the details"))
        finally:
            if expelling is not None:
                expelling.cancel()
            self._channel.abort()
            await self._clean_up()
            seconds = round(time.monotonic() - started, 3)
            log.info("disconnected", extra={"peer": self._peer, "outcome": outcome, "seconds": seconds})

    def _expel(self, task: "asyncio.Task[None] | None") -> None:
        """End the conversation if nobody has logged in by now, however busy it is."""
        if self.is_stranger and task is not None:
            self._is_late = True
            task.cancel()

    def finish(self) -> None:
        """End the conversation as soon as nothing is being transferred."""
        self._is_finishing = True
        resting = self._requests.resting
        if resting is not None and not self.uploads:
            resting.cancel()

    def let_in(self, login: Login) -> None:
        """See `Exchange.let_in`."""
        self.login = login
        self._recognise()

    async def receive(self) -> Stretch | None:
        """See `Exchange.receive`."""
        payload = self._payload
        if payload is None:
            return None
        while True:
            missing = payload.missing
            try:
                async with asyncio.timeout(STALL_S):
                    data = await payload.next()
                if data is not None:
                    await self._wait(self._pace.came(len(data)))
                return None if data is None else Stretch(data, payload)
            except TimeoutError:
                # A full buffer can take long from a slow peer; what counts is whether anything arrives.
                if payload.missing == missing:
                    raise silence(STALL_S) from None

    async def send(self, reply: Reply, payload: bytes = b"") -> None:
        """See `Exchange.send`."""
        self._unsent = 1  # from here on a refusal would be taken for payload
        await self._write(encode_reply(reply, self.request_id) + payload)

    async def send_all(self, reply: Reply, payload: bytes) -> None:
        """See `Exchange.send_all`."""
        await self._write(encode_reply(reply, self.request_id) + payload)
        await self._wait(self._pace.went(len(payload)))

    def post(self, reply: Reply) -> bool:
        """See `Exchange.post`."""
        frame = encode_reply(reply, self.request_id)
        sock = self._payload.sock if self._payload is not None else None
        if sock is not None and not self._is_posting:
            with contextlib.suppress(OSError):
                frame = frame[sock.send(frame) :]
        if frame:
            self._is_posting = True
            self._loop.call_soon_threadsafe(self._channel.write, frame)
        return not frame

    async def send_payload(self, source: Source, offset: int, size: int, digest: Digest | None) -> None:
        """See `Exchange.send_payload`."""
        self._unsent = size
        piece = PACED_BYTES if self._pace.is_limited else size
        for start in range(offset, offset + size, piece or 1):
            count = min(piece, offset + size - start)
            await send_payload(self._channel, source, start, count, digest)
            await self._wait(self._pace.went(count))
        self._unsent = 0

    async def _wait(self, seconds: float) -> None:
        """Wait because somebody has been too fast."""
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def _run_to_end(self) -> str:
        try:
            await self._converse()
        except asyncio.CancelledError:
            if self._is_late:
                await self._say_farewell(silence(LOGIN_S, "nobody logged in"))
                return "timeout"
            if self._is_finishing and not self.uploads and not self._payload:
                await self._say_farewell(_going_away())
            return "shut down"
        except FtpdError as exc:
            await self._say_farewell(exc)
            return exc.code.value
        except OSError as exc:
            return f"lost: {exc}"
        return "ok"

    async def _converse(self) -> None:
        while (incoming := await self._requests.next()) is not None:
            self._payload = incoming.payload
            self._recognise()
            if self._is_small_put(incoming.header):
                await self._answer_puts(incoming.header)
            elif self._is_small_get(incoming.header):
                await self._answer_gets(incoming.header)
            else:
                await self._answer(incoming.header)
            self._requests.reads_ahead = bool(self.uploads or self.joined)
            self._requests.watches_quiet = bool(self._held)
            self.request_id = None  # what is said between two requests is no reply
            if self._is_finishing and not self.uploads:
                raise _going_away()
        await self._release()
        await self._channel.close(STALL_S)

    def _recognise(self) -> None:
        """Look again who is asking: what was shown may have been revoked since."""
        principal = self._who()
        if principal != self.principal or self.principal is NOBODY:
            self.principal = principal
            self._requests.header_limit = MAX_HEADER if principal.grants else MAX_STRANGERS_HEADER
            self.store = self.stores.of(principal, self._who)
            self._pace = self.stores.pace_of(principal)
            self._requests.is_paced = self._pace.is_limited

    def _who(self) -> Principal:
        return self.door.principal(self.login)

    async def _answer(self, header: Header) -> None:
        """Run one request, and say what came of it."""
        started = time.monotonic()
        self.transfer = None
        self._is_classic = self._is_classic and header.get("cmd") == "put" and header.get("id") is None
        if not self._is_classic:
            await self._release()
        answer = b""
        try:
            reply = await self._run(header)
            if reply is not None:
                answer = encode_reply(reply, self.request_id)
            self._log(header, started, "ok")
        except FtpdError as exc:
            self._log(header, started, exc.code.value)
            if isinstance(exc, BadFrameError) or exc.code is ErrorCode.TIMEOUT or self._unsent:
                raise
            if self.tries >= MOST_TRIES:
                raise  # as a farewell
            answer = encode_refusal(exc.code, exc.message, exc.facts, self.request_id)
        except (OSError, asyncio.CancelledError):
            self._log(header, started, "lost")
            raise
        if self._is_posting:
            await asyncio.sleep(0)  # let the last one be queued
            await self._drain()
            self._is_posting = False
        if answer:
            await self._reply(answer)
        await self._skip_payload()

    def _is_small_put(self, header: Header) -> bool:
        may_put = COMMANDS["put"].right in self.principal.rights
        return may_put and header.get("cmd") == "put" and payload_size_of(header, Put) <= SMALL_FILE

    async def _answer_puts(self, header: Header) -> None:
        """Store a small file and those that arrive behind it, many at a time: most of the work is done once for all."""
        started = time.monotonic()
        data = bytearray()
        puts: list[tuple[Header, Buffer]] = [(header, data)]
        try:
            while (stretch := await self.receive()) is not None:
                data += stretch.first
        except (OSError, asyncio.CancelledError):
            self._log(header, started, "lost")
            raise
        await self._skip_payload()
        puts += await self._next_puts(MOST_PUTS - 1)
        while puts:
            self._recognise()
            await self._store_some(puts, started)
            # As long as there are some: one that is read by itself costs as much as three of these.
            puts = [] if self._is_finishing else [*await self._next_puts(MOST_PUTS)]
            started = time.monotonic()

    async def _next_puts(self, limit: int) -> Sequence[tuple[Header, Buffer]]:
        puts = await self._requests.next_puts(limit)
        await self._wait(max((self._pace.came(len(data)) for _, data in puts), default=0.0))
        return puts

    async def _store_some(self, puts: Sequence[tuple[Header, Buffer]], started: float) -> None:
        try:
            answers = await put_all(puts, self.store)
        except (OSError, asyncio.CancelledError):
            for lost, _ in puts:
                self._log(lost, started, "lost")
            raise
        frames = bytearray()
        for (request, _), (request_id, reply, self.transfer) in zip(puts, answers, strict=True):
            self._is_classic = self._is_classic and request.get("id") is None
            if isinstance(reply, FtpdError):
                self._log(request, started, reply.code.value)
                frame = encode_refusal(reply.code, reply.message, reply.facts, request_id)
            else:
                self._log(request, started, "ok")
                frame = encode_reply(reply, request_id)
            if self._is_classic:
                await self._reply(frame)
            else:
                frames += frame
        if frames:
            await self._release()
            await self._write(bytes(frames))

    def _is_small_get(self, header: Header) -> bool:
        return COMMANDS["get"].right in self.principal.rights and is_whole_get(header)

    async def _answer_gets(self, header: Header) -> None:
        """Send a file together with those that are asked for behind it, if they are small."""
        gets = [header, *await self._requests.next_gets(MOST_GETS - 1)]
        while len(gets) > 1:
            self._recognise()
            del gets[: await self._send_some(gets)]
            if not gets and not self._is_finishing:
                gets = await self._requests.next_gets(MOST_GETS)
        for alone in gets:
            await self._answer(alone)

    async def _send_some(self, gets: Sequence[Header]) -> int:
        """Answer the first of several requests for files in one piece; tell how many they were."""
        started = time.monotonic()
        self.transfer = None
        self._is_classic = False
        try:
            answers = await get_all(gets, self.store, GET_BYTES)
            await self._release()
            await self._write(b"".join(part for answer in answers for part in _frames_of(answer)))
            await self._wait(max(self._pace.went(len(answer.data)) for answer in answers))
        except (OSError, asyncio.CancelledError):
            for lost in gets:
                self._log(lost, started, "lost")
            raise
        for request, (_, reply, self.transfer, _, _) in zip(gets, answers, strict=False):
            if reply is None:
                await self._answer(request)
            else:
                self._log(request, started, reply.code.value if isinstance(reply, FtpdError) else "ok")
        return len(answers)

    async def _run(self, header: Header) -> Reply | None:
        self.request_id = request_id_of(header)
        command = find_command(header)
        if command is None:
            raise FtpdError(ErrorCode.UNKNOWN_COMMAND, f"there is no command {header.get('cmd')!r:.80}")
        request = parse(header, command.request)
        if command.right not in self.principal.rights:
            if self.login is None or self.principal is NOBODY:
                raise FtpdError(ErrorCode.UNAUTHORIZED, f"log in before you {header['cmd']}")
            raise FtpdError(ErrorCode.FORBIDDEN, f"{self.principal.name} may not {header['cmd']}")
        return await command.run(request, self)

    async def _skip_payload(self) -> None:
        """Throw away what a command has left of its payload, so that the next frame is found."""
        if self._payload is not None:
            while await self.receive() is not None:
                pass
            self._payload.close()
            self._payload = None

    async def _reply(self, frame: bytes) -> None:
        """Send a reply, or hold it back as long as a classic client goes on sending.

        The classic client sends file after file, never reads, and closes. TCP answers a close with unread data in it
        by a reset, which destroys what is still on its way here: files would be lost. So a client that has sent
        nothing but puts without `id` gets its replies when it is quiet for a moment, or has ended its side.
        """
        if not self._is_classic:
            await self._write(frame)
            return
        self._held += frame
        Session._all_held += len(frame)
        if len(self._held) > HELD_BYTES or Session._all_held > ALL_HELD_BYTES:
            await self._release()

    async def _release(self) -> None:
        if self._held:
            await self._write(self._take_held())

    def _take_held(self) -> bytes:
        frames, self._held = bytes(self._held), bytearray()
        Session._all_held -= len(frames)
        return frames

    async def _write(self, data: bytes) -> None:
        self._channel.write(data)
        await self._drain()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(STALL_S):
                await self._channel.drain()
        except TimeoutError:
            raise ConnectionAbortedError(f"the peer read nothing for {STALL_S:.0f} s") from None

    async def _say_farewell(self, reason: FtpdError) -> None:
        if self._unsent:  # it would be taken for payload
            return
        await self._requests.close()  # it reads from the same stream
        if self._payload is not None:
            self._channel.drop(self._payload)
        frame = encode_refusal(reason.code, reason.message, reason.facts, self.request_id)
        await self._channel.refuse(self._take_held() + frame)

    async def _clean_up(self) -> None:
        self._take_held()
        for opened in self.uploads.values():
            seconds = round(time.monotonic() - opened.started, 3)
            size = sum(opened.sizes.values())
            fields = {"peer": self._peer, "command": "put", "path": str(opened.path), "bytes": size}
            log.info("transfer", extra={**fields, "seconds": seconds, "outcome": "lost"})
        try:
            await self._requests.close()
        finally:
            if self._payload is not None:
                self._payload.close()
            await self.close()

    def _log(self, header: Header, started: float, outcome: str) -> None:
        command = str(header.get("cmd"))[:MAX_ID]
        if command == "auth":
            # What was typed as a name may be a password: only a name that is right is logged.
            who = {"user": self.principal.name} if outcome == "ok" else {}
            log.info("log-in", extra={"peer": self._peer, **who, "outcome": outcome})
            return
        done = self.transfer
        is_transfer = command in _TRANSFERS and (done is not None or outcome != "ok")
        level = logging.INFO if is_transfer else logging.DEBUG
        if not log.isEnabledFor(level):
            return
        name = str(header.get("upload"))
        opened = self.uploads.get(name) or self.joined.get(name)
        asked = str(opened.path if opened else header.get("filename", header.get("path", "")))[:MAX_PATH]
        fields = {
            "peer": self._peer,
            "command": command,
            "path": str(done.path) if done else asked,
            "bytes": done.size if done else 0,
            "seconds": round(time.monotonic() - ((done and done.started) or started), 3),
            "outcome": outcome,
        }
        log.log(level, "transfer" if is_transfer else "request", extra=fields)


def _frames_of(answer: Answered) -> Sequence[Buffer]:
    """Write down the answer to one get of several."""
    if answer.reply is None:
        return ()
    if isinstance(answer.reply, FtpdError):
        return (encode_refusal(answer.reply.code, answer.reply.message, answer.reply.facts, answer.request_id),)
    return encode_reply(answer.reply, answer.request_id), answer.leaves, answer.data


_TRANSFERS = frozenset({"put", "begin", "chunk", "commit", "get"})


def _going_away() -> FtpdError:
    return FtpdError(ErrorCode.GOING_AWAY, "the server is shutting down")
