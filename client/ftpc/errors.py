"""Everything that can go wrong for a client, under one root."""


class FtpcError(Exception):
    """A transfer or a question did not work; the message is for people.

    Every exception that `ftpc` raises on purpose is one of these.
    """

    code = "error"
    """A stable word for programs. A refusal by the server carries the server's own code (`docs/protocol.md`)."""

    count = 1
    """How many files it is about."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AbandonedError(FtpcError):
    """Ctrl-C was typed where something was asked."""

    code = "interrupted"

    def __init__(self) -> None:
        super().__init__("interrupted")


class AddressError(FtpcError):
    """The address of the server can not be understood."""

    code = "bad_address"


class RemoteNameError(FtpcError):
    """A name can not exist on any server."""

    code = "bad_path"


class ConnectError(FtpcError):
    """There is no connection to be had. Temporary: running again makes sense."""

    code = "connect"


class TrustError(FtpcError):
    """The server could not prove that it is the right one. Nothing was sent to it."""

    code = "untrusted"


class SecretError(TrustError):
    """Credentials would be sent in the clear."""

    def __init__(self, place: str) -> None:
        super().__init__(f"{place}: a secret is not sent in the clear; use ftpds://{place}")


class UnknownServerError(TrustError):
    """Nobody vouches for the server, and it was never met before. People can decide to trust its pin."""

    def __init__(self, place: str, pin: str, why: str) -> None:
        super().__init__(
            f"{place}: nobody vouches for its certificate ({why}); nothing was sent. "
            f"If the server itself shows sha256:{pin}, use ftpds://{place}#sha256:{pin}"
        )
        self.place = place
        self.pin = pin


class ConnectionLostError(FtpcError):
    """The connection broke. Temporary: running again makes sense."""

    code = "connection_lost"


class ProtocolError(FtpcError):
    """What answers is not an ftpd, or has a bug."""

    code = "protocol"


class GarbledError(ProtocolError):
    """What answers is an ftpd, as it has said before, but not this: it may have been damaged on its way."""


class IntegrityError(FtpcError):
    """The bytes that arrived are not the bytes that were sent. Nothing was published."""

    code = "integrity"


class DamagedError(IntegrityError):
    """A chunk arrived damaged, or is damaged where it is kept: getting it again may help."""


class ChangedError(FtpcError):
    """The local file changed while it was being sent. Nothing was published."""

    code = "changed"


class LocalNotFoundError(FtpcError):
    """There is no such local file."""

    code = "local_not_found"


class InUseError(FtpcError):
    """Another process is doing the same at this moment."""

    code = "in_use"


class LocalFileError(FtpcError):
    """A local file can not be read or written."""

    code = "local_io"


class PipeClosedError(LocalFileError):
    """Whoever reads what is written has stopped reading."""


class RefusedError(FtpcError):
    """The server refused a request. `code` is the server's, `facts` are what it added."""

    def __init__(self, code: str, message: str, facts: dict[str, object]) -> None:
        super().__init__(message)
        self.code = code
        self.facts = facts


class OthersRefusedError(RefusedError):
    """More files of the same job that the server would refuse, and that are not told one by one."""

    def __init__(self, code: str, count: int) -> None:
        super().__init__(code, f"and {count:,} more", {"more": count})
        self.count = count


class TurnedAwayError(RefusedError):
    """The server takes no further connection, while others of ours go on. Nothing was done over the one refused."""
