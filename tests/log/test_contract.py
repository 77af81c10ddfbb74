"""What both logs promise, `MemoryLog` and `RedisLog`."""

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


async def test_empty_log(log: ChangeLog) -> None:
    """A log that nobody has begun holds nothing and covers nothing."""
    assert await log.extent() == Extent()
    assert await log.read(None, 10) == []


async def test_start(log: ChangeLog) -> None:
    """A start entry begins an empty log and is its first and its last."""
    await log.append(start(1), None)
    assert await ends(log) == Extent(place(1), place(1), begins_with_start=True, whole=place(1))
    (found,) = await log.read(None, 10)
    assert replace(found, log_id="") == start(1)


async def test_entry_round_trip(log: ChangeLog) -> None:
    """An entry is read as it was written, with the place of the one before it."""
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


async def test_order_of_tables(log: ChangeLog) -> None:
    """Tables come back in the order in which they were written."""
    names = [f"table{number}" for number in (3, 1, 2, 30, 20, 10)]
    await log.append(start(1), None)
    await log.append(entry(2, tables=dict.fromkeys(names, b"x")), place(1))
    (found,) = await log.read(place(1), 1)
    assert list(found.tables) == names


async def test_order(log: ChangeLog) -> None:
    """Entries are in the order of cluster time, ordinal and part, each as a number."""
    await log.append(start(1), None)
    in_order = [place(1, 2), place(1, 10), place(2, 9, 1), place(2, 9, 2), place(2, 9, 10), place(10)]
    before = place(1)
    for here in in_order:
        await log.append(Entry(id=here, commit_time_ms=0), before)
        before = here
    assert await places(log) == [place(1), *in_order]


async def test_largest_place(log: ChangeLog) -> None:
    """The largest ordinal and part number are kept apart from the next cluster time."""
    await log.append(start(1), None)
    last = place(1, 2**16 - 1, 2**32 - 1)
    await log.append(Entry(id=last, commit_time_ms=0), place(1))
    await log.append(entry(2), last)
    assert await places(log) == [place(1), last, place(2)]


async def test_read_from_the_first(log: ChangeLog) -> None:
    """Reading after nothing begins with the first entry."""
    await fill(log, 1, 2, 3)
    assert [found.id for found in await log.read(None, 2)] == [place(1), place(2)]


async def test_read_limit(log: ChangeLog) -> None:
    """No more entries are read than asked for, the oldest ones."""
    await fill(log, 1, 2, 3, 4)
    assert [found.id for found in await log.read(place(1), 2)] == [place(2), place(3)]


async def test_read_of_large_entries(log: ChangeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """No entry is read beyond those that have enough bytes, but at least one."""
    for module in (memory, redis):
        monkeypatch.setattr(module, "MAX_READ_BYTES", 25_000)
    await fill(log, 1, 2, 3, 4, 5, size=10_000)
    assert [found.id for found in await log.read(place(1), 10)] == [place(2), place(3), place(4)]
    for module in (memory, redis):
        monkeypatch.setattr(module, "MAX_READ_BYTES", 1)
    assert [found.id for found in await log.read(place(1), 10)] == [place(2)]


async def test_read_after_a_place_between_entries(log: ChangeLog) -> None:
    """The place to read after need not be that of an entry."""
    await fill(log, 1, 5, 9)
    assert [found.id for found in await log.read(place(4, 3, 2), 10)] == [place(5), place(9)]


async def test_read_after_the_tail(log: ChangeLog) -> None:
    """There is nothing after the tail."""
    await fill(log, 1, 2)
    assert await log.read(place(2), 10) == []


async def test_previous(log: ChangeLog) -> None:
    """Each entry names the one before it; a start entry names none."""
    await fill(log, 1, 2, 5)
    assert [found.previous for found in await log.read(None, 10)] == [None, place(1), place(2)]


async def test_previous_is_the_logs_own(log: ChangeLog) -> None:
    """What an entry says of the one before it when it is appended does not count."""
    await fill(log, 1, 2)
    await log.append(replace(entry(3), previous=place(1)), place(2))
    (found,) = await log.read(place(2), 1)
    assert found.previous == place(2)


async def test_log_id(log: ChangeLog) -> None:
    """All entries from one start on name the same log, those from another start on another."""
    await fill(log, 1, 2, 3)
    one = {found.log_id for found in await log.read(None, 10)}
    await log.append(start(4), place(3))
    await log.append(entry(5), place(4))
    other = {found.log_id for found in await log.read(None, 10)}
    assert len(one) == len(other) == 1
    assert one != other
    assert {(await log.extent()).log_id} == other


@pytest.mark.parametrize("after", [None, place(1), place(3)], ids=["none", "earlier", "later"])
async def test_mismatch(log: ChangeLog, after: object) -> None:
    """An entry for another tail than the log's is refused and changes nothing."""
    await fill(log, 1, 2)
    with pytest.raises(LogMismatch):
        await log.append(entry(4), after)  # type: ignore[arg-type]
    assert await places(log) == [place(1), place(2)]
    assert await ends(log) == Extent(place(1), place(2), begins_with_start=True, whole=place(2))


@pytest.mark.parametrize("after", [None, place(1), place(3)], ids=["none", "earlier", "later"])
async def test_start_after_another_tail(log: ChangeLog, after: object) -> None:
    """A start entry for another tail is refused and the log stays."""
    await fill(log, 1, 2)
    with pytest.raises(LogMismatch):
        await log.append(start(4), after)  # type: ignore[arg-type]
    assert await places(log) == [place(1), place(2)]


@pytest.mark.parametrize("after", [None, place(1)], ids=["none", "some"])
async def test_entry_in_an_empty_log(log: ChangeLog, after: object) -> None:
    """Only a start entry begins a log."""
    with pytest.raises(LogMismatch):
        await log.append(entry(2), after)  # type: ignore[arg-type]
    assert await log.extent() == Extent()


@pytest.mark.parametrize("step", [1, 2], ids=["earlier", "the same"])
async def test_entry_that_is_not_later(log: ChangeLog, step: int) -> None:
    """An entry whose place is not after the tail is refused and changes nothing."""
    await fill(log, 1, 2)
    with pytest.raises(LogMismatch):
        await log.append(entry(step), place(2))
    assert await ends(log) == Extent(place(1), place(2), begins_with_start=True, whole=place(2))


async def test_start_replaces(log: ChangeLog) -> None:
    """A start entry for the right tail throws away all that the log held."""
    await fill(log, 1, 2, 3)
    await log.append(start(7), place(3))
    await log.append(entry(8), place(7))
    assert [(found.id, found.previous) for found in await log.read(None, 10)] == [
        (place(7), None),
        (place(8), place(7)),
    ]
    assert await ends(log) == Extent(place(7), place(8), begins_with_start=True, whole=place(8))


async def test_start_at_the_same_place(log: ChangeLog) -> None:
    """A log can begin again where it is."""
    await fill(log, 1, 2)
    await log.append(start(2), place(2))
    assert await places(log) == [place(2)]


async def test_begun_anew_at_the_same_place(log: ChangeLog) -> None:
    """Who names the log that it goes on with is told when that is another one by now, which ends at the same place."""
    lost = await log.append(start(1), None)
    assert await log.append(entry(2), place(1), lost) == lost == (await log.extent()).log_id
    begun = await log.append(start(2), place(2), lost)
    assert begun != lost
    for late in (entry(3), start(3)):
        with pytest.raises(LogMismatch):
            await log.append(late, place(2), lost)
    assert await log.append(entry(3), place(2), begun) == begun
    assert await places(log) == [place(2), place(3)]


async def test_two_writers(open_log: OpenLog) -> None:
    """Of two writers that saw the same tail one appends; the other is told, and goes on from the tail that it finds."""
    one, other = open_log(), open_log()
    await fill(one, 1, 2)
    await other.append(entry(3), place(2))
    with pytest.raises(LogMismatch):
        await one.append(entry(4), place(2))
    tail = (await one.extent()).tail
    assert tail == place(3)
    await one.append(entry(4), tail)
    assert await places(other) == [place(1), place(2), place(3), place(4)]


async def test_many_writers_at_once(open_log: OpenLog) -> None:
    """Of many appends for one tail exactly one gets through."""
    logs = [open_log() for _ in range(5)]
    await logs[0].append(start(1), None)
    outcomes = await asyncio.gather(
        *(log.append(entry(2 + number), place(1)) for number, log in enumerate(logs)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LogMismatch"] * 4 + ["str"]
    assert len(await places(logs[0])) == 2


async def test_parts(log: ChangeLog) -> None:
    """Parts of a transaction follow each other at one position; one that begins again has a later one."""
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


async def test_whole(log: ChangeLog) -> None:
    """The extent tells which entry was the last to end a transaction."""
    await fill(log, 1, 2)
    await log.append(entry(3, part=0, is_final=False), place(2))
    await log.append(entry(3, part=1, is_final=False), place(3))
    unfinished = await log.extent()
    await log.append(entry(3, part=2), place(3, 0, 1))
    finished = await log.extent()
    assert (unfinished.tail, unfinished.whole) == (place(3, 0, 1), place(2))
    assert (finished.tail, finished.whole) == (place(3, 0, 2), place(3, 0, 2))


async def test_whole_of_a_trimmed_log(open_log: OpenLog) -> None:
    """The last end of a transaction is known when its entry is gone."""
    log = open_log(max_bytes=1000)
    await fill(log, 1, 2, size=10_000)
    await log.append(entry(3, is_final=False, tables={"city": b"x" * 10_000}), place(2))
    for _ in range(10):
        await log.trim()
    assert await ends(log) == Extent(place(3), place(3), begins_with_start=False, whole=place(2))


async def test_trim_by_size(open_log: OpenLog) -> None:
    """A log that is too large loses its oldest entries, and no longer begins with a start."""
    log = open_log(max_bytes=100_000)
    await fill(log, *range(1, 61), size=10_000)
    for _ in range(100):
        await log.trim()
    left = await places(log)
    assert left == [place(step) for step in range(61 - len(left), 61)]
    assert 5 <= len(left) <= 10
    assert await ends(log) == Extent(left[0], place(60), begins_with_start=False, whole=place(60))


async def test_memory_that_is_not_trimmed() -> None:
    """A log in memory stays within its size whatever is written between two trimmings."""
    log = memory.MemoryLog(max_bytes=100_000)
    await fill(log, *range(1, 61), size=10_000)
    assert sum(found.size for found in await log.read(None, 100)) <= 100_000


async def test_trim_of_a_small_log(open_log: OpenLog) -> None:
    """A log within its size stays whole."""
    log = open_log(max_bytes=100_000)
    await fill(log, 1, 2, 3, size=100)
    await log.trim()
    assert await places(log) == [place(1), place(2), place(3)]


async def test_trim_leaves_the_tail(open_log: OpenLog) -> None:
    """The last entry stays however large it is, so that a writer finds the place to go on from."""
    log = open_log(max_bytes=1000)
    await fill(log, 1, 2, size=100_000)
    for _ in range(10):
        await log.trim()
    assert await ends(log) == Extent(place(2), place(2), begins_with_start=False, whole=place(2))
    await log.append(entry(3), place(2))
    assert (await log.extent()).tail == place(3)


async def test_trim_of_an_empty_log(log: ChangeLog) -> None:
    """There is nothing to trim in an empty log, and nothing wrong with it."""
    await log.trim()
    assert await log.extent() == Extent()


async def test_append_after_trim(open_log: OpenLog) -> None:
    """A trimmed log goes on; its first entry tells that others were before it."""
    log = open_log(max_bytes=50_000)
    await fill(log, *range(1, 31), size=10_000)
    await log.trim()
    await log.append(entry(31), place(30))
    found = await log.read(None, 100)
    assert len(found) < 30
    assert [after.previous for after in found[1:]] == [before.id for before in found[:-1]]
    assert found[0].previous is not None
    assert found[0].previous < found[0].id


async def test_wait_ends_when_the_log_grows(open_log: OpenLog) -> None:
    """Who waits is woken by another writer's entry."""
    reader, writer = open_log(), open_log()
    await fill(writer, 1)
    began = time.monotonic()
    waiting = asyncio.create_task(reader.wait(reader.generation, NEVER_SECONDS))
    await begun()
    await writer.append(entry(2), place(1))
    await until_read(reader, waiting)
    assert time.monotonic() - began < SOON_SECONDS


async def begun() -> None:
    """Lets tasks that were just made run until they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until_read(reader: ChangeLog, waiting: asyncio.Task[None]) -> None:
    """Reads as a session does, waiting again, until the second entry is there."""
    generation = reader.generation
    await waiting
    while len(await reader.read(None, 10)) < 2:
        await reader.wait(generation, NEVER_SECONDS)
        generation = reader.generation


async def test_no_lost_wake_up(open_log: OpenLog) -> None:
    """What was appended after the generation was taken ends the wait at once, even if it was rung before the wait."""
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
    """Returns when the log hears its doorbell: a wait then lasts as long as it says."""
    deadline = time.monotonic() + SOON_SECONDS
    while True:
        began = time.monotonic()
        await log.wait(log.generation, 0.1)
        if time.monotonic() - began >= 0.1:
            return
        assert time.monotonic() < deadline, "the log hears nothing"


async def test_wait_ends_by_time(log: ChangeLog) -> None:
    """Where nothing grows, waiting ends when its time is over."""
    await listening(log)
    began = time.monotonic()
    await log.wait(log.generation, 0.1)
    assert 0.1 <= time.monotonic() - began < SOON_SECONDS


async def test_wait_for_an_older_generation(log: ChangeLog) -> None:
    """A log that has already grown is not waited for."""
    await listening(log)
    old = log.generation
    await fill(log, 1)
    await log.wait(old, NEVER_SECONDS)
    began = time.monotonic()
    await log.wait(old, NEVER_SECONDS)
    assert time.monotonic() - began < SOON_SECONDS


async def test_all_who_wait_are_woken(open_log: OpenLog) -> None:
    """One entry wakes every session of the process."""
    log = open_log()
    await listening(log)
    waiting = [asyncio.create_task(log.wait(log.generation, NEVER_SECONDS)) for _ in range(20)]
    await begun()
    await fill(open_log(), 1)
    _, pending = await asyncio.wait(waiting, timeout=SOON_SECONDS)
    assert not pending


@pytest.mark.parametrize("turns", range(8))
async def test_cancelled_while_being_woken(log: ChangeLog, turns: int) -> None:
    """A session that is cancelled in the very moment when the log grows ends, and does not go on."""
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


async def test_lease_is_taken_once(open_log: OpenLog) -> None:
    """While one owner has the lease no other gets it."""
    assert await open_log().acquire_lease("one", 60)
    assert not await open_log().acquire_lease("other", 60)
    assert await open_log().leader() == "one"


async def test_no_leader(log: ChangeLog) -> None:
    """Nobody leads before somebody has taken the lease."""
    assert await log.leader() is None


async def test_lease_is_renewed(log: ChangeLog) -> None:
    """The owner can take its lease again, and it lasts from then on."""
    assert await log.acquire_lease("one", 0.1)
    assert await log.acquire_lease("one", 60)
    await asyncio.sleep(0.2)
    assert await log.leader() == "one"


async def test_lease_expires(open_log: OpenLog) -> None:
    """A lease that is not renewed ends by itself, and another can have it."""
    log = open_log()
    assert await log.acquire_lease("one", 0.05)
    deadline = time.monotonic() + SOON_SECONDS
    while await log.leader() is not None:
        assert time.monotonic() < deadline
    assert await open_log().acquire_lease("other", 60)
    assert await log.leader() == "other"


async def test_lease_is_released(log: ChangeLog) -> None:
    """An owner that gives the lease up leaves it to others at once."""
    await log.acquire_lease("one", 60)
    await log.release_lease("one")
    assert await log.leader() is None
    assert await log.acquire_lease("other", 60)


async def test_lease_of_another_is_not_released(log: ChangeLog) -> None:
    """Nobody can give up a lease that is another's."""
    await log.acquire_lease("one", 60)
    await log.release_lease("other")
    assert await log.leader() == "one"


async def test_release_without_a_lease(log: ChangeLog) -> None:
    """Giving up what one does not have does nothing."""
    await log.release_lease("one")
    assert await log.leader() is None
