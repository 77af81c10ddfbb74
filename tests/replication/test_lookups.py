"""lookups.py: which answers of the Django database are used again."""

import time

import pytest

from changesource.replication import lookups
from changesource.replication.lookups import Lookup


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "LOOKUP_SECONDS", 0.0)


async def test_an_answer_since_a_later_time_does_not_serve_an_earlier_one() -> None:
    """It serves markers of its own cluster time and of later ones."""
    asked: list[int] = []

    async def ask(since: int) -> int:
        asked.append(since)
        return since

    lookup: Lookup[int] = Lookup()
    received_at = time.monotonic() - 1
    assert [await lookup.answer(received_at, since, ask) for since in (10, 12, 5, 7)] == [10, 10, 5, 5]
    assert asked == [10, 5]
