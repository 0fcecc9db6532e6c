"""How many connections each user has."""

from collections import Counter

from ftpd.access.rights import Principal
from ftpd.wire.errors import ErrorCode, FtpdError


class Presence:
    """Counts connections by the users who have logged in on them, with shares those of who made them."""

    def __init__(self) -> None:
        self._count = Counter[str]()

    def enter(self, principal: Principal) -> None:
        """Count one more.

        Raises:
            FtpdError: `busy`, the user has as many as he may; nothing was counted.
        """
        most = principal.connections
        if most is not None and self._count[principal.name] >= most:
            message = f"{principal.name} has {most} connections, which is the limit; close one, or try again later"
            raise FtpdError(ErrorCode.BUSY, message)
        self._count[principal.name] += 1

    def leave(self, name: str) -> None:
        """Count one less."""
        self._count[name] -= 1
        if not self._count[name]:
            del self._count[name]
