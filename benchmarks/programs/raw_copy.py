"""The limit: one file over one TCP connection with nothing around it: `sendfile` one way, `recv_into` the other.

    python raw_copy.py send FILE HOST PORT NAME      connect and send a file
    python raw_copy.py receive FILE HOST PORT NAME   connect and receive a file
    python raw_copy.py serve FOLDER HOST PORT        the other side of both

No framing beyond name and size, no checksum, no rename: what any tool that does more is measured against.
"""

import os
import socket
import struct
import sys
from pathlib import Path

BUFFER = 2**20
_HEAD = struct.Struct("<c64sQ")
_SIZE = struct.Struct("<Q")


def send(sock: socket.socket, path: Path) -> None:
    """Send a file with the kernel's help."""
    with path.open("rb") as file:
        offset, size = 0, path.stat().st_size
        while offset < size:
            offset += os.sendfile(sock.fileno(), file.fileno(), offset, size - offset)


def receive(sock: socket.socket, path: Path, size: int) -> None:
    """Receive a file into one buffer, and write it."""
    buffer = memoryview(bytearray(BUFFER))
    with path.open("wb", buffering=0) as file:
        while size:
            count = sock.recv_into(buffer, min(BUFFER, size))
            if not count:
                raise ConnectionResetError(f"{size} bytes are missing")
            file.write(buffer[:count])
            size -= count


def serve(folder: Path, host: str, port: int) -> None:
    """Take and give files, one connection after the other."""
    with socket.create_server((host, port)) as listener:
        while True:
            sock, _ = listener.accept()
            with sock:
                head = sock.recv(_HEAD.size, socket.MSG_WAITALL)
                if not head:  # somebody only looked whether we listen
                    continue
                kind, name, size = _HEAD.unpack(head)
                path = folder / name.rstrip(b"\0").decode()
                if kind == b"s":
                    receive(sock, path, size)
                    sock.sendall(b"!")
                else:
                    sock.sendall(_SIZE.pack(path.stat().st_size))
                    send(sock, path)


def main() -> None:
    """Be one of the three."""
    verb, path, host, port = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    if verb == "serve":
        serve(path, host, port)
        return
    name = sys.argv[5].encode()
    with socket.create_connection((host, port)) as sock:
        if verb == "send":
            sock.sendall(_HEAD.pack(b"s", name, path.stat().st_size))
            send(sock, path)
            sock.recv(1)
        else:
            sock.sendall(_HEAD.pack(b"r", name, 0))
            (size,) = _SIZE.unpack(sock.recv(_SIZE.size, socket.MSG_WAITALL))
            receive(sock, path, size)


if __name__ == "__main__":
    main()
