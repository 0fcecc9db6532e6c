"""A process that swaps a folder for a symbolic link, over and over, gets nothing in or out of the root."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ftpd.store.local import LocalStore
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.terms import Algorithm, IfExists
from tests.store.helpers import PATIENCE_S, get, names, open_descriptors, path_of, put, snapshot
from tests.store.test_local_digests import md5_of

INSIDE, OUTSIDE = b"inside", b"something else outside"

REFUSALS = (ErrorCode.SYMLINK, ErrorCode.NOT_DIRECTORY)

Attempt = Callable[[LocalStore, int], Awaitable[None]]


@pytest.fixture
def flipping(root: Path) -> Iterator[Path]:
    """Have `root/d` be a folder and a link to a folder outside in turn; give the folder outside."""
    outside = root.parent / "outside"
    for folder, data in ((root / "d" / "deep", INSIDE), (outside / "deep", OUTSIDE)):
        folder.mkdir(parents=True)
        (folder.parent / "f").write_bytes(data)
        (folder / "f").write_bytes(data)
    (outside / "secret").write_bytes(OUTSIDE)
    (root / "evil").symlink_to(outside)
    command = [sys.executable, str(Path(__file__).with_name("flipper.py")), str(root), "d", "evil"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as flipper:
        try:
            assert flipper.stdout is not None
            if (line := flipper.stdout.readline()) != b"swapping\n":
                pytest.skip(f"names can not be swapped here: {line.decode()}")
            yield outside
        finally:
            flipper.terminate()


async def opens(store: LocalStore, number: int) -> None:
    """Read a file."""
    assert INSIDE == await get(store, "d/f" if number % 2 else "d/deep/f")


async def stats(store: LocalStore, number: int) -> None:
    """Look at a file."""
    details, _ = await store.stat(path_of("d/f" if number % 2 else "d/deep/f"))
    assert len(INSIDE) == details.size


async def hashes(store: LocalStore, number: int) -> None:
    """Take a digest."""
    assert md5_of(INSIDE) == await store.checksum(path_of("d/f" if number % 2 else "d/deep/f"), Algorithm.MD5)


async def lists(store: LocalStore, number: int) -> None:
    """List a folder."""
    assert "secret" not in await names(store, "d")


async def puts(store: LocalStore, number: int) -> None:
    """Put a file: over another, as a new one, into new folders."""
    name = ("d/f", "d/new", "d/deep/f", f"d/{number % 50}/new")[number % 4]
    await put(store, name, INSIDE, list(IfExists)[number // 4 % 4])


async def makes(store: LocalStore, number: int) -> None:
    """Make a folder, or two."""
    await store.make_folder(path_of(f"d/made/{number % 50}" if number % 2 else f"d/deep/made{number % 50}"))


ATTEMPTS: list[Attempt] = [opens, stats, hashes, lists, puts, makes]


async def attack(store: LocalStore, outside: Path, rounds: int) -> Counter[str]:
    """Try everything again and again, and count what came of it. An escape fails the attempt's own assertion."""
    before, descriptors = snapshot(outside), open_descriptors()
    outcomes: Counter[str] = Counter()

    async def try_once(attempt: Attempt, number: int) -> None:
        try:
            await attempt(store, number)
        except FtpdError as exc:
            outcomes[exc.code] += 1
        else:
            outcomes["done"] += 1

    for number in range(rounds):
        await asyncio.gather(*(try_once(attempt, number) for attempt in ATTEMPTS))
    assert before == snapshot(outside)
    assert descriptors == open_descriptors()
    return outcomes


@pytest.mark.parametrize("rounds", [400, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
@pytest.mark.parametrize("way", ["openat2", "walk"])
async def test_a_swapped_folder_lets_nothing_out_or_in(
    local: LocalStore, flipping: Path, way: str, rounds: int
) -> None:
    """Of thousands of opens, looks, digests, listings, uploads and new folders none reaches what the link leads to."""
    if way == "walk":
        local._root._openat2 = None
    elif local._root._openat2 is None:
        pytest.skip("this kernel has no openat2")
    outcomes = await attack(local, flipping, rounds)
    assert rounds * len(ATTEMPTS) == outcomes.total()
    # `changed`: the upload beside it has replaced a file while its digest was computed.
    assert outcomes.keys() <= {"done", *REFUSALS, ErrorCode.EXISTS, ErrorCode.CHANGED}
    # Both states must have been met, or nothing was proved.
    assert outcomes["done"] > 0 < sum(outcomes[code] for code in REFUSALS)


def test_the_race_would_be_lost_by_a_check_before_the_open(root: Path, flipping: Path) -> None:
    """The swapping is fast enough to fool the check that most servers make: resolve, compare, open."""

    def checked() -> bytes:
        path = root / "d" / "f"
        try:
            return path.read_bytes() if path.resolve().is_relative_to(root.resolve()) else b""
        except OSError:  # swapped in the middle of either
            return b""

    deadline = time.monotonic() + PATIENCE_S
    while checked() != OUTSIDE:
        assert time.monotonic() < deadline, "the swapping is too slow to prove anything"
