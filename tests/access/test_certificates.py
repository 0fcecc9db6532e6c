"""Files that can not be read for a moment: what they say holds as soon as they can."""

import contextlib
import logging
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ftpd.access import certificates, users_file
from ftpd.access.certificates import Revocations, Shown, read_certificate
from ftpd.access.door import UsersDoor
from tests.peer import eventually, manage
from tests.server.test_client_certificates import Authority


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (certificates, users_file):
        monkeypatch.setattr(module, "LOOK_S", 0.0)


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Let no file be opened within."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def shown(file: Path) -> Shown:
    """Read a certificate."""
    found = read_certificate(x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER))
    assert found is not None
    return found


def test_a_list_that_can_not_be_read_for_a_moment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A list that came when the process had no descriptor left is read when it has; that is logged once."""
    authority, lists = Authority.make(tmp_path), tmp_path / "lists.pem"
    revoked = authority.sign("alice")
    lists.write_bytes(authority.revoke())
    revocations = Revocations(lists, authority.file)
    lists.write_bytes(authority.revoke(revoked))
    found = shown(revoked)
    with no_descriptors():
        eventually(lambda: not revocations.holds(found) or caplog.records, "it is tried")
        assert [True] * 3 == [revocations.holds(found) for _ in range(3)]
    eventually(lambda: not revocations.holds(found), "it is read")
    assert 1 == sum(record.levelno == logging.ERROR for record in caplog.records)


def test_new_lists_are_read_beside(tmp_path: Path) -> None:
    """While new lists are being read the old ones hold, and nobody waits for them."""
    authority, lists = Authority.make(tmp_path), tmp_path / "lists.pem"
    revoked = authority.sign("alice")
    lists.write_bytes(authority.revoke())
    revocations, found = Revocations(lists, authority.file), shown(revoked)
    (tmp_path / "new").write_bytes(authority.revoke(revoked))
    lists.unlink()
    os.mkfifo(lists)
    assert revocations.holds(found)
    with lists.open("wb") as pipe:  # somebody reads it now
        assert revocations.holds(found)
        (tmp_path / "new").replace(lists)
        pipe.write(lists.read_bytes())
    eventually(lambda: not revocations.holds(found), "it is read")


def test_a_list_of_a_clock_that_is_ahead(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A list that begins in a moment holds from then on."""
    authority, lists = Authority.make(tmp_path), tmp_path / "lists.pem"
    revoked = authority.sign("alice")
    lists.write_bytes(authority.revoke())
    revocations = Revocations(lists, authority.file)
    lists.write_bytes(authority.revoke(revoked, days_old=-2 / 86400))
    eventually(lambda: revocations.holds(shown(revoked)) and "it is not valid yet" in caplog.text, "it is looked at")
    eventually(lambda: not revocations.holds(shown(revoked)), "it begins")


def test_users_that_can_not_be_read_for_a_moment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A change to the users that came when the process had no descriptor left holds a moment after it has."""
    manage(tmp_path, "user", "add", "alice")
    file = tmp_path / ".ftpd" / "access" / "users.toml"
    users = UsersDoor(file)
    manage(tmp_path, "user", "rm", "alice")
    with no_descriptors():
        eventually(lambda: [*users.users.users] == ["alice"] and "a mistake" in caplog.text, "it is tried")
        assert [["alice"]] * 3 == [[*users.users.users] for _ in range(3)]
    eventually(lambda: not users.users.users, "the users are read again")
    assert 1 == sum(record.levelno == logging.ERROR for record in caplog.records)
