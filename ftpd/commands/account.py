"""`auth` and `whoami`: who is asking, and what he may do."""

from ftpd.access.rights import Right
from ftpd.commands.exchange import Exchange
from ftpd.wire.errors import BadRequestError, ErrorCode, FtpdError
from ftpd.wire.messages import Auth, AuthMethod, Identity, Whoami

MOST_TRIES = 3
"""Wrong credentials on one connection before it is closed."""


async def auth(request: Auth, exchange: Exchange) -> Identity:
    """Log in."""
    door = exchange.door
    if request.method not in door.methods:
        ways = " or ".join(door.methods) or "nobody"
        raise FtpdError(ErrorCode.UNAUTHORIZED, f"nobody logs in here by {request.method}, but by {ways}")
    if exchange.uploads or exchange.listing:
        raise BadRequestError("auth: there are uploads or listings open on this connection")
    exchange.tries += 1
    with exchange.caller.trying(request.method):
        if request.method is AuthMethod.TOKEN:
            login = await door.by_token(request.token)
        else:
            login = await door.by_password(request.user, request.password)
    exchange.tries = 0
    exchange.let_in(login)
    return _identity(exchange)


async def whoami(request: Whoami, exchange: Exchange) -> Identity:
    """Tell who is logged in."""
    del request
    return _identity(exchange)


def _identity(exchange: Exchange) -> Identity:
    principal = exchange.principal
    return Identity(user=principal.name, rights=sorted(right.value for right in principal.rights - {Right.NONE}))
