"""A store through somebody's eyes: nothing is reached that was not granted, and nothing is learnt of it."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftpd.access.rights import NOBODY, Grant, Principal, Right, Rights
from ftpd.access.view import View
from ftpd.store.base import Store
from ftpd.store.chunks import OpenChunk
from ftpd.store.memory import MemoryStore
from ftpd.store.values import Likeness, SmallFile, Twin, UploadPlan
from ftpd.wire.digests import hash_leaf, tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.paths import RemotePath
from ftpd.wire.terms import Algorithm, EntryType, IfExists

HOME = "homes/jo-home"
OLD, NEW = b"what was there", b"what is new"
L, R, W, O = Right.LIST, Right.READ, Right.WRITE, Right.OVERWRITE  # noqa: E741 (rows of a table)
CHUNK = 1024 * 1024
LONG = "n" * 249 + ".txt"
"""A name to which nothing can be added."""
HELD = [frozenset(some) for count in range(5) for some in itertools.combinations((L, R, W, O), count)]


def at(text: str) -> RemotePath:
    """Parse a path, where "" is the root."""
    return RemotePath.parse_folder(text)


def somebody(grants: dict[str, Rights], home: str = HOME) -> Principal:
    """Make a user."""
    return Principal("jo", tuple(Grant(at(path), rights) for path, rights in grants.items()), at(home))


async def stored(names: list[str], home: str = HOME) -> MemoryStore:
    """Make a store with files in a home, and one beside it."""
    store = MemoryStore()
    for name in ["beside", *(f"{home}/{name}".lstrip("/") for name in names)]:
        await put(store, name, OLD)
    return store


async def put(store: Store, name: str, data: bytes, if_exists: IfExists = IfExists.OVERWRITE) -> str | None:
    """Upload a file; give its name."""
    upload = await store.begin(UploadPlan(at(name), len(data), if_exists))
    if upload is None:
        return None
    await upload.write(0, data, Nothing())
    path = await upload.publish(tree_of(data))
    return None if path is None else str(path)


class Nothing:
    """A digest for tests that need none."""

    def update(self, data: object, /) -> None:
        """Forget the bytes."""


class Asked(NamedTuple):
    """What came of a question."""

    value: object = None
    code: ErrorCode | None = None
    message: str = ""


async def asked(question: Awaitable[object]) -> Asked:
    """Wait for the answer or the refusal."""
    try:
        return Asked(await question)
    except FtpdError as exc:
        return Asked(None, exc.code, exc.message)


async def read(store: Store, name: str) -> bytes:
    """Fetch a file."""
    file = await store.open(at(name))
    try:
        assert file.content is not None
        return bytes(file.content)
    finally:
        await file.close()


async def listed(store: Store, name: str) -> list[str]:
    """List a folder to its end."""
    listing = await store.list(at(name), long=True)
    names: list[str] = []
    while page := await listing.next(2):
        names += [entry.name for entry in page]
    await listing.close()
    return sorted(names)


async def begin_only(store: Store, name: str) -> object:
    """Begin a resumable upload; tell whether it was let in."""
    upload = await store.begin(UploadPlan(at(name), 2 * CHUNK, IfExists.RENAME, chunk_size=CHUNK))
    assert upload is not None
    await upload.discard()
    return True


async def read_small(store: Store, name: str) -> object:
    """Fetch a small file together with others."""
    [found] = await store.read_small([at(name)], 1)
    if isinstance(found, FtpdError):
        raise found
    assert found is not None
    return bytes(found.data)


async def put_all(store: Store, name: str) -> object:
    """Store a small file together with others."""
    [found] = await store.put_all([SmallFile(UploadPlan(at(name), len(NEW), IfExists.RENAME), NEW, tree_of(NEW))])
    if isinstance(found, FtpdError):
        raise found
    return found is not None


async def check(store: Store, name: str) -> object:
    """Ask what speaks against a file."""
    [found] = await store.check([UploadPlan(at(name), len(NEW), IfExists.RENAME)])
    if isinstance(found, FtpdError):
        raise found
    return found


Question = Callable[[Store, str], Awaitable[object]]
QUESTIONS: dict[str, tuple[Question, Rights]] = {
    "stat": (lambda store, name: store.stat(at(name)), frozenset({L, R})),
    "list": (lambda store, name: store.list(at(name), long=True), frozenset({L})),
    "open": (read, frozenset({R})),
    "read_small": (read_small, frozenset({R})),
    "checksum": (lambda store, name: store.checksum(at(name), Algorithm.MD5), frozenset({R})),
    "begin": (begin_only, frozenset({W})),
    "check": (check, frozenset({W})),
    "put": (lambda store, name: put(store, name, NEW, IfExists.RENAME), frozenset({W})),
    "put_all": (put_all, frozenset({W})),
    "make_folder": (lambda store, name: store.make_folder(at(name)), frozenset({W})),
}
"""What can be asked of a name, and the rights of which one is needed."""


UNASKED = {"resume", "close", "sweep", "space", "usage"}
"""Verbs of a store that are for no path, or go on with what was let in, which is tried elsewhere."""


def test_every_question_is_asked() -> None:
    """A verb that a store gets is either in the table, or said to need no right."""
    verbs = {name for name in Store.__abstractmethods__ if callable(getattr(Store, name))}
    assert UNASKED == verbs - set(QUESTIONS)


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("verb", QUESTIONS)
async def test_every_question_needs_its_right(verb: str, held: Rights) -> None:
    """With the right each question is answered, without it none is, and nothing changes."""
    ask, needed = QUESTIONS[verb]
    store = await stored(["sub/file"])
    before = dict(store.files)
    view = View(store, somebody({"sub": held}))
    found = await asked(ask(view, {"list": "sub", "make_folder": "sub/folder"}.get(verb, "sub/file")))
    if verb == "list" and held:  # the way to what is granted can be seen, not what is in it
        assert L in held or [] == await listed(view, "sub")
        return
    assert bool(needed & held) == (found.code is None), found
    if found.code is not None:
        assert before == store.files
        assert (ErrorCode.FORBIDDEN if held & {L, R} or needed == {W} else ErrorCode.NOT_FOUND) == found.code
        assert found.message.startswith("sub")
    assert HOME not in found.message


@pytest.mark.parametrize("held", [held for held in HELD if held])
async def test_home_that_is_not_there_yet(held: Rights) -> None:
    """A home that nobody has made is an empty folder to its user, and looking at it does not make it."""
    store = await stored([])
    view = View(store, somebody({"": held}))
    assert EntryType.DIRECTORY is (await view.stat(at("")))[0].type
    assert [] == await listed(view, "")
    assert not await view.make_folder(at(""))
    assert ErrorCode.NOT_FOUND is (await asked(store.list(at(HOME), long=True))).code


async def test_digests_are_content() -> None:
    """Who may see a name and not read it gets no digest of what is in it."""
    store = await stored(["file"])
    _, tree = await View(store, somebody({"": frozenset({L})})).stat(at("file"))
    assert tree is None
    _, tree = await View(store, somebody({"": frozenset({R})})).stat(at("file"))
    assert tree is not None


@pytest.mark.parametrize("held", HELD)
async def test_what_is_the_same_is_content(held: Rights) -> None:
    """Who may not read a file is not told that it is the one he has, nor whether there is one, or a folder."""
    store = await stored(["sub/file", "pub/file"])
    view = View(store, somebody({"sub": held, "pub": frozenset({R})}))
    names = ("sub/file", "pub/file", "sub/none", "sub/none/file", "pub/none", "pub/none/file")
    found = await view.same([Twin(at(name), len(OLD), tree_of(OLD).root) for name in names])
    known = [Likeness.SAME, Likeness.SAME, Likeness.OTHER, Likeness.NO_FOLDER, Likeness.OTHER, Likeness.NO_FOLDER]
    hidden = [Likeness.NO_FOLDER if name.startswith("sub") and R not in held else None for name in names]
    assert [hide or likeness for hide, likeness in zip(hidden, known, strict=True)] == found


async def test_no_list_no_names() -> None:
    """Who may read but not list can not list, also where he sees the way to something else."""
    store = await stored(["secret", "pub/a", "pub/b"])
    view = View(store, somebody({"": frozenset({R}), "pub": frozenset({L, R})}))
    assert ["pub"] == await listed(view, "")
    assert ["a", "b"] == await listed(view, "pub")
    assert OLD == await read(view, "secret")


@pytest.mark.parametrize("name", ["file", "sub/file"])
async def test_names_are_those_of_the_home(name: str) -> None:
    """What was stored is told under the name its sender knows, and lies in his home."""
    store = await stored([])
    view = View(store, somebody({"": frozenset(Right)}))
    assert name == await put(view, name, NEW)
    [again] = await view.put_all([SmallFile(UploadPlan(at(name), 3, IfExists.RENAME), b"abc", tree_of(b"abc"))])
    assert f"{name} (1)" == str(again)
    assert {"beside", f"{HOME}/{name}", f"{HOME}/{name} (1)"} == {str(path) for path in store.files}


async def test_a_resumable_upload() -> None:
    """An upload in chunks is begun, filled, suspended, gone on with and published through a view."""
    store = await stored([])
    view = View(store, somebody({"": frozenset({W})}))
    plan = UploadPlan(at("file"), CHUNK, IfExists.FAIL, chunk_size=CHUNK)
    upload = await view.begin(plan)
    assert upload is not None
    data = bytes(CHUNK)
    await upload.fill(OpenChunk(0, 0, CHUNK, hash_leaf(data)), data)
    await upload.suspend()
    other = View(store, somebody({"": frozenset({W})}, "homes/other"))
    with pytest.raises(FtpdError) as refused:  # the same name in another home is another file
        await other.resume(upload.name, plan)
    assert ErrorCode.UNKNOWN_UPLOAD is refused.value.code
    again = await view.resume(upload.name, plan)
    assert again is not None
    assert {0: hash_leaf(data)} == again.leaves
    assert at("file") == await again.publish(tree_of(data))
    assert data == store.files[at(f"{HOME}/file")].data


@pytest.mark.parametrize(
    ("left", "home", "code"),
    [
        (frozenset({W, O}), HOME, None),
        (frozenset({W}), HOME, ErrorCode.FORBIDDEN),  # which was to replace a file
        (frozenset({L, R, O}), HOME, ErrorCode.FORBIDDEN),
        (frozenset({W, O}), "homes/other", ErrorCode.FORBIDDEN),
        (None, HOME, ErrorCode.UNAUTHORIZED),
    ],
)
async def test_rights_that_are_gone_at_the_end(left: Rights | None, home: str, code: ErrorCode | None) -> None:
    """An upload gets its name only if its sender may still have it when it is complete."""
    store = await stored(["file"])
    now = [somebody({"": frozenset({W, O})})]
    upload = await View(store, now[0], lambda: now[0]).begin(UploadPlan(at("file"), len(NEW)))
    assert upload is not None
    await upload.write(0, NEW, Nothing())
    now[0] = NOBODY if left is None else somebody({"": left}, home)
    assert code is (await asked(upload.publish(tree_of(NEW)))).code
    await upload.discard()
    assert (OLD if code else NEW) == store.files[at(f"{HOME}/file")].data


async def test_overwriting_is_a_right_of_its_own() -> None:
    """Who may write and not replace never does, by whatever way; `skip` and `rename` stay what they are."""
    store = await stored(["file"])
    view = View(store, somebody({"": frozenset({W})}))
    for policy in (IfExists.OVERWRITE, IfExists.FAIL):
        assert ErrorCode.EXISTS is (await asked(put(view, "file", NEW, policy))).code
        [found] = await view.put_all([SmallFile(UploadPlan(at("file"), len(NEW), policy), NEW, tree_of(NEW))])
        assert isinstance(found, FtpdError)
        assert ErrorCode.EXISTS is found.code
    assert None is await put(view, "file", NEW, IfExists.SKIP)
    assert OLD == store.files[at(f"{HOME}/file")].data


async def test_several_at_once() -> None:
    """Of many small files in one go each is decided by itself, in its place."""
    store = await stored(["in/taken", "out/file"])
    view = View(store, somebody({"in": frozenset({W, R}), "out": frozenset()}))
    names = ["in/a", "out/b", "in/taken", "in/c"]
    found = await view.put_all([SmallFile(UploadPlan(at(name), len(NEW)), NEW, tree_of(NEW)) for name in names])
    shown = [answer.code.value if isinstance(answer, FtpdError) else str(answer) for answer in found]
    assert ["in/a", "forbidden", "exists", "in/c"] == shown
    small = await view.read_small([at("in/a"), at("out/file"), at("in/c")], CHUNK)
    assert [True] == [not isinstance(answer, FtpdError) for answer in small]


@pytest.mark.parametrize("name", ["", "gone", "file/below", LONG])
@pytest.mark.parametrize("verb", QUESTIONS)
async def test_no_message_names_the_home(verb: str, name: str) -> None:
    """Whatever goes wrong, the home is never named, also if it is not there itself."""
    long_names = ["file", LONG]
    for names in ([], long_names):
        view = View(await stored(names), somebody({"": frozenset(Right)}))
        found = await asked(QUESTIONS[verb][0](view, name))
        assert "jo-home" not in found.message


PARTS = st.sampled_from("abc")
PATHS = st.lists(PARTS, max_size=3).map("/".join)
RIGHTS = st.frozensets(st.sampled_from((L, R, W, O)))
USERS = st.builds(somebody, st.dictionaries(PATHS, RIGHTS, max_size=5), st.sampled_from(["", HOME, "a"]))
FILES = ["a/a/a", "a/b", "b/a/c", "b/b/b", "c"]


def rights_of(user: Principal, path: str) -> Rights:
    """Say again what the nearest grant says, in another way: from the path upward."""
    grants = {str(grant.path): grant.rights for grant in user.grants}
    while path not in grants and path:
        path = path.rpartition("/")[0]
    return grants.get(path, frozenset())


def leads_on(user: Principal, path: str) -> bool:
    """Tell whether something is granted at or below a path."""
    return any(grant.rights and (not path or f"{grant.path}/".startswith(f"{path}/")) for grant in user.grants)


def run(work: Coroutine[object, object, None]) -> None:
    """Run to the end."""
    asyncio.run(work)


@settings(max_examples=150, deadline=None)
@given(USERS, PATHS.filter(bool))
def test_what_is_reached_was_granted(user: Principal, path: str) -> None:
    """Whoever reads has `read`, whoever changes something has `write`, there; and outside of his home nobody has."""

    async def check() -> None:
        home = str(user.home)
        rights = rights_of(user, path)
        for verb, (ask, needed) in QUESTIONS.items():
            store = await stored(FILES, home)
            before = {str(name): content.data for name, content in store.files.items()}
            folders = set(store.folders)
            found = await asked(ask(View(store, user), path))
            if needed <= {R, W} and not needed & rights:
                assert found.code is not None, (verb, found)
            after = {str(name): content.data for name, content in store.files.items()}
            assert before == {name: after[name] for name in before}, "nothing is replaced that was not to be"
            new = {*(after.keys() - before.keys()), *map(str, store.folders - folders)}
            assert not new or W in rights
            assert all(f"{name}/".startswith(f"{home}/" if home else "") for name in new)

    run(check())


@settings(max_examples=150, deadline=None)
@given(USERS, PATHS.filter(bool))
def test_what_is_hidden_looks_absent(user: Principal, path: str) -> None:
    """Where somebody may neither list nor read he hears the same whether there is something or not."""
    if rights_of(user, path) & {L, R} or leads_on(user, path):
        return

    async def check() -> None:
        for verb in ("stat", "list", "open", "read_small", "checksum"):
            full, empty = await stored(FILES, str(user.home)), await stored([], str(user.home))
            ask = QUESTIONS[verb][0]
            there, absent = await asked(ask(View(full, user), path)), await asked(ask(View(empty, user), path))
            assert there == absent
            assert ErrorCode.NOT_FOUND is there.code

    run(check())


@settings(max_examples=150, deadline=None)
@given(USERS, PATHS)
def test_listings_have_what_may_be_listed(user: Principal, path: str) -> None:
    """A listing has the names somebody may list, those on the way to what is granted, and no others."""

    async def check() -> None:
        store = await stored(FILES, str(user.home))
        try:
            names = await listed(View(store, user), path)
        except FtpdError:
            return
        every = await listed(store, "/".join(filter(None, (str(user.home), path))))
        below = {name: f"{path}/{name}".lstrip("/") for name in every}
        seen = [name for name, full in below.items() if L in rights_of(user, full) or leads_on(user, full)]
        assert sorted(seen) == names

    run(check())
