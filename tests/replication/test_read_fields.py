"""Snapshots and look-ups request the fields that tables read, if the others are large. The rows
stay the same."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from changesource.errors import SourceReadOnly
from changesource.models.queries.snapshots import SnapshotState
from changesource.mongo import change_stream
from changesource.mongo.source import Database
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.sessions import barrier
from changesource.sessions import snapshot as snapshot_module
from changesource.sessions.outlet import PacedOutlet
from changesource.sessions.snapshot import Snapshot
from changesource.sessions.stream_context import StreamContext
from changesource.tables.definition import Column
from tests.simulation.builders import APP_ID, KnownVersions, WholeViews, whole_view
from tests.simulation.mapped_tables import COLLECTION, MappedReplica, mapped, rows_of, version_of
from tests.simulation.row_errors import FoundErrors
from zerosources.embedded.servers import MongoServer

NAMES = mapped("names", {"filter": {"kind": "a"}}, Column("name", "string", optional=True))
SIZES = mapped("sizes", {"projection": {"size": {"$size": "$items"}}}, Column("size", "number", optional=True))
WHOLE = mapped("whole", {"projection": {"all": "$$ROOT"}}, Column("all", "json", optional=True))
READ = {"_id": 1, "items": 1, "kind": 1, "name": 1}
UNREAD = "x" * 5_000


class FoundCommands(CommandListener):
    """The projections of the `find` commands on the tables' collection, without those that sample a
    few documents, and how many of them are look-ups."""

    def __init__(self) -> None:
        self.projections: list[Any] = []
        self.look_ups = 0

    def started(self, event: CommandStartedEvent) -> None:
        if event.command.get("find") == COLLECTION and "limit" not in event.command:
            self.projections.append(event.command.get("projection"))
            self.look_ups += "$in" in event.command["filter"].get("_id", {})

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Of no interest."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Of no interest."""


@pytest.fixture
def found() -> FoundCommands:
    return FoundCommands()


@pytest.fixture
async def reading(
    mongo_server: MongoServer, database: Database, found: FoundCommands, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Database]:
    """The test's database as the product reads it. Markers are refused, and its commands are
    recorded."""

    async def refuse(*args: object) -> str:
        raise SourceReadOnly("The user of the URI may not do this.")

    async def next_one(context: StreamContext, position: Position) -> Position:
        return Position.from_number(position.number + 1)

    monkeypatch.setattr(barrier, "write_marker", refuse)
    monkeypatch.setattr(snapshot_module, "unused_position", next_one)
    monkeypatch.setattr(change_stream, "AWAIT_MS", 100)
    async with AsyncMongoClient[dict[str, Any]](mongo_server.uri(database.name), event_listeners=[found]) as client:
        yield client.get_database(database.name, database.codec_options)


class ReplicaAfterAChange:
    """An outlet that changes two documents when it has the first rows, of which one update is then
    looked up."""

    def __init__(self, database: Database, version: CompiledVersion) -> None:
        self.replica = MappedReplica(version)
        self._database: Database | None = database

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            change = json.loads(frame)[1]
            name = change.get("relation", {}).get("name")
            if name in self.replica.tables and change["tag"] in ("insert", "delete"):
                self.replica.apply(name, frame)
        if any(self.replica.tables.values()) and self._database is not None:
            database, self._database = self._database, None
            await database[COLLECTION].update_one({"_id": "0"}, {"$set": {"name": "changed", "items": [1, 2, 3]}})
            await database[COLLECTION].update_one({"_id": "1"}, {"$set": {"kind": "b"}})


async def take_snapshot(database: Database, reading: Database, version: CompiledVersion) -> MappedReplica:
    async def no_entries() -> AsyncIterator[None]:
        raise AssertionError("the log was read")
        yield

    outlet = ReplicaAfterAChange(database, version)
    context = StreamContext(reading, APP_ID, 0, WholeViews(KnownVersions(version)), FoundErrors())
    progress = SnapshotState("", APP_ID, 1, 0, datetime.now(UTC))
    snapshot = Snapshot(context, PacedOutlet(outlet, 10), progress, plain_inserts=True)
    await snapshot.send(whole_view(version), no_entries())
    return outlet.replica


@pytest.mark.parametrize(
    ("tables", "unread", "projection"),
    [
        ((NAMES, SIZES), UNREAD, READ),
        ((NAMES, SIZES), "little", None),
        ((NAMES, SIZES, WHOLE), UNREAD, None),
    ],
    ids=["large fields are not read", "small fields are not read", "a table reads whole documents"],
)
async def test_the_scan_and_look_ups_use_one_projection(
    database: Database, reading: Database, found: FoundCommands, tables: Any, unread: str, projection: Any
) -> None:
    """That of all tables of the collection. The rows are those of whole documents."""
    await database[COLLECTION].insert_many(
        [
            {"_id": str(n), "unread": unread, "items": [n] * n, "kind": "ab"[n % 2], "name": f"{n}", "other": unread}
            for n in range(10)
        ]
    )
    await database[COLLECTION].update_one({"_id": "1"}, {"$set": {"kind": "a"}})
    version = version_of(*tables)
    replica = await take_snapshot(database, reading, version)
    wholes = [document async for document in database[COLLECTION].find()]
    assert replica.tables == rows_of(version, wholes)
    assert found.look_ups
    assert found.projections == [projection] * (1 + found.look_ups)
