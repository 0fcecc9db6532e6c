"""`same`: which files need not be sent, because they are there already."""

from ftpd.commands.exchange import Exchange
from ftpd.commands.ranges import ranges_of
from ftpd.store.values import Likeness, Twin
from ftpd.wire.digests import digest_of_twins, parse_digest
from ftpd.wire.errors import BadRequestError
from ftpd.wire.paths import BadPathError, RemotePath
from ftpd.wire.replies import Twins
from ftpd.wire.requests import Same


async def same(request: Same, exchange: Exchange) -> Twins:
    """Compare what the client has with what is known of the files of these names. None is read for that."""
    if request.details is not None and len(request.details) != len(request.files):
        raise BadRequestError("same: `details` must be as many as `files`")
    files: dict[int, Twin] = {}
    for index, (name, size, root) in enumerate(request.files):
        try:
            path = RemotePath.parse(name)
        except BadPathError:
            continue  # whatever is wrong with it, the upload will hear of it
        details = request.details[index] if request.details else None
        files[index] = Twin(path, size, parse_digest(root).hex(), details)
    found = dict(zip(files, await exchange.store.same([*files.values()]), strict=True))
    twins = [index for index, likeness in found.items() if likeness is Likeness.SAME]
    return Twins(
        same=ranges_of(twins),
        digest=digest_of_twins((str(files[index].path), files[index].root) for index in twins) if twins else None,
        no_folder=all(likeness is Likeness.NO_FOLDER for likeness in found.values()),
    )
