"""One connection of the server: reads requests, runs their commands in order, sends the replies.

    idle --header--> running --reply--> idle          (until the peer ends the conversation)
    idle, running --bad frame, silence, shutdown, revoked--> farewell --> closed
    running --connection lost, error inside payload--> closed

A refused request leaves the conversation intact: the payload it announced is read and thrown away. Only what makes the
stream meaningless ends it.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from ftpd.access.door import Login
from ftpd.access.penalties import Caller
from ftpd.access.rights import NOBODY, Principal
from ftpd.commands.account import MOST_TRIES
from ftpd.commands.exchange import Common
from ftpd.commands.table import COMMANDS
from ftpd.conversation import Conversation
from ftpd.payload.channel import Channel
from ftpd.payload.workers import is_cancelled
from ftpd.reports import report, report_broken_off, report_ended, report_login, reported_login
from ftpd.requests import STALL_S, Requests, find_command, is_whole_get, silence
from ftpd.runs import MOST_GETS, MOST_PUTS, send_run, store_run
from ftpd.wire.digests import Buffer
from ftpd.wire.errors import BadFrameError, ErrorCode, FtpdError
from ftpd.wire.frames import Header
from ftpd.wire.limits import MAX_HEADER, MAX_STRANGERS_HEADER, SMALL_FILE
from ftpd.wire.messages import encode_refusal, encode_reply, parse, payload_size_of, request_id_of
from ftpd.wire.replies import Reply
from ftpd.wire.requests import Put

LOGIN_S = 20.0
"""How long somebody may take to log in, from the first byte, where that is needed."""

IN_A_ROW = 16
"""Requests that are answered before it is the turn of others, even if more have arrived already."""

log = logging.getLogger(__name__)


class Session(Conversation):
    """A conversation over a connection."""

    def __init__(self, channel: Channel, common: Common, caller: Caller) -> None:
        super().__init__(channel, common, caller)
        self._authorities = self.door.authorities
        """What the certificate of the peer was verified by, if it has shown one."""
        self._requests = Requests(channel, self.replies.release)
        self._is_finishing = False
        self._is_expelled = False
        self._reason: FtpdError | None = None
        """Why it is ended, if the peer is to hear that."""
        self._task: asyncio.Task[None] | None = None
        self._present: str | None = None
        """As whose connection this one counts."""
        self._loop = asyncio.get_running_loop()
        self._become(self.door.principal(None))

    def __repr__(self) -> str:
        return f"<Session {self.peer} {'idle' if self._requests.resting else 'running'} {len(self.uploads)} uploads>"

    @property
    def is_stranger(self) -> bool:
        """Whether nobody has logged in, so that nothing may be done here."""
        return self.principal is NOBODY

    async def run(self) -> None:
        """Serve until the conversation ends. Never raises; cancelling ends it at once, leaving nothing half done."""
        log.info("connected", extra={"peer": self.peer})
        started, outcome = time.monotonic(), "ok"
        self._task = asyncio.current_task()
        closing_time = self._loop.call_later(LOGIN_S, self._be_late) if self.door.methods else None
        try:
            outcome = await self._run_to_end()
        except Exception:
            outcome = "bug"
            log.exception("a bug ended the conversation", extra={"peer": self.peer})
            await self._say_farewell(FtpdError(ErrorCode.INTERNAL, "the server has a bug; its log has the details"))
        finally:
            if closing_time is not None:
                closing_time.cancel()
            self._task = None  # what is left to do is to be done whole
            self._channel.abort()
            if self._reason is not None and not self.is_stranger:
                report_ended(self.peer, self.principal.name, self._reason)
            await self._clean_up()
            seconds = round(time.monotonic() - started, 3)
            log.info("disconnected", extra={"peer": self.peer, "outcome": outcome, "seconds": seconds})

    def _be_late(self) -> None:
        """End the conversation if nobody has logged in by now, however busy it is."""
        if self.is_stranger:
            self._end(silence(LOGIN_S, "nobody logged in"))

    def recheck(self) -> None:
        """End the conversation, whatever it is at, if its log-in holds no more."""
        try:
            self._check()
        except FtpdError as exc:
            self._end(exc)

    def _end(self, reason: FtpdError) -> None:
        if self._task is not None and self._reason is None:
            self._reason = reason
            self._task.cancel()

    def expel(self) -> None:
        """Cut the conversation, without a word: this is for crowds."""
        self._is_expelled = True
        self._channel.abort()
        if self._task is not None:  # else it has not begun, or is over
            self._task.cancel()

    def finish(self) -> None:
        """End the conversation as soon as nothing is being transferred."""
        self._is_finishing = True
        resting = self._requests.resting
        if resting is not None and not self.uploads:
            resting.cancel()

    def let_in(self, login: Login) -> None:
        """See `Exchange.let_in`."""
        self.login = login
        principal = self._who()  # before it counts: what was shown may hold no more
        self._be_present(principal)
        self._become(principal)

    def _be_present(self, principal: Principal) -> None:
        if principal.name != self._present:
            self.presence.enter(principal)
            self._be_absent()
            self._present = principal.name

    def _be_absent(self) -> None:
        if self._present is not None:
            self.presence.leave(self._present)
            self._present = None

    async def _run_to_end(self) -> str:
        try:
            await self._converse()
        except asyncio.CancelledError:
            if self._is_expelled:
                return "busy"
            if self._reason is not None:
                await self._say_farewell(self._reason)
                return self._reason.code.value
            if self._is_finishing and not self.uploads and (not self._payload or self.replies.has_held):
                await self._say_farewell(_going_away())
            return "shut down"
        except FtpdError as exc:
            await self._say_farewell(exc)
            return exc.code.value
        except OSError as exc:
            return f"lost: {exc}"
        return "ok"

    async def _converse(self) -> None:
        if self._channel.peer_certificate:
            await self._come_in(self._channel.peer_certificate)
        self._check_time()
        answered = 0
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
            self._requests.watches_quiet = self.replies.has_held
            self.request_id = None  # what is said between two requests is no reply
            self._check_time()
            answered += 1
            if answered % IN_A_ROW == 0:
                await asyncio.sleep(0)  # what needs no disk, and is there already, is answered without any waiting
        await self.replies.release()
        await self._channel.close(STALL_S)

    def _check_time(self) -> None:
        if self._is_finishing and not self.uploads:
            raise _going_away()

    async def _come_in(self, certificate: bytes) -> None:
        """Log in by what was shown in the handshake, if that is somebody's."""
        login = await self.door.by_certificate(certificate, self._authorities)
        if login is None:
            report_login(self.peer, ErrorCode.UNAUTHORIZED.value)
            return
        with reported_login(self.peer, login.user):
            self.let_in(login)

    def _recognise(self) -> None:
        """Look again who is asking: what was shown may have been revoked since, which ends the conversation."""
        try:
            principal = self._who()
        except FtpdError as exc:
            self._reason = exc
            raise
        if principal != self.principal:
            self._become(principal)

    def _become(self, principal: Principal) -> None:
        self.principal = principal
        self._requests.header_limit = MAX_HEADER if principal.grants else MAX_STRANGERS_HEADER
        self.store = self.stores.of(principal, self._who)
        self.pace = self.stores.pace_of(principal)
        self._requests.is_paced = self.pace.is_limited

    def _who(self) -> Principal:
        self._check()
        return self.door.principal(self.login)

    def _check(self) -> None:
        """Do nothing, unless whoever was let in is not to be here any more.

        Raises:
            FtpdError: what was shown holds no more, or nobody may come without showing anything any more.
        """
        ended = self.door.ended(self.login) if self.login is not None else None
        if ended is None and self.login is None and not self.is_stranger and self.door.principal(None) is NOBODY:
            ended = FtpdError(ErrorCode.UNAUTHORIZED, "nobody may come without logging in any more")
        if ended is not None:
            raise ended

    async def _answer(self, header: Header) -> None:
        """Run one request, and say what came of it."""
        started = time.monotonic()
        self.transfer = None
        self.replies.is_classic = self.replies.is_classic and header.get("cmd") == "put" and header.get("id") is None
        if not self.replies.is_classic:
            await self.replies.release()
        answer = b""
        try:
            reply = await self._run(header)
            if reply is not None:
                answer = encode_reply(reply, self.request_id)
            report(header, self, self.peer, started, "ok")
        except FtpdError as exc:
            report(header, self, self.peer, started, exc.code.value)
            if isinstance(exc, BadFrameError) or exc.code is ErrorCode.TIMEOUT or self._unsent:
                raise
            if self.tries >= MOST_TRIES:
                raise  # as a farewell
            answer = encode_refusal(exc.code, exc.message, exc.facts, self.request_id)
        except (OSError, asyncio.CancelledError):
            report(header, self, self.peer, started, "lost")
            raise
        if is_cancelled():  # while it was done, and could not be stopped any more: the farewell comes after its reply
            self.replies.hold(answer)
            self.request_id = None
            raise asyncio.CancelledError
        await self.replies.end_posts()
        if answer:
            await self.replies.reply(answer)
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
            report(header, self, self.peer, started, "lost")
            raise
        await self._skip_payload()
        puts += await self._next_puts(MOST_PUTS - 1)
        while puts:
            self._recognise()
            await store_run(puts, self, started)
            # As long as there are some: one that is read by itself costs as much as three of these.
            puts = [] if self._is_finishing else [*await self._next_puts(MOST_PUTS)]
            started = time.monotonic()

    async def _next_puts(self, limit: int) -> Sequence[tuple[Header, Buffer]]:
        puts = await self._requests.next_puts(limit)
        await self.pace.came(sum(len(data) for _, data in puts), is_small=True)
        return puts

    def _is_small_get(self, header: Header) -> bool:
        return COMMANDS["get"].right in self.principal.rights and is_whole_get(header)

    async def _answer_gets(self, header: Header) -> None:
        """Send a file together with those that are asked for behind it, if they are small."""
        gets = [header, *await self._requests.next_gets(MOST_GETS - 1)]
        while len(gets) > 1:
            self._recognise()
            count, large = await send_run(gets, self)
            del gets[:count]
            if large is not None:
                await self._answer(large)
            if not gets and not self._is_finishing:
                gets = await self._requests.next_gets(MOST_GETS)
        for alone in gets:
            await self._answer(alone)

    async def _run(self, header: Header) -> Reply | None:
        self.request_id = request_id_of(header)
        command = find_command(header)
        if command is None:
            raise FtpdError(ErrorCode.UNKNOWN_COMMAND, f"there is no command {header.get('cmd')!r:.80}")
        request = parse(header, command.request)
        if command.right not in self.principal.rights:
            if self.login is None or self.principal is NOBODY:
                raise FtpdError(ErrorCode.UNAUTHORIZED, "log in first")
            raise self.principal.refusal(command.right, command.what)
        async with self.budget.working_on(header["cmd"]):
            return await command.run(request, self)

    async def _say_farewell(self, reason: FtpdError) -> None:
        self._be_absent()  # who is told to go may come again at once
        if self._unsent:  # it would be taken for payload
            return
        await self._requests.close()  # it reads from the same stream
        if self._payload is not None:
            self._channel.drop(self._payload)
        frame = encode_refusal(reason.code, reason.message, reason.facts, self.request_id)
        await self._channel.refuse(self.replies.take_held() + frame)

    async def _clean_up(self) -> None:
        self._be_absent()
        self.replies.take_held()
        report_broken_off(self, self.peer)
        try:
            await self._requests.close()
        finally:
            if self._payload is not None:
                self._payload.close()
            await self.close()


def _going_away() -> FtpdError:
    return FtpdError(ErrorCode.GOING_AWAY, "the server is shutting down")
