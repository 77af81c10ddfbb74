import asyncio
import logging

import pytest
from django.db import OperationalError

from changesource.limits import refusals
from changesource.limits.refusals import OTHER_ADDRESSES, Holds, RefusalNotes
from changesource.models import Refusal, queries
from changesource.models.queries.refusals import Refused
from changesource.protocol import closing

WRONG = Refused("192.0.2.1", "", 403, "unknown token")


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(closing, "REFUSAL_DELAY_SECONDS", 0.1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_refused_connection_is_held() -> None:
    """For the delay of a refusal."""
    holds = Holds()
    held = asyncio.create_task(holds.hold("192.0.2.1"))
    await asyncio.sleep(0)
    assert len(holds) == 1
    await held
    assert len(holds) == 0


async def test_held_connections_are_bounded() -> None:
    """For each address (an IPv6 network is one) and in all. The others are told at once, and one
    that goes away makes room."""
    holds = Holds(per_address=2, in_all=3)
    addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"]
    tasks = [asyncio.create_task(holds.hold(address)) for address in addresses]
    await asyncio.sleep(0)
    assert len(holds) == 3
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [False, False, True, False, True]
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    assert len(holds) == 2
    await asyncio.gather(*tasks[1:])
    assert len(holds) == 0


@pytest.mark.django_db(transaction=True)
async def test_refusals_are_counted_and_stored() -> None:
    """Once for each kind."""
    notes = RefusalNotes()
    for _ in range(5):
        notes.note(WRONG)
    async with asyncio.timeout(20):
        while notes.pending or not await Refusal.objects.filter(count=5).aexists():
            await asyncio.sleep(0.01)
    notes.note(WRONG)
    notes.note(Refused("192.0.2.1", "tenant", 4403, "not allowed"))
    await notes.close()
    stored = Refusal.objects.order_by("code").values_list("address", "client", "code", "reason", "count")
    assert [row async for row in stored] == [
        ("192.0.2.1", "", 403, "unknown token", 6),
        ("192.0.2.1", "tenant", 4403, "not allowed", 1),
    ]


async def test_no_count_is_lost_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts that could not be stored are stored later."""
    stored: dict[Refused, int] = {}
    is_away = True

    async def record(counts: dict[Refused, int]) -> None:
        if is_away:
            raise OperationalError
        stored.update(counts)

    monkeypatch.setattr(queries.refusals, "record_refusals", record)
    notes = RefusalNotes()
    notes.note(WRONG)
    await asyncio.sleep(0.05)
    assert notes.pending == {WRONG: 1}
    is_away = False
    await notes.close()
    assert stored == {WRONG: 1}


async def test_pending_counts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals of very many addresses are counted together."""
    monkeypatch.setattr(refusals, "FLUSH_SECONDS", 60)
    notes = RefusalNotes(max_pending=2)
    for i in range(10):
        notes.note(Refused(f"192.0.2.{i}", "", 403, "unknown token"))
    assert notes.pending[Refused(OTHER_ADDRESSES, "", 403, "unknown token")] == 8
    assert len(notes.pending) == 3
    notes._pending.clear()
    await notes.close()


async def test_log_lines_of_refusals_are_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first of each kind at once, then one a minute that says how many there were, and a
    limit for all addresses."""
    monkeypatch.setattr(refusals, "FLUSH_SECONDS", 60)
    clock = Clock()
    notes = RefusalNotes(clock=clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(40):
            notes.note(WRONG)
        assert [record.message for record in caplog.records] == [
            "refused a connection from 192.0.2.1: 403, unknown token"
        ]
        clock.now = 60
        notes.note(WRONG)
        assert caplog.records[-1].message.endswith("unknown token (39 more since it was last logged)")
        for i in range(1000):
            notes.note(Refused(f"2001:db8::{i}", "tenant", 4403, "not allowed"))
        assert len(caplog.records) <= 2 + refusals.LOG_LINES_PER_MINUTE
    notes._pending.clear()
    await notes.close()
