"""The limit: one file over one TCP connection with nothing around it: `sendfile` one way, `recv_into` the other.

    python benchmarks/raw_copy.py send FILE PORT      connect and send a file
    python benchmarks/raw_copy.py receive FILE PORT   connect and receive a file
    python benchmarks/raw_copy.py serve FOLDER        the other side of both; prints its port

No framing beyond the size, no checksum, no rename: what any tool that does more is measured against.
"""

import os
import socket
import struct
import sys
from pathlib import Path

BUFFER = 2**20
_HEAD = struct.Struct("<cQ")


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


def serve(folder: Path) -> None:
    """Take and give files, one connection after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            with sock:
                kind, size = _HEAD.unpack(sock.recv(_HEAD.size, socket.MSG_WAITALL))
                if kind == b"s":
                    receive(sock, folder / "raw", size)
                    sock.sendall(b"!")
                else:
                    send(sock, folder / "raw")


def main() -> None:
    """Be one of the three."""
    verb, path = sys.argv[1], Path(sys.argv[2])
    if verb == "serve":
        serve(path)
        return
    with socket.create_connection(("127.0.0.1", int(sys.argv[3]))) as sock:
        if verb == "send":
            sock.sendall(_HEAD.pack(b"s", path.stat().st_size))
            send(sock, path)
            sock.recv(1)
        else:
            size = int(sys.argv[4])
            sock.sendall(_HEAD.pack(b"r", size))
            receive(sock, path, size)


if __name__ == "__main__":
    main()
