"""entry_reader.py: the change stream of a busy MongoDB as entries."""

import asyncio
import random
import time
from contextlib import aclosing

import pytest

from changesource.errors import HistoryLost, SourceUnreachable
from changesource.log.entries import Entry
from changesource.mongo import change_stream
from changesource.mongo.assembler import TransactionAssembler
from changesource.mongo.markers import (
    AccessMarker,
    PublishMarker,
    write_access_marker,
    write_marker,
    write_publish_marker,
)
from changesource.mongo.source import Database, current_cluster_time
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.replication import entry_reader, renderer
from changesource.replication.app_source import AppSource
from changesource.replication.entry_reader import EntryReader
from changesource.replication.readings import Lull
from changesource.replication.version_history import FIRST_ORDINAL_AFTER_MARKER
from changesource.tables.definition import Column
from tests.mongo.failing import fail_commands
from tests.simulation.builders import APP_ID, BUSY, KnownVersions, table, version
from tests.simulation.following import entries_from, readings_from
from tests.simulation.replica import BusyReplica, Replica
from tests.simulation.row_errors import FoundErrors
from tests.simulation.workload import Workload, contents, several
from zerosources.embedded.servers import MongoServer

DEADLINE_SECONDS = 30.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader does not wait long for a stream without events."""
    monkeypatch.setattr(change_stream, "AWAIT_MS", 100)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions of a few events, and entries of a few frames, are already large."""
    monkeypatch.setattr(entry_reader, "TransactionAssembler", lambda: TransactionAssembler(3))
    monkeypatch.setattr(renderer, "MAX_ENTRY_BYTES", 400)


async def read_into(
    replica: Replica,
    database: Database,
    after: Position,
    *,
    until: str,
    wanted: CompiledVersion = BUSY,
    entries: int | None = None,
) -> None:
    """Applies entries until the marker `until` has been committed, or until this number of
    entries."""
    stream = entries_from(database, wanted, after)
    count = 0
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(stream):
        async for entry in stream:
            replica.apply(entry)
            count += 1
            if until in replica.markers or count == entries:
                return


async def test_under_load_each_mongodb_transaction_is_in_one_commit(database: Database, start: Position) -> None:
    """What is read ends with the rows that the database holds."""
    replica = BusyReplica()
    reader = asyncio.create_task(read_into(replica, database, start, until="the end"))
    async with several(database, 3) as loads:
        await asyncio.sleep(2)
    nonce = await write_marker(database, APP_ID, "barrier")
    await replica.until(lambda: nonce in replica.markers)
    reader.cancel()
    await asyncio.wait([reader])
    assert replica.tables == await contents(database)
    assert replica.committed == sorted(set(replica.committed))
    assert replica.transactions_split() == []
    assert replica.transactions_seen() <= {name for load in loads for name in load.transactions}


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("seed", range(3))
async def test_a_reader_that_ends_anywhere_loses_nothing(database: Database, start: Position, seed: int) -> None:
    """The next one continues from the last commit, even in the middle of transactions."""
    async with several(database, 2, seed):
        await asyncio.sleep(0.6)
    nonce = await write_marker(database, APP_ID, "barrier")
    replica = BusyReplica()
    dice = random.Random(seed)
    while nonce not in replica.markers:
        last = replica.committed[-1].position if replica.committed else start
        # At least beyond what is read again, or this would never end.
        await read_into(replica, database, last, until=nonce, entries=dice.randint(15, 60))
    assert replica.committed == sorted(set(replica.committed))
    assert replica.tables == await contents(database)


@pytest.mark.usefixtures("small_parts")
async def test_the_values_of_a_document_never_go_back(database: Database, start: Position) -> None:
    """Every commit lies between the beginning and the end."""
    seen: list[int] = []
    replica = Replica(["city"], lambda rows: seen.extend(int(row["value"]) for row in rows))
    for number in range(60):
        await database.city.replace_one({"_id": 1}, {"_id": 1, "value": number}, upsert=True)
    nonce = await write_marker(database, APP_ID, "barrier")
    await read_into(replica, database, start, until=nonce, wanted=version(table("city")))
    assert seen == sorted(seen)
    assert seen[-1] == 59


async def test_a_large_transaction_is_one_commit_in_bounded_entries(database: Database, start: Position) -> None:
    count = 5000
    await database.create_collection("city")
    async with database.client.start_session() as session, await session.start_transaction():
        await database.city.insert_many([{"_id": number, "value": number} for number in range(count)], session=session)
    nonce = await write_marker(database, APP_ID, "barrier")
    commits: list[int] = []
    replica = Replica(["city"], lambda rows: commits.append(len(rows)))
    await read_into(replica, database, start, until=nonce, wanted=version(table("city")))
    assert [rows for rows in commits if rows] == [count]
    assert max(replica.part_counts) >= 2
    assert max(replica.rows_of_parts) < count / 2


async def test_an_interruption_loses_nothing(mongo_server: MongoServer, database: Database, start: Position) -> None:
    """The reader raises that MongoDB is unreachable, and the next reader continues."""
    replica = BusyReplica()
    interruptions = 0
    async with several(database, 2):
        for _ in range(5):
            last = replica.committed[-1].position if replica.committed else start
            async with fail_commands(mongo_server, "getMore", closeConnection=True, skip=4):
                with pytest.raises(SourceUnreachable):
                    await read_into(replica, database, last, until="the end")
            interruptions += 1
    nonce = await write_marker(database, APP_ID, "barrier")
    await read_into(replica, database, replica.committed[-1].position, until=nonce)
    assert replica.tables == await contents(database)
    assert interruptions == 5


async def test_lost_history_is_raised(mongo_server: MongoServer, database: Database, start: Position) -> None:
    async with fail_commands(mongo_server, "aggregate", errorCode=286):
        with pytest.raises(HistoryLost):
            await read_into(BusyReplica(), database, start, until="the end")


async def test_a_collection_dropped_and_written_again_has_the_new_rows(database: Database, start: Position) -> None:
    await database.city.insert_many([{"_id": number} for number in range(5)])
    await database.city.drop()
    await database.city.insert_one({"_id": 9})
    await expect_contents(database, start)


async def test_a_reader_continues_after_the_database_was_dropped(database: Database, start: Position) -> None:
    await database.city.insert_many([{"_id": number} for number in range(5)])
    replica = BusyReplica()
    reader = asyncio.create_task(read_into(replica, database, start, until="the end"))
    await replica.until(lambda: len(replica.tables["city"]) == 5)
    await database.client.drop_database(database.name)
    await replica.until(lambda: not replica.tables["city"])
    await database.city.insert_one({"_id": 9})
    await replica.until(lambda: len(replica.tables["city"]) == 1)
    reader.cancel()
    await asyncio.wait([reader])


async def test_a_collection_renamed_to_another_replaces_its_rows(database: Database, start: Position) -> None:
    await database.city.insert_many([{"_id": number, "value": "old"} for number in range(5)])
    await database.draft.insert_many([{"_id": number, "value": "new"} for number in range(3, 8)])
    await database.draft.rename("city", dropTarget=True)
    await database.city.update_one({"_id": 4}, {"$set": {"value": "newer"}})
    await expect_contents(database, start)


async def expect_contents(database: Database, start: Position) -> None:
    nonce = await write_marker(database, APP_ID, "barrier")
    replica = BusyReplica()
    await read_into(replica, database, start, until=nonce)
    assert replica.tables == await contents(database)


async def test_an_entry_has_the_time_of_its_last_event(database: Database, start: Position) -> None:
    """By the source's clock."""
    before = time.time()
    nonce = await write_marker(database, APP_ID, "barrier")
    after = time.time()
    stream = entries_from(database, BUSY, start)
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(stream):
        async for entry in stream:
            if nonce in entry.markers:
                break
    assert before - 1 <= entry.commit_time_ms / 1000 <= after + 1


async def test_a_quiet_stream_yields_lulls_again_and_again(database: Database, start: Position) -> None:
    stream = readings_from(database, version(table("city")), start)
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(stream):
        found = [await anext(stream) for _ in range(4)]
    assert found[-2:] == [Lull(), Lull()]


async def test_writes_outside_of_the_stream_move_the_position(
    database: Database, start: Position, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By entries without frames. What follows has later positions."""
    monkeypatch.setattr(entry_reader, "QUIET_SECONDS", 0.0)
    city = table("city", Column("name", "string"))
    stream = entries_from(database, version(city), start)
    positions: list[Position] = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(stream):
        for number in range(3):
            await database.unpublished.insert_one({"_id": number})
            written = await current_cluster_time(database)
            async for entry in stream:
                assert not entry.tables
                positions.append(entry.position)
                if entry.position.cluster_time >= written:
                    break
        await database.city.insert_one({"_id": 1, "name": "Bern"})
        async for entry in stream:
            positions.append(entry.position)
            if entry.tables:
                break
    assert positions == sorted(set(positions))


async def test_the_position_of_a_source_without_writes_stays(
    database: Database, start: Position, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_reader, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(entry_reader, "majority_cluster_time", lambda database: moment())

    async def moment() -> int:
        return start.cluster_time

    stream = readings_from(database, version(table("city")), start)
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(stream):
        found = [await anext(stream) for _ in range(12)]
    assert set(found[3:]) == {Lull()}


async def test_lone_write_is_not_held(database: Database, start: Position) -> None:
    """A write outside of transactions is an entry at once."""
    replica = BusyReplica()
    reader = asyncio.create_task(read_into(replica, database, start, until="the end"))
    load = Workload(database)
    for _ in range(5):
        await load.write(1)
        wanted = await contents(database)
        await replica.until(lambda wanted=wanted: replica.tables == wanted)
    reader.cancel()
    await asyncio.wait([reader])


async def test_transaction_is_not_held_for_long(
    database: Database, start: Position, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without further events, a transaction is an entry as soon as the stream has been read to its
    end."""
    monkeypatch.setattr(change_stream, "AWAIT_MS", 10_000)
    replica = BusyReplica()
    reader = asyncio.create_task(read_into(replica, database, start, until="the end"))
    async with database.client.start_session() as session, await session.start_transaction():
        await database.left.insert_one({"_id": 1}, session=session)
        await database.right.insert_one({"_id": 1}, session=session)
    began = time.monotonic()
    await replica.until(lambda: len(replica.tables["right"]) == 1)
    assert time.monotonic() - began < 5
    reader.cancel()
    await asyncio.wait([reader])


N2, N3 = "2" * 32, "3" * 32
CITY = version(table("city"))
CITY_AND_RIVER = version(table("city"), table("river"), number=2)
CITY_WITH_TITLE = version(table("city", Column("title", "string", optional=True)), number=2)


async def publish(database: Database, marker: PublishMarker) -> None:
    await write_publish_marker(database, APP_ID, marker)


async def entries_until(
    database: Database, history: KnownVersions, first: CompiledVersion, after: Position, until: str
) -> list[Entry]:
    """Returns all entries up to the one with the marker `until`."""
    reader = EntryReader(AppSource(database, history, FoundErrors()), first, after.cluster_time, after)
    found: list[Entry] = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(reader.entries()) as entries:
        async for entry in entries:
            found.append(entry)
            if until in entry.markers:
                break
    return found


@pytest.mark.parametrize("new", [CITY_AND_RIVER, CITY_WITH_TITLE], ids=["other collections", "the same collections"])
async def test_events_around_a_publish_are_rendered_with_its_two_versions(
    database: Database, start: Position, new: CompiledVersion
) -> None:
    """Between them is an entry at the marker's position. Nothing is lost if the stream has to be
    opened again."""
    marker = PublishMarker(2, N2)
    for number in range(5):
        await database.city.insert_one({"_id": f"before-{number}", "value": 1, "title": "x"})
    await publish(database, marker)
    for number in range(5):
        await database.city.insert_one({"_id": f"after-{number}", "value": 1, "title": "x"})
        await database.river.insert_one({"_id": f"river-{number}"})
    nonce = await write_marker(database, APP_ID, "barrier")
    found = await entries_until(database, KnownVersions(CITY, {marker: new}), CITY, start, nonce)

    (publish_at,) = [index for index, entry in enumerate(found) if entry.is_publish]
    assert found[publish_at].position.ordinal >= FIRST_ORDINAL_AFTER_MARKER
    assert all(entry.version == 1 for entry in found[:publish_at])
    assert all(entry.version == 2 for entry in found[publish_at:])
    before = b"".join(entry.tables.get("city", b"") for entry in found[:publish_at])
    after = b"".join(entry.tables.get("city", b"") for entry in found[publish_at:])
    assert all(f"before-{number}".encode() in before for number in range(5))
    assert all(f"after-{number}".encode() in after for number in range(5))
    assert (b'"title"' in after) == (new is CITY_WITH_TITLE)
    assert b'"title"' not in before
    rivers = b"".join(entry.tables.get("river", b"") for entry in found)
    assert all((f"river-{number}".encode() in rivers) == (new is CITY_AND_RIVER) for number in range(5))
    positions = [entry.id for entry in found]
    assert positions == sorted(set(positions))


async def test_markers_of_other_publishes_change_nothing(database: Database, start: Position) -> None:
    """Of one that did not take place, and of a version that is already in force."""
    known = PublishMarker(2, N2)
    await publish(database, PublishMarker(2, "9" * 32))
    await publish(database, known)
    await publish(database, known)
    nonce = await write_marker(database, APP_ID, "barrier")
    history = KnownVersions(CITY, {known: CITY_AND_RIVER})
    found = await entries_until(database, history, CITY, start, nonce)
    assert [entry.version for entry in found if entry.is_publish] == [2]


async def test_the_higher_of_two_versions_stays_in_force(database: Database, start: Position) -> None:
    """If their markers came in the other order."""
    second, third = PublishMarker(2, N2), PublishMarker(3, N3)
    newest = version(table("city"), table("lake"), number=3)
    await publish(database, third)
    await publish(database, second)
    nonce = await write_marker(database, APP_ID, "barrier")
    history = KnownVersions(CITY, {second: CITY_AND_RIVER, third: newest})
    found = await entries_until(database, history, CITY, start, nonce)
    assert [entry.version for entry in found if entry.is_publish] == [3]
    assert found[-1].version == 3


async def test_a_repeated_transaction_skips_the_markers_that_the_log_has(database: Database, start: Position) -> None:
    """An entry for one would end the transaction before it is complete."""
    await write_access_marker(database, APP_ID, AccessMarker(7, N2))
    await database.city.insert_one({"_id": "a"})
    last = Position(await current_cluster_time(database) + 1)
    await database.city.insert_many([{"_id": "b"}, {"_id": "c"}, {"_id": "d"}])
    nonce = await write_marker(database, APP_ID, "barrier")
    reader = EntryReader(AppSource(database, KnownVersions(CITY, {}), FoundErrors()), CITY, start.cluster_time, last)
    found: list[Entry] = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(reader.entries()) as entries:
        async for entry in entries:
            found.append(entry)
            if nonce in entry.markers:
                break
    assert not any(entry.access_cutover for entry in found)
    first = next(index for index, entry in enumerate(found) if entry.is_final)
    assert b'"a"' in b"".join(entry.tables.get("city", b"") for entry in found[: first + 1])
    assert {entry.position for entry in found[: first + 1]} == {found[0].position}
    assert found[0].position > last
