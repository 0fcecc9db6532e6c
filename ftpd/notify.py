"""Tells whoever started the server that it is there: sd_notify(3), for `Type=notify` of systemd and what is like it."""

import logging
import os
import socket
from contextlib import ExitStack

log = logging.getLogger(__name__)


def reach_manager(undo: ExitStack) -> socket.socket | None:
    """Connect to the manager that wants to be told, if there is one; `undo` closes the socket.

    To be called outside of the sandbox, from within which an abstract socket of others can not be reached.
    """
    if not (place := os.environ.get("NOTIFY_SOCKET")):
        return None
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        manager.connect(f"\0{place[1:]}" if place.startswith("@") else place)
    except OSError as exc:
        manager.close()
        log.warning("nobody can be told that the server is there: NOTIFY_SOCKET=%s: %s", place, exc.strerror or exc)
        return None
    undo.callback(manager.close)
    return manager


def tell_ready(manager: socket.socket | None) -> None:
    """Say that clients can come, and part."""
    if manager is None:
        return
    with manager:
        try:
            manager.send(b"READY=1")
        except OSError as exc:
            log.warning("nobody can be told that the server is there: %s", exc.strerror or exc)
