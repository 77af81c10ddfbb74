"""lookups.py: which answers of the Django database are used again."""

import time

import pytest

from changesource.replication import lookups
from changesource.replication.lookups import Lookup


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "LOOKUP_SECONDS", 0.0)


async def test_an_answer_since_a_later_time_says_nothing_of_an_earlier_one() -> None:
    """What was asked for from one cluster time on serves markers of that time and of later ones, not one that lies before."""
    asked: list[int] = []

    async def ask(since: int) -> int:
        asked.append(since)
        return since

    lookup: Lookup[int] = Lookup()
    received_at = time.monotonic() - 1
    assert [await lookup.answer(received_at, since, ask) for since in (10, 12, 5, 7)] == [10, 10, 5, 5]
    assert asked == [10, 5]
