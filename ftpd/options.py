"""The options of the server, on the command line and in the environment."""

import argparse
import ipaddress
import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path

from ftpd import __version__
from ftpd.admission import MAX_PER_SOURCE
from ftpd.amounts import parse_amount, parse_time
from ftpd.arguments import Parser
from ftpd.config import Config
from ftpd.descriptors import MAX_CONNECTIONS
from ftpd.log import LogFormat
from ftpd.payload.workers import DISK_THREADS
from ftpd.proxy import Network
from ftpd.sandbox import Sandbox
from ftpd.wire.terms import Durability

_EPILOG = """\
Every option can also be given in the environment: FTPD_ROOT, FTPD_PORT, FTPD_READ_ONLY=1, FTPD_LOG_FORMAT, …

examples:
  ftpd                              serve ./storage on 127.0.0.1:9527
  ftpd --root /srv/data --port 0    serve a folder on a free port
  ftpd --read-only --root .         let others fetch what is here, and change nothing
  ftpd --host 0.0.0.0               for other machines: encrypted, and only for who has logged in
  ftpd user add build               manage users and tokens: ftpd user --help, ftpd token --help
"""


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Read the command line; what it does not say is looked up in the environment.

    Raises:
        SystemExit: with status 2 and a line that says what is wrong, or after --help and --version.
    """
    parser = _parser(Config())
    parser.set_defaults(**_from_environment(parser, environment))
    parser.refuse_unknown(argv)
    args = parser.parse_args(argv)
    return Config(
        root=args.root,
        host=args.host,
        port=args.port,
        read_only=args.read_only,
        durability=args.durability,
        grace_s=args.grace,
        max_connections=args.max_connections,
        workers=args.workers,
        max_per_source=args.max_per_source,
        proxy_from=args.proxy_from or (),
        limit_rate=args.limit_rate,
        partial_ttl_s=args.partial_ttl,
        log_format=args.log_format,
        insecure=args.insecure,
        tls=args.tls,
        tls_cert=args.tls_cert,
        tls_key=args.tls_key,
        client_ca=args.client_ca,
        client_crl=args.client_crl,
        access=args.access,
        sandbox=args.sandbox,
        verbosity=args.verbose - args.quiet,
    )


def _parser(config: Config) -> Parser:
    parser = Parser(
        prog="ftpd",
        description="Serve a folder. Uploads appear whole, verified and durable, or not at all.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def add(option: str, convert: Callable[[str], object], default: object, metavar: str, text: str) -> None:
        shown = text if default is None else f"{text} (default: %(default)s)"
        parser.add_argument(option, type=convert, default=default, metavar=metavar, help=shown)

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
    add("--max-connections", _count, None, "N", f"connections at the same time (default: {MAX_CONNECTIONS} or fewer)")
    add("--workers", _workers, None, "N|auto", f"threads that move payload, on as many cores; auto: {DISK_THREADS}")
    add("--max-per-source", _count_or_none, None, "N", _PER_SOURCE)
    add("--proxy-from", _networks, None, "CIDR[,CIDR]", "proxies that say where others come from (PROXY protocol)")
    add("--limit-rate", _amount, config.limit_rate, "RATE", "bytes in a second for all together, each way; 0: any")
    add("--partial-ttl", _duration, "7d", "TIME", "how long unfinished uploads are kept, as in 7d or 12h")
    add("--log-format", _choice(LogFormat), config.log_format, "text|json", "how log lines on standard error look")
    add_flag("--tls", "speak TLS with a key of our own; without saying so where other machines can connect")
    add("--tls-cert", _folder, None, "FILE", "speak TLS with this certificate (PEM), read again on SIGHUP")
    add("--tls-key", _folder, None, "FILE", "its key")
    add("--client-ca", _folder, None, "FILE", "log in users by certificates (PEM) that these authorities have signed")
    add("--client-crl", _folder, None, "FILE", "but not by those in these lists of revoked ones (PEM)")
    add("--access", _folder, None, "DIR", "where users and keys are kept (default: ROOT/.ftpd/access)")
    add_flag("--insecure", "neither encryption nor log-in where other machines can connect: they can do everything")
    add(
        "--sandbox",
        _choice(Sandbox),
        config.sandbox,
        "auto|require|off",
        "let the kernel keep the server to its own folders: auto: where it has Landlock; require: or do not start",
    )
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


_PER_SOURCE = (
    f"connections from one IPv4 address or IPv6 /64; 0: no limit (default: {MAX_PER_SOURCE}, none for this machine)"
)
_NOT_FROM_ENVIRONMENT = {"--help", "--version"}


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty name is no folder; use . for this one")
    return Path(text)


def _networks(text: str) -> tuple[Network, ...]:
    try:
        networks = tuple(ipaddress.ip_network(part.strip()) for part in text.split(","))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{exc}") from exc
    if not all(network.prefixlen for network in networks):
        msg = f"{text}: that is everybody, who could all say that they are somebody else"
        raise argparse.ArgumentTypeError(msg)
    if any(isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped for network in networks):
        raise argparse.ArgumentTypeError(f"{text}: say IPv4 addresses as such, as in 10.0.0.5")
    return networks


def _port(text: str) -> int:
    return _number(text, 0, 65_535)


def _times(text: str) -> int:
    return _number(text, 0, 2)


def _count(text: str) -> int:
    return _number(text, 1, 1_000_000)


def _count_or_none(text: str) -> int:
    return _number(text, 0, 1_000_000)


def _workers(text: str) -> int | None:
    return None if text == "auto" else _number(text, 1, 1024)


def _amount(text: str) -> int:
    try:
        return parse_amount(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


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


def _duration(text: str) -> int:
    try:
        return parse_time(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


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
