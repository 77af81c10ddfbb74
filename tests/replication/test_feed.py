"""feed.py: a session reads the log where it reaches, otherwise MongoDB, while writers are busy."""

import asyncio
import itertools
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from changesource.errors import HistoryLost, SourceUnusable
from changesource.log import redis as redis_module
from changesource.log.entries import ChangeLog, Entry, EntryId
from changesource.log.memory import MemoryLog
from changesource.mongo import change_stream
from changesource.mongo.markers import write_marker
from changesource.mongo.source import Database, cluster_time_of
from changesource.protocol.watermarks import Position
from changesource.replication import feed, watcher
from changesource.replication.app_source import AppSource
from changesource.replication.readings import entries_among
from changesource.tasks import end_tasks
from tests.log import builders as entries
from tests.log.opening import RedisLogs
from tests.mongo.failing import fail_commands
from tests.simulation.builders import APP_ID, BUSY_HISTORY
from tests.simulation.following import Following, Watching
from tests.simulation.row_errors import FoundErrors
from tests.simulation.workload import contents, several
from zerosources.embedded.servers import MongoServer, ValkeyServer

A_WHILE_SECONDS = 0.3


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that waits for a time waits only briefly."""
    monkeypatch.setattr(feed, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(feed, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(feed, "RETURN_CHECK_SECONDS", 0.05)
    monkeypatch.setattr(feed, "RETRY_SECONDS", (0.05,))
    monkeypatch.setattr(watcher, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(change_stream, "AWAIT_MS", 100)


async def expect_contents(database: Database, following: Following) -> None:
    """After the writers have ended, waits until the replica has what the database holds."""
    nonce = await write_marker(database, APP_ID, "barrier")
    wanted = await contents(database)
    replica = following.replica
    try:
        await replica.until(lambda: nonce in replica.markers and replica.tables == wanted)
    except TimeoutError:
        assert nonce in replica.markers, f"it reads {following.feed.reads_from} and does not get on"
        assert replica.tables == wanted


async def begun(log: ChangeLog) -> Position:
    """Waits until the log has begun, and returns where."""
    async with asyncio.timeout(10):
        while (first := (await log.extent()).first) is None:
            await asyncio.sleep(0.01)
    return first.position


async def test_a_feed_whose_position_the_log_covers_reads_the_log(database: Database, redis_logs: RedisLogs) -> None:
    log = redis_logs.open()
    async with Watching(database, redis_logs.open()):
        start = await begun(log)
        async with Following(database, log, start) as following:
            async with several(database, 2):
                await asyncio.sleep(A_WHILE_SECONDS)
            assert following.sources == ["log"]
            await expect_contents(database, following)
            assert following.sources == ["log"]


async def test_the_log_is_read_from_the_cluster_time_of_the_position_on(database: Database) -> None:
    """The position says nothing about which events of its cluster time have been read."""
    log = MemoryLog()
    await log.acquire_lease("somebody", 60)
    await log.append(entries.start(1), None)
    places = [entries.place(step, ordinal) for step, ordinal in [(1, 0), (2, 0), (2, 1), (3, 0)]]
    for before, here in itertools.pairwise(places):
        await log.append(Entry(here, 0), before)
    async with Following(database, log, Position(entries.cluster_time(2), 9)) as following:
        await following.replica.until(lambda: len(following.replica.committed) == 3)
    assert following.replica.committed == places[1:]


async def test_mongodb_is_read_from_the_cluster_time_of_the_position_on(
    database: Database, redis_logs: RedisLogs
) -> None:
    async with database.client.start_session() as session:
        await database.city.insert_one({"_id": "a"}, session=session)
        # Of the write itself: the server's clock may be ahead by now.
        written_at = session.operation_time
    assert written_at is not None
    async with Following(database, redis_logs.open(), Position(cluster_time_of(written_at), 9)) as following:
        await expect_contents(database, following)


async def test_the_log_in_memory_serves_as_well(database: Database) -> None:
    log = MemoryLog()
    async with Watching(database, log):
        start = await begun(log)
        async with Following(database, log, start) as following:
            async with several(database, 2):
                await asyncio.sleep(A_WHILE_SECONDS)
            await expect_contents(database, following)
            assert following.sources == ["log"]


async def test_a_feed_before_the_log_reads_mongodb_until_it_has_caught_up(
    database: Database, redis_logs: RedisLogs, start: Position
) -> None:
    """Then it reads the log."""
    async with several(database, 2):
        await asyncio.sleep(A_WHILE_SECONDS)
        async with Watching(database, redis_logs.open()), Following(database, redis_logs.open(), start) as following:
            await following.reads_from("log")
            await asyncio.sleep(A_WHILE_SECONDS)
            assert following.sources == ["MongoDB", "log"]
    async with Watching(database, redis_logs.open()), Following(database, redis_logs.open(), start) as following:
        await expect_contents(database, following)


async def test_without_a_watcher_a_feed_reads_mongodb(
    database: Database, redis_logs: RedisLogs, start: Position
) -> None:
    async with Following(database, redis_logs.open(), start) as following:
        async with several(database, 2):
            await asyncio.sleep(A_WHILE_SECONDS)
        await expect_contents(database, following)
        assert following.sources == ["MongoDB"]


async def test_a_feed_behind_the_trimmed_log_reads_mongodb_and_returns(
    database: Database, redis_logs: RedisLogs
) -> None:
    log = redis_logs.open()
    async with Watching(database, redis_logs.open()):
        start = await begun(log)
        async with Following(database, log, start) as following:
            async with several(database, 2):
                await following.reads_from("log")
                following.pause()
                await asyncio.sleep(A_WHILE_SECONDS)
                await redis_logs.shorten(1)
                following.go_on()
                await following.reads_from("MongoDB")
                await following.reads_from("log")
            await expect_contents(database, following)


@pytest.mark.parametrize("lost", [("log", "tail", "leader"), ("log",), ("tail",)], ids="+".join)
async def test_a_log_that_is_lost_again_and_again_leaves_no_gap(
    database: Database, redis_logs: RedisLogs, lost: tuple[str, ...]
) -> None:
    log = redis_logs.open()
    async with Watching(database, redis_logs.open()):
        start = await begun(log)
        async with Following(database, log, start) as following:
            async with several(database, 2):
                for _ in range(4):
                    await asyncio.sleep(A_WHILE_SECONDS / 2)
                    await redis_logs.lose(*lost)
            await expect_contents(database, following)
            await following.reads_from("log")


async def test_a_feed_reads_mongodb_while_no_watcher_leads(database: Database, redis_logs: RedisLogs) -> None:
    """It returns to the log when a watcher leads."""
    log = redis_logs.open()
    async with AsyncExitStack() as stack:
        async with Watching(database, redis_logs.open()):
            start = await begun(log)
            following = await stack.enter_async_context(Following(database, log, start))
            loads = several(database, 2)
            await loads.__aenter__()
            await following.reads_from("log")
        await following.reads_from("MongoDB")
        async with Watching(database, redis_logs.open()):
            await following.reads_from("log")
            await loads.__aexit__(None, None, None)
            await expect_contents(database, following)


async def test_lost_history_ends_the_feed(
    mongo_server: MongoServer, database: Database, redis_logs: RedisLogs, start: Position
) -> None:
    """Neither the log nor MongoDB reaches back."""
    async with fail_commands(mongo_server, "aggregate", errorCode=286):
        following = Following(database, redis_logs.open(), start)
        assert isinstance(await following.failure(), HistoryLost)


async def test_a_refusal_of_mongodb_ends_the_feed(
    mongo_server: MongoServer, database: Database, redis_logs: RedisLogs, start: Position
) -> None:
    async with fail_commands(mongo_server, "aggregate", errorCode=13):
        following = Following(database, redis_logs.open(), start)
        assert isinstance(await following.failure(), SourceUnusable)


async def test_a_feed_survives_interruptions_of_mongodb(
    mongo_server: MongoServer, database: Database, redis_logs: RedisLogs, start: Position
) -> None:
    async with Following(database, redis_logs.open(), start) as following:
        async with several(database, 2):
            for failure in ({"closeConnection": True}, {"errorCode": 43}, {"errorCode": 6}):
                async with fail_commands(mongo_server, "getMore", times=2, **failure):
                    await asyncio.sleep(A_WHILE_SECONDS / 2)
        await expect_contents(database, following)


@pytest.fixture(scope="module")
def own_valkey(run_dir: Path) -> Iterator[ValkeyServer]:
    """A Valkey that tests may freeze and restart."""
    with ValkeyServer(run_dir / "valkey-feed") as server:
        yield server


@pytest.fixture
async def own_logs(own_valkey: ValkeyServer, settings: Any) -> AsyncIterator[RedisLogs]:
    async with RedisLogs(own_valkey.url, settings) as logs:
        yield logs


async def test_a_feed_survives_a_redis_that_is_restarted_empty(
    database: Database, own_valkey: ValkeyServer, own_logs: RedisLogs
) -> None:
    """It reads MongoDB meanwhile, and returns to the log."""
    log = own_logs.open()
    async with Watching(database, own_logs.open()):
        start = await begun(log)
        async with Following(database, log, start) as following:
            async with several(database, 2):
                await following.reads_from("log")
                await asyncio.to_thread(own_valkey.stop)
                try:
                    await following.reads_from("MongoDB")
                    count = len(following.replica.committed)
                    await following.replica.until(lambda: len(following.replica.committed) > count + 3)
                finally:
                    await asyncio.to_thread(own_valkey.start)
                await following.reads_from("log")
            await expect_contents(database, following)


async def test_a_redis_that_hangs_delays_the_feed_once_at_most(
    database: Database, own_valkey: ValkeyServer, own_logs: RedisLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "TIMEOUT_SECONDS", 1.0)
    log = own_logs.open()
    async with Watching(database, own_logs.open()):
        start = await begun(log)
        async with Following(database, log, start) as following:
            async with several(database, 2):
                await following.reads_from("log")
                os.kill(own_valkey.pid, signal.SIGSTOP)
                try:
                    await following.reads_from("MongoDB")
                    count = len(following.replica.committed)
                    async with asyncio.timeout(1.0):
                        await following.replica.until(lambda: len(following.replica.committed) > count + 3)
                finally:
                    os.kill(own_valkey.pid, signal.SIGCONT)
                await following.reads_from("log")
            await expect_contents(database, following)


@pytest.mark.parametrize("goes_on", [False, True], ids=["ends there", "goes on"])
async def test_in_another_log_a_feed_repeats_its_cluster_time(
    database: Database, redis_logs: RedisLogs, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the other log ends where the feed is, or has a next entry that would fit."""
    log = redis_logs.open()
    await log.acquire_lease("somebody", 60)
    await log.append(entries.start(1), None)
    await log.append(entries.entry(2, tables={"city": b"1\n2"}), entries.place(1))
    await log.append(entries.entry(2, ordinal=1, tables={"city": b"3"}), entries.place(2))
    may_look = asyncio.Event()
    may_look.set()

    def held(look: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def wait_and_look(*arguments: Any) -> Any:
            await may_look.wait()
            return await look(*arguments)

        return wait_and_look

    monkeypatch.setattr(log, "read", held(log.read))
    monkeypatch.setattr(log, "extent", held(log.extent))
    given: list[bytes] = []
    reader = feed.Feed(AppSource(database, BUSY_HISTORY, FoundErrors()), log, Position(entries.cluster_time(1)))

    async def read() -> None:
        async with aclosing(entries_among(reader.readings())) as found:
            async for entry in found:
                given.extend(entry.tables.values())

    async def until(count: int) -> None:
        async with asyncio.timeout(10):
            while len(given) < count:
                await asyncio.sleep(0.01)

    reading = asyncio.create_task(read())
    await until(2)
    may_look.clear()
    await redis_logs.lose("log", "tail")
    writer = redis_logs.open()
    await writer.append(entries.start(2), None)
    await writer.append(entries.entry(2, ordinal=1, tables={"city": b"1\n2\n3\n4"}), entries.place(2))
    if goes_on:
        await writer.append(entries.entry(3, tables={"city": b"5"}), entries.place(2, 1))
    may_look.set()
    await until(4 if goes_on else 3)
    await end_tasks(reading)
    assert given[2:] == [b"1\n2\n3\n4", b"5"][: len(given) - 2]


class HeldReader:
    """A feed on a log in memory that reads nothing while it is held. When it continues, it reads on
    without first looking at the log's extent, as it otherwise does from time to time."""

    def __init__(self, database: Database, log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(feed, "POLL_SECONDS", 60.0)
        monkeypatch.setattr(log, "read", self._read)
        self._read_log = MemoryLog.read
        self._log = log
        self._may_read = asyncio.Event()
        self._may_read.set()
        self.given: list[bytes] = []
        start = Position(entries.cluster_time(1))
        self.feed = feed.Feed(AppSource(database, BUSY_HISTORY, FoundErrors()), log, start)

    async def __aenter__(self) -> "HeldReader":
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *error: object) -> None:
        await end_tasks(self._task)

    def hold(self) -> None:
        self._may_read.clear()

    def go_on(self) -> None:
        self._may_read.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)

    async def _read(self, after: EntryId | None, limit: int) -> list[Entry]:
        await self._may_read.wait()
        return await self._read_log(self._log, after, limit)

    async def _follow(self) -> None:
        async with aclosing(entries_among(self.feed.readings())) as found:
            async for entry in found:
                self.given.extend(entry.tables.values())


async def test_a_fitting_entry_of_another_log_is_not_taken(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed first repeats its cluster time from the other log."""
    log = MemoryLog()
    await log.acquire_lease("somebody", 60)
    await log.append(entries.start(1), None)
    await log.append(entries.entry(2, tables={"city": b"1"}), entries.place(1))
    async with HeldReader(database, log, monkeypatch) as reader:
        await reader.until(lambda: reader.given == [b"1"])
        reader.hold()
        await log.append(entries.start(1), entries.place(2))
        await log.append(entries.entry(2, tables={"city": b"1\n2"}), entries.place(1))
        await log.append(entries.entry(3, tables={"city": b"3"}), entries.place(2))
        reader.go_on()
        await reader.until(lambda: len(reader.given) == 3)
        assert reader.given == [b"1", b"1\n2", b"3"]


async def test_an_entry_after_a_hole_is_not_taken(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is read from MongoDB."""
    log = MemoryLog(max_bytes=1_000)
    await log.acquire_lease("somebody", 60)
    await log.append(entries.start(1), None)
    await log.append(entries.entry(2, tables={"city": b"1"}), entries.place(1))
    async with HeldReader(database, log, monkeypatch) as reader:
        await reader.until(lambda: reader.given == [b"1"])
        reader.hold()
        await log.append(entries.entry(3, tables={"city": b"2" * 900}), entries.place(2))
        await log.append(entries.entry(4, tables={"city": b"3" * 900}), entries.place(3))
        reader.go_on()
        await reader.until(lambda: reader.feed.reads_from == "MongoDB")
        assert reader.given == [b"1"]


@pytest.mark.parametrize("seed", range(2))
async def test_random_failures_together_leave_no_gap(
    mongo_server: MongoServer, database: Database, redis_logs: RedisLogs, seed: int
) -> None:
    """Watchers that come and go, a log that is lost and trimmed, a source that fails, and a slow
    session."""
    dice = random.Random(seed)
    log = redis_logs.open()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(Watching(database, redis_logs.open()))
        following = await stack.enter_async_context(Following(database, log, await begun(log)))
        async with several(database, 2, seed):
            for _ in range(10):
                match dice.randrange(6):
                    case 0:
                        await redis_logs.lose(*dice.sample(("log", "tail", "leader"), dice.randint(1, 3)))
                    case 1:
                        await redis_logs.shorten(dice.randint(1, 3))
                    case 2:
                        async with Watching(database, redis_logs.open()):
                            await asyncio.sleep(dice.random() * A_WHILE_SECONDS)
                    case 3:
                        async with fail_commands(
                            mongo_server, "getMore", times=dice.randint(1, 3), closeConnection=True
                        ):
                            await asyncio.sleep(dice.random() * A_WHILE_SECONDS)
                    case 4:
                        following.pause()
                        await asyncio.sleep(dice.random() * A_WHILE_SECONDS)
                        following.go_on()
                    case 5:
                        await asyncio.sleep(dice.random() * A_WHILE_SECONDS)
        await expect_contents(database, following)
        await following.reads_from("log")
