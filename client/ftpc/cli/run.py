"""Running a verb: the event loop, signals, and how errors end a command."""

import asyncio
import contextlib
import importlib
import os
import signal
from argparse import Namespace
from collections.abc import Coroutine, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Protocol, TextIO, cast

from ftpc.address import DEFAULT_SERVER, parse_address
from ftpc.cli.exits import Exit, exit_of
from ftpc.cli.options import refuse_addresses
from ftpc.cli.state import config_folder, default_server, trust_and_credentials
from ftpc.cli.terminal import Terminal
from ftpc.client import Client, connect
from ftpc.connection import STREAMS
from ftpc.errors import FtpcError, LocalFileError
from ftpd.arguments import Parser
from ftpd.wire.errors import ErrorCode

if TYPE_CHECKING:
    from ftpc.credentials import Credentials
    from ftpc.trust import Trust


class Verb(Protocol):
    """What the module of a verb has."""

    def make_parser(self, verb: str) -> Parser:
        """Make the parser of its command line."""

    async def run(self, args: Namespace, client: Client, terminal: Terminal) -> Exit:
        """Do it."""


def run_verb(module: str, verb: str, arguments: Sequence[str]) -> int:
    """Read the command line of a verb and run it. Returns the exit status."""
    code = cast("Verb", importlib.import_module(module))
    refuse_addresses(verb, arguments)
    parser = code.make_parser(verb)
    parser.refuse_unknown(arguments)
    args = parser.parse_mixed(arguments)
    terminal = Terminal(json=args.json, quiet=args.quiet, verbose=args.verbose)
    try:
        args.server = args.server or default_server() or DEFAULT_SERVER
        status = asyncio.run(_interruptible(_connected(code, args, terminal), args, terminal))
        terminal.stdout.flush()
    except FtpcError as exc:
        terminal.complain(exc)
        return exit_of(exc)
    except OSError as exc:  # all others have been translated: standard output can not be written to
        _abandon(terminal.stdout)
        if isinstance(exc, BrokenPipeError):  # whoever read it has had enough
            return Exit.PIPE
        terminal.complain(LocalFileError(f"standard output: {exc.strerror or exc}"))
        return Exit.LOCAL
    if status != Exit.OK and hasattr(args, "retries"):
        from ftpc.cli.going_on import tell_how_to_go_on

        tell_how_to_go_on(status, args, terminal)
    return status


def _abandon(stream: TextIO) -> None:
    """Keep Python from trying to write at its end what could not be written now."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


async def _connected(code: Verb, args: Namespace, terminal: Terminal) -> Exit:
    if not getattr(args, "share", False):
        meets = getattr(args, "meets", True)  # else each of its servers in its turn, if any
        shown = trust_and_credentials(args.server, args) if meets else (None, None)
        return await _logged_in(code, args, terminal, *shown)
    from ftpc.cli.shared import ask_for_share

    use, status = ask_for_share(args), Exit.OTHER
    try:
        status = await _logged_in(code, args, terminal, use.trust, use.credentials)
    finally:
        use.close(done=status == Exit.OK)
    return status


async def _logged_in(
    code: Verb, args: Namespace, terminal: Terminal, trust: "Trust | None", credentials: "Credentials | None"
) -> Exit:
    client = _client_for(args, terminal, trust, credentials)
    terminal.explain = lambda error: _explained(error, client, args, is_known=credentials is not None)
    async with client:
        terminal.unfinished = client.unfinished
        if client.address.is_encrypted and getattr(args, "meets", True):
            from ftpc.cli.meet import meet

            await meet(client, terminal)
        if terminal.verbose:
            greeting = await client.hello()
            terminal.say(f"{client.address}: {greeting.server}, durability {greeting.durability.value}")
        return await code.run(args, client, terminal)


def _client_for(
    args: Namespace, terminal: Terminal, trust: "Trust | None", credentials: "Credentials | None"
) -> Client:
    if not hasattr(args, "retries"):
        return connect(args.server, trust=trust, credentials=credentials, notice=terminal.notice)
    from ftpc.cli.state import state_folder

    return connect(
        args.server,
        trust=trust,
        credentials=credentials,
        connections=args.jobs,
        streams=getattr(args, "streams", STREAMS),
        connect_timeout_s=args.connect_timeout,
        stall_timeout_s=args.stall_timeout,
        retries=args.retries,
        jobs=state_folder() if getattr(args, "resume", False) else None,
        notice=terminal.notice,
    )


def _explained(error: FtpcError, client: Client, args: Namespace, *, is_known: bool) -> str:
    """Say what to do about a log-in that does not hold, or is missing."""
    if error.code == ErrorCode.TLS_REQUIRED:
        return _what_is_private(error, client, args)
    if error.code != ErrorCode.UNAUTHORIZED or args.cert or not getattr(args, "meets", True):
        return error.message
    if getattr(args, "share", False):
        return "this share is over (used up, expired, revoked or mistyped): ask for a new code"
    if not is_known:
        return _what_is_missing(client)
    return f"{error.message}; log in again: ftpc login {client.address}"


def _what_is_private(error: FtpcError, client: Client, args: Namespace) -> str:
    """Say what to do where a server does not speak in the clear."""
    from ftpc.credentials import CredentialStore

    if hasattr(args, "url"):  # of `login`, which does not use the default server
        return f"use TLS: ftpc login ftpds://{parse_address(args.url).place}"
    private = f"ftpds://{client.address.place}"
    with contextlib.suppress(LocalFileError):
        if CredentialStore(config_folder()).get(private) is not None:
            return f"use TLS: --server {private}"
    return error.message if args.server.startswith("ftpd://") else f"log in first: ftpc login {private}"


def _what_is_missing(client: Client) -> str:
    """Say what to do where nothing was shown to log in with."""
    from ftpc.credentials import CredentialStore

    try:
        CredentialStore(config_folder()).get(str(client.address))
    except LocalFileError as exc:
        return f"one has to log in there, and what is remembered for that can not be read: {exc.message}"
    return f"log in first: ftpc login {client.address}"


async def _interruptible(work: Coroutine[None, None, Exit], args: Namespace, terminal: Terminal) -> Exit:
    """Let SIGINT and SIGTERM end the work in good order, and a second one at once."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    received: list[int] = []

    def act(number: int, _: FrameType | None) -> None:
        if received:
            if terminal.can_draw:
                os.write(2, b"\x1b[?25h")  # the cursor, which the bars had hidden
            os._exit(128 + number)
        received.append(number)
        loop.call_soon_threadsafe(task.cancel)

    # Not by the loop: when it closes it would leave those of Python, which show tracebacks.
    before = {number: signal.signal(number, act) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        moves = hasattr(args, "retries")
        terminal.say("ftpc: interrupted" + ("; nothing half done is visible on either side" if moves else ""))
        return Exit(128 + received[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
