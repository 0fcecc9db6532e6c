"""The addresses that a server listens on."""

import contextlib
import socket

BACKLOG = 1024
"""Connections the kernel queues while the loop is busy: a burst of clients that start at once."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on all addresses of a host; port 0 picks one, which is the same for all.

    Raises:
        OSError: the address can not be used.
    """
    # Not by the loop, which would start a thread for it: what confines the process (`ftpd.sandbox`) comes later.
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        for family, _, _, _, address in dict.fromkeys(found):
            # With port 0 the first address picks one, and the others have to take the same.
            where = (str(address[0]), listeners[0].getsockname()[1] if listeners else port)
            listeners.append(undo.enter_context(socket.create_server(where, family=family, backlog=BACKLOG)))
            listeners[-1].setblocking(False)
        undo.pop_all()
    return listeners
