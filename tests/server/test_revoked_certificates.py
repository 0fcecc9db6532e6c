"""Client certificates that their authority has taken back: cut when they come, and ended where they are logged in."""

import base64
import contextlib
import datetime as dt
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.extensions import IssuingDistributionPoint

from tests.peer import ServerProcess, eventually, manage, served, server_environment
from tests.server.test_client_certificates import Authority, connect

MIB = 1024 * 1024


class Service(NamedTuple):
    """A server that looks at lists, and who makes them."""

    server: ServerProcess
    authority: Authority
    lists: Path

    def publish(self, data: bytes) -> None:
        """Put another file in the place of the lists, in one step."""
        new = self.lists.with_suffix(".new")
        new.write_bytes(data)
        new.replace(self.lists)

    def lets_in(self, certificate: Path) -> bool:
        """Tell whether a newcomer with this certificate is let in, rather than cut or a stranger."""
        with contextlib.suppress(OSError), connect(self.server, certificate) as peer:
            peer.send({"cmd": "ls"})
            return bool(peer.read()["ok"])
        return False


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A server with a list that has nobody in it."""
    root, keys = tmp_path / "root", tmp_path / "keys"
    root.mkdir()
    keys.mkdir()
    manage(root, "user", "add", "alice")
    authority = Authority.make(keys)
    lists = keys / "revoked.pem"
    lists.write_bytes(authority.revoke())
    with served(root, "--tls", "--client-ca", str(authority.file), "--client-crl", str(lists)) as server:
        yield Service(server, authority, lists)


def test_revoked(service: Service) -> None:
    """Who shows a revoked certificate is cut in the handshake; taken from the list, it is good again."""
    revoked, good = service.authority.sign("alice"), service.authority.sign("alice")
    service.publish(service.authority.revoke(revoked))
    why = 'outcome="unauthorized: certificate revoked"'
    eventually(lambda: not service.lets_in(revoked) and why in service.server.log, "the new list is read")
    with pytest.raises(OSError), connect(service.server, revoked) as peer:  # noqa: PT011 (a reset, or an alert of TLS)
        peer.ask({"cmd": "whoami"})
    assert service.lets_in(good)
    service.publish(service.authority.revoke(good))
    eventually(lambda: service.lets_in(revoked), "the list does not have it any more")
    assert not service.lets_in(good)


def test_revoked_meanwhile(service: Service) -> None:
    """Who is logged in by a certificate that is revoked is told so, idle or not."""
    revoked, good = service.authority.sign("alice"), service.authority.sign("alice")
    idle, busy, other = (connect(service.server, certificate) for certificate in (revoked, revoked, good))
    with idle, busy, other:
        for peer in (idle, busy, other):
            assert peer.ask({"cmd": "ls"})["ok"]
        service.publish(service.authority.revoke(revoked))

        def is_refused() -> bool:
            busy.send({"cmd": "ls"})
            return not busy.read()["ok"]

        eventually(is_refused, "the new list is read")
        assert "unauthorized" == idle.farewell()
        assert other.ask({"cmd": "ls"})["ok"]


def test_an_upload_gets_no_name(service: Service) -> None:
    """An upload under way when its certificate is revoked does not get its name."""
    revoked = service.authority.sign("alice")
    with connect(service.server, revoked) as peer:
        peer.send({"cmd": "put", "filename": "late", "filesize": MIB, "id": 7}, bytes(MIB // 2))
        service.publish(service.authority.revoke(revoked))
        assert "unauthorized" == peer.farewell()
    assert not (service.server.root / "late").exists()


SHARD = IssuingDistributionPoint(
    full_name=[x509.UniformResourceIdentifier("http://authority.example/7.crl")],
    relative_name=None,
    only_contains_user_certs=False,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)
"""Says that a list is one of several."""


def with_an_extension_twice(authority: Authority) -> bytes:
    """Make a list that is signed, and that `cryptography` refuses by an exception of its own."""
    now = dt.datetime.now(dt.UTC)
    number, other = x509.ObjectIdentifier("2.5.29.20"), x509.ObjectIdentifier("2.5.29.99")
    builder = x509.CertificateRevocationListBuilder(authority.name, now - dt.timedelta(1), now + dt.timedelta(1))
    for oid in (number, other):
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, b"\x02\x01\x01"), critical=False)
    signed = builder.sign(authority.key, hashes.SHA256())
    content = signed.tbs_certlist_bytes.replace(b"\x55\x1d\x63", b"\x55\x1d\x14")
    signature = b"\0" + authority.key.sign(content, ec.ECDSA(hashes.SHA256()))
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    body = content + ecdsa_with_sha256 + bytes([3, len(signature)]) + signature
    assert 128 <= len(body) < 256
    whole = bytes([0x30, 0x81, len(body)]) + body
    return b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(whole) + b"-----END X509 CRL-----\n"


MISTAKEN: dict[str, Callable[[Authority], bytes]] = {
    "empty": lambda _: b"",
    "damaged": lambda _: b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    "with something twice": with_an_extension_twice,
}


@pytest.mark.parametrize("mistake", MISTAKEN)
def test_a_mistake_changes_nothing(service: Service, mistake: str) -> None:
    """A new file with a mistake is logged, and the old list stays in force: for who comes, and who is there."""
    revoked, good = service.authority.sign("alice"), service.authority.sign("alice")
    service.publish(service.authority.revoke(revoked))
    eventually(lambda: not service.lets_in(revoked), "the new list is read")
    with connect(service.server, good) as peer:
        service.publish(MISTAKEN[mistake](service.authority))
        said = "old lists of revoked certificates hold"
        eventually(lambda: peer.ask({"cmd": "ls"})["ok"] and said in service.server.log, "the mistake is found")
        assert peer.ask({"cmd": "ls"})["ok"]
    assert service.lets_in(good)
    assert not service.lets_in(revoked)
    assert 1 == service.server.log.count(said)


def test_a_list_expires(service: Service) -> None:
    """Once the list has expired nobody is logged in by a certificate, new or old, and a new one mends that."""
    good = service.authority.sign("alice")
    with connect(service.server, good) as peer:
        assert peer.ask({"cmd": "ls"})["ok"]
        service.publish(service.authority.revoke(seconds=5))  # it has to be read before
        assert "unauthorized" == peer.farewell()
        assert not service.lets_in(good)
        eventually(lambda: "a list has expired" in service.server.log, "it is logged")
        service.publish(service.authority.revoke())
        eventually(lambda: service.lets_in(good), "the new list is read")
        assert 1 == service.server.log.count("a list has expired")


def test_an_authority_without_a_list(tmp_path: Path) -> None:
    """Where there are lists, an authority that has none is not believed; several lists may be in the file."""
    root = tmp_path / "root"
    root.mkdir()
    manage(root, "user", "add", "alice")
    first, second = (Authority.make(tmp_path, name) for name in ("first", "second"))
    authorities, lists = tmp_path / "authorities.pem", tmp_path / "lists.pem"
    authorities.write_bytes(first.file.read_bytes() + second.file.read_bytes())
    lists.write_bytes(first.revoke())
    ours, theirs = first.sign("alice"), second.sign("alice")
    with served(root, "--tls", "--client-ca", str(authorities), "--client-crl", str(lists)) as server:
        service = Service(server, first, lists)
        assert [True, False] == [service.lets_in(certificate) for certificate in (ours, theirs)]
        service.publish(first.revoke(ours) + second.revoke())
        eventually(lambda: service.lets_in(theirs), "the new lists are read")
        assert not service.lets_in(ours)


@pytest.mark.parametrize("is_newest_first", [False, True])
def test_the_newest_list_holds(service: Service, *, is_newest_first: bool) -> None:
    """Of several lists of one authority the newest is in force, wherever it stands: in handshakes, and afterwards."""
    back, gone = service.authority.sign("alice"), service.authority.sign("alice")
    lists = [service.authority.revoke(back, days_old=2), service.authority.revoke(gone, days_old=1)]
    with connect(service.server, gone) as peer:
        assert peer.ask({"cmd": "ls"})["ok"]
        service.publish(b"".join(reversed(lists) if is_newest_first else lists))
        assert "unauthorized" == peer.farewell()
    assert [True, False] == [service.lets_in(certificate) for certificate in (back, gone)]


def test_new_authorities(tmp_path: Path) -> None:
    """SIGHUP brings other authorities: certificates of the new one are good, those of the old one are not any more."""
    root = tmp_path / "root"
    root.mkdir()
    manage(root, "user", "add", "alice")
    old, new = (Authority.make(tmp_path, name) for name in ("old", "new"))
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(old.file.read_bytes())
    of_old, of_new = old.sign("alice"), new.sign("alice")
    with served(root, "--tls", "--client-ca", str(authorities)) as server:
        service = Service(server, old, authorities)
        assert [True, False] == [service.lets_in(certificate) for certificate in (of_old, of_new)]
        service.publish(b"none")
        server.signal(signal.SIGHUP)
        eventually(lambda: "old certificate stays" in server.log, "the mistake is found")
        assert service.lets_in(of_old)
        service.publish(new.file.read_bytes())
        server.signal(signal.SIGHUP)
        eventually(lambda: service.lets_in(of_new), "the new authority is read")
        assert not service.lets_in(of_old)


MISTAKES = {
    "no file": "No such file",
    "empty": "there is no list",
    "with a certificate": "or something else",
    "damaged": "list 2 is damaged",
    "expired": "has expired",
    "not yet valid": "not valid yet",
    "of another authority": "no certificate in --client-ca has signed it",
    "of one of the same name": "no certificate in --client-ca has signed it",
    "a delta": "only some",
    "a shard": "only some",
    "with something twice": "list 1 is damaged",
    "without authorities": "--client-ca",
    "in the served folder": "lies in the served folder",
}


@pytest.mark.parametrize("what", MISTAKES)
def test_server_that_can_not_start(tmp_path: Path, what: str) -> None:
    """Lists that can not be used are one line that says why, and exit status 2: nobody is let in unlooked at."""
    root, keys = tmp_path / "root", tmp_path / "keys"
    for folder in (root, keys, tmp_path / "other"):
        folder.mkdir()
    manage(root, "user", "add", "alice")
    authority, other = Authority.make(keys), Authority.make(tmp_path / "other", "other")
    good = authority.revoke()
    data = {
        "empty": b"",
        "with a certificate": good + authority.file.read_bytes(),
        "damaged": good + good.replace(b"A", b"B"),
        "expired": authority.revoke(seconds=-60),
        "not yet valid": authority.revoke(days_old=-0.5, seconds=86400),
        "of another authority": other.revoke(),
        "of one of the same name": other._replace(name=authority.name).revoke(),
        "a delta": authority.revoke(extension=x509.DeltaCRLIndicator(1)),
        "a shard": authority.revoke(extension=SHARD),
        "with something twice": with_an_extension_twice(authority),
    }.get(what, good)
    lists = (root if what == "in the served folder" else keys) / "lists.pem"
    if what != "no file":
        lists.write_bytes(data)
    options = ["--tls", "--client-crl", str(lists)]
    options += [] if what == "without authorities" else ["--client-ca", str(authority.file)]
    done = subprocess.run(
        [sys.executable, "-m", "ftpd", "--root", str(root), "--port", "0", *options],
        capture_output=True, text=True, timeout=30, check=False, env=server_environment({}),
    )  # fmt: skip
    assert (2, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines())), done.stderr
    assert MISTAKES[what] in done.stderr
