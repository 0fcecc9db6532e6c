"""What `ftpd user` asks for, on a terminal or from whatever is standard input."""

import getpass
import sys


def ask_password(name: str) -> str:
    """Give the new password of a user.

    Raises:
        EOFError: nobody wants to give one.
        ValueError: two different ones were typed.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass(f"new password of {name}: ")
    if getpass.getpass("again: ") != password:
        raise ValueError("these are two different passwords; nothing was changed")
    return password


def ask_key(name: str) -> str:
    """Give the line of a public key, the first that is neither empty nor a comment; empty if there is none.

    Raises:
        EOFError: nobody wants to type one.
    """
    is_typed = sys.stdin.isatty()
    if is_typed:
        print(f"public key of {name}, the line in a file like id_ed25519.pub: ", end="", file=sys.stderr, flush=True)
    line = next((line for line in sys.stdin if line.strip() and not line.startswith("#")), "")
    if is_typed and not line:
        raise EOFError
    return line
