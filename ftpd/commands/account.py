"""`auth` and `whoami`: who is asking, and what he may do."""

import secrets

from ftpd.access.door import Challenge
from ftpd.access.rights import Right
from ftpd.commands.exchange import Exchange
from ftpd.wire.errors import BadRequestError, ErrorCode, FtpdError
from ftpd.wire.proof import NONCE_SIZE
from ftpd.wire.replies import Identity
from ftpd.wire.requests import Auth, Whoami
from ftpd.wire.terms import AuthMethod

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
    challenge, exchange.challenge = exchange.challenge, None
    if request.method is AuthMethod.KEY and not request.signature:
        exchange.challenge = _challenge(request)
        return _identity(exchange, exchange.challenge.server_nonce.hex())
    await door.look()
    exchange.tries += 1
    with exchange.caller.trying(request.method):
        if request.method is AuthMethod.KEY:
            login = await door.by_key(challenge, request.signature, exchange.certificate)
        elif request.method is AuthMethod.TOKEN:
            login = await door.by_token(request.token, request.session)
        else:
            login = await door.by_password(request.user, request.password, is_known=exchange.caller.is_known)
    exchange.tries = 0
    before = exchange.login
    try:
        exchange.let_in(login)
        return _identity(exchange)
    except BaseException:
        exchange.login = before  # who is told that he is not in is not in
        raise


async def whoami(request: Whoami, exchange: Exchange) -> Identity:
    """Tell who is logged in."""
    del request
    return _identity(exchange)


def _challenge(request: Auth) -> Challenge:
    """Say what has to be signed. Whether there is such a user, with such a key, is not told."""
    try:
        nonce = bytes.fromhex(request.nonce)
    except ValueError:
        nonce = b""
    if len(nonce) != NONCE_SIZE:
        raise BadRequestError(f"auth: `nonce` must be {2 * NONCE_SIZE} hex digits")
    return Challenge(request.user, request.key, nonce, secrets.token_bytes(NONCE_SIZE))


def _identity(exchange: Exchange, nonce: str = "") -> Identity:
    principal = exchange.principal
    rights = sorted(right.value for right in principal.rights - {Right.NONE})
    return Identity(user=principal.name, rights=rights, nonce=nonce)
