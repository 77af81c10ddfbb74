"""Tables with mappings: what is streamed from MongoDB while documents change ends as what a fresh snapshot has."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from changesource.log.entries import Entry
from changesource.mongo import change_stream
from changesource.mongo.markers import MARKERS_COLLECTION, write_marker
from changesource.mongo.pre_images import enable_pre_images
from changesource.mongo.source import Database, current_cluster_time
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.replication import renderer
from tests.simulation.builders import APP_ID
from tests.simulation.following import entries_from
from tests.simulation.mapped_tables import (
    BY_CODE,
    BY_ELEMENT,
    BY_ID,
    BY_INDEX,
    BY_PRE_IMAGES,
    COLLECTION,
    FILTERED,
    KIND_A,
    KIND_B,
    NESTED,
    PIPELINE,
    MappedReplica,
    rows_of,
    version_of,
)
from tests.simulation.thing_workload import IDS, ThingWorkload

DEADLINE_SECONDS = 40.0
ALL = version_of(*BY_ID, *BY_PRE_IMAGES)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream in which nothing happens is waited for a little only."""
    monkeypatch.setattr(change_stream, "AWAIT_MS", 50)


@pytest.fixture
async def images(database: Database) -> None:
    """The collection records pre-images."""
    await enable_pre_images(database, [COLLECTION])


async def entries_to(
    database: Database, version: CompiledVersion, after: Position, nonce: str
) -> AsyncGenerator[Entry, None]:
    """All entries from the cluster time of `after` on, inclusive, to the end of the transaction with a marker."""
    stream = entries_from(database, version, after)
    is_seen = False
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(stream):
        async for entry in stream:
            yield entry
            is_seen = is_seen or nonce in entry.markers
            if is_seen and entry.is_final:
                return


def apply(replica: MappedReplica, entry: Entry) -> None:
    for table, frames in entry.tables.items():
        for frame in frames.split(b"\n"):
            replica.apply(table, frame)


async def read_all(database: Database, version: CompiledVersion, after: Position, replica: MappedReplica) -> None:
    """Everything that was written until now."""
    nonce = await write_marker(database, APP_ID, "barrier")
    async for entry in entries_to(database, version, after, nonce):
        apply(replica, entry)


async def read_unsteadily(
    database: Database,
    version: CompiledVersion,
    start: Position,
    replica: MappedReplica,
    nonce: str,
    dice: random.Random,
) -> None:
    """With pauses, in which documents change on, and with streams that break off and begin again at an earlier position."""
    committed = [start]
    while True:
        after = committed[max(0, len(committed) - dice.randint(1, 40))]
        entries_left = dice.randint(20, 120)
        async with aclosing(entries_to(database, version, after, nonce)) as entries:
            async for entry in entries:
                if dice.random() < 0.1:
                    await asyncio.sleep(dice.random() * 0.05)
                apply(replica, entry)
                if entry.is_final:
                    committed.append(entry.position)
                entries_left -= 1
                if entries_left <= 0:
                    break
            else:
                return


async def snapshot(database: Database, version: CompiledVersion) -> dict[str, Any]:
    return rows_of(version, await database[COLLECTION].find().to_list())


async def expect_snapshot(database: Database, version: CompiledVersion, replica: MappedReplica) -> None:
    assert replica.tables == await snapshot(database, version)


# Random writes


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("batch_size", [1, 4, 1000])
async def test_rows_are_those_of_a_snapshot_while_documents_change(
    database: Database, start: Position, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    """Each event in a part of its own, few, or many; look-ups see later states; what was read is read again."""
    monkeypatch.setattr(change_stream, "BATCH_SIZE", batch_size)
    replica, load = MappedReplica(ALL), ThingWorkload(database, batch_size)
    nonce = f"{batch_size:032x}"
    dice = random.Random(batch_size)
    reader = asyncio.create_task(read_unsteadily(database, ALL, start, replica, nonce, dice))
    await load.write(150)
    await database[MARKERS_COLLECTION].insert_one({"_id": f"barrier:{APP_ID}", "app": APP_ID, "nonce": nonce})
    await reader
    await expect_snapshot(database, ALL, replica)
    assert len(load.kinds_written) >= 10


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("seed", range(2))
async def test_rows_are_those_of_a_snapshot_after_documents_have_changed(
    database: Database, start: Position, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All look-ups see the last state, and chunks are small."""
    monkeypatch.setattr(renderer, "MAX_ENTRY_BYTES", 500)
    await ThingWorkload(database, 100 + seed).write(150)
    replica = MappedReplica(ALL)
    await read_all(database, ALL, start, replica)
    await expect_snapshot(database, ALL, replica)
    assert all(replica.counts[table.table.name].get("truncate", 0) == 0 for table in ALL.tables)


@pytest.mark.parametrize("seed", range(2))
async def test_tables_with_keys_from_the_id_need_no_pre_images(database: Database, start: Position, seed: int) -> None:
    """Tables whose keys come from _id need none."""
    version = version_of(*BY_ID)
    replica = MappedReplica(version)
    dice = random.Random(seed)
    for _ in range(3):
        await ThingWorkload(database, dice.randrange(1000)).write(50)
        await read_all(database, version, start, replica)
    await expect_snapshot(database, version, replica)


@pytest.mark.usefixtures("images")
async def test_tables_are_loaded_again_while_pre_images_are_switched_off(
    database: Database, start: Position, caplog: pytest.LogCaptureFixture
) -> None:
    """Tables that need them are loaded again while they are missing, and go on."""
    caplog.set_level(logging.WARNING)
    replica, load = MappedReplica(ALL), ThingWorkload(database, 7)
    for is_enabled in (True, False, True, False, True):
        await database.command({"collMod": COLLECTION, "changeStreamPreAndPostImages": {"enabled": is_enabled}})
        await load.write(30)
    await read_all(database, ALL, start, replica)
    await expect_snapshot(database, ALL, replica)
    assert replica.counts["by_index"]["truncate"] >= 1
    assert "truncate" not in replica.counts["filtered"]
    assert "without a pre-image" in caplog.text


async def test_reading_again_over_a_later_replica_changes_nothing(database: Database, start: Position) -> None:
    """From any earlier position, also before the collection was dropped."""
    await enable_pre_images(database, [COLLECTION])
    load = ThingWorkload(database, 11)
    positions = [start]
    for round_number in range(4):
        await load.write(30)
        positions.append(Position(await current_cluster_time(database)))
        if round_number == 1:
            await database[COLLECTION].drop()
            await enable_pre_images(database, [COLLECTION])
    replica = MappedReplica(ALL)
    for position in (start, *reversed(positions)):
        await read_all(database, ALL, position, replica)
        await expect_snapshot(database, ALL, replica)


# Whole collections


@pytest.mark.usefixtures("images")
async def test_rows_follow_collections_that_come_and_go(database: Database, start: Position) -> None:
    """Dropped, renamed away, and another in its place, with array tables; also one that records no images."""
    load, replica, position = ThingWorkload(database, 3), MappedReplica(ALL), start
    things = database[COLLECTION]

    async def drop() -> None:
        await database[COLLECTION].drop()

    async def rename_away() -> None:
        await things.rename("elsewhere", dropTarget=True)

    async def rename_here() -> None:
        document = {"kind": "a", "items": [{"id": "new", "q": 1}]}
        await database.elsewhere.replace_one({"_id": IDS[0]}, document, upsert=True)
        await database.elsewhere.rename(COLLECTION, dropTarget=True)

    for change in (drop, rename_away, rename_here, rename_here):
        await things.replace_one({"_id": IDS[1]}, {"items": [{"id": "old", "q": 1}], "code": "c1"}, upsert=True)
        await load.write(10)
        await change()
        await load.write(10)
        await read_all(database, ALL, position, replica)
        await expect_snapshot(database, ALL, replica)
        position = Position(await current_cluster_time(database))


@pytest.mark.usefixtures("images")
async def test_a_dropped_database_empties_all_tables(database: Database, start: Position) -> None:
    """All rows go; what is written afterwards is there."""
    load, replica = ThingWorkload(database, 5), MappedReplica(ALL)
    await load.write(30)
    await read_all(database, ALL, start, replica)
    assert any(replica.tables["nested"])
    await database.client.drop_database(database.name)
    await load.write(20)
    await read_all(database, ALL, start, replica)
    await expect_snapshot(database, ALL, replica)


# As little as possible


async def frames_of(
    database: Database, version: CompiledVersion, write: Sequence[Any], start: Position
) -> dict[str, dict[str, int]]:
    """What the last of some writes, each a coroutine, sends: tags with their numbers, by table."""
    replica = MappedReplica(version)
    await read_all(database, version, start, replica)
    replica.reset()
    nonce = await write_marker(database, APP_ID, "barrier")
    position = Position(await current_cluster_time(database))
    for coroutine in write:
        await coroutine
    nonce = await write_marker(database, APP_ID, "barrier")
    found = [entry async for entry in entries_to(database, version, position, nonce)]
    for entry in found:
        apply(replica, entry)
    assert len([entry for entry in found if entry.tables]) <= 1
    await expect_snapshot(database, version, replica)
    return replica.counts


@pytest.mark.usefixtures("images")
async def test_one_element_of_a_thousand_is_one_frame(database: Database, start: Position) -> None:
    """One frame in each table that shows it."""
    items = [{"id": f"i{number}", "q": number, "parts": [1]} for number in range(1000)]
    await database[COLLECTION].insert_one({"_id": "x", "kind": "a", "items": items})
    version = version_of(BY_INDEX, BY_ELEMENT, NESTED, FILTERED)
    write = database[COLLECTION].update_one({"_id": "x"}, {"$set": {"items.500.q": -1}})
    assert await frames_of(database, version, [write], start) == {
        "by_index": {"insert": 1},
        "by_element": {"insert": 1},
    }


@pytest.mark.usefixtures("images")
async def test_a_deleted_document_removes_each_of_its_rows(database: Database, start: Position) -> None:
    """A removal of each of its rows, and of no other."""
    for number in range(2):
        items = [{"id": f"{number}.{item}", "q": item} for item in range(50)]
        await database[COLLECTION].insert_one({"_id": f"x{number}", "kind": "a", "items": items})
    version = version_of(BY_INDEX, BY_ELEMENT, NESTED)
    write = database[COLLECTION].delete_one({"_id": "x0"})
    expected = {name: {"delete": 50} for name in ("by_index", "by_element", "nested")}
    assert await frames_of(database, version, [write], start) == expected


@pytest.mark.parametrize("records_images", [True, False])
async def test_fields_that_no_row_shows_send_nothing(database: Database, start: Position, records_images: bool) -> None:
    """Their updates send nothing, and need no pre-image."""
    if records_images:
        await enable_pre_images(database, [COLLECTION])
    await ThingWorkload(database, 3).write(30)
    version = version_of(*BY_ID[1:], *BY_PRE_IMAGES)
    write = [
        database[COLLECTION].update_many({}, {"$set": {"unpublished": 5, "other.deep": [1, 2]}}),
        database[COLLECTION].update_many({}, {"$unset": {"unpublished": ""}, "$push": {"log": 1}}),
    ]
    assert await frames_of(database, version, write, start) == {}


async def test_a_document_moves_from_one_table_to_another_in_one_transaction(
    database: Database, start: Position
) -> None:
    """One removal and one row, in one transaction."""
    await database[COLLECTION].insert_many([{"_id": name, "kind": "a", "n": 1} for name in IDS])
    write = database[COLLECTION].update_one({"_id": IDS[0]}, {"$set": {"kind": "b"}})
    found = await frames_of(database, version_of(KIND_A, KIND_B, PIPELINE), [write], start)
    assert found == {"kind_a": {"delete": 1}, "kind_b": {"insert": 1}}


@pytest.mark.usefixtures("images")
async def test_a_row_whose_key_changes_is_removed_and_added(database: Database, start: Position) -> None:
    """The row by the old key goes, the one by the new key comes."""
    await database[COLLECTION].insert_one({"_id": "x", "code": "c1"})
    write = database[COLLECTION].update_one({"_id": "x"}, {"$set": {"code": "c2"}})
    assert await frames_of(database, version_of(BY_CODE), [write], start) == {"by_code": {"delete": 1, "insert": 1}}
