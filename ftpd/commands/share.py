"""`share`, `shares` and `unshare`: let somebody else have or bring a file, for a while."""

import functools

from ftpd.access import shares as access
from ftpd.access.rights import NOBODY, Right
from ftpd.access.shares import Maker, Wish
from ftpd.access.users import Token
from ftpd.commands.exchange import Exchange
from ftpd.wire.errors import BadRequestError, ErrorCode, FtpdError
from ftpd.wire.limits import KIB, MAX_HEADER, MAX_LABEL, MAX_SHARE_COUNT, MAX_SHARE_S
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Done, Shared, SharedPath, SharePage
from ftpd.wire.requests import ListShares, Share, Unshare

_PAGE_BYTES = MAX_HEADER - 4 * KIB

_SHARE_BYTES = 300
"""A share without path and label, with the longest user and numbers."""


async def share(request: Share, exchange: Exchange) -> Shared:
    """Make a token for one path."""
    maker = _maker(exchange)
    if not 0 < request.expires <= MAX_SHARE_S:
        raise BadRequestError(f"share: `expires` must be 1 second to {MAX_SHARE_S // 86_400} days")
    if request.count is not None and not 0 < request.count <= MAX_SHARE_COUNT:
        raise BadRequestError(f"share: `count` must be 1 to {MAX_SHARE_COUNT}")
    if len(request.label) > MAX_LABEL or not request.label.isprintable():
        raise BadRequestError(f"share: `label` must be at most {MAX_LABEL} characters that can be printed")
    path = RemotePath.parse_folder(request.path)
    rights = frozenset({Right.WRITE} if request.upload else {Right.LIST, Right.READ})
    if not request.upload:
        await exchange.store.stat(path)  # who shares a name that is not there has made a mistake
    wish = Wish(path, rights, request.expires, request.count, request.label)
    secret, token = await exchange.door.change(lambda users: access.add(users, maker, wish))
    return Shared(share=secret.id, token=secret.text, rights=token.rights or [], expires=_end(token))


async def shares(request: ListShares, exchange: Exchange) -> SharePage:
    """List the shares of whoever is asking, in the order of their names."""
    maker = _maker(exchange)
    page: list[SharedPath] = []
    room = _PAGE_BYTES
    for name, token in access.visible(exchange.door.users, maker.user, exchange.principal.rights).items():
        if name <= request.after:
            continue
        room -= _SHARE_BYTES + 2 * len(token.path.encode()) + 2 * len(token.label.encode())
        if room < 0:
            return SharePage(shares=page, more=True)
        page.append(
            SharedPath(
                share=name,
                user=token.user,
                path=token.path,
                rights=token.rights or [],
                expires=_end(token),
                count=token.count,
                used=len(token.used),
                label=token.label,
            )
        )
    return SharePage(shares=page)


async def unshare(request: Unshare, exchange: Exchange) -> Done:
    """Make a share invalid, at once."""
    user, rights = _maker(exchange).user, exchange.principal.rights
    await exchange.door.change(functools.partial(access.remove, name=request.share, user=user, rights=rights))
    return Done()


def _maker(exchange: Exchange) -> Maker:
    """Say who is asking.

    Raises:
        FtpdError: nobody who has logged in, or somebody who was let in by a share.
    """
    login = exchange.login
    if exchange.door.methods and (login is None or exchange.principal is NOBODY):
        raise FtpdError(ErrorCode.UNAUTHORIZED, "log in before you share")
    if login is None:
        return Maker("")
    token = exchange.door.users.tokens.get(login.token or "")
    if token is not None and token.share:
        raise FtpdError(ErrorCode.FORBIDDEN, "what was shared can not be shared again; ask whoever shared it")
    return Maker(login.user, login.token or "")


def _end(token: Token) -> int:
    return int(token.expires.timestamp()) if token.expires else 0
