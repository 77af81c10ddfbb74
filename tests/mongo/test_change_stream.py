"""change_stream.py: one stream in whole batches, on the embedded MongoDB."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bson import DatetimeMS, Timestamp

from changesource.errors import ChangeSourceError, HistoryLost, SourceUnreachable, SourceUnusable
from changesource.mongo import change_stream, source
from changesource.mongo.change_stream import Batch, ChangeStream, StreamContent, open_change_stream
from changesource.mongo.events import ChangeEvent
from changesource.mongo.source import Database, current_cluster_time, timestamp_of
from tests.mongo.failing import fail_commands
from tests.mongo.opening import AskedDatabase, open_database
from zerosources.embedded.servers import MongoServer

AT_ONCE_SECONDS = 0.5
SOON_SECONDS = 10.0


@pytest.fixture
async def start(database: Database) -> int:
    """A cluster time before everything that the test writes."""
    await database.before.insert_one({})
    return await current_cluster_time(database)


@asynccontextmanager
async def stream_from(
    database: Database, cluster_time: int, *collections: str, splits_large_events: bool = False, **content: bool
) -> AsyncIterator[ChangeStream]:
    wanted = StreamContent(collections or ("city",), **content)
    stream = await open_change_stream(database, wanted, cluster_time, splits_large_events=splits_large_events)
    try:
        yield stream
    finally:
        await stream.close()


async def batches_to_the_end(stream: ChangeStream) -> list[Batch]:
    """Returns all batches before the first empty one."""
    batches = []
    while not (batch := await stream.next_batch(wait=False)).is_end:
        batches.append(batch)
    return batches


async def events_to_the_end(stream: ChangeStream) -> list[ChangeEvent]:
    return [event for batch in await batches_to_the_end(stream) for event in batch.events]


def summary(events: Sequence[ChangeEvent]) -> list[tuple[str, str, Any]]:
    return [(event.operation, event.collection, event.document_id) for event in events]


# Events


@pytest.mark.parametrize("is_known", [False, True])
async def test_only_what_a_majority_has_is_read(database: Database, start: int, is_known: bool) -> None:
    """The server must also know of everything up to the given time. The embedded server has one
    member, which always does, so the test looks at the request."""
    asked: Any = AskedDatabase(database)
    known_until = start if is_known else None
    stream = await open_change_stream(
        asked, StreamContent(["city"]), start, splits_large_events=False, known_until=known_until
    )
    await stream.close()
    after = {"afterClusterTime": timestamp_of(start)} if is_known else {}
    assert asked.commands[0]["readConcern"] == {"level": "majority"} | after


async def test_events_come_in_the_order_of_the_writes(database: Database, start: int) -> None:
    """Their cluster times never go back."""
    for number in range(30):
        await database.city.insert_one({"_id": number})
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert [event.document_id for event in events] == list(range(30))
    assert [event.cluster_time for event in events] == sorted(event.cluster_time for event in events)


async def test_each_kind_of_write_is_an_upsert_or_a_delete(database: Database, start: int) -> None:
    """What changes no document is no event."""
    await database.city.insert_one({"_id": 1})
    await database.city.update_one({"_id": 1}, {"$set": {"name": "Bern"}})
    await database.city.create_index("name")
    await database.city.replace_one({"_id": 1}, {"name": "Basel"})
    await database.city.delete_one({"_id": 1})
    await database.city.drop()
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert summary(events) == [
        ("upsert", "city", 1),
        ("upsert", "city", 1),
        ("upsert", "city", 1),
        ("delete", "city", 1),
        ("drop", "city", None),
    ]
    assert [event.document for event in events] == [
        {"_id": 1},
        None,
        {"_id": 1, "name": "Basel"},
        None,
        None,
    ]


async def test_an_update_carries_its_document_if_post_images_are_recorded(database: Database, start: int) -> None:
    await database.create_collection("city", changeStreamPreAndPostImages={"enabled": True})
    await database.city.insert_one({"_id": 1})
    await database.city.update_one({"_id": 1}, {"$set": {"name": "Bern"}})
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert [event.document for event in events] == [{"_id": 1}, {"_id": 1, "name": "Bern"}]


async def write_each_kind(database: Database) -> None:
    """Makes each kind of write to a document of a collection that records pre-images."""
    await database.create_collection("city", changeStreamPreAndPostImages={"enabled": True})
    await database.city.insert_one({"_id": 1, "name": "Bern", "tags": [1, 2, 3]})
    await database.city.update_one({"_id": 1}, {"$set": {"name": "Basel", "tags.1": 5}})
    await database.city.update_one({"_id": 1}, {"$unset": {"name": 1}, "$pop": {"tags": 1}})
    await database.city.replace_one({"_id": 1}, {"name": "Biel"})
    await database.city.delete_one({"_id": 1})


async def test_each_event_tells_what_its_document_was_before(database: Database, start: int) -> None:
    await write_each_kind(database)
    async with stream_from(database, start, has_pre_images=True) as stream:
        events = await events_to_the_end(stream)
    assert [event.before for event in events] == [
        None,
        {"_id": 1, "name": "Bern", "tags": [1, 2, 3]},
        {"_id": 1, "name": "Basel", "tags": [1, 5, 3]},
        {"_id": 1, "tags": [1, 5]},
        {"_id": 1, "name": "Biel"},
    ]
    assert all(event.is_before_known for event in events)


async def test_pre_images_within_a_transaction_are_the_states_between_its_events(
    database: Database, start: int
) -> None:
    await database.create_collection("city", changeStreamPreAndPostImages={"enabled": True})
    await database.city.insert_one({"_id": 1, "n": 0})
    async with database.client.start_session() as session, await session.start_transaction():
        for number in (1, 2):
            await database.city.update_one({"_id": 1}, {"$set": {"n": number}}, session=session)
    async with stream_from(database, start, has_pre_images=True) as stream:
        events = await events_to_the_end(stream)
    assert [event.before for event in events] == [None, {"_id": 1, "n": 0}, {"_id": 1, "n": 1}]


async def test_a_stream_without_recorded_pre_images_continues(database: Database, start: int) -> None:
    """Its events say that they do not know what was before."""
    await database.city.insert_one({"_id": 1})
    await database.city.update_one({"_id": 1}, {"$set": {"name": "Bern"}})
    await database.city.delete_one({"_id": 1})
    async with stream_from(database, start, has_pre_images=True) as stream:
        events = await events_to_the_end(stream)
    assert [(event.before, event.is_before_known) for event in events] == [(None, True), (None, False), (None, False)]


async def test_pre_images_are_only_sent_on_request(database: Database, start: int) -> None:
    await write_each_kind(database)
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert [event.before for event in events] == [None] * 5
    assert [event.is_before_known for event in events] == [True, False, False, False, False]


async def test_only_updates_name_the_fields_that_they_changed(database: Database, start: int) -> None:
    await write_each_kind(database)
    async with stream_from(database, start, has_changed_fields=True) as stream:
        events = await events_to_the_end(stream)
    assert [event.changed and {name for name in event.changed if "." not in name} for event in events] == [
        None,
        {"name", "tags"},
        {"name", "tags"},
        None,
        None,
    ]


async def test_changed_fields_are_only_sent_on_request(database: Database, start: int) -> None:
    await write_each_kind(database)
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert [event.changed for event in events] == [None] * 5


async def test_only_events_of_the_requested_collections_are_read(database: Database, start: int) -> None:
    """Of this database."""
    other = database.client[database.name + "_other"]
    for found in (database, other):
        await found.city.insert_one({"_id": found.name})
        await found.river.insert_one({"_id": found.name})
        await found.lake.insert_one({"_id": found.name})
    await database.client.drop_database(other.name)
    async with stream_from(database, start, "city", "lake") as stream:
        events = await events_to_the_end(stream)
    assert summary(events) == [("upsert", "city", database.name), ("upsert", "lake", database.name)]


@pytest.mark.parametrize(("old", "new"), [("city", "elsewhere"), ("elsewhere", "city")], ids=["away", "here"])
async def test_a_renamed_collection_is_seen_under_both_names(
    database: Database, start: int, old: str, new: str
) -> None:
    await database[old].insert_one({"_id": 1})
    await database[old].rename(new)
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert (events[-1].operation, events[-1].collection, events[-1].renamed_to) == ("drop", old, new)


async def test_a_dropped_database_drops_its_collections_and_ends_the_stream(database: Database, start: int) -> None:
    await database.city.insert_one({"_id": 1})
    await database.client.drop_database(database.name)
    async with stream_from(database, start) as stream:
        first = await stream.next_batch()
    assert [event.operation for event in first.events] == ["upsert", "drop", "invalidate"]


async def test_events_of_a_transaction_say_so_and_share_a_cluster_time(database: Database, start: int) -> None:
    """Lone writes do neither."""
    await database.city.insert_many([{"_id": number} for number in range(3)])
    async with database.client.start_session() as session, await session.start_transaction():
        await database.city.insert_many([{"_id": number} for number in range(3, 6)], session=session)
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert [event.in_transaction for event in events] == [False] * 3 + [True] * 3
    assert len({event.cluster_time for event in events}) == 4


async def test_a_transaction_larger_than_a_batch_comes_in_several_batches(database: Database, start: int) -> None:
    """None of them is the end."""
    await database.create_collection("city")
    async with database.client.start_session() as session, await session.start_transaction():
        await database.city.insert_many([{"_id": number} for number in range(350)], session=session)
    async with stream_from(database, start) as stream:
        batches = await batches_to_the_end(stream)
    assert [event.document_id for batch in batches for event in batch.events] == list(range(350))
    assert len(batches) > 1


async def test_an_event_tells_when_it_happened(database: Database, start: int) -> None:
    before = int(time.time() * 1000)
    await database.city.insert_one({"_id": 1})
    async with stream_from(database, start) as stream:
        (event,) = await events_to_the_end(stream)
    assert before - 1000 <= event.wall_time_ms <= before + 10_000


async def test_an_event_larger_than_the_largest_document_is_read_whole(database: Database, start: int) -> None:
    text = "x" * (16 * 2**20 - 40)
    await database.city.insert_one({"_id": 1, "text": text})
    async with stream_from(database, start, splits_large_events=True) as stream:
        (event,) = await events_to_the_end(stream)
    assert event.document == {"_id": 1, "text": text}


# Beginning and waiting


async def test_a_stream_opened_at_an_event_begins_with_it(database: Database, start: int) -> None:
    for number in range(5):
        await database.city.insert_one({"_id": number})
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    async with stream_from(database, events[2].cluster_time) as stream:
        assert await events_to_the_end(stream) == events[2:]


async def test_a_stream_opened_at_a_transaction_has_all_of_its_events(database: Database, start: int) -> None:
    await database.create_collection("city")
    async with database.client.start_session() as session, await session.start_transaction():
        await database.city.insert_many([{"_id": number} for number in range(5)], session=session)
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    async with stream_from(database, events[-1].cluster_time) as stream:
        assert await events_to_the_end(stream) == events


async def test_a_request_that_does_not_wait_is_answered_at_once(database: Database, start: int) -> None:
    """Even if there are no events."""
    async with stream_from(database, start) as stream:
        began = time.monotonic()
        assert await stream.next_batch(wait=False) == Batch([], is_end=True)
        assert time.monotonic() - began < AT_ONCE_SECONDS


async def test_a_request_that_waits_gets_a_write_when_it_happens(database: Database, start: int) -> None:
    async with stream_from(database, start) as stream:
        waiting = asyncio.create_task(next_events(stream))
        await database.city.insert_one({"_id": 1})
        (event,) = await asyncio.wait_for(waiting, SOON_SECONDS)
    assert event.document_id == 1


async def next_events(stream: ChangeStream) -> Sequence[ChangeEvent]:
    while not (batch := await stream.next_batch()).events:
        pass
    return batch.events


async def test_a_wait_without_events_ends_with_an_empty_batch(
    database: Database, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream continues."""
    monkeypatch.setattr(change_stream, "AWAIT_MS", 100)
    async with stream_from(database, start) as stream:
        assert (await stream.next_batch()).is_end
        await database.city.insert_one({"_id": 1})
        (event,) = await next_events(stream)
    assert event.document_id == 1


# Large events in fragments


def raw_event(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "_id": {"_data": "82"},
        "operationType": "insert",
        "clusterTime": Timestamp(1_700_000_000, number),
        "wallTime": DatetimeMS(1_700_000_000_000),
        "ns": {"db": "shop", "coll": "city"},
        "documentKey": {"_id": number},
        **fields,
    }


def fragments(number: int, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns an event as MongoDB splits it: its small fields in the first fragment, and each large
    field in one of its own."""
    whole = [raw_event(number), *({"_id": {"_data": "82"}, **part} for part in parts)]
    return [{**part, "splitEvent": {"fragment": place, "of": len(whole)}} for place, part in enumerate(whole, start=1)]


def parsing(database: Database) -> ChangeStream:
    return ChangeStream(database, StreamContent(["city"]), 1 << 32, splits_large_events=True)


async def test_the_fragments_of_an_event_are_joined(database: Database) -> None:
    """Events around it are not touched."""
    document = {"_id": 2, "text": "x"}
    events = await parsing(database)._parse([raw_event(1), *fragments(2, {"fullDocument": document}), raw_event(3)])
    assert [(event.document_id, event.document) for event in events] == [(1, None), (2, document), (3, None)]


async def test_fragments_can_come_in_several_batches(database: Database) -> None:
    stream = parsing(database)
    first, second, third = fragments(1, {"fullDocumentBeforeChange": {"_id": 1}}, {"fullDocument": {"_id": 1}})
    assert await stream._parse([first]) == await stream._parse([second]) == []
    (event,) = await stream._parse([third])
    assert (event.document_id, event.document) == (1, {"_id": 1})


async def test_fragments_of_two_events_are_not_mixed(database: Database) -> None:
    one, other = fragments(1, {"fullDocument": {"_id": 1}}), fragments(2, {"updateDescription": {}})
    events = await parsing(database)._parse([*one, *other])
    assert [(event.document_id, event.document) for event in events] == [(1, {"_id": 1}), (2, None)]


async def test_an_incomplete_event_is_dropped_when_another_begins(database: Database) -> None:
    unfinished = fragments(1, {"fullDocument": {"_id": 1}}, {"updateDescription": {}})[:2]
    (event,) = await parsing(database)._parse([*unfinished, *fragments(2, {"updateDescription": {}})])
    assert (event.document_id, event.document) == (2, None)


async def test_an_event_of_a_single_fragment_is_whole(database: Database) -> None:
    (event,) = await parsing(database)._parse([raw_event(1, splitEvent={"fragment": 1, "of": 1})])
    assert event.document_id == 1


# Failures

RESUMABLE = [6, 7, 43, 50, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13435, 13436]
"""But for StaleConfig (13388), which a fail point cannot make; see test_faults.py."""
NO_WAY_ON = [136, 260, 280, 286]
REFUSED = [1, 2, 13, 18, 26, 40573, 10334]


@pytest.fixture
async def failing_database(mongo_server: MongoServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database whose client does not wait for a server that it believes to be gone, as it does
    after some errors."""
    monkeypatch.setattr(source, "SERVER_SELECTION_TIMEOUT_MS", 50)
    async with open_database(mongo_server) as database:
        yield database


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *((code, SourceUnreachable) for code in RESUMABLE),
        *((code, HistoryLost) for code in NO_WAY_ON),
        *((code, SourceUnusable) for code in REFUSED),
    ],
)
async def test_each_error_of_a_stream_means_retry_start_over_or_give_up(
    mongo_server: MongoServer, failing_database: Database, code: int, expected: type[ChangeSourceError]
) -> None:
    start = await current_cluster_time(failing_database)
    async with stream_from(failing_database, start) as stream, fail_commands(mongo_server, "getMore", errorCode=code):
        with pytest.raises(expected):
            await stream.next_batch()


@pytest.mark.parametrize(("code", "expected"), [(11602, SourceUnreachable), (286, HistoryLost), (13, SourceUnusable)])
async def test_the_same_errors_mean_the_same_when_a_stream_is_opened(
    mongo_server: MongoServer, failing_database: Database, code: int, expected: type[ChangeSourceError]
) -> None:
    start = await current_cluster_time(failing_database)
    async with fail_commands(mongo_server, "aggregate", errorCode=code):
        with pytest.raises(expected):
            await open_change_stream(failing_database, StreamContent(["city"]), start, splits_large_events=False)


async def test_a_broken_connection_is_an_unreachable_source(
    mongo_server: MongoServer, database: Database, start: int
) -> None:
    async with stream_from(database, start) as stream, fail_commands(mongo_server, "getMore", closeConnection=True):
        with pytest.raises(SourceUnreachable):
            await stream.next_batch()


async def test_a_stream_whose_cursor_was_killed_can_be_opened_again(database: Database, start: int) -> None:
    async with stream_from(database, start) as stream:
        await database.command({"killCursors": "$cmd.aggregate", "cursors": [stream._cursor_id]})
        with pytest.raises(SourceUnreachable):
            await stream.next_batch()


# Closing


async def open_cursors(database: Database) -> int:
    status = await database.client.admin.command("serverStatus")
    return int(status["metrics"]["cursor"]["open"]["total"])


async def no_cursor_left(database: Database, before: int) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while await open_cursors(database) > before:
            await asyncio.sleep(0.02)


async def test_a_closed_stream_has_no_cursor_on_the_server(database: Database, start: int) -> None:
    before = await open_cursors(database)
    async with stream_from(database, start):
        assert await open_cursors(database) == before + 1
    assert await open_cursors(database) == before


async def test_a_stream_can_be_closed_twice(database: Database, start: int) -> None:
    async with stream_from(database, start) as stream:
        await stream.close()
        await stream.close()


async def test_a_stream_cancelled_while_it_waited_leaves_no_cursor(database: Database, start: int) -> None:
    before = await open_cursors(database)
    async with stream_from(database, start) as stream:
        waiting = asyncio.create_task(stream.next_batch())
        await asyncio.wait([waiting], timeout=0.1)
        waiting.cancel()
        await asyncio.wait([waiting])
    await no_cursor_left(database, before)


async def test_a_cancelled_opening_leaves_no_cursor(mongo_server: MongoServer, database: Database, start: int) -> None:
    """The database can still be used."""
    before = await open_cursors(database)
    async with fail_commands(mongo_server, "aggregate", blockConnection=True, blockTimeMS=300):
        opening = asyncio.create_task(
            open_change_stream(database, StreamContent(["city"]), start, splits_large_events=False)
        )
        await asyncio.wait([opening], timeout=0.1)
        opening.cancel()
        await asyncio.wait([opening])
    assert opening.cancelled()
    await database.city.insert_one({"_id": 1})
    async with stream_from(database, start) as stream:
        assert len(await events_to_the_end(stream)) == 1
    await no_cursor_left(database, before)
