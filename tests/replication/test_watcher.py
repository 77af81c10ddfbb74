"""watcher.py: leadership, and a log that is right whichever watcher writes it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from changesource.conf import ChangeSourceSettings
from changesource.errors import LogUnavailable
from changesource.log.entries import ChangeLog, Entry
from changesource.log.memory import MemoryLog
from changesource.mongo import change_stream
from changesource.mongo.markers import MARKERS_COLLECTION, write_marker
from changesource.mongo.source import Database, current_cluster_time
from changesource.replication import renderer
from changesource.replication import watcher as watcher_module
from tests.log.opening import RedisLogs
from tests.mongo.failing import fail_commands
from tests.simulation.builders import APP_ID
from tests.simulation.following import LEASE_SECONDS, Watching
from tests.simulation.replica import BusyReplica
from tests.simulation.workload import Workload, contents, several
from zerosources.embedded.servers import MongoServer, ValkeyServer

A_WHILE_SECONDS = 0.3
SOON_SECONDS = 10.0
MANY_ROWS = 5_000
"""As many writes as make several batches, and fewer than the oplog of these tests holds."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that waits for a time waits only briefly."""
    monkeypatch.setattr(watcher_module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(change_stream, "AWAIT_MS", 100)


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.03)


async def begun(log: ChangeLog) -> None:
    """Waits until the log has begun: what is written from then on is in it."""

    async def has_begun() -> bool:
        with suppress(LogUnavailable):
            return (await log.extent()).first is not None
        return False

    await eventually(has_begun)


@asynccontextmanager
async def writing(database: Database, log: ChangeLog, count: int) -> AsyncIterator[list[Workload]]:
    """Runs writers that begin when the log has begun."""
    await begun(log)
    async with several(database, count) as loads:
        yield loads


async def entries_until_now(log: ChangeLog, database: Database) -> list[Entry]:
    """Returns all entries of the log, once it has a marker that is written now."""
    nonce = await write_marker(database, APP_ID, "barrier")
    found: list[Entry] = []

    async def has_marker() -> bool:
        found.clear()
        while more := await log.read(found[-1].id if found else None, 1_000):
            found.extend(more)
        return any(nonce in entry.markers for entry in found) and found[-1].is_final

    await eventually(has_marker)
    return found


async def expect_whole_log(log: ChangeLog, database: Database) -> None:
    """Checks that the log's entries have no hole, and lead from nothing to what the database
    holds."""
    found = await entries_until_now(log, database)
    expect_chain(found)
    replica = BusyReplica()
    for entry in found[1:]:
        replica.apply(entry)
    assert replica.tables == await contents(database)


def expect_chain(found: Sequence[Entry]) -> None:
    assert found[0].is_start
    assert [entry.previous for entry in found] == [None, *(entry.id for entry in found[:-1])]
    assert [entry.id for entry in found] == sorted({entry.id for entry in found})


async def test_the_log_leads_to_what_the_database_holds(database: Database, redis_logs: RedisLogs) -> None:
    log = redis_logs.open()
    async with Watching(database, redis_logs.open()):
        await begun(log)
        async with several(database, 2):
            await asyncio.sleep(A_WHILE_SECONDS)
        await expect_whole_log(log, database)


async def test_one_of_several_watchers_leads_as_long_as_it_lives(database: Database, redis_logs: RedisLogs) -> None:
    """The lease has its name."""
    async with (
        Watching(database, redis_logs.open()) as one,
        Watching(database, redis_logs.open()) as two,
        Watching(database, redis_logs.open()) as three,
    ):
        all_watching = (one, two, three)
        await eventually(lambda: any(each.is_leading for each in all_watching))
        await asyncio.sleep(2 * LEASE_SECONDS)
        (leader,) = [each for each in all_watching if each.is_leading]
        assert await redis_logs.open().leader() == leader.watcher.owner


async def test_a_watcher_that_ends_gives_up_its_lease(database: Database, redis_logs: RedisLogs) -> None:
    log = redis_logs.open()
    async with Watching(database, redis_logs.open()) as watching:
        await eventually(lambda: watching.is_leading)
        await watching.stop()
        assert not watching.is_leading
        assert await log.leader() is None


async def test_a_leader_that_lost_its_lease_leads_no_longer(database: Database, redis_logs: RedisLogs) -> None:
    """Even if nothing happens."""
    log = redis_logs.open()
    async with Watching(database, redis_logs.open(), heartbeat_seconds=0) as watching:
        await eventually(lambda: watching.is_leading)
        await redis_logs.lose("leader")
        await log.acquire_lease("another", 60)
        await eventually(lambda: not watching.is_leading)
        assert await log.leader() == "another"


@pytest.mark.parametrize("how", ["stop", "die"])
async def test_another_watcher_takes_over_without_gap_or_repetition(
    database: Database, redis_logs: RedisLogs, how: str
) -> None:
    """Whether the leader ends in order or is killed."""
    log = redis_logs.open()
    async with (
        Watching(database, redis_logs.open()) as leader,
        writing(database, log, 2) as loads,
        Watching(database, redis_logs.open()) as standby,
    ):
        await asyncio.sleep(A_WHILE_SECONDS)
        assert (leader.is_leading, standby.is_leading) == (True, False)
        await getattr(leader, how)()
        began = time.monotonic()
        await eventually(lambda: standby.is_leading)
        assert time.monotonic() - began < 2 * LEASE_SECONDS
        await asyncio.sleep(A_WHILE_SECONDS)
        for load in loads:
            await load.stop()
        await expect_whole_log(log, database)


async def test_the_log_is_right_if_several_watchers_lead_at_once(database: Database, redis_logs: RedisLogs) -> None:
    """The lease is lost again and again."""
    log = redis_logs.open()
    async with (
        Watching(database, redis_logs.open()),
        writing(database, log, 2) as loads,
        Watching(database, redis_logs.open()),
        Watching(database, redis_logs.open()),
    ):
        for _ in range(8):
            await asyncio.sleep(LEASE_SECONDS / 4)
            await redis_logs.lose("leader")
        for load in loads:
            await load.stop()
        await expect_whole_log(log, database)


async def test_a_leader_that_wakes_up_late_appends_nothing(database: Database, redis_logs: RedisLogs) -> None:
    """It stands by."""
    log, its_log = redis_logs.open(), redis_logs.open()
    async with Watching(database, its_log) as paused, writing(database, log, 2) as loads:
        go_on = asyncio.Event()
        append, acquire = its_log.append, its_log.acquire_lease

        async def append_later(*arguments: Any) -> None:
            await go_on.wait()
            await append(*arguments)

        async def acquire_later(*arguments: Any) -> bool:
            await go_on.wait()
            return await acquire(*arguments)

        its_log.append, its_log.acquire_lease = append_later, acquire_later  # type: ignore[method-assign]
        async with Watching(database, redis_logs.open()) as other:
            await eventually(lambda: other.is_leading)
            await asyncio.sleep(A_WHILE_SECONDS)
            go_on.set()
            await eventually(lambda: not paused.is_leading)
            for load in loads:
                await load.stop()
            await expect_whole_log(log, database)
            assert other.is_leading


@pytest.mark.parametrize("how", ["stop", "die"])
async def test_the_next_leader_repeats_an_unfinished_transaction(
    database: Database, redis_logs: RedisLogs, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all of its events."""
    monkeypatch.setattr(renderer, "MAX_ENTRY_BYTES", 300)
    log, its_log = redis_logs.open(), redis_logs.open()
    async with Watching(database, redis_logs.open(), heartbeat_seconds=0) as first:
        await begun(log)
        await first.stop()
    for number in range(20):
        await database.city.insert_one({"_id": number})  # so that they are one batch and several entries
    is_interrupted = asyncio.Event()
    append = its_log.append

    async def append_a_part(entry: Entry, *arguments: Any) -> None:
        if is_interrupted.is_set():
            await asyncio.Event().wait()
        await append(entry, *arguments)
        if not entry.is_final:
            is_interrupted.set()

    its_log.append = append_a_part  # type: ignore[method-assign]
    async with Watching(database, its_log, heartbeat_seconds=0) as interrupted:
        await asyncio.wait_for(is_interrupted.wait(), SOON_SECONDS)
        await getattr(interrupted, how)()
    assert not (await log.read(None, 100))[-1].is_final
    async with Watching(database, redis_logs.open()):
        await expect_whole_log(log, database)


@pytest.mark.parametrize("lost", [("log", "tail", "leader"), ("log",), ("tail",)], ids="+".join)
async def test_a_lost_log_starts_over(database: Database, redis_logs: RedisLogs, lost: tuple[str, ...]) -> None:
    log = redis_logs.open()
    async with Watching(database, redis_logs.open()), writing(database, log, 1):
        await asyncio.sleep(A_WHILE_SECONDS)
        before = (await log.extent()).log_id
        await redis_logs.lose(*lost)
        await begun(log)
        expect_chain(await entries_until_now(log, database))
        assert (await log.extent()).log_id != before


async def test_after_lost_history_the_log_starts_over(
    mongo_server: MongoServer, database: Database, redis_logs: RedisLogs
) -> None:
    """Later than everything that it held."""
    log = redis_logs.open()
    async with Watching(database, redis_logs.open()), writing(database, log, 1):
        await asyncio.sleep(A_WHILE_SECONDS)
        before = await log.extent()
        async with fail_commands(mongo_server, "getMore", times=1, errorCode=286):
            await eventually(lambda: is_other_log(log, before.log_id))
        found = await entries_until_now(log, database)
        expect_chain(found)
        assert before.tail is not None
        assert found[0].id > before.tail


async def test_a_log_that_starts_over_again_and_again_does_so_slowly(
    mongo_server: MongoServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "RETRY_SECONDS", 0.2)
    log = MemoryLog()
    async with fail_commands(mongo_server, "aggregate", errorCode=286), Watching(database, log):
        await asyncio.sleep(1)
        assert 1 <= log.generation <= 7


async def test_the_new_log_begins_later_even_if_the_clock_stood_still(
    mongo_server: MongoServer, database: Database, redis_logs: RedisLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = await current_cluster_time(database)

    async def same_time(database: Database) -> int:
        return now

    monkeypatch.setattr(watcher_module, "current_cluster_time", same_time)
    log = redis_logs.open()
    async with Watching(database, redis_logs.open(), heartbeat_seconds=0):
        await begun(log)
        before = await log.extent()
        async with fail_commands(mongo_server, "getMore", times=1, errorCode=286):
            await eventually(lambda: is_other_log(log, before.log_id))
        after = await log.extent()
    assert before.tail is not None
    assert after.first is not None
    assert after.first > before.tail


async def is_other_log(log: ChangeLog, log_id: str) -> bool:
    return (await log.extent()).log_id not in ("", log_id)


async def test_interruptions_of_mongodb_leave_no_gap_and_no_repetition(
    mongo_server: MongoServer, database: Database, redis_logs: RedisLogs
) -> None:
    log = redis_logs.open()
    async with Watching(database, redis_logs.open()), writing(database, log, 2) as loads:
        for failure in ({"closeConnection": True}, {"errorCode": 43}, {"errorCode": 6}):
            async with fail_commands(mongo_server, "getMore", times=2, **failure):
                await asyncio.sleep(A_WHILE_SECONDS)
        for load in loads:
            await load.stop()
        await expect_whole_log(log, database)


@pytest.fixture
def own_valkey(run_dir: Path) -> Iterator[ValkeyServer]:
    """A Valkey that the test restarts."""
    with ValkeyServer(run_dir / "valkey-watcher") as server:
        yield server


async def test_a_redis_that_is_restarted_empty_gets_a_new_log(
    database: Database, own_valkey: ValkeyServer, settings: Any
) -> None:
    async with RedisLogs(own_valkey.url, settings) as logs:
        log = logs.open()
        async with Watching(database, logs.open()), several(database, 1):
            await begun(log)
            await asyncio.to_thread(own_valkey.restart)
            await asyncio.sleep(A_WHILE_SECONDS)
            await begun(log)
            expect_chain(await entries_until_now(log, database))


async def test_a_watcher_fills_the_log_in_memory_too(database: Database) -> None:
    log = MemoryLog()
    async with Watching(database, log), writing(database, log, 2) as loads:
        await asyncio.sleep(A_WHILE_SECONDS)
        for load in loads:
            await load.stop()
        await expect_whole_log(log, database)


class TrimmedLog(MemoryLog):
    """A log that counts how often it was trimmed."""

    trimmed = 0

    async def trim(self) -> None:
        self.trimmed += 1


async def test_the_leader_trims_the_log(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else keeps a log in Redis from growing."""
    monkeypatch.setattr(watcher_module, "TRIM_SECONDS", 0.05)
    log = TrimmedLog()
    async with Watching(database, log):
        await eventually(lambda: log.trimmed > 2)


async def test_the_leader_writes_heartbeats(database: Database) -> None:
    """They move the position of a quiet source."""
    log = MemoryLog()
    async with Watching(database, log, heartbeat_seconds=0.05):
        await begun(log)
        before = (await log.extent()).tail

        async def has_grown() -> bool:
            tail = (await log.extent()).tail
            return tail is not None and before is not None and tail.position.cluster_time > before.position.cluster_time

        await eventually(has_grown)


async def test_without_heartbeats_nothing_is_written_to_the_source(database: Database) -> None:
    log = MemoryLog()
    async with Watching(database, log, heartbeat_seconds=0) as watching:
        await begun(log)
        await asyncio.sleep(A_WHILE_SECONDS)
        assert watching.is_leading
        assert await database[MARKERS_COLLECTION].count_documents({}) == 0


async def test_a_refused_watcher_tries_again(mongo_server: MongoServer, database: Database) -> None:
    """It leads when it may."""
    log = MemoryLog()
    async with fail_commands(mongo_server, "aggregate", errorCode=13), Watching(database, log):
        await asyncio.sleep(A_WHILE_SECONDS)
        extent = await log.extent()
    assert extent.first == extent.tail
    async with Watching(database, log):
        expect_chain(await entries_until_now(log, database))


async def test_a_standby_logs_each_leader_once(
    database: Database, redis_logs: RedisLogs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger=watcher_module.__name__)
    log = redis_logs.open()
    await log.acquire_lease("host:1:one", 60)
    async with Watching(database, redis_logs.open()):
        await eventually(lambda: "stands by, host:1:one leads" in caplog.text)
        await asyncio.sleep(3 * LEASE_SECONDS)
        await redis_logs.lose("leader")
        await log.acquire_lease("host:2:two", 60)
        await eventually(lambda: "CS303" in caplog.text or "stands by, host:2:two leads" in caplog.text)
        await eventually(lambda: "stands by, host:2:two leads" in caplog.text)
    assert caplog.text.count("stands by, host:1:one leads") == 1


async def test_restarts_leave_no_gap_in_the_log(database: Database, redis_logs: RedisLogs) -> None:
    """Each time another watcher leads at once."""
    log = redis_logs.open()
    async with Watching(database, redis_logs.open()) as first, writing(database, log, 1) as loads:
        leader = first
        await eventually(lambda: leader.is_leading)
        for _ in range(10):
            async with Watching(database, redis_logs.open()):
                pass
            async with AsyncExitStack() as stack:
                following = await stack.enter_async_context(Watching(database, redis_logs.open()))
                stopped_at = time.monotonic()
                await leader.stop()
                await eventually(lambda following=following: following.is_leading)
                assert time.monotonic() - stopped_at < 2 * LEASE_SECONDS
                stack.pop_all()
            leader = following
        for load in loads:
            await load.stop()
        await expect_whole_log(log, database)
        await leader.stop()


async def test_a_process_can_lead_for_one_app_and_stand_by_for_another(
    database: Database, redis_logs: RedisLogs
) -> None:
    one = redis_logs.open()
    async with Watching(database, one) as here:
        await eventually(lambda: here.is_leading)
        other = redis_logs.open_another()
        await other.acquire_lease("somebody", 60)
        async with Watching(database, redis_logs.open()) as there:
            await asyncio.sleep(A_WHILE_SECONDS)
            assert (here.is_leading, there.is_leading) == (True, False)
            assert await other.leader() == "somebody"


async def test_rendering_does_not_delay_the_renewal_of_the_lease(database: Database, redis_logs: RedisLogs) -> None:
    """With thousands of rows, nothing waits for a third of the default lease."""
    log = redis_logs.open()
    waits: list[float] = []

    async def tick() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            waits.append(time.monotonic() - before)

    async with Watching(database, redis_logs.open()) as first:
        await begun(log)
        await first.stop()
    await database.city.insert_many([{"_id": f"c-{number}", "value": ["x" * 50] * 20} for number in range(MANY_ROWS)])
    ticking = asyncio.create_task(tick())
    async with Watching(database, redis_logs.open()):
        await expect_whole_log(log, database)
    ticking.cancel()
    assert max(waits) < ChangeSourceSettings().lease_seconds / 3, f"the loop was busy for {max(waits):.2f} s"
