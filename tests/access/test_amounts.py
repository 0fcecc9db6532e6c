"""Amounts as people write them, and quotas in the file of users."""

from pathlib import Path

import pytest

from ftpd.access.rights import Quota
from ftpd.access.users import UsersError, load
from ftpd.amounts import parse_amount, parse_time
from ftpd.manage import manage


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0", 0), ("7", 7), ("10k", 10_000), ("10K", 10_000), ("1Ki", 1024), ("1.5M", 1_500_000), ("10G", 10**10),
     ("2TiB", 2 * 1024**4)],
)  # fmt: skip
def test_amount(text: str, amount: int) -> None:
    """Powers of 1000, or of 1024 with an `i`."""
    assert amount == parse_amount(text)


@pytest.mark.parametrize("text", ["", "G", "-1", "1 G", "1g", "1e9", "inf", "1.G", "9" * 20])
def test_what_is_no_amount(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="is no amount"):
        parse_amount(text)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("45m", 2700), ("12h", 43_200), ("7d", 604_800), ("0s", 0)])
def test_times(text: str, seconds: int) -> None:
    """A number and a unit are a time."""
    assert seconds == parse_time(text)


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "7 d", "7w", "\u0667d", "1234567d"])
def test_no_times(text: str) -> None:
    """Anything else is refused, with the way to write one; above all a number without a unit."""
    with pytest.raises(ValueError, match="write 90s"):
        parse_time(text)


def test_quota_in_the_file(tmp_path: Path) -> None:
    """`ftpd user add` and `set` write quotas, 0 removes one, and what is not said stays; a mistake names its line."""
    file, where = tmp_path / "users.toml", ("--access", str(tmp_path))

    def quota(*arguments: str) -> Quota:
        assert 0 == manage(["user", *arguments, *where])
        principal = load(file).principal("alice")
        assert principal is not None
        return principal.quota

    assert Quota(10**10, 5) == quota("add", "alice", "--quota", "10G", "--quota-files", "5")
    assert Quota(2 * 1024**2, 5) == quota("set", "alice", "--quota", "2Mi")
    assert Quota(None, 5) == quota("set", "alice", "--quota", "0", "--rights", "read-only")
    assert Quota() == quota("set", "alice", "--quota-files", "0")
    assert ["read-only"] == load(file).users["alice"].rights
    assert 0 == manage(["user", "set", "alice", "--rate", "5M", "--connections", "8", *where])
    assert ("5M", 8) == (load(file).users["alice"].rate, load(file).users["alice"].connections)
    assert 0 == manage(["user", "set", "alice", "--rate", "0", "--connections", "0", *where])
    assert ("", 0) == (load(file).users["alice"].rate, load(file).users["alice"].connections)
    file.write_text('[users.alice]\nquota = "0"\nquota_files = 0\nconnections = 0\n')
    principal = load(file).principal("alice")
    assert principal is not None
    assert (Quota(), None) == (principal.quota, principal.connections)
    file.write_text("[users.alice]\nconnections = -1\n")
    with pytest.raises(UsersError, match=r"line 1: Expected `int` >= 0"):
        load(file)
    file.write_text('[users.alice]\nquota = "much"\n')
    with pytest.raises(UsersError, match=r"line 1: 'much' is no amount"):
        load(file)
