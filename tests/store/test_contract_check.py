"""What a store says of uploads beforehand: what `begin` would say, for every implementation."""

import pytest

from ftpd.store.base import Store
from ftpd.store.local import LocalStore
from ftpd.store.values import Growth, UploadPlan
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import MAX_INTEGER
from ftpd.wire.terms import IfExists
from tests.store.conftest import Reopen
from tests.store.helpers import names, plan_for, put, refused

NAMES = ("free", "new/free", "taken", "folder", "taken/below", "folder/inner", "folder/free")


async def code_of_begin(store: Store, plan: UploadPlan) -> ErrorCode | None:
    """Begin an upload and drop it; give what was wrong."""
    try:
        upload = await store.begin(plan)
    except FtpdError as exc:
        return exc.code
    if upload is not None:
        await upload.discard()
    return None


@pytest.mark.parametrize("if_exists", list(IfExists))
async def test_it_says_what_begin_says(store: Store, if_exists: IfExists) -> None:
    """For every kind of name and every `if_exists` the refusals are those of `begin`, and nothing is changed."""
    await put(store, "taken", b"abc")
    await put(store, "folder/inner", b"abcd")
    plans = [plan_for(name, 10, if_exists) for name in NAMES]
    found = await store.check(plans)
    assert [one.code if isinstance(one, FtpdError) else None for one in found] == [
        await code_of_begin(store, plan) for plan in plans
    ]
    assert (["folder", "taken"], ["inner"]) == (await names(store), await names(store, "folder"))


@pytest.mark.parametrize(
    ("if_exists", "taken"),
    [
        (IfExists.OVERWRITE, Growth(10, 3, 0)),
        (IfExists.RENAME, Growth(10, 0, 1)),
        (IfExists.SKIP, Growth(0, 0, 0)),
    ],
)
async def test_what_it_adds(store: Store, if_exists: IfExists, taken: Growth) -> None:
    """A new name adds the file, a taken one what is replaced less; a file that is skipped adds nothing."""
    await put(store, "taken", b"abc")
    plans = [plan_for(name, 10, if_exists) for name in ("free", "taken")]
    assert [Growth(10, 0, 1), taken] == await store.check(plans)


async def test_an_unknown_size_counts_as_nothing(store: Store) -> None:
    """Of a file whose size nobody knows the name is counted, if it is new."""
    await put(store, "taken", b"abc")
    assert [Growth(0, 0, 1), Growth(0, 0, 0)] == await store.check([plan_for("free"), plan_for("taken")])


async def test_a_store_that_only_reads(store: Store, read_only: Reopen) -> None:
    """It refuses all at once."""
    store = await read_only(store)
    with refused(ErrorCode.READ_ONLY):
        await store.check([plan_for("free", 1)])


async def test_a_file_larger_than_the_disk(local: LocalStore) -> None:
    """What does not fit by itself is refused by itself, as by `begin`."""
    plans = [plan_for("large", MAX_INTEGER), plan_for("small", 1)]
    large, small = await local.check(plans)
    assert isinstance(large, FtpdError)
    assert (ErrorCode.NO_SPACE, Growth(1, 0, 1)) == (large.code, small)
