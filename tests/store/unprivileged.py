"""Uses a store as somebody who is not root, and prints what came of it as JSON. Run by the tests, as root.

Argument: the user id to become. The current folder is the root to serve.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable
from pathlib import Path

from ftpd.payload.workers import Workers
from ftpd.store.local import LocalStore
from ftpd.wire.errors import FtpdError
from ftpd.wire.paths import RemotePath
from ftpd.wire.terms import Algorithm, Durability
from tests.store.helpers import get, names, put, temporaries


async def outcome_of(attempt: Awaitable[object]) -> str:
    """Give the code of a refusal, or "done"."""
    try:
        await attempt
    except FtpdError as exc:
        return exc.code.value
    return "done"


async def main() -> dict[str, str]:
    """Try what is allowed and what is not."""
    workers = Workers()
    try:
        store = LocalStore(".", workers, durability=Durability.FULL)
    except FtpdError as exc:
        return {"start": exc.code.value}
    outcomes = {
        "get secret": await outcome_of(get(store, "secret")),
        "md5 secret": await outcome_of(store.checksum(RemotePath.parse("secret"), Algorithm.MD5)),
        "stat secret": await outcome_of(store.stat(RemotePath.parse("secret"))),
        "list closed": await outcome_of(names(store, "closed")),
        "get closed/file": await outcome_of(get(store, "closed/file")),
        "put closed/file": await outcome_of(put(store, "closed/file", b"new")),
        "put locked/file": await outcome_of(put(store, "locked/file", b"new")),
        "put locked/new/file": await outcome_of(put(store, "locked/new/file", b"new")),
        "make locked/new": await outcome_of(store.make_folder(RemotePath.parse("locked/new"))),
        "make locked": await outcome_of(store.make_folder(RemotePath.parse("locked"))),
        "get locked/file": await outcome_of(get(store, "locked/file")),
        "put fine": await outcome_of(put(store, "fine", b"new")),
        "temporaries": " ".join(temporaries(Path())) or "none",
    }
    await store.close()
    workers.close()
    return outcomes


if __name__ == "__main__":
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
    sys.stdout.write(json.dumps(asyncio.run(main())))
