"""What the kernel is told of a connection, and tells of it (tcp(7))."""

import contextlib
import socket
import struct
import sys

DEAD_PEER_MS = 300_000
"""How long sent bytes may stay unacknowledged before the kernel gives the connection up (TCP_USER_TIMEOUT, tcp(7))."""

KEEPALIVE_S = 60
"""Silence after which the kernel asks whether the peer's machine is still there."""

_BYTES_ACKED_AT = 120
"""Where `tcpi_bytes_acked` is in `struct tcp_info` (linux/tcp.h, since Linux 4.1)."""

_MIN_RTT_AT = 148
"""Where `tcpi_min_rtt` is, in microseconds (since Linux 4.6)."""

LONG_S = 0.02
"""Round trip from which a path counts as long: networks within a city are below it, other continents far above."""


def shown(address: object) -> str:
    """Write an address of the socket module for logs; `?` for what is none of TCP."""
    if not isinstance(address, tuple):
        return "?"
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tune(sock: socket.socket | None) -> None:
    """Set the options of a new connection; what is none of TCP is left alone."""
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    # asyncio does so only for sockets that know their protocol number, which accepted ones do not. Without it a
    # second small reply waits for the acknowledgement of the first, which the peer delays by 40 ms.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)
        rtt_s = rtt_of(sock)
        if rtt_s is not None and rtt_s > LONG_S:
            # A lost packet is rarely a queue there, and what takes it for one has to climb for minutes: at 100 ms and a
            # loss of 0.1 % a file of 64 MiB takes 15 s with Reno and 2 s with BBR (`benchmarks/wan.py`). Where it is
            # not to be had, the system's own choice stays.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
        elif _is_loopback(sock):
            # There is no path to learn about. BBR paces by timers, which cost half the sender's processor time, and
            # CUBIC's HyStart takes the jitter of two processors for a queue and starts slowly; Reno does neither.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


def rtt_of(sock: socket.socket | None) -> float | None:
    """Give the shortest round trip of a connection, if the kernel tells: from the first one on, which opens it."""
    found = _tcp_info(sock, "=I", _MIN_RTT_AT)
    return found / 1e6 if found is not None and 0 < found < 2**32 - 1 else None


def bytes_acked(sock: socket.socket | None) -> int | None:
    """Give the bytes that the peer's machine has acknowledged so far, if the kernel tells (`tcpi_bytes_acked`)."""
    return _tcp_info(sock, "=Q", _BYTES_ACKED_AT)


def _tcp_info(sock: socket.socket | None, kind: str, place: int) -> int | None:
    if sock is None or sys.platform != "linux":
        return None
    with contextlib.suppress(OSError, struct.error):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, place + struct.calcsize(kind))
        return int(struct.unpack_from(kind, info, place)[0])
    return None


def _is_loopback(sock: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        host = str(sock.getpeername()[0])
        return host.startswith(("127.", "::ffff:127.")) or host == "::1"
    return False
