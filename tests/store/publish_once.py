"""A small server's work without the server: publishes one file, and says so. Run under strace by the tests.

Arguments: the root, the durability, the name, what to do if it exists.
"""

import asyncio
import os
import sys

from ftpd.payload.workers import Workers
from ftpd.store.base import UploadPlan
from ftpd.store.local import LocalStore
from ftpd.wire.digests import TreeHasher, chunk_size_for
from ftpd.wire.messages import Durability, IfExists
from ftpd.wire.paths import RemotePath

DATA = b"published" * 1000


async def main(root: str, durability: str, name: str, if_exists: str) -> None:
    """Publish, and say so as the reply of a server would."""
    workers = Workers()
    store = LocalStore(root, workers, durability=Durability(durability))
    upload = await store.begin(UploadPlan(RemotePath.parse(name), len(DATA), IfExists(if_exists)))
    assert upload is not None
    hasher = TreeHasher(chunk_size_for(len(DATA)))
    await upload.write(0, DATA, hasher)
    await upload.publish(hasher.finish())
    os.write(1, b"published")
    await store.close()
    workers.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
