"""Lists of several authorities: those of one name, those that are revoked, those that are taken out."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peer import eventually, manage, served
from tests.server.test_client_certificates import Authority, connect
from tests.server.test_revoked_certificates import Service

Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server that believes some authorities, with lists of theirs."""
    root = tmp_path / "root"
    root.mkdir()
    manage(root, "user", "add", "alice")
    authorities, lists = tmp_path / "authorities.pem", tmp_path / "lists.pem"
    with contextlib.ExitStack() as stack:

        def start(*believed: Authority) -> Service:
            authorities.write_bytes(b"".join(authority.file.read_bytes() for authority in believed))
            lists.write_bytes(b"".join(authority.revoke(days_old=2) for authority in believed))
            options = ("--tls", "--client-ca", str(authorities), "--client-crl", str(lists))
            return Service(stack.enter_context(served(root, *options)), believed[0], lists)

        yield start


def test_authorities_of_one_name(start: Start, tmp_path: Path) -> None:
    """An authority with a new key under the old name has two lists, and both hold, whichever is newer."""
    (tmp_path / "new").mkdir()
    old, new = Authority.make(tmp_path), Authority.make(tmp_path / "new")
    service = start(old, new)
    revoked, good, other = old.sign("alice"), old.sign("alice"), new.sign("alice")
    with connect(service.server, revoked) as peer, connect(service.server, other) as another:
        assert peer.ask({"cmd": "ls"})["ok"]
        service.publish(old.revoke(revoked, days_old=1) + new.revoke(days_old=0.5))
        assert "unauthorized" == peer.farewell()
        assert another.ask({"cmd": "ls"})["ok"]
        assert [False, True, True] == [service.lets_in(certificate) for certificate in (revoked, good, other)]


def test_a_revoked_authority(start: Start, tmp_path: Path) -> None:
    """An authority that is revoked by the one above it is not believed, in handshakes and afterwards."""
    root = Authority.make(tmp_path)
    first, second = root.under("first"), root.under("second")
    service = start(root, first, second, below := first.under("below"))
    revoked, deeper, good = first.sign("alice"), below.sign("alice"), second.sign("alice")
    peers = [connect(service.server, certificate) for certificate in (revoked, deeper, good)]
    with contextlib.ExitStack() as stack:
        for peer in peers:
            assert stack.enter_context(peer).ask({"cmd": "ls"})["ok"]
        service.publish(root.revoke(first.file) + b"".join(one.revoke() for one in (first, second, below)))
        assert ["unauthorized"] * 2 == [peer.farewell() for peer in peers[:2]]
        assert peers[2].ask({"cmd": "ls"})["ok"]
        assert [False, False, True] == [service.lets_in(certificate) for certificate in (revoked, deeper, good)]


def test_a_root_without_a_list(start: Start, tmp_path: Path) -> None:
    """Each authority up to the root needs a list: without that of the root nobody below it is believed."""
    root = Authority.make(tmp_path)
    below = root.under("below")
    service = start(root, below)
    certificate = below.sign("alice")
    with connect(service.server, certificate) as peer:
        assert peer.ask({"cmd": "ls"})["ok"]
        service.publish(below.revoke())
        assert "unauthorized" == peer.farewell()
    assert not service.lets_in(certificate)


def test_an_authority_is_taken_out(start: Start, tmp_path: Path) -> None:
    """An authority that has no list any more is not believed; when SIGHUP takes it out, others are to come again."""
    stays, goes = Authority.make(tmp_path), Authority.make(tmp_path, "goes")
    service = start(stays, goes)
    good, bad = stays.sign("alice"), goes.sign("alice")
    with connect(service.server, good) as peer, connect(service.server, bad) as other:
        assert peer.ask({"cmd": "ls"})["ok"]
        assert other.ask({"cmd": "ls"})["ok"]
        service.publish(stays.revoke())
        assert "unauthorized" == other.farewell()
        (tmp_path / "authorities.pem").write_bytes(stays.file.read_bytes())
        service.server.signal(signal.SIGHUP)
        assert "going_away" == peer.farewell()
    assert [True, False] == [service.lets_in(certificate) for certificate in (good, bad)]


def test_a_new_certificate_beside_a_list_that_has_expired(start: Start, tmp_path: Path) -> None:
    """A list that has expired does not keep the server from a new certificate of its own."""
    service = start(Authority.make(tmp_path))
    service.publish(service.authority.revoke(seconds=-60))
    service.server.signal(signal.SIGHUP)
    eventually(lambda: "the certificate was read again" in service.server.log, "the certificate is read")
    assert "a list has expired" in service.server.log


def test_a_list_comes_while_the_certificate_is_renewed(start: Start, tmp_path: Path) -> None:
    """A list that can not be used because the server's certificate is half there is used once it is whole."""
    service = start(Authority.make(tmp_path))
    revoked = service.authority.sign("alice")
    ours = service.server.root / ".ftpd" / "access" / "cert.pem"
    whole = ours.read_bytes()
    ours.write_bytes(whole[: len(whole) // 2])
    service.publish(service.authority.revoke(revoked))
    eventually(lambda: not service.lets_in(revoked) and "with the old lists" in service.server.log, "the list is tried")
    ours.write_bytes(whole)

    def is_cut() -> bool:
        try:
            with connect(service.server, revoked) as peer:
                return not peer.ask({"cmd": "whoami"})
        except OSError:
            return True

    eventually(is_cut, "handshakes know the list")
