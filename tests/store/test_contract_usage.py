"""The contract of a store (`ftpd/store/base.py`), what it takes up: every implementation passes."""

from ftpd.store.base import Store
from ftpd.wire.terms import IfExists
from tests.store.helpers import ROOT, path_of, put


async def test_usage(store: Store) -> None:
    """What lies beneath a folder is counted at any depth, and nothing beside it; a folder that is missing is empty."""
    await put(store, "a/b/c", bytes(1000))
    await put(store, "a/d", bytes(20))
    await put(store, "ab", bytes(3))
    await put(store, "a/d", bytes(30), IfExists.OVERWRITE)
    for folder, expected in ((ROOT, (1033, 3)), (path_of("a"), (1030, 2)), (path_of("no"), (0, 0))):
        usage = await store.usage(folder)
        assert (*expected, {}) == (usage.size, usage.files, usage.unfinished)


async def test_space(store: Store) -> None:
    """There is no more room than there is at all."""
    await put(store, "a", bytes(10))
    space = await store.space()
    assert 0 <= space.free < space.total
