"""The limit: one file over one TCP connection with nothing around it: `sendfile` one way, `recv_into` the other.

    python raw_copy.py send FILE HOST PORT NAME [CERTIFICATE]      connect and send a file
    python raw_copy.py receive FILE HOST PORT NAME [CERTIFICATE]   connect and receive a file
    python raw_copy.py serve FOLDER HOST PORT [CERTIFICATE KEY]    the other side of both

No framing beyond name and size, no checksum, no rename: what any tool that does more is measured against. With a
certificate over TLS 1.3, with blocking calls of OpenSSL on the socket itself.
"""

import contextlib
import os
import socket
import ssl
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

BUFFER = 2**20
_HEAD = struct.Struct("<c64sQ")
_SIZE = struct.Struct("<Q")


def send(sock: socket.socket, path: Path) -> None:
    """Send a file with the kernel's help."""
    with path.open("rb", buffering=0) as file:
        if isinstance(sock, ssl.SSLSocket):
            buffer = memoryview(bytearray(BUFFER))
            while count := file.readinto(buffer):
                sock.sendall(buffer[:count])
            return
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


def receive_head(sock: socket.socket, size: int) -> bytes:
    """Receive so many bytes, or none if there are none."""
    data = sock.recv(size)
    while data and len(data) < size:
        data += sock.recv(size - len(data))
    return data


def serve(folder: Path, host: str, port: int, files: Sequence[str]) -> None:
    """Take and give files, one connection after the other; with files of a certificate and its key, over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if files else None
    if context is not None:
        context.load_cert_chain(*files)
    with socket.create_server((host, port)) as listener:
        while True:
            sock, _ = listener.accept()
            try:
                sock = context.wrap_socket(sock, server_side=True) if context else sock
            except OSError:  # somebody only looked whether we listen
                continue
            with sock:
                head = receive_head(sock, _HEAD.size)
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
        serve(path, host, port, sys.argv[5:])
        return
    name = sys.argv[5].encode()
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection((host, port)))
        if len(sys.argv) > 6:
            context = ssl.create_default_context(cafile=sys.argv[6])
            context.check_hostname = False  # there is one that it trusts
            sock = stack.enter_context(context.wrap_socket(sock, server_hostname=host))
        if verb == "send":
            sock.sendall(_HEAD.pack(b"s", name, path.stat().st_size))
            send(sock, path)
            sock.recv(1)
        else:
            sock.sendall(_HEAD.pack(b"r", name, 0))
            (size,) = _SIZE.unpack(receive_head(sock, _SIZE.size))
            receive(sock, path, size)


if __name__ == "__main__":
    main()
