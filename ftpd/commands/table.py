"""The one table in which commands are looked up: what they are called, take and need, and who does them."""

from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from ftpd.access.rights import Right
from ftpd.commands.account import auth, whoami
from ftpd.commands.check import check
from ftpd.commands.checksum import md5, sum_
from ftpd.commands.chunks import abort, begin, chunk, commit, join
from ftpd.commands.exchange import Exchange
from ftpd.commands.folder import mkdir
from ftpd.commands.get import get
from ftpd.commands.greeting import hello, ping
from ftpd.commands.listing import ls, stat
from ftpd.commands.put import put
from ftpd.commands.same import same
from ftpd.commands.share import share, shares, unshare
from ftpd.commands.space import df
from ftpd.wire import requests
from ftpd.wire.replies import Reply
from ftpd.wire.requests import Request

R = TypeVar("R", bound=Request)


class Command(NamedTuple, Generic[R]):
    """One command: the type of its request, the right it needs, its coroutine.

    The coroutine returns its last reply, or None if it has sent all there is to say.
    """

    request: type[R]
    right: Right
    run: Callable[[R, Exchange], Awaitable[Reply | None]]
    what: str = ""
    """What it is for, if that is something else than its right is named after."""


def _erase(command: Command[R]) -> Command[Request]:
    # The request is parsed with the type that stands beside its coroutine, which the type of a table can not say.
    return command  # type: ignore[return-value]


COMMANDS: dict[str, Command[Request]] = {
    "hello": _erase(Command(requests.Hello, Right.NONE, hello)),
    "ping": _erase(Command(requests.Ping, Right.NONE, ping)),
    "auth": _erase(Command(requests.Auth, Right.NONE, auth)),
    "whoami": _erase(Command(requests.Whoami, Right.NONE, whoami)),
    "share": _erase(Command(requests.Share, Right.NONE, share)),
    "shares": _erase(Command(requests.ListShares, Right.NONE, shares)),
    "unshare": _erase(Command(requests.Unshare, Right.NONE, unshare)),
    "check": _erase(Command(requests.Check, Right.WRITE, check)),
    "same": _erase(Command(requests.Same, Right.READ, same)),
    "put": _erase(Command(requests.Put, Right.WRITE, put)),
    "begin": _erase(Command(requests.Begin, Right.WRITE, begin)),
    "join": _erase(Command(requests.Join, Right.WRITE, join)),
    "chunk": _erase(Command(requests.Chunk, Right.WRITE, chunk)),
    "commit": _erase(Command(requests.Commit, Right.WRITE, commit)),
    "abort": _erase(Command(requests.Abort, Right.WRITE, abort)),
    "mkdir": _erase(Command(requests.Mkdir, Right.WRITE, mkdir)),
    "df": _erase(Command(requests.Df, Right.WRITE, df, "ask how much room there is")),
    "get": _erase(Command(requests.Get, Right.READ, get)),
    "ls": _erase(Command(requests.Ls, Right.LIST, ls)),
    "stat": _erase(Command(requests.Stat, Right.LIST, stat)),
    "md5": _erase(Command(requests.Md5, Right.READ, md5)),
    "sum": _erase(Command(requests.Sum, Right.READ, sum_)),
}
