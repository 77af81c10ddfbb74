"""The contract that `MemoryLog` and `RedisLog` fulfil."""

import asyncio
import time
from dataclasses import replace

import pytest

from changesource.errors import LogMismatch
from changesource.log import memory, redis
from changesource.log.entries import AccessCutover, ChangeLog, Entry, Extent
from tests.log.builders import ends, entry, fill, place, places, start
from tests.log.conftest import OpenLog

SOON_SECONDS = 5.0
"""Far more than it takes for a doorbell to be heard, far less than the waits below."""
NEVER_SECONDS = 60.0


async def test_a_log_that_has_not_begun_holds_and_covers_nothing(log: ChangeLog) -> None:
    assert await log.extent() == Extent()
    assert await log.read(None, 10) == []


async def test_a_start_entry_is_the_first_and_the_last_of_a_new_log(log: ChangeLog) -> None:
    await log.append(start(1), None)
    assert await ends(log) == Extent(place(1), place(1), begins_with_start=True, whole=place(1))
    (found,) = await log.read(None, 10)
    assert replace(found, log_id="") == start(1)


async def test_an_entry_is_read_as_it_was_written(log: ChangeLog) -> None:
    """It also has the place of the entry before it."""
    await log.append(start(1), None)
    written = entry(
        2,
        ordinal=3,
        part=7,
        tables={"city": b'["data",{"new":{"name":"Z\xc3\xbcrich"}}]\n["data",{}]', "Land_1-x": b""},
        markers=("a" * 32, "b2" * 16),
        access_cutover=AccessCutover(2**63 - 1, "c3" * 16, 2**64 - 1),
        is_final=False,
    )
    await log.append(written, place(1))
    (found,) = await log.read(place(1), 1)
    assert replace(found, log_id="") == replace(written, previous=place(1))


async def test_tables_keep_their_order(log: ChangeLog) -> None:
    """Tables come back in the order in which they were written."""
    names = [f"table{number}" for number in (3, 1, 2, 30, 20, 10)]
    await log.append(start(1), None)
    await log.append(entry(2, tables=dict.fromkeys(names, b"x")), place(1))
    (found,) = await log.read(place(1), 1)
    assert list(found.tables) == names


async def test_entries_are_in_the_order_of_their_places(log: ChangeLog) -> None:
    """The order is by cluster time, ordinal and part, each as a number."""
    await log.append(start(1), None)
    in_order = [place(1, 2), place(1, 10), place(2, 9, 1), place(2, 9, 2), place(2, 9, 10), place(10)]
    before = place(1)
    for here in in_order:
        await log.append(Entry(id=here, commit_time_ms=0), before)
        before = here
    assert await places(log) == [place(1), *in_order]


async def test_the_largest_place_precedes_the_next_cluster_time(log: ChangeLog) -> None:
    """The largest ordinal and part number do not overflow."""
    await log.append(start(1), None)
    last = place(1, 2**16 - 1, 2**32 - 1)
    await log.append(Entry(id=last, commit_time_ms=0), place(1))
    await log.append(entry(2), last)
    assert await places(log) == [place(1), last, place(2)]


async def test_reading_after_nothing_begins_with_the_first_entry(log: ChangeLog) -> None:
    await fill(log, 1, 2, 3)
    assert [found.id for found in await log.read(None, 2)] == [place(1), place(2)]


async def test_at_most_the_limit_is_read(log: ChangeLog) -> None:
    """The oldest entries come first."""
    await fill(log, 1, 2, 3, 4)
    assert [found.id for found in await log.read(place(1), 2)] == [place(2), place(3)]


async def test_large_entries_end_a_read(log: ChangeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """No entry is read after those that have enough bytes, but at least one entry is read."""
    for module in (memory, redis):
        monkeypatch.setattr(module, "MAX_READ_BYTES", 25_000)
    await fill(log, 1, 2, 3, 4, 5, size=10_000)
    assert [found.id for found in await log.read(place(1), 10)] == [place(2), place(3), place(4)]
    for module in (memory, redis):
        monkeypatch.setattr(module, "MAX_READ_BYTES", 1)
    assert [found.id for found in await log.read(place(1), 10)] == [place(2)]


async def test_the_place_to_read_after_need_not_be_that_of_an_entry(log: ChangeLog) -> None:
    await fill(log, 1, 5, 9)
    assert [found.id for found in await log.read(place(4, 3, 2), 10)] == [place(5), place(9)]


async def test_nothing_is_read_after_the_tail(log: ChangeLog) -> None:
    await fill(log, 1, 2)
    assert await log.read(place(2), 10) == []


async def test_each_entry_names_the_one_before_it(log: ChangeLog) -> None:
    """A start entry names none."""
    await fill(log, 1, 2, 5)
    assert [found.previous for found in await log.read(None, 10)] == [None, place(1), place(2)]


async def test_the_log_itself_decides_what_the_previous_entry_is(log: ChangeLog) -> None:
    """What an appended entry says about it does not count."""
    await fill(log, 1, 2)
    await log.append(replace(entry(3), previous=place(1)), place(2))
    (found,) = await log.read(place(2), 1)
    assert found.previous == place(2)


async def test_each_start_gives_the_log_a_new_id(log: ChangeLog) -> None:
    """All entries from one start to the next have the same id."""
    await fill(log, 1, 2, 3)
    one = {found.log_id for found in await log.read(None, 10)}
    await log.append(start(4), place(3))
    await log.append(entry(5), place(4))
    other = {found.log_id for found in await log.read(None, 10)}
    assert len(one) == len(other) == 1
    assert one != other
    assert {(await log.extent()).log_id} == other


@pytest.mark.parametrize("after", [None, place(1), place(3)], ids=["none", "earlier", "later"])
async def test_an_entry_for_another_tail_is_refused(log: ChangeLog, after: object) -> None:
    """The log stays as it is."""
    await fill(log, 1, 2)
    with pytest.raises(LogMismatch):
        await log.append(entry(4), after)  # type: ignore[arg-type]
    assert await places(log) == [place(1), place(2)]
    assert await ends(log) == Extent(place(1), place(2), begins_with_start=True, whole=place(2))


@pytest.mark.parametrize("after", [None, place(1), place(3)], ids=["none", "earlier", "later"])
async def test_a_start_entry_for_another_tail_is_refused(log: ChangeLog, after: object) -> None:
    """The log stays as it is."""
    await fill(log, 1, 2)
    with pytest.raises(LogMismatch):
        await log.append(start(4), after)  # type: ignore[arg-type]
    assert await places(log) == [place(1), place(2)]


@pytest.mark.parametrize("after", [None, place(1)], ids=["none", "some"])
async def test_only_a_start_entry_begins_a_log(log: ChangeLog, after: object) -> None:
    with pytest.raises(LogMismatch):
        await log.append(entry(2), after)  # type: ignore[arg-type]
    assert await log.extent() == Extent()


@pytest.mark.parametrize("step", [1, 2], ids=["earlier", "the same"])
async def test_an_entry_that_is_not_after_the_tail_is_refused(log: ChangeLog, step: int) -> None:
    """The log stays as it is."""
    await fill(log, 1, 2)
    with pytest.raises(LogMismatch):
        await log.append(entry(step), place(2))
    assert await ends(log) == Extent(place(1), place(2), begins_with_start=True, whole=place(2))


async def test_a_start_entry_replaces_everything(log: ChangeLog) -> None:
    """The tail that it names must be right."""
    await fill(log, 1, 2, 3)
    await log.append(start(7), place(3))
    await log.append(entry(8), place(7))
    assert [(found.id, found.previous) for found in await log.read(None, 10)] == [
        (place(7), None),
        (place(8), place(7)),
    ]
    assert await ends(log) == Extent(place(7), place(8), begins_with_start=True, whole=place(8))


async def test_a_log_can_start_over_at_the_same_place(log: ChangeLog) -> None:
    await fill(log, 1, 2)
    await log.append(start(2), place(2))
    assert await places(log) == [place(2)]


async def test_a_writer_that_names_its_log_is_refused_by_another_log(log: ChangeLog) -> None:
    """Even if the other log ends at the same place."""
    lost = await log.append(start(1), None)
    assert await log.append(entry(2), place(1), lost) == lost == (await log.extent()).log_id
    begun = await log.append(start(2), place(2), lost)
    assert begun != lost
    for late in (entry(3), start(3)):
        with pytest.raises(LogMismatch):
            await log.append(late, place(2), lost)
    assert await log.append(entry(3), place(2), begun) == begun
    assert await places(log) == [place(2), place(3)]


async def test_one_of_two_writers_with_the_same_tail_appends(open_log: OpenLog) -> None:
    """The other one is refused, and continues after the tail that it finds."""
    one, other = open_log(), open_log()
    await fill(one, 1, 2)
    await other.append(entry(3), place(2))
    with pytest.raises(LogMismatch):
        await one.append(entry(4), place(2))
    tail = (await one.extent()).tail
    assert tail == place(3)
    await one.append(entry(4), tail)
    assert await places(other) == [place(1), place(2), place(3), place(4)]


async def test_exactly_one_of_many_appends_for_one_tail_succeeds(open_log: OpenLog) -> None:
    logs = [open_log() for _ in range(5)]
    await logs[0].append(start(1), None)
    outcomes = await asyncio.gather(
        *(log.append(entry(2 + number), place(1)) for number, log in enumerate(logs)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LogMismatch"] * 4 + ["str"]
    assert len(await places(logs[0])) == 2


async def test_the_parts_of_a_transaction_have_one_position(log: ChangeLog) -> None:
    """A transaction that begins again has a later position."""
    await log.append(start(1), None)
    await log.append(entry(2, part=0, is_final=False), place(1))
    await log.append(entry(2, part=1, is_final=False), place(2))
    await log.append(entry(2, ordinal=1, part=0, is_final=False), place(2, 0, 1))
    await log.append(entry(2, ordinal=1, part=1), place(2, 1, 0))
    assert [(found.id, found.is_final) for found in await log.read(None, 10)] == [
        (place(1), True),
        (place(2, 0, 0), False),
        (place(2, 0, 1), False),
        (place(2, 1, 0), False),
        (place(2, 1, 1), True),
    ]


async def test_the_extent_knows_the_last_end_of_a_transaction(log: ChangeLog) -> None:
    await fill(log, 1, 2)
    await log.append(entry(3, part=0, is_final=False), place(2))
    await log.append(entry(3, part=1, is_final=False), place(3))
    unfinished = await log.extent()
    await log.append(entry(3, part=2), place(3, 0, 1))
    finished = await log.extent()
    assert (unfinished.tail, unfinished.whole) == (place(3, 0, 1), place(2))
    assert (finished.tail, finished.whole) == (place(3, 0, 2), place(3, 0, 2))


async def test_the_last_end_of_a_transaction_is_known_after_its_entry_was_trimmed(open_log: OpenLog) -> None:
    log = open_log(max_bytes=1000)
    await fill(log, 1, 2, size=10_000)
    await log.append(entry(3, is_final=False, tables={"city": b"x" * 10_000}), place(2))
    for _ in range(10):
        await log.trim()
    assert await ends(log) == Extent(place(3), place(3), begins_with_start=False, whole=place(2))


async def test_a_log_that_is_too_large_loses_its_oldest_entries(open_log: OpenLog) -> None:
    """It no longer begins with a start entry."""
    log = open_log(max_bytes=100_000)
    await fill(log, *range(1, 61), size=10_000)
    for _ in range(100):
        await log.trim()
    left = await places(log)
    assert left == [place(step) for step in range(61 - len(left), 61)]
    assert 5 <= len(left) <= 10
    assert await ends(log) == Extent(left[0], place(60), begins_with_start=False, whole=place(60))


async def test_a_log_in_memory_keeps_to_its_size_between_trims() -> None:
    log = memory.MemoryLog(max_bytes=100_000)
    await fill(log, *range(1, 61), size=10_000)
    assert sum(found.size for found in await log.read(None, 100)) <= 100_000


async def test_a_log_within_its_size_is_not_trimmed(open_log: OpenLog) -> None:
    log = open_log(max_bytes=100_000)
    await fill(log, 1, 2, 3, size=100)
    await log.trim()
    assert await places(log) == [place(1), place(2), place(3)]


async def test_the_tail_is_never_trimmed(open_log: OpenLog) -> None:
    """However large it is: a writer continues after it."""
    log = open_log(max_bytes=1000)
    await fill(log, 1, 2, size=100_000)
    for _ in range(10):
        await log.trim()
    assert await ends(log) == Extent(place(2), place(2), begins_with_start=False, whole=place(2))
    await log.append(entry(3), place(2))
    assert (await log.extent()).tail == place(3)


async def test_an_empty_log_can_be_trimmed(log: ChangeLog) -> None:
    await log.trim()
    assert await log.extent() == Extent()


async def test_a_trimmed_log_can_be_appended_to(open_log: OpenLog) -> None:
    """Its first entry shows that others preceded it."""
    log = open_log(max_bytes=50_000)
    await fill(log, *range(1, 31), size=10_000)
    await log.trim()
    await log.append(entry(31), place(30))
    found = await log.read(None, 100)
    assert len(found) < 30
    assert [after.previous for after in found[1:]] == [before.id for before in found[:-1]]
    assert found[0].previous is not None
    assert found[0].previous < found[0].id


async def test_a_wait_ends_when_another_writer_appends(open_log: OpenLog) -> None:
    reader, writer = open_log(), open_log()
    await fill(writer, 1)
    began = time.monotonic()
    waiting = asyncio.create_task(reader.wait(reader.generation, NEVER_SECONDS))
    await begun()
    await writer.append(entry(2), place(1))
    await until_read(reader, waiting)
    assert time.monotonic() - began < SOON_SECONDS


async def begun() -> None:
    """Lets tasks that were just created run until they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until_read(reader: ChangeLog, waiting: asyncio.Task[None]) -> None:
    """Reads as a session does, and waits again until the second entry is there."""
    generation = reader.generation
    await waiting
    while len(await reader.read(None, 10)) < 2:
        await reader.wait(generation, NEVER_SECONDS)
        generation = reader.generation


async def test_a_wait_ends_at_once_if_the_log_has_grown_since_the_generation(open_log: OpenLog) -> None:
    """Even if the ring came before the wait."""
    reader, writer = open_log(), open_log()
    await fill(writer, 1)
    await listening(reader)
    generation = reader.generation
    assert await reader.read(place(1), 10) == []
    await writer.append(entry(2), place(1))
    began = time.monotonic()
    await reader.wait(generation, NEVER_SECONDS)
    assert time.monotonic() - began < SOON_SECONDS


async def listening(log: ChangeLog) -> None:
    """Returns when the log hears its doorbell: from then on, a wait lasts as long as it says."""
    deadline = time.monotonic() + SOON_SECONDS
    while True:
        began = time.monotonic()
        await log.wait(log.generation, 0.1)
        if time.monotonic() - began >= 0.1:
            return
        assert time.monotonic() < deadline, "the log hears nothing"


async def test_a_wait_ends_when_its_time_is_over(log: ChangeLog) -> None:
    await listening(log)
    began = time.monotonic()
    await log.wait(log.generation, 0.1)
    assert 0.1 <= time.monotonic() - began < SOON_SECONDS


async def test_a_log_that_has_already_grown_is_not_waited_for(log: ChangeLog) -> None:
    await listening(log)
    old = log.generation
    await fill(log, 1)
    await log.wait(old, NEVER_SECONDS)
    began = time.monotonic()
    await log.wait(old, NEVER_SECONDS)
    assert time.monotonic() - began < SOON_SECONDS


async def test_one_entry_wakes_every_session_of_the_process(open_log: OpenLog) -> None:
    log = open_log()
    await listening(log)
    waiting = [asyncio.create_task(log.wait(log.generation, NEVER_SECONDS)) for _ in range(20)]
    await begun()
    await fill(open_log(), 1)
    _, pending = await asyncio.wait(waiting, timeout=SOON_SECONDS)
    assert not pending


@pytest.mark.parametrize("turns", range(8))
async def test_a_session_cancelled_at_the_moment_of_a_ring_ends(log: ChangeLog, turns: int) -> None:
    """It does not continue."""
    await listening(log)

    async def session() -> None:
        await log.wait(log.generation, NEVER_SECONDS)
        await asyncio.Event().wait()

    task = asyncio.create_task(session())
    await asyncio.sleep(0)
    generation = log.generation
    await fill(log, 1)
    while log.generation == generation:
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=SOON_SECONDS)
    assert done
    assert task.cancelled()


async def test_only_one_owner_has_the_lease(open_log: OpenLog) -> None:
    assert await open_log().acquire_lease("one", 60)
    assert not await open_log().acquire_lease("other", 60)
    assert await open_log().leader() == "one"


async def test_there_is_no_leader_before_the_lease_is_taken(log: ChangeLog) -> None:
    assert await log.leader() is None


async def test_the_owner_can_renew_its_lease(log: ChangeLog) -> None:
    """The full time counts again from then on."""
    assert await log.acquire_lease("one", 0.1)
    assert await log.acquire_lease("one", 60)
    await asyncio.sleep(0.2)
    assert await log.leader() == "one"


async def test_a_lease_that_is_not_renewed_expires(open_log: OpenLog) -> None:
    """Another owner can then have it."""
    log = open_log()
    assert await log.acquire_lease("one", 0.05)
    deadline = time.monotonic() + SOON_SECONDS
    while await log.leader() is not None:
        assert time.monotonic() < deadline
    assert await open_log().acquire_lease("other", 60)
    assert await log.leader() == "other"


async def test_a_released_lease_is_free_at_once(log: ChangeLog) -> None:
    await log.acquire_lease("one", 60)
    await log.release_lease("one")
    assert await log.leader() is None
    assert await log.acquire_lease("other", 60)


async def test_the_lease_of_another_owner_cannot_be_released(log: ChangeLog) -> None:
    await log.acquire_lease("one", 60)
    await log.release_lease("other")
    assert await log.leader() == "one"


async def test_releasing_without_a_lease_does_nothing(log: ChangeLog) -> None:
    await log.release_lease("one")
    assert await log.leader() is None
