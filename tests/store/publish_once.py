"""A small server's work without the server: publishes one file, or makes one folder, and says so.

Run under strace by the tests. Arguments: the root, the durability, the name, what to do if it exists; or `mkdir`; the
size of the file.
"""

import asyncio
import os
import sys

from ftpd.payload.workers import Workers
from ftpd.store.base import Store
from ftpd.store.local import LocalStore
from ftpd.store.values import UploadPlan
from ftpd.wire.digests import TreeHasher, chunk_size_for
from ftpd.wire.paths import RemotePath
from ftpd.wire.terms import Durability, IfExists

SIZE = 9000


def content(size: int) -> bytes:
    """Give what the file holds."""
    return (b"published" * (size // 9 + 1))[:size]


async def main(root: str, durability: str, name: str, what: str, size: str) -> None:
    """Do it, and say so as the reply of a server would."""
    workers = Workers()
    store = LocalStore(root, workers, durability=Durability(durability))
    if what == "mkdir":
        await store.make_folder(RemotePath.parse(name))
    else:
        await publish(store, RemotePath.parse(name), IfExists(what), content(int(size)))
    os.write(1, b"published")
    await store.close()
    workers.close()


async def publish(store: Store, path: RemotePath, if_exists: IfExists, data: bytes) -> None:
    """Publish a file."""
    upload = await store.begin(UploadPlan(path, len(data), if_exists))
    assert upload is not None
    hasher = TreeHasher(chunk_size_for(len(data)))
    await upload.write(0, data, hasher)
    await upload.publish(hasher.finish())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
