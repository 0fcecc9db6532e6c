"""`check`: what would speak against uploads, before a byte of any of them is sent."""

import msgspec

from ftpd.commands.exchange import Exchange
from ftpd.store.values import Growth, UploadPlan
from ftpd.wire.errors import FtpdError
from ftpd.wire.limits import KIB, MAX_HEADER
from ftpd.wire.paths import RemotePath
from ftpd.wire.replies import Checked, Refused
from ftpd.wire.requests import Check

_ROOM = MAX_HEADER - 4 * KIB
"""For refusals in one reply: each of them may say a name as long as a name can be."""


async def check(request: Check, exchange: Exchange) -> Checked:
    """Look at each name as `put` and `begin` would, add up, and tell how much room there is."""
    plans: dict[int, UploadPlan] = {}
    refusals: dict[int, FtpdError] = {}
    grown: list[Growth] = []
    for index, (name, size) in enumerate(request.files):
        try:
            plans[index] = UploadPlan(RemotePath.parse(name), size, request.if_exists)
        except FtpdError as exc:
            refusals[index] = exc
    for index, found in zip(plans, await exchange.store.check([*plans.values()]), strict=True):
        if isinstance(found, FtpdError):
            refusals[index] = found
        else:
            grown.append(found)
    space = await exchange.store.space()
    refused = _fitting([Refused(index=index, code=exc.code, message=exc.message) for index, exc in refusals.items()])
    return Checked(
        size=sum(growth.size for growth in grown),
        replaced=sum(growth.replaced for growth in grown),
        new_files=sum(growth.files for growth in grown),
        free=space.free,
        used=space.used,
        quota=space.quota,
        files=space.files,
        quota_files=space.quota_files,
        refused=refused,
        more=len(refusals) - len(refused),
    )


def _fitting(refused: list[Refused]) -> list[Refused]:
    """Give the first ones, as many as a header has room for."""
    refused.sort(key=lambda one: one.index)
    room = _ROOM
    for count, one in enumerate(refused):
        room -= len(msgspec.json.encode(one)) + 1
        if room < 0:
            return refused[:count]
    return refused
