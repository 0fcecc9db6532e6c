"""The command line of the server."""

import argparse
import asyncio
import contextlib
import errno
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import NoReturn

from ftpd import __version__
from ftpd.config import Config, ConfigError, check_host, check_root
from ftpd.log import LogFormat, set_up
from ftpd.payload.workers import Workers
from ftpd.server import Server
from ftpd.store.base import Store
from ftpd.store.local import LocalStore
from ftpd.wire.errors import FtpdError
from ftpd.wire.messages import Durability

EXIT_OK = 0
EXIT_USAGE = 2

SWEEP_S = 3600.0
"""How often unfinished uploads that nobody wants any more are looked for, at least."""

_EPILOG = """\
Every option can also be given in the environment: FTPD_ROOT, FTPD_PORT, FTPD_READ_ONLY=1, FTPD_LOG_FORMAT, …

examples:
  ftpd                              serve ./storage on 127.0.0.1:9527
  ftpd --root /srv/data --port 0    serve a folder on a free port
  ftpd --read-only --root .         let others fetch what is here, and change nothing
"""

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop. Returns the exit status."""
    config = parse(sys.argv[1:] if argv is None else argv, os.environ)
    set_up(config.log_format, _level(config.verbosity))
    try:
        check_host(config.host, insecure=config.insecure)
        check_root(config)
        return asyncio.run(serve(config))
    except (ConfigError, FtpdError, OSError) as exc:
        print(f"ftpd: {exc}", file=sys.stderr)  # noqa: T201 (a start-up error is for the person who typed the command)
        return EXIT_USAGE


async def serve(config: Config) -> int:
    """Serve until a signal says to stop.

    Raises:
        FtpdError: the root can not be used.
        OSError: the address can not be used.
    """
    workers = Workers()
    store = LocalStore(
        config.root,
        workers,
        durability=config.durability,
        read_only=config.read_only,
        partial_ttl_s=config.partial_ttl_s,
    )
    server = Server(store, config.max_connections)
    try:
        addresses = await _listen(server, config)
        stop = asyncio.Event()
        _on_signals(stop)
        _announce(config, addresses)
        await _sweep_until(stop, store, min(max(config.partial_ttl_s, 1.0), SWEEP_S))
        log.info("stopping: running transfers have %g s to finish", config.grace_s)
        await server.drain(config.grace_s)
    finally:
        await store.close()
        workers.close()
    return EXIT_OK


async def _sweep_until(stop: asyncio.Event, store: Store, every_s: float) -> None:
    """Drop what is too old, now and then, until the server is to stop."""
    while not stop.is_set():
        try:
            await store.sweep()
        except FtpdError as exc:
            log.warning("unfinished uploads can not be looked through: %s", exc)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every_s):
                await stop.wait()


async def _listen(server: Server, config: Config) -> list[tuple[str, int]]:
    try:
        return await server.start(config.host, config.port)
    except OSError as exc:
        where = f"{config.host} port {config.port}"
        raise ConfigError(f"can not listen on {where}: {_reason(exc)}") from exc


def _reason(exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return "the port is taken; does another server run there?"
    return os.strerror(exc.errno) if exc.errno and exc.errno > 0 else str(exc.strerror or exc)


def _on_signals(stop: asyncio.Event) -> None:
    """The first SIGTERM or SIGINT stops in good order, the second at once."""
    loop = asyncio.get_running_loop()

    def act(number: int) -> None:
        if stop.is_set():
            # Threads may hang in a dead disk. Nothing half done is visible, so there is nothing to wait for.
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, act, number)


def _announce(config: Config, addresses: Sequence[tuple[str, int]]) -> None:
    host, port = addresses[0]
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    access = "read-only" if config.read_only else f"durability {config.durability.value}"
    # Flushed, because the line is what scripts wait for.
    print(f"ftpd {__version__} serves {config.root.resolve()} on {shown} ({access})", flush=True)  # noqa: T201
    print(f"try: ftpc --server {shown} ls", flush=True)  # noqa: T201


def _level(verbosity: int) -> int:
    return {-2: logging.ERROR, -1: logging.WARNING, 0: logging.INFO}.get(max(-2, min(verbosity, 1)), logging.DEBUG)


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Read the command line; what it does not say is looked up in the environment.

    Raises:
        SystemExit: with status 2 and a line that says what is wrong, or after --help and --version.
    """
    parser = _parser(Config())
    parser.set_defaults(**_from_environment(parser, environment))
    args = parser.parse_args(argv)
    return Config(
        root=args.root,
        host=args.host,
        port=args.port,
        read_only=args.read_only,
        durability=args.durability,
        grace_s=args.grace,
        max_connections=args.max_connections,
        partial_ttl_s=args.partial_ttl,
        log_format=args.log_format,
        insecure=args.insecure,
        verbosity=args.verbose - args.quiet,
    )


def _parser(config: Config) -> "_Parser":
    parser = _Parser(
        prog="ftpd",
        description="Serve a folder. Uploads appear whole, verified and durable, or not at all.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def add(option: str, convert: Callable[[str], object], default: object, metavar: str, text: str) -> None:
        parser.add_argument(
            option, type=convert, default=default, metavar=metavar, help=f"{text} (default: %(default)s)"
        )

    def add_flag(option: str, text: str) -> None:
        parser.add_argument(option, action="store_true", help=text)

    add("--root", _folder, config.root, "DIR", "the folder to serve; the default one is made when missing")
    add("--host", str, config.host, "ADDRESS", "the address to listen on")
    add("--port", _port, config.port, "PORT", "the port to listen on; 0 picks a free one")
    add_flag("--read-only", "change nothing in the folder")
    add(
        "--durability",
        _choice(Durability),
        config.durability,
        "full|none",
        "what the reply to an upload promises: full: it is on the disk; none: the system has it",
    )
    add("--grace", _seconds, config.grace_s, "SECONDS", "how long running transfers may go on after SIGTERM")
    add("--max-connections", _count, config.max_connections, "N", "connections served at the same time")
    add("--partial-ttl", _duration, "7d", "TIME", "how long unfinished uploads are kept, as in 7d or 12h")
    add("--log-format", _choice(LogFormat), config.log_format, "text|json", "how log lines on standard error look")
    add_flag("--insecure", "allow an address that other machines can reach, without any log-in")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log every request")
    parser.add_argument("-q", "--quiet", action="count", default=0, help="log warnings only; twice: errors only")
    parser.add_argument("--version", action="version", version=f"ftpd {__version__}")
    return parser


def _from_environment(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for action in parser._actions:  # noqa: SLF001 (argparse has no public way to go through the options)
        option = action.option_strings[-1]
        if option in _NOT_FROM_ENVIRONMENT:
            continue
        name = "FTPD_" + option.lstrip("-").replace("-", "_").upper()
        text = environment.get(name, "")
        if not text:
            continue
        is_counted = option in {"--verbose", "--quiet"}
        convert = action.type if callable(action.type) else _times if is_counted else _flag
        try:
            values[action.dest] = convert(text)
        except (ValueError, argparse.ArgumentTypeError) as exc:
            parser.error(f"{name}={text}: {exc}")
    return values


_NOT_FROM_ENVIRONMENT = {"--help", "--version"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty name is no folder; use . for this one")
    return Path(text)


def _port(text: str) -> int:
    return _number(text, 0, 65_535)


def _times(text: str) -> int:
    return _number(text, 0, 2)


def _count(text: str) -> int:
    return _number(text, 1, 1_000_000)


def _number(text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        msg = f"{text!r} is not a whole number from {low} to {high}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        msg = f"{text!r} is not a number of seconds"
        raise argparse.ArgumentTypeError(msg)
    return seconds


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}


def _duration(text: str) -> float:
    try:
        return _seconds(text[:-1]) * _UNITS[text[-1]] if text[-1:] in _UNITS else _seconds(text)
    except argparse.ArgumentTypeError:
        msg = f"{text!r} is no time; write 90s, 45m, 12h or 7d"
        raise argparse.ArgumentTypeError(msg) from None


def _flag(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    msg = f"{text!r} is neither 1 nor 0"
    raise argparse.ArgumentTypeError(msg)


def _choice(kind: type[Enum]) -> Callable[[str], Enum]:
    def convert(text: str) -> Enum:
        try:
            return kind(text)
        except ValueError:
            choices = ", ".join(str(member.value) for member in kind)
            msg = f"{text!r} is none of: {choices}"
            raise argparse.ArgumentTypeError(msg) from None

    return convert
