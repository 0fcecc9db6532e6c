"""`Beneath`: both ways to open a name, `openat2` and the walk, say the same of everything."""

import errno
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ftpd.store.local.beneath import Beneath
from ftpd.wire.paths import RemotePath
from tests.store.helpers import open_descriptors, path_of

CASES = {
    "file": 0,
    "folder": 0,
    "folder/file": 0,
    "folder/inner/file": 0,
    "fifo": 0,
    "nothing": errno.ENOENT,
    "nothing/file": errno.ENOENT,
    "folder/nothing": errno.ENOENT,
    "folder/nothing/file": errno.ENOENT,
    "file/file": errno.ENOTDIR,
    "file/file/file": errno.ENOTDIR,
    "fifo/file": errno.ENOTDIR,
    "link": errno.ELOOP,
    "link/file": errno.ELOOP,
    "link/inner/file": errno.ELOOP,
    "folder/up": errno.ELOOP,
    "folder/up/file": errno.ELOOP,
    "dangling": errno.ELOOP,
    "dangling/file": errno.ELOOP,
    "file-link": errno.ELOOP,
    "file-link/file": errno.ELOOP,
    "absolute": errno.ELOOP,
    "absolute/etc": errno.ELOOP,
    "n" * 255: errno.ENOENT,
}

FOLDER_CASES = CASES | {"file": errno.ENOTDIR, "folder/file": errno.ENOTDIR, "folder/inner/file": errno.ENOTDIR}
FOLDER_CASES |= {"fifo": errno.ENOTDIR}


@pytest.fixture(params=["openat2", "walk"])
def beneath(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Beneath]:
    """A folder with one of everything, opened each way."""
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    for name in ("file", "folder/file", "folder/inner/file"):
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    for name, target in {
        "link": "folder",
        "file-link": "file",
        "folder/up": "..",
        "dangling": "nothing",
        "absolute": "/",
    }.items():
        (tmp_path / name).symlink_to(target)
    opened = Beneath(tmp_path)
    if request.param == "walk":
        opened._openat2 = None
    elif opened._openat2 is None:
        opened.close()
        pytest.skip("this kernel has no openat2")
    yield opened
    opened.close()


def outcome_of(attempt: Callable[[], int]) -> int:
    """Open a name, and give the error number, or 0."""
    try:
        fd = attempt()
    except OSError as exc:
        return exc.errno or -1
    os.close(fd)
    return 0


def named(outcomes: dict[str, int]) -> dict[str, str]:
    """Make a table readable."""
    return {name[:40]: errno.errorcode.get(number, str(number)) for name, number in outcomes.items()}


def test_opening_gives_the_same_answer_both_ways(beneath: Beneath) -> None:
    """Each name opens, or fails with the error number of the table, and no descriptor is left."""
    before = open_descriptors()
    found = {name: outcome_of(partial(beneath.open, path_of(name), os.O_RDONLY)) for name in CASES}
    assert named(CASES) == named(found)
    assert before == open_descriptors()


def test_opening_a_folder_gives_the_same_answer_both_ways(beneath: Beneath) -> None:
    """Each folder opens; what is none fails with ENOTDIR, and a link with ELOOP as `Beneath` promises."""
    before = open_descriptors()
    found = {name: outcome_of(partial(beneath.open_folder, path_of(name))) for name in FOLDER_CASES}
    assert named(FOLDER_CASES) == named(found)
    assert before == open_descriptors()


def test_making_a_folder_gives_the_same_answer_both_ways(beneath: Beneath, tmp_path: Path) -> None:
    """Missing folders are made; what is in the way is answered as when opening, and no name behind a link is made."""
    before = open_descriptors()
    expected = {name: 0 if number == errno.ENOENT else number for name, number in FOLDER_CASES.items()}
    # What is in the way goes first: a folder that is made for one case must not be in the way of another.
    order = sorted(expected, key=lambda name: -expected[name])
    found = {name: outcome_of(partial(beneath.make_folder, path_of(name), sync=False)) for name in order}
    assert named(expected) == named(found)
    assert [] == [name for name in order if not expected[name] and not (tmp_path / name).is_dir()]
    assert before == open_descriptors()


def test_the_root_opens(beneath: Beneath, tmp_path: Path) -> None:
    """The empty path is the folder itself."""
    fd = beneath.open_folder(RemotePath(()))
    assert os.path.samestat(os.fstat(fd), tmp_path.stat())
    os.close(fd)


def test_nothing_is_opened_for_a_child_or_waits(beneath: Beneath) -> None:
    """Descriptors are close-on-exec, and a FIFO is opened without waiting for its other end."""
    fd = beneath.open(path_of("fifo"), os.O_RDONLY)
    assert (False, False) == (os.get_inheritable(fd), os.get_blocking(fd))
    os.close(fd)


def test_a_path_that_no_parser_lets_through_stays_beneath(beneath: Beneath) -> None:
    """Even `..`, which no request can hold, does not lead out with openat2 (the walk relies on the parser)."""
    if beneath._openat2 is None:
        pytest.skip("the walk takes parts from the parser, which has no `..`")
    assert errno.EXDEV == outcome_of(partial(beneath.open, RemotePath(("..", "anything")), os.O_RDONLY))
