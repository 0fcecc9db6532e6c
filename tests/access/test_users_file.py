"""The file of users: what is written to it is what is read."""

from pathlib import Path

import pytest

from ftpd.access.users import Token, User, edit, load


@pytest.mark.parametrize("text", ["plain", 'a "quote" \\ and \n more', "für 📷", "\x00\x1f\x7f\x85", "\u2028"])
def test_any_text_survives(tmp_path: Path, text: str) -> None:
    """A label or a folder comes back as it was, whatever characters it has: the file is still TOML."""
    file = tmp_path / "users.toml"
    with edit(file) as users:
        users.users["u"] = User(rights=["full"], paths={"📷 ü": ["read"]})
        users.tokens["t"] = Token(user="u", sha256="0" * 64, label=text, used=[text])
    found = load(file)
    assert (text, [text]) == (found.tokens["t"].label, found.tokens["t"].used)
    assert {"📷 ü": ["read"]} == found.users["u"].paths
