"""The command line of the server."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ftpd import __version__
from ftpd.arguments import EXIT_USAGE, Parser
from ftpd.config import Config, ConfigError, check_root
from ftpd.entrance import FIRST_TOKEN, USERS, Entrance, open_entrance
from ftpd.interrupts import EXIT_INTERRUPTED, interrupts_raised
from ftpd.listening import listen
from ftpd.log import set_up
from ftpd.memory import keep_freed_memory, memory_limit
from ftpd.notify import reach_manager, tell_ready
from ftpd.options import parse
from ftpd.payload.buffers import BUFFER_BUDGET, buffers
from ftpd.payload.files import memory_devices
from ftpd.payload.journal import boot_id
from ftpd.payload.tcp import shown
from ftpd.payload.workers import DISK_THREADS, Workers
from ftpd.private import write_private
from ftpd.sandbox import SandboxError, around, confine, landlock_version
from ftpd.server import Server
from ftpd.store.base import Store
from ftpd.store.local import LocalStore
from ftpd.tls import IdentityError
from ftpd.wire.errors import FtpdError

EXIT_OK = 0

SWEEP_S = 3600.0
"""How often unfinished uploads that nobody wants any more are looked for, at least."""

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop. Returns the exit status."""
    try:
        with interrupts_raised():
            return _main(argv)
    except KeyboardInterrupt:  # before it served, or when all was over
        return EXIT_INTERRUPTED


def _main(argv: Sequence[str] | None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and arguments[0] in {"user", "token"}:
        from ftpd.manage import manage  # noqa: PLC0415 (not needed to serve)

        return manage(arguments)
    if arguments and not arguments[0].startswith("-"):
        words = "user and token, and without any of them it serves"
        Parser(prog="ftpd").error(f"there is no {arguments[0]!r}; there are {words}")
    config = parse(arguments, os.environ)
    set_up(config.log_format, _level(config.verbosity))
    keep_freed_memory()
    buffers.budget = min(BUFFER_BUDGET, memory_limit() // 4)
    gc.set_threshold(20_000)  # a few dozen small files are the 700 objects of the default: some 5 % of processor time
    try:
        check_root(config)
        return asyncio.run(serve(config))
    except (ConfigError, FtpdError, OSError) as exc:
        print(f"ftpd: {exc}", file=sys.stderr)  # noqa: T201 (a start-up error is for the person who typed the command)
        return EXIT_USAGE


async def serve(config: Config) -> int:
    """Serve until a signal says to stop. A start that fails leaves no key, user or token behind.

    Raises:
        ConfigError: something it was told makes no sense.
        FtpdError: the root can not be used.
        OSError: a file can not be read or written.
    """
    with ExitStack() as undo:
        listeners = _listen(config)
        for listener in listeners:
            undo.callback(listener.close)
        return await _serve(config, listeners, open_entrance(config, undo), undo)


async def _serve(config: Config, listeners: Sequence[socket.socket], entrance: Entrance, undo: ExitStack) -> int:
    workers = Workers(config.workers or DISK_THREADS)
    store = LocalStore(
        config.root,
        workers,
        durability=config.durability,
        read_only=config.read_only,
        partial_ttl_s=config.partial_ttl_s,
    )
    server = Server(
        store,
        config.max_connections,
        entrance.identity.context if entrance.identity else None,
        entrance.door,
        config.max_per_source,
        config.limit_rate,
    )
    try:
        manager = reach_manager(undo)
        _confine(config, entrance)  # the loop has not turned yet: nobody was let in, and there is no thread
        stop = asyncio.Event()
        _on_signals(stop, entrance)
        _announce(config, server.start(listeners, config.proxy_from)[0], entrance)
        tell_ready(manager)
        undo.pop_all()
        await _sweep_until(stop, store, min(max(config.partial_ttl_s, 1.0), SWEEP_S))
        log.info("stopping: running transfers have %g s to finish", config.grace_s)
        await server.drain(config.grace_s)
    finally:
        await server.drain(0.0)  # if it did not come to that
        await store.close()
        workers.close()
    return EXIT_OK


def _confine(config: Config, entrance: Entrance) -> None:
    """Keep the process to what it serves, and what it reads again while it serves.

    Raises:
        ConfigError: that is required, and the kernel can not do it.
    """
    boot_id()  # kept, and can not be read any more afterwards
    memory_devices()
    files = (config.access_folder / USERS, *(entrance.identity.files if entrance.identity else ()))
    read = [place for file in files for place in around(file)]
    write: list[Path] = []
    (read if config.read_only else write).append(config.root)
    if config.access is not None or not config.read_only:
        write.append(config.access_folder)
    try:
        confine(config.sandbox, landlock_version(), write=write, read=read)
    except SandboxError as exc:
        raise ConfigError(str(exc)) from exc


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


def _listen(config: Config) -> list[socket.socket]:
    try:
        return listen(config.host, config.port)
    except OSError as exc:
        where = f"{config.host} port {config.port}"
        raise ConfigError(f"can not listen on {where}: {_reason(exc)}") from exc


def _reason(exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return "the port is taken; does another server run there?"
    return os.strerror(exc.errno) if exc.errno and exc.errno > 0 else str(exc.strerror or exc)


def _on_signals(stop: asyncio.Event, entrance: Entrance) -> None:
    """The first SIGTERM or SIGINT stops in good order, the second at once. SIGHUP reads the certificate again.

    But if it says that the terminal was closed in which the server was started, it stops in good order as well.
    """
    loop = asyncio.get_running_loop()
    had_terminal = os.isatty(0)
    reloading: set[asyncio.Task[None]] = set()

    def act(number: int) -> None:
        if stop.is_set():
            # Threads may hang in a dead disk. Nothing half done is visible, so there is nothing to wait for.
            os._exit(128 + number)
        stop.set()

    def hang_up() -> None:
        if had_terminal and not os.isatty(0):
            stop.set()  # never at once: shells and the kernel both send the signal
        else:
            reloading.add(task := loop.create_task(_reload(entrance)))
            task.add_done_callback(reloading.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, act, number)
    loop.add_signal_handler(signal.SIGHUP, hang_up)


async def _reload(entrance: Entrance) -> None:
    if entrance.identity is None:
        return
    try:
        await entrance.identity.reload()
        log.info("the certificate was read again")
    except IdentityError as exc:
        log.error("the old certificate stays in use: %s", exc)  # noqa: TRY400 (nothing to trace)


def _announce(config: Config, address: tuple[str, int], entrance: Entrance) -> None:
    place = shown(address)
    how = ["read-only" if config.read_only else f"durability {config.durability.value}"]
    how += ["TLS"] if entrance.identity else []
    where = place.replace("0.0.0.0", socket.gethostname()).replace("[::]", socket.gethostname())  # noqa: S104
    url = f"'ftpds://{where}#sha256:{entrance.identity.pin}'" if entrance.identity else where
    # Flushed, because the line is what scripts wait for: from then on the certificate may be changed.
    print(f"ftpd {__version__} serves {config.root.resolve()} on {place} ({', '.join(how)})", flush=True)  # noqa: T201
    print(f"try: ftpc {f'login {url}' if entrance.door.methods else f'--server {url} ls'}", flush=True)  # noqa: T201
    if entrance.token is not None:
        _hand_over(entrance.token, config)


def _hand_over(token: str, config: Config) -> None:
    """Give the first token to whoever started the server; a log must not have it."""
    if sys.stdout.isatty():
        print(f"with the token: {token}\nIt is not shown again; ftpd token makes others.", flush=True)  # noqa: T201
        return
    file = config.access_folder / FIRST_TOKEN
    write_private(file, f"{token}\n".encode())
    print(f"with the token in {file}", flush=True)  # noqa: T201


def _level(verbosity: int) -> int:
    return {-2: logging.ERROR, -1: logging.WARNING, 0: logging.INFO}.get(max(-2, min(verbosity, 1)), logging.DEBUG)
