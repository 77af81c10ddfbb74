"""Snapshots that take long: whatever is written and whatever breaks meanwhile, the replica is what MongoDB is in the end."""

import asyncio
import json
import os
import random
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from django.utils import timezone
from pymongo import AsyncMongoClient, monitoring

from changesource.models import App, RunningSnapshot
from changesource.mongo import change_stream, documents
from changesource.mongo import source as source_module
from changesource.mongo.source import APP_NAME, Database
from changesource.replication import feed, watcher
from changesource.sessions import snapshot_progress
from tests.e2e import workload
from tests.e2e.deployment import Deployment
from tests.embedded.waiting import wait_until
from tests.faults.sessions import SOON_SECONDS, ChangeSource, Replica, change_source
from tests.given_mongodb import FAIL_POINTS, skip_if_given
from tests.models.builders import build_app, build_table
from tests.mongo.failing import fail_commands
from zerosources.embedded.servers import MongoServer, PostgresServer

pytestmark = pytest.mark.django_db(transaction=True)

CHUNK = 7
"""Documents of a chunk, so that each type of `_id` lies across several chunks."""
ROUNDS = int(os.environ.get("SNAPSHOT_ROUNDS", "3"))
"""Of 5,000 updates each. Debezium's test does 50 (`SNAPSHOT_ROUNDS=50`)."""
OF_EACH_TYPE = 18
NOTES = 5_000
"""In five chunks."""
QUERY_PLAN_KILLED = 175
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ids() -> list[Any]:
    """`_id`s of all types, each of more than two chunks where it has so many values. (Doubles that no int64 can hold are one
    and the same key for the embedded MongoDB.)"""
    few = range(OF_EACH_TYPE)
    return [
        MinKey(),
        None,
        float("nan"),
        float("-inf"),
        *(Int64(-(2**60) + number) for number in few),
        *(-1000.5 + number for number in few),
        -0.0,
        *(number for number in few if number),
        *(Decimal128(f"{number}.25") for number in few),
        *(Int64(2**60 + number) for number in few),
        *(1e15 + number + 0.5 for number in few),
        float("inf"),
        *(f"text-{number:02}" for number in few),
        *({"a": number // 3, "b": f"x{number}"} for number in few),
        *(Binary(bytes([number])) for number in few),
        *(Binary.from_uuid(uuid.UUID(int=number)) for number in few),
        *(ObjectId(f"{number:024x}") for number in few),
        False,
        True,
        *(EPOCH + timedelta(days=number) for number in few),
        *(Timestamp(number + 1, 1) for number in few),
        MaxKey(),
    ]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_stream, "AWAIT_MS", 50)
    monkeypatch.setattr(feed, "POLL_SECONDS", 0.1)
    for module in (documents, watcher):
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_SCAN_BATCH_SIZE", CHUNK)


class Commands(monitoring.CommandListener):
    """What the product asked MongoDB for, in order; of the scan of `city` which answers came, and how often none did."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.chunks = self.failures = 0
        self._of_scan: set[int] = set()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        command = dict(event.command)
        self.asked.append((event.command_name, command))
        # Look-ups ask for documents by their ids, and samples for some.
        is_find = event.command_name == "find" and command["find"] == "city"
        is_scan = is_find and "_id" not in command["filter"] and "limit" not in command
        if is_scan or (event.command_name == "getMore" and command["collection"] == "city"):
            self._of_scan.add(event.request_id)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self.chunks += event.request_id in self._of_scan

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        self.failures += event.request_id in self._of_scan


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    listener = Commands()
    monkeypatch.setattr(source_module, "AsyncMongoClient", partial(AsyncMongoClient, event_listeners=[listener]))
    return listener


@pytest.fixture
def uri(mongo_server: MongoServer, settings: Any) -> str:
    settings.CHANGESOURCE_SOURCES = {"default": mongo_server.uri(f"long_{uuid.uuid4().hex[:12]}")}
    return str(settings.CHANGESOURCE_SOURCES["default"])


@pytest.fixture
async def source(uri: str, app: App, commands: Commands) -> AsyncIterator[ChangeSource]:
    async with change_source(uri, app, heartbeat_seconds=0.2) as source:
        yield source


@pytest.fixture
def app(uri: str) -> App:
    return build_app()


class At:
    """Things that happen when so many rows have come to a replica, once each."""

    def __init__(self, replica: Replica, happenings: dict[int, Callable[[], Awaitable[None]]]) -> None:
        self._replica = replica
        self._waiting = dict(sorted(happenings.items()))
        replica.on_frames = self._look

    async def _look(self) -> None:
        for rows in [rows for rows in self._waiting if rows <= self._replica.rows_taken]:
            await self._waiting.pop(rows)()

    @property
    def have_happened(self) -> bool:
        return not self._waiting


class ConnectionCut(Exception):
    """zero-cache has gone."""


async def cut_connection() -> None:
    raise ConnectionCut


async def fill(database: Database, found: Sequence[Any]) -> None:
    await database.city.insert_many({"_id": each, "name": f"{place}"} for place, each in enumerate(found))


async def kill_cursors(database: Database) -> None:
    """All of the collection that are open."""
    for operation in (await database.client.admin.command({"currentOp": 1, "$all": True}))["inprog"]:
        if operation["type"] == "idleCursor" and operation["ns"] == f"{database.name}.city":
            await database.command({"killCursors": "city", "cursors": [operation["cursorId"]]})


class Faults:
    """What happens to the scan; whoever begins one need not wait for it. A context manager, which waits for all."""

    def __init__(self, server: MongoServer, commands: Commands) -> None:
        self._server = server
        self._commands = commands
        self._tasks: list[asyncio.Task[None]] = []

    async def fail(self, **data: Any) -> None:
        """The scan's next request for more fails, as `data` says."""
        is_on = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._fail_until_seen(is_on, data)))
        await is_on.wait()

    async def _fail_until_seen(self, is_on: asyncio.Event, data: dict[str, Any]) -> None:
        before = self._commands.failures
        async with asyncio.timeout(SOON_SECONDS), fail_commands(self._server, "getMore", **data):
            is_on.set()
            while self._commands.failures == before:
                await asyncio.sleep(0.001)

    async def __aenter__(self) -> "Faults":
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.gather(*self._tasks)


@asynccontextmanager
async def writing(database: Database, found: Sequence[Any], seed: int) -> AsyncIterator[None]:
    """Documents before and after the place of the scan are updated, deleted and written again, all the time."""
    dice = random.Random(seed)
    is_over = asyncio.Event()

    async def write() -> None:
        while not is_over.is_set():
            each = dice.choice(found)
            if each != each:  # the embedded MongoDB takes an update of a NaN for a change of the _id
                continue
            match dice.randrange(5):
                case 0:
                    await database.city.delete_one({"_id": each})
                case 1:
                    await database.city.delete_one({"_id": each})
                    await database.city.insert_one({"_id": each, "name": "again"})
                case _:
                    name = f"{dice.random()}"
                    await database.city.update_one({"_id": each}, {"$set": {"name": name}}, upsert=True)
            await asyncio.sleep(0)

    task = asyncio.create_task(write())
    try:
        yield
    finally:
        is_over.set()  # cancelled, its last write might be done by MongoDB later
        await task


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({}, id="idle cursor killed"),
        pytest.param({"errorCode": 237}, id="cursor killed"),
        pytest.param({"errorCode": 239}, id="snapshot too old"),
        pytest.param({"errorCode": 246}, id="snapshot unavailable"),
        pytest.param({"closeConnection": True}, id="connection lost"),
    ],
)
async def test_ids_of_all_types(
    source: ChangeSource, mongo_server: MongoServer, commands: Commands, fault: dict[str, Any]
) -> None:
    """A scan in small chunks over `_id`s of all types, among writers, that is interrupted at 20 % and at 80 %, goes on within
    the connection and reads at most one chunk again."""
    database, found = source.database, ids()
    await fill(database, found)
    replica = Replica()
    async with Faults(mongo_server, commands) as faults, writing(database, found, seed=1):
        interrupt = partial(faults.fail, **fault) if fault else partial(kill_cursors, database)
        happenings = At(replica, {len(found) * 2 // 10: interrupt, len(found) * 8 // 10: interrupt})
        how = await source.take_snapshot(replica)
    assert how is not None
    assert how.code == 1000
    assert happenings.have_happened
    assert commands.failures >= 2
    assert commands.chunks <= len(found) // CHUNK + 2 + commands.failures
    async with source.streaming(replica):
        await replica.until_equal(source)


async def test_no_snapshot_of_the_server(source: ChangeSource, commands: Commands) -> None:
    """Neither a transaction nor a read of a past state: the server's `minSnapshotHistoryWindowInSeconds` means nothing."""
    await fill(source.database, range(50))
    await source.take_snapshot(Replica())
    concerns = [command.get("readConcern", {}) for _, command in commands.asked]
    assert {concern.get("level", "majority") for concern in concerns} == {"majority"}
    assert not any("atClusterTime" in concern for concern in concerns)
    assert not any("startTransaction" in command for _, command in commands.asked)
    assert commands.chunks > 0


@pytest.mark.usefixtures("small_chunks")
async def test_snapshot_that_breaks_off(source: ChangeSource) -> None:
    """A connection that is cut at 20 % or at 80 % leaves nothing; the next snapshot is whole."""
    database, found = source.database, ids()
    await fill(database, found)
    replica = Replica()
    async with writing(database, found, seed=2):
        for percent in (20, 80):
            replica.rows_taken = 0
            At(replica, {len(found) * percent // 100: cut_connection})
            with pytest.raises(ConnectionCut):
                await source.take_snapshot(replica)
            assert replica.tables == {}
        replica.on_frames = None
        await source.take_snapshot(replica)
    async with source.streaming(replica):
        await replica.until_equal(source)


async def test_updates_all_the_time(source: ChangeSource) -> None:
    """5,000 documents are updated again and again by `updateMany` while they are read; each has its last state in the end."""
    await source.database.city.insert_many({"_id": number, "name": "0"} for number in range(5_000))
    replica = Replica()

    async def update() -> None:
        for number in range(1, ROUNDS + 1):
            await source.database.city.update_many({}, {"$set": {"name": str(number)}})

    updating = asyncio.create_task(update())
    await source.take_snapshot(replica)
    async with source.streaming(replica):
        await updating
        await replica.until_equal(source)
    assert {row["name"] for row in replica.published["city"].values()} == {str(ROUNDS)}


@pytest.mark.usefixtures("small_chunks")
async def test_deleted_while_it_is_read(source: ChangeSource) -> None:
    """Documents that are deleted when they have been read, when they are on their way, and before, are in no replica; one
    that was written again is there once."""
    database, count = source.database, 100
    await fill(database, range(count))
    replica = Replica()

    async def delete() -> None:
        await database.city.delete_many({"_id": {"$in": [*range(10), *range(48, 72), *range(90, 95)]}})
        await database.city.insert_many([{"_id": 5, "name": "again"}, {"_id": 93, "name": "again"}])

    At(replica, {count // 2: delete})
    await source.take_snapshot(replica)
    assert replica.published == await source.expected()
    assert len(replica.published["city"]) == count - 39 + 2


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    ("then", "error_code"),
    [
        ("drop", None),
        ("drop", QUERY_PLAN_KILLED),
        ("rename away", QUERY_PLAN_KILLED),
        ("rename here", QUERY_PLAN_KILLED),
    ],
)
async def test_collection_that_goes(
    source: ChangeSource, mongo_server: MongoServer, commands: Commands, then: str, error_code: int | None
) -> None:
    """A collection that is dropped or renamed while it is read, or whose name another takes: the replica is what is left.
    MongoDB says QueryPlanKilled to who reads it; the embedded one does not."""
    database = source.database
    await fill(database, range(100))
    await database.draft.insert_many([{"_id": number, "name": "draft"} for number in range(50, 120)])
    replica = Replica()

    async def go() -> None:
        if error_code is not None:
            await faults.fail(errorCode=error_code)
        if then == "drop":
            await database.city.drop()
        elif then == "rename away":
            await database.city.rename("town")
        else:
            await database.draft.rename("city", dropTarget=True)

    happenings = At(replica, {30: go})
    async with Faults(mongo_server, commands) as faults:
        how = await source.take_snapshot(replica)
    assert how is not None
    assert how.code == 1000
    assert happenings.have_happened
    assert replica.published == await source.expected()
    async with source.streaming(replica):
        await database.city.insert_one({"_id": "last", "name": "last"})
        await replica.until_equal(source)


@pytest.mark.usefixtures("small_chunks")
async def test_progress(uri: str, app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are counted for each table; documents once for a collection, whatever its tables leave out or unwind; a collection
    that grows is expected to have more, and one that is empty nothing. What runs is seen by all, and gone in the end."""
    monkeypatch.setattr(snapshot_progress, "NOTE_SECONDS", 0.01)
    caplog.set_level("INFO", "changesource.sessions.snapshot_progress")
    await sync_to_async(add_tables)(app)
    async with change_source(uri, app, heartbeat_seconds=0.2) as source:
        await source.database.city.insert_many({"_id": n, "name": "n", "size": n, "parts": [1, 2]} for n in range(40))
        replica = Replica()
        seen: list[RunningSnapshot] = []

        async def look() -> None:
            seen.append(await noted_after(timezone.now()))
            if len(seen) == 8:
                await source.database.city.insert_many({"_id": n, "size": n, "parts": []} for n in range(100, 150))
                await kill_cursors(source.database)  # the embedded MongoDB's does not see them

        replica.on_frames = look
        await source.take_snapshot(replica)
        assert await RunningSnapshot.objects.acount() == 0
    assert {each.state for each in seen} == {"reading", "closing"}
    assert {each.rows for each in seen if each.state == "closing"} == {seen[-1].rows}
    assert (seen[0].rows, seen[0].documents, seen[0].total_documents) == (0, 0, 40)
    assert [each.rows for each in seen] == sorted(each.rows for each in seen)
    assert (seen[-1].documents, seen[-1].total_documents) == (90, 90)
    assert seen[-1].rows == 90 + 10 + 80  # of `city`, of `small`, of `part`
    assert seen[-1].rows_per_second > 0
    assert f"{seen[-1].rows} rows, 90 of about 90 documents" in caplog.text


def add_tables(app: App) -> None:
    """One that leaves documents out, one of array items, one of a collection that is not there."""
    build_table(app, "small", {"_id": {}}, collection="city", mapping='{"filter": {"size": {"$lt": 10}}}')
    items = '{"pipeline": [{"$unwind": {"path": "$parts", "includeArrayIndex": "n"}}]}'
    build_table(app, "part", {"_id": {}, "n": {"type": "number"}}, collection="city", mapping=items)
    app.tables.filter(name="part").update(primary_key=["_id", "n"])
    build_table(app, "nothing", {"_id": {}})


async def noted_after(moment: datetime) -> RunningSnapshot:
    """The only snapshot that runs, as it was said to be after the moment."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            found = await RunningSnapshot.objects.filter(noted_at__gt=moment).afirst()
            if found is not None:
                return found
            await asyncio.sleep(0.01)


class Share:
    """For `RecordingProxy.hold_at`, which lets all pass: `is_reached` is set when so many rows of a snapshot have."""

    def __init__(self, rows: int) -> None:
        self.is_reached = threading.Event()
        self._rows = rows

    def __call__(self, frame: str) -> bool:
        if frame.startswith('["data",{"tag":"backfill"'):
            self._rows -= len(json.loads(frame)[1]["rowValues"])
        if self._rows <= 0:
            self.is_reached.set()
        return False


@pytest.mark.timeout(300)
def test_processes_that_end_in_a_snapshot(
    run_dir: Path, mongo_server: MongoServer, postgres_server: PostgresServer
) -> None:
    """The server is killed at 20 % of a snapshot and stopped at 80 % of the next, while others write: what zero-cache has is
    dropped each time, and the snapshot that gets through is right."""
    with ExitStack() as stack:
        deployment = Deployment(stack, run_dir / "long-snapshots", mongo_server, postgres_server, None, workload.SCHEMA)
        deployment.database.notes.insert_many([{"_id": f"note-{n}", "text": "x" * 100} for n in range(NOTES)])
        server = deployment.start()
        proxy = deployment.proxy(server)
        stack.callback(hold_reads, deployment, 0)
        with workload.Workload(deployment.database, seed=3, rate=60):
            hold_reads(deployment, 300)
            share = proxy.hold_at = Share(NOTES * 20 // 100)
            zero_cache = deployment.zero_cache(proxy)
            wait_until(share.is_reached.is_set)
            server.kill()
            wait_until(lambda: not zero_cache.is_running)  # as it does when its first snapshot breaks off
            server.start()
            share = proxy.hold_at = Share(NOTES * 80 // 100)
            zero_cache.start(wait=False)
            wait_until(share.is_reached.is_set)
            hold_reads(deployment, 10_000)  # a server that is stopped ends what takes three seconds more
            server.stop()
            hold_reads(deployment, 0)
            assert server.exit_status == 0
            wait_until(lambda: not zero_cache.is_running)
            server.start()
            proxy.hold_at = None
            zero_cache.start(wait=False)
            wait_until(lambda: proxy.connections[-1].last_watermark != "")
        deployment.wait_until_equal(zero_cache)
        snapshots = [connection for connection in proxy.connections if not connection.last_watermark]
        assert [len(list(connection.transactions())) for connection in snapshots] == [0, 0, 1]


def hold_reads(deployment: Deployment, milliseconds: int) -> None:
    """Each of the product's requests for more takes so long."""
    data = {"failCommands": ["getMore"], "appName": APP_NAME, "blockConnection": True, "blockTimeMS": milliseconds}
    mode = "alwaysOn" if milliseconds else "off"
    skip_if_given(FAIL_POINTS)
    deployment.client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})
