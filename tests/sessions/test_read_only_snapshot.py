"""snapshot.py: a snapshot of a source that may only be read, which has no markers to be closed by."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from changesource.errors import SourceReadOnly, SourceUnusable
from changesource.models.queries.snapshots import SnapshotState
from changesource.mongo import change_stream
from changesource.mongo.source import Database, SourceReport, current_cluster_time
from changesource.protocol.watermarks import Position
from changesource.sessions import barrier
from changesource.sessions import snapshot as snapshot_module
from changesource.sessions.outlet import PacedOutlet
from changesource.sessions.snapshot import Snapshot, SnapshotResult
from changesource.sessions.stream_context import StreamContext
from tests.simulation.builders import APP_ID, KnownVersions, WholeViews, table, version, whole_view
from tests.simulation.row_errors import FoundErrors

CITY = version(table("city"))


class Rows:
    """An outlet that keeps what frames say of rows; `on_first_row` happens in the middle of the scan."""

    def __init__(self, on_first_row: Callable[[], Awaitable[None]]) -> None:
        self.values: dict[str, Any] = {}
        self._on_first_row: Callable[[], Awaitable[None]] | None = on_first_row

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            message = json.loads(frame)[1]
            if message.get("relation", {}).get("name") != "city":
                continue
            if message["tag"] == "insert":
                self.values[message["new"]["_id"]] = json.loads(message["new"]["value"])
            elif message["tag"] == "delete":
                self.values.pop(message["key"]["_id"], None)
        if self.values and self._on_first_row is not None:
            happen, self._on_first_row = self._on_first_row, None
            await happen()


@pytest.fixture(autouse=True)
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Markers are refused, as they are to a user who may only read; other writes are those of somebody else."""

    async def refuse(*args: object) -> str:
        raise SourceReadOnly("The user of the URI may not do this.")

    monkeypatch.setattr(barrier, "write_marker", refuse)
    monkeypatch.setattr(snapshot_module, "unused_position", next_one)
    monkeypatch.setattr(change_stream, "AWAIT_MS", 100)


async def no_entries() -> AsyncIterator[None]:
    """The feed, which a snapshot without markers does not use."""
    raise AssertionError("the log was read")
    yield


async def next_one(context: StreamContext, position: Position) -> Position:
    """As if a replica had begun here already."""
    return Position.from_number(position.number + 1)


async def take(database: Database, rows: Rows) -> SnapshotResult:
    progress = SnapshotState("", APP_ID, 1, 0, datetime.now(UTC))
    context = StreamContext(database, APP_ID, 0, WholeViews(KnownVersions(CITY)), FoundErrors())
    taking = Snapshot(context, PacedOutlet(rows, 10), progress, plain_inserts=True)
    result = await taking.send(whole_view(CITY), no_entries())
    assert progress.rows == result.rows
    assert progress.documents >= progress.total_documents
    return result


async def nothing() -> None:
    return None


async def test_changes_during_the_scan_are_in_the_snapshot(database: Database) -> None:
    """What is changed behind the scan is in the snapshot: its rows are those of its end."""
    await database.city.insert_many({"_id": f"{number:04}", "value": number} for number in range(1500))

    async def change() -> None:
        await database.city.update_one({"_id": "0000"}, {"$set": {"value": "changed"}})
        await database.city.delete_one({"_id": "0001"})
        await database.city.insert_one({"_id": "/", "value": "before all"})

    rows = Rows(change)
    before = await current_cluster_time(database)
    result = await take(database, rows)
    assert rows.values == {document["_id"]: document["value"] async for document in database.city.find()}
    assert (rows.values["0000"], rows.values["/"]) == ("changed", "before all")
    assert before <= result.begin.cluster_time < result.end.cluster_time


async def test_the_snapshot_of_a_quiet_source_ends(database: Database) -> None:
    """Where nothing changes the end is seen all the same, and a position that is in use is not used again."""
    await database.city.insert_one({"_id": "a", "value": 1})
    rows = Rows(nothing)
    result = await take(database, rows)
    assert rows.values == {"a": 1}
    assert result.begin.ordinal == 1
    assert result.end >= result.begin


async def test_a_sharded_cluster_is_refused_before_anything_is_sent(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router does not show where the stream ends: refused, before anything is sent."""

    async def report(database: Database) -> SourceReport:
        return SourceReport((8, 0, 0), "sharded cluster")

    monkeypatch.setattr(snapshot_module, "inspect_source", report)
    rows = Rows(nothing)
    with pytest.raises(SourceUnusable, match="sharded cluster"):
        await take(database, rows)
    assert rows.values == {}
