"""What the log says of requests."""

import logging
import time

from ftpd.commands.exchange import Exchange
from ftpd.wire.frames import Header
from ftpd.wire.limits import MAX_ID, MAX_PATH

log = logging.getLogger(__name__)

_TRANSFERS = frozenset({"put", "begin", "chunk", "commit", "get"})


def report(header: Header, exchange: Exchange, peer: str, started: float, outcome: str) -> None:
    """Write down what has become of a request: log-ins and transfers for everybody, others for who wants details."""
    command = str(header.get("cmd"))[:MAX_ID]
    if command == "auth":
        # What was typed as a name may be a password: only a name that is right is logged.
        who = {"user": exchange.principal.name} if outcome == "ok" else {}
        log.info("log-in", extra={"peer": peer, **who, "outcome": outcome})
        return
    done = exchange.transfer
    is_transfer = command in _TRANSFERS and (done is not None or outcome != "ok")
    level = logging.INFO if is_transfer else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    name = str(header.get("upload"))
    opened = exchange.uploads.get(name) or exchange.joined.get(name)
    asked = str(opened.path if opened else header.get("filename", header.get("path", "")))[:MAX_PATH]
    fields = {
        "peer": peer,
        "command": command,
        "path": str(done.path) if done else asked,
        "bytes": done.size if done else 0,
        "seconds": round(time.monotonic() - ((done and done.started) or started), 3),
        "outcome": outcome,
    }
    log.log(level, "transfer" if is_transfer else "request", extra=fields)


def report_broken_off(exchange: Exchange, peer: str) -> None:
    """Write down the uploads that a conversation leaves open at its end."""
    for opened in exchange.uploads.values():
        seconds = round(time.monotonic() - opened.started, 3)
        size = sum(opened.sizes.values())
        fields = {"peer": peer, "command": "put", "path": str(opened.path), "bytes": size}
        log.info("transfer", extra={**fields, "seconds": seconds, "outcome": "lost"})
