"""Whether a transfer is tried again."""

import pytest

import ftpc
from ftpc.errors import ConnectError
from ftpc.progress import Item, NoProgress, Phase
from ftpc.transfer import retry
from ftpc.transfer.retry import persist


@pytest.mark.parametrize("moved", [0, 1])
async def test_a_server_that_was_there(monkeypatch: pytest.MonkeyPatch, moved: int) -> None:
    """Nobody waits for a server that never was there; for one that something came from before somebody does."""
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0)
    item, tries = Item("a", 10, Phase.RECEIVING), 0

    async def attempt() -> int:
        nonlocal tries
        tries += 1
        item.moved += moved
        if tries == 1:
            raise ConnectError("nobody answers")
        return tries

    if moved:
        assert 2 == await persist(attempt, 1, item, NoProgress())
    else:
        with pytest.raises(ftpc.ConnectError):
            await persist(attempt, 1, item, NoProgress())
