"""A document whose rows take longer to make than a lease lasts makes a slow leader, never two
leaders, and holds up nothing else."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import pytest

from changesource.errors import SourceReadOnly
from changesource.housekeeping import GarbageCollection
from changesource.log.entries import ChangeLog, EntryId
from changesource.models.queries.snapshots import SnapshotState
from changesource.mongo import change_stream
from changesource.mongo.pre_images import enable_pre_images
from changesource.mongo.source import Database
from changesource.mql.budget import Budget, BudgetExceeded
from changesource.protocol.watermarks import Position
from changesource.replication import watcher as watcher_module
from changesource.sessions import barrier
from changesource.sessions import snapshot as snapshot_module
from changesource.sessions.outlet import PacedOutlet
from changesource.sessions.snapshot import Snapshot
from changesource.sessions.stream_context import StreamContext
from changesource.tables.compiled_table import CompiledTable, Document, Row
from changesource.tables.definition import Column
from changesource.tables.row_errors import RowError
from tests.log.opening import RedisLogs
from tests.replication.test_slow_documents import busy
from tests.simulation.builders import APP_ID, KnownVersions, WholeViews, version, whole_view
from tests.simulation.following import LEASE_SECONDS, Watching
from tests.simulation.loop_lag import LoopLag
from tests.simulation.mapped_tables import mapped
from tests.simulation.replica import frame_summary
from tests.simulation.row_errors import FoundErrors

SLOW_SECONDS = 2.5 * LEASE_SECONDS
"""Between two leases, each of which is twice as long as the one before: no race decides whether one was long enough."""
SLOW_ID = "slow"
ELEMENTS = 120_000
"""How many rows of one document take longer than two leases on the machines of these tests."""
SOON_SECONDS = 60.0
BUSY_MACHINE_SECONDS = LEASE_SECONDS / 2
"""How long the event loop may wait in nine of ten cases, on a machine that does other things as well: less than what would
cost a leader its lease, which it renews after each third of it."""

NUMBERS = mapped(
    "numbers",
    {"pipeline": [{"$unwind": {"path": "$n", "includeArrayIndex": "at"}}, {"$project": {"at": 1, "n": 1}}]},
    Column("at", "number"),
    Column("n", "number"),
    key=("_id", "at"),
)
NUMBERS_HISTORY = KnownVersions(version(NUMBERS))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that waits for a time waits only briefly."""
    monkeypatch.setattr(watcher_module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(change_stream, "AWAIT_MS", 100)


@pytest.fixture
def collected_seldom() -> Iterator[None]:
    """Garbage is collected as in a process that serves or watches."""
    collection = GarbageCollection()
    collection.begin()
    yield
    collection.end()


@pytest.fixture
def slow_rows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The rows of the document `SLOW_ID` take `SLOW_SECONDS` in Python, and more than a quick
    budget. The list has an item for each time that they were made."""
    made: list[str] = []
    rows = CompiledTable.rows

    def slowly(
        self: CompiledTable, document: Document, errors: list[RowError], budget: Budget | None = None
    ) -> list[Row]:
        if document["_id"] == SLOW_ID:
            if budget is not None:
                raise BudgetExceeded("It takes long.")
            made.append(self.name)
            busy(SLOW_SECONDS)
        return rows(self, document, errors)

    monkeypatch.setattr(CompiledTable, "rows", slowly)
    return made


class Leaders:
    """Records again and again which of the watchers lead."""

    def __init__(self, watchings: Iterable[Watching]) -> None:
        self.seen: Counter[tuple[int, ...]] = Counter()
        self._watchings = tuple(watchings)

    def look(self) -> None:
        self.seen[tuple(number for number, each in enumerate(self._watchings) if each.is_leading)] += 1


class Rival:
    """A standby of another process, whose loop always runs: it takes the lease as soon as it is
    free."""

    def __init__(self, redis_logs: RedisLogs) -> None:
        self._log = redis_logs.open()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._stand_by()))
        self.has_led = False

    async def _stand_by(self) -> None:
        while not self._ends.is_set():
            self.has_led = self.has_led or await self._log.acquire_lease("rival", LEASE_SECONDS)
            await asyncio.sleep(LEASE_SECONDS / 10)
        await self._log.release_lease("rival")
        await self._log.close()

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._ends.set()
        await asyncio.to_thread(self._thread.join)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


class LogFrames:
    """The frames of one table as the log gets them, without those of transactions that did not
    end."""

    def __init__(self, log: ChangeLog, table: str) -> None:
        self._log = log
        self._table = table
        self._after: EntryId | None = None
        self._ended: list[bytes] = []
        self._open: list[bytes] = []

    async def count(self) -> int:
        while entries := await self._log.read(self._after, 10):
            self._after = entries[-1].id
            for entry in entries:
                if entry.id.part == 0:
                    self._open = []
                if self._table in entry.tables:
                    self._open += entry.tables[self._table].split(b"\n")
                if entry.is_final:
                    self._ended += self._open
                    self._open = []
        return len(self._ended)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SOON_SECONDS):
            while await self.count() < count:
                await asyncio.sleep(0.05)

    def changes(self) -> list[tuple[str, dict[str, Any]]]:
        """Returns what each frame does, in order, and its row or key."""
        return [frame_summary(frame) for frame in self._ended]


async def begun(log: ChangeLog) -> Position:
    """Waits until the log has begun, and returns where."""
    async with asyncio.timeout(SOON_SECONDS):
        while (first := (await log.extent()).first) is None:
            await asyncio.sleep(0.02)
    return first.position


async def test_one_watcher_leads_while_a_document_takes_twice_the_lease(
    database: Database, redis_logs: RedisLogs, slow_rows: list[str]
) -> None:
    """The rows are made once and are in the log, while the loop serves other tasks."""
    log = redis_logs.open()
    async with Watching(database, redis_logs.open()) as one, Watching(database, redis_logs.open()) as two:
        await begun(log)
        leaders = Leaders([one, two])
        async with Rival(redis_logs) as rival, LoopLag(leaders.look) as lag:
            await database.city.insert_many([{"_id": "before"}, {"_id": SLOW_ID}, {"_id": "after"}])
            frames = LogFrames(log, "city")
            await frames.until(3)
    assert [row["_id"] for _, row in frames.changes()] == ["before", SLOW_ID, "after"]
    assert slow_rows == ["city"]
    assert not rival.has_led
    assert len(leaders.seen) == 1
    assert len(next(iter(leaders.seen))) == 1
    assert lag.quantile(0.9) < BUSY_MACHINE_SECONDS, str(lag)


@pytest.mark.usefixtures("collected_seldom")
async def test_one_watcher_leads_while_a_large_array_is_rendered(database: Database, redis_logs: RedisLogs) -> None:
    """With rows that really take long, and then with a change of one element."""
    await enable_pre_images(database, ["thing"])
    log = redis_logs.open()
    async with (
        Watching(database, redis_logs.open(), history=NUMBERS_HISTORY) as one,
        Watching(database, redis_logs.open(), history=NUMBERS_HISTORY) as two,
    ):
        await begun(log)
        leaders = Leaders([one, two])
        async with Rival(redis_logs) as rival, LoopLag(leaders.look) as lag:
            await database.thing.insert_one({"_id": SLOW_ID, "n": list(range(ELEMENTS))})
            frames = LogFrames(log, "numbers")
            await frames.until(ELEMENTS)
            await database.thing.update_one({"_id": SLOW_ID}, {"$push": {"n": -1}})
            await frames.until(ELEMENTS + 1)
    inserted = [("insert", {"_id": SLOW_ID, "at": number, "n": number}) for number in range(ELEMENTS)]
    assert frames.changes() == [*inserted, ("insert", {"_id": SLOW_ID, "at": ELEMENTS, "n": -1})]
    assert not rival.has_led
    assert len(leaders.seen) == 1
    assert len(next(iter(leaders.seen))) == 1
    assert lag.quantile(0.9) < BUSY_MACHINE_SECONDS, str(lag)


async def test_a_slow_document_does_not_hold_up_another_app(
    database: Database, redis_logs: RedisLogs, slow_rows: list[str]
) -> None:
    other_log, plain = redis_logs.open(), KnownVersions(version(mapped("plain", {})))
    async with Watching(database, other_log, history=plain):
        await begun(other_log)
        slow_log = redis_logs.open_another()
        async with Watching(database, slow_log):
            await begun(slow_log)
            await database.city.insert_one({"_id": SLOW_ID})
            await eventually(lambda: bool(slow_rows))
            began = time.monotonic()
            await database.thing.insert_one({"_id": "meanwhile"})
            await LogFrames(other_log, "plain").until(1)
            assert time.monotonic() - began < SLOW_SECONDS / 2
            assert not await LogFrames(slow_log, "city").count()


async def test_a_stop_does_not_wait_for_the_document(
    database: Database, redis_logs: RedisLogs, slow_rows: list[str]
) -> None:
    """A watcher that is told to end while rows are made ends at once, gives up its lease, and
    appends nothing more."""
    log = redis_logs.open()
    async with Watching(database, redis_logs.open()) as watching:
        await begun(log)
        await database.city.insert_one({"_id": SLOW_ID})
        await eventually(lambda: bool(slow_rows))
        told_at = time.monotonic()
        await watching.stop()
        assert time.monotonic() - told_at < SLOW_SECONDS / 2
        assert await log.leader() is None
        await asyncio.sleep(SLOW_SECONDS)
        assert not await LogFrames(log, "city").count()


async def test_the_lease_grows_until_a_document_that_blocks_the_loop_fits(
    database: Database, redis_logs: RedisLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two watchers lose the lease over it again and again, until the document is in the log. Then
    the lease is as long as usual again."""
    log = redis_logs.open()
    made: list[float] = []
    rows = CompiledTable.rows

    def held_up(self: CompiledTable, document: Document, errors: list[RowError], *rest: Any) -> list[Row]:
        if document["_id"] == SLOW_ID:
            made.append(time.monotonic())
            # The other watcher is of another process, which continues.
            watchings[0 if watchings[0].is_leading else 1].hold_up()
        return rows(self, document, errors)

    monkeypatch.setattr(CompiledTable, "rows", held_up)
    watchings: list[HeldUp] = []
    async with (
        HeldUp(database, redis_logs.open()) as one,
        HeldUp(database, redis_logs.open()) as two,
    ):
        watchings += [one, two]
        await begun(log)
        await database.city.insert_one({"_id": SLOW_ID})
        await LogFrames(log, "city").until(1)
        assert len(made) > 1
        assert max(one.longest_lease, two.longest_lease) > SLOW_SECONDS
        await eventually(lambda: any(each.watcher._seconds == LEASE_SECONDS for each in watchings if each.is_leading))


class Discarded:
    """An outlet that counts frames."""

    def __init__(self) -> None:
        self.count = 0

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        self.count += len(frames)


@pytest.mark.usefixtures("collected_seldom")
@pytest.mark.parametrize("plain_inserts", [False, True])
async def test_a_snapshot_of_a_large_array_does_not_hold_up_the_loop(
    database: Database, monkeypatch: pytest.MonkeyPatch, plain_inserts: bool
) -> None:
    """The rows of such a document in a session's snapshot, which are as many as there are elements."""
    monkeypatch.setattr(barrier, "write_marker", refuse_marker)
    monkeypatch.setattr(snapshot_module, "unused_position", same_position)
    await database.thing.insert_one({"_id": SLOW_ID, "n": list(range(ELEMENTS))})
    outlet = Discarded()
    context = StreamContext(database, APP_ID, 0, WholeViews(NUMBERS_HISTORY), FoundErrors())
    progress = SnapshotState("", APP_ID, 1, 0, datetime.now(UTC))
    taking = Snapshot(context, PacedOutlet(outlet, 10), progress, plain_inserts=plain_inserts)
    async with LoopLag() as lag:
        result = await taking.send(whole_view(version(NUMBERS)), no_entries())
    assert result.rows == ELEMENTS
    assert outlet.count > (ELEMENTS if plain_inserts else 10)
    assert lag.quantile(0.9) < BUSY_MACHINE_SECONDS, str(lag)


async def refuse_marker(*arguments: object) -> str:
    raise SourceReadOnly("The user of the URI may not do this.")


async def no_entries() -> AsyncIterator[None]:
    raise AssertionError("the log was read")
    yield


async def same_position(context: StreamContext, position: Position) -> Position:
    return position


class HeldUp(Watching):
    """A watcher whose Redis hears nothing from it for `SLOW_SECONDS` after `hold_up`, as if its
    loop stood still."""

    def __init__(self, database: Database, log: Any) -> None:
        super().__init__(database, log)
        self.longest_lease = 0.0
        self._goes_on_at = 0.0
        append, acquire = log.append, log.acquire_lease

        async def append_later(*arguments: Any) -> Any:
            await self._wait()
            return await append(*arguments)

        async def acquire_later(owner: str, seconds: float) -> bool:
            await self._wait()
            self.longest_lease = max(self.longest_lease, seconds)
            return bool(await acquire(owner, seconds))

        log.append, log.acquire_lease = append_later, acquire_later

    def hold_up(self) -> None:
        self._goes_on_at = time.monotonic() + SLOW_SECONDS

    async def _wait(self) -> None:
        await asyncio.sleep(max(0.0, self._goes_on_at - time.monotonic()))
