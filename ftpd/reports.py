"""What the log says of requests."""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator

from ftpd.commands.exchange import Exchange, Transfer
from ftpd.log import EACH, Fields
from ftpd.wire.errors import FtpdError
from ftpd.wire.frames import Header
from ftpd.wire.limits import MAX_ID, MAX_PATH

log = logging.getLogger(__name__)

_TRANSFERS = frozenset({"put", "begin", "chunk", "commit", "get"})


def report(header: Header, exchange: Exchange, peer: str, started: float, outcome: str) -> None:
    """Write down what has become of a request: log-ins and transfers for everybody, others for who wants details."""
    if header.get("cmd") == "auth":
        report_login(peer, outcome, exchange.principal.name)
        return
    opened = exchange.uploads.get(name := str(header.get("upload"))) or exchange.joined.get(name)
    fields = {**header, "filename": str(opened.path)} if opened else header
    report_all([(fields, exchange.transfer, outcome)], peer, started)


def report_login(peer: str, outcome: str, user: str = "") -> None:
    """Write down what has become of a log-in. What was typed as a name may be a password: a wrong one is not logged."""
    who = {"user": user} if outcome == "ok" else {}
    log.info("log-in", extra={"peer": peer, **who, "outcome": outcome})


def report_ended(peer: str, user: str, reason: FtpdError) -> None:
    """Write down that a log-in was ended while its connection was open."""
    log.info("log-in ended", extra={"peer": peer, "user": user, "outcome": f"{reason.code.value}: {reason.message}"})


@contextlib.contextmanager
def reported_login(peer: str, user: str) -> Iterator[None]:
    """Write down what becomes of a log-in within."""
    try:
        yield
    except FtpdError as exc:
        report_login(peer, exc.code.value)
        raise
    report_login(peer, "ok", user)


def report_all(ended: Iterable[tuple[Header, Transfer | None, str]], peer: str, started: float) -> None:
    """Write down what has become of several requests: in one record, since one for each would be most of the work."""
    if not log.isEnabledFor(logging.INFO):
        return
    now = time.monotonic()
    transfers: list[Fields] = []
    others: list[Fields] = []
    is_detailed = log.isEnabledFor(logging.DEBUG)
    for header, done, outcome in ended:
        command = str(header.get("cmd"))[:MAX_ID]
        is_transfer = command in _TRANSFERS and (done is not None or outcome != "ok")
        if not is_transfer and not is_detailed:
            continue
        path = str(done.path if done else header.get("filename", header.get("path", "")))[:MAX_PATH]
        (transfers if is_transfer else others).append(
            {
                "peer": peer,
                "command": command,
                "path": path,
                "bytes": done.size if done else 0,
                "seconds": round(now - ((done and done.started) or started), 3),
                "outcome": outcome,
            }
        )
    if transfers:
        log.info("transfer", extra={EACH: transfers})
    if others:
        log.debug("request", extra={EACH: others})


def report_broken_off(exchange: Exchange, peer: str) -> None:
    """Write down the uploads that a conversation leaves open at its end."""
    for opened in exchange.uploads.values():
        seconds = round(time.monotonic() - opened.started, 3)
        size = sum(opened.sizes.values())
        fields = {"peer": peer, "command": "put", "path": str(opened.path), "bytes": size}
        log.info("transfer", extra={**fields, "seconds": seconds, "outcome": "lost"})
