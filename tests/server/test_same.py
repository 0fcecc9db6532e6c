"""`same`: what need not be sent, as it goes over the wire."""

import pytest
from blake3 import blake3

from tests.peer import Peer
from tests.server.tree import tree_of

DATA = b"the same"
ROOT = tree_of(DATA).root


def store(peer: Peer, *names: str) -> None:
    """Put files of the same content."""
    for name in names:
        assert peer.ask({"cmd": "put", "id": 1, "filename": name, "filesize": len(DATA)}, DATA)["ok"]


def test_ranges(peer: Peer) -> None:
    """Those that are there come as ranges, with the digest of the lines that a checksum program would print."""
    store(peer, *(f"ranges/{number}" for number in (0, 1, 2, 5)))
    reply = peer.ask({"cmd": "same", "files": [[f"ranges/{number}", len(DATA), ROOT] for number in range(7)]})
    lines = "".join(f"{ROOT}  ranges/{number}\n" for number in (0, 1, 2, 5))
    assert {"ok": True, "same": [[0, 2], [5, 5]], "digest": blake3(lines.encode()).hexdigest()} == reply


def test_names_as_the_server_understands_them(peer: Peer) -> None:
    """A leading slash means nothing, capital digits are digits, and a bad name is that of no file."""
    store(peer, "slash")
    reply = peer.ask({"cmd": "same", "files": [["../x", 8, ROOT], ["/slash", 8, ROOT.upper()]]})
    assert ([[1, 1]], blake3(f"{ROOT}  slash\n".encode()).hexdigest()) == (reply["same"], reply["digest"])


def test_nothing_is_there(peer: Peer) -> None:
    """Where not even a folder is, that is said; where one is there is nothing to say."""
    store(peer, "one/there")
    assert {"ok": True, "no_folder": True} == peer.ask({"cmd": "same", "files": [["none/a", 8, ROOT]]})
    assert {"ok": True} == peer.ask({"cmd": "same", "files": [["none/a", 8, ROOT], ["one/a", 8, ROOT]]})


def test_details(peer: Peer) -> None:
    """With `details` time and mode have to be the same as well."""
    put = {"cmd": "put", "id": 1, "filename": "detailed", "filesize": 8, "mtime": 5, "mtime_ns": 6, "mode": 0o640}
    assert peer.ask(put, DATA)["ok"]
    files = [["detailed", 8, ROOT]]
    for details, there in (([5, 6, 0o640], True), ([5, 6, 0o600], False), ([5, 7, 0o640], False)):
        assert there == ("same" in peer.ask({"cmd": "same", "files": files, "details": [details]}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": []},
        {"files": [["a", 8, "0" * 64]] * 513},
        {"files": [["a", 8]]},
        {"files": [["a", 8, "short"]]},
        {"files": [["a", 8, "0" * 64]], "details": [[0, 0, 0], [0, 0, 0]]},
        {"files": [["a", 8, "0" * 64]], "details": [[0, 1_000_000_000, 0]]},
    ],
    ids=str,
)
def test_what_makes_no_sense(peer: Peer, wrong: dict[str, object]) -> None:
    """It is a `bad_request`, and the conversation goes on."""
    assert "bad_request" == peer.refusal({"cmd": "same", **wrong})
    assert peer.ask({"cmd": "ping"})["ok"]


def test_the_greeting_tells_of_it(peer: Peer) -> None:
    """A client that looks at features finds it."""
    assert "same" in peer.ask({"cmd": "hello"})["features"]
