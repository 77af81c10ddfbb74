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
    """All batches before the first empty one."""
    batches = []
    while not (batch := await stream.next_batch(wait=False)).is_end:
        batches.append(batch)
    return batches


async def events_to_the_end(stream: ChangeStream) -> list[ChangeEvent]:
    return [event for batch in await batches_to_the_end(stream) for event in batch.events]


def summary(events: Sequence[ChangeEvent]) -> list[tuple[str, str, Any]]:
    return [(event.operation, event.collection, event.document_id) for event in events]


# What is read


@pytest.mark.parametrize("is_known", [False, True])
async def test_concern(database: Database, start: int, is_known: bool) -> None:
    """Only what a majority has is read, of a server that knows of everything until the given time. The embedded server
    has one member, which always does: so what is asked has to show it."""
    asked: Any = AskedDatabase(database)
    known_until = start if is_known else None
    stream = await open_change_stream(
        asked, StreamContent(["city"]), start, splits_large_events=False, known_until=known_until
    )
    await stream.close()
    after = {"afterClusterTime": timestamp_of(start)} if is_known else {}
    assert asked.commands[0]["readConcern"] == {"level": "majority"} | after


async def test_order(database: Database, start: int) -> None:
    """Events come in the order of the writes, with cluster times that never go back."""
    for number in range(30):
        await database.city.insert_one({"_id": number})
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert [event.document_id for event in events] == list(range(30))
    assert [event.cluster_time for event in events] == sorted(event.cluster_time for event in events)


async def test_operations(database: Database, start: int) -> None:
    """Each kind of write is an upsert or a delete of its document; what changes no document is no event."""
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


async def test_post_images(database: Database, start: int) -> None:
    """An update carries its document where the collection keeps post-images."""
    await database.create_collection("city", changeStreamPreAndPostImages={"enabled": True})
    await database.city.insert_one({"_id": 1})
    await database.city.update_one({"_id": 1}, {"$set": {"name": "Bern"}})
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert [event.document for event in events] == [{"_id": 1}, {"_id": 1, "name": "Bern"}]


async def write_each_kind(database: Database) -> None:
    """To a document of a collection that keeps pre-images."""
    await database.create_collection("city", changeStreamPreAndPostImages={"enabled": True})
    await database.city.insert_one({"_id": 1, "name": "Bern", "tags": [1, 2, 3]})
    await database.city.update_one({"_id": 1}, {"$set": {"name": "Basel", "tags.1": 5}})
    await database.city.update_one({"_id": 1}, {"$unset": {"name": 1}, "$pop": {"tags": 1}})
    await database.city.replace_one({"_id": 1}, {"name": "Biel"})
    await database.city.delete_one({"_id": 1})


async def test_pre_images(database: Database, start: int) -> None:
    """Each event says what its document was before it."""
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


async def test_pre_images_of_one_transaction(database: Database, start: int) -> None:
    """Each is the state between two of its events."""
    await database.create_collection("city", changeStreamPreAndPostImages={"enabled": True})
    await database.city.insert_one({"_id": 1, "n": 0})
    async with database.client.start_session() as session, await session.start_transaction():
        for number in (1, 2):
            await database.city.update_one({"_id": 1}, {"$set": {"n": number}}, session=session)
    async with stream_from(database, start, has_pre_images=True) as stream:
        events = await events_to_the_end(stream)
    assert [event.before for event in events] == [None, {"_id": 1, "n": 0}, {"_id": 1, "n": 1}]


async def test_pre_images_that_are_not_recorded(database: Database, start: int) -> None:
    """The stream goes on, and its events say that they do not know."""
    await database.city.insert_one({"_id": 1})
    await database.city.update_one({"_id": 1}, {"$set": {"name": "Bern"}})
    await database.city.delete_one({"_id": 1})
    async with stream_from(database, start, has_pre_images=True) as stream:
        events = await events_to_the_end(stream)
    assert [(event.before, event.is_before_known) for event in events] == [(None, True), (None, False), (None, False)]


async def test_pre_images_that_are_not_asked_for(database: Database, start: int) -> None:
    """They are not sent."""
    await write_each_kind(database)
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert [event.before for event in events] == [None] * 5
    assert [event.is_before_known for event in events] == [True, False, False, False, False]


async def test_changed_fields(database: Database, start: int) -> None:
    """Updates say which fields they changed; nothing else does."""
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


async def test_changed_fields_that_are_not_asked_for(database: Database, start: int) -> None:
    """They are not sent."""
    await write_each_kind(database)
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert [event.changed for event in events] == [None] * 5


async def test_collections(database: Database, start: int) -> None:
    """Only events of the collections that are asked for are read, of this database."""
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
async def test_rename(database: Database, start: int, old: str, new: str) -> None:
    """A renamed collection is met under its old and its new name."""
    await database[old].insert_one({"_id": 1})
    await database[old].rename(new)
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert (events[-1].operation, events[-1].collection, events[-1].renamed_to) == ("drop", old, new)


async def test_dropped_database(database: Database, start: int) -> None:
    """A dropped database drops its collections and ends the stream."""
    await database.city.insert_one({"_id": 1})
    await database.client.drop_database(database.name)
    async with stream_from(database, start) as stream:
        first = await stream.next_batch()
    assert [event.operation for event in first.events] == ["upsert", "drop", "invalidate"]


async def test_marks_of_transactions(database: Database, start: int) -> None:
    """Events of a multi-document transaction say so and share their cluster time; lone writes do neither."""
    await database.city.insert_many([{"_id": number} for number in range(3)])
    async with database.client.start_session() as session, await session.start_transaction():
        await database.city.insert_many([{"_id": number} for number in range(3, 6)], session=session)
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    assert [event.in_transaction for event in events] == [False] * 3 + [True] * 3
    assert len({event.cluster_time for event in events}) == 4


async def test_large_transaction(database: Database, start: int) -> None:
    """A transaction larger than a batch comes in several, none of which is the end."""
    await database.create_collection("city")
    async with database.client.start_session() as session, await session.start_transaction():
        await database.city.insert_many([{"_id": number} for number in range(350)], session=session)
    async with stream_from(database, start) as stream:
        batches = await batches_to_the_end(stream)
    assert [event.document_id for batch in batches for event in batch.events] == list(range(350))
    assert len(batches) > 1


async def test_wall_time(database: Database, start: int) -> None:
    """An event says when it happened."""
    before = int(time.time() * 1000)
    await database.city.insert_one({"_id": 1})
    async with stream_from(database, start) as stream:
        (event,) = await events_to_the_end(stream)
    assert before - 1000 <= event.wall_time_ms <= before + 10_000


async def test_large_event(database: Database, start: int) -> None:
    """An event that is larger than MongoDB's largest document is read whole."""
    text = "x" * (16 * 2**20 - 40)
    await database.city.insert_one({"_id": 1, "text": text})
    async with stream_from(database, start, splits_large_events=True) as stream:
        (event,) = await events_to_the_end(stream)
    assert event.document == {"_id": 1, "text": text}


# Where it begins, and how it waits


async def test_begins_inclusively(database: Database, start: int) -> None:
    """A stream opened at the cluster time of an event gives this event and those after it."""
    for number in range(5):
        await database.city.insert_one({"_id": number})
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    async with stream_from(database, events[2].cluster_time) as stream:
        assert await events_to_the_end(stream) == events[2:]


async def test_begins_with_the_whole_transaction(database: Database, start: int) -> None:
    """A stream opened at the cluster time of a transaction gives all of its events."""
    await database.create_collection("city")
    async with database.client.start_session() as session, await session.start_transaction():
        await database.city.insert_many([{"_id": number} for number in range(5)], session=session)
    async with stream_from(database, start) as stream:
        events = await events_to_the_end(stream)
    async with stream_from(database, events[-1].cluster_time) as stream:
        assert await events_to_the_end(stream) == events


async def test_not_waiting(database: Database, start: int) -> None:
    """Who only asks is answered at once, also where there is nothing."""
    async with stream_from(database, start) as stream:
        began = time.monotonic()
        assert await stream.next_batch(wait=False) == Batch([], is_end=True)
        assert time.monotonic() - began < AT_ONCE_SECONDS


async def test_waiting(database: Database, start: int) -> None:
    """Who waits gets a write when it happens."""
    async with stream_from(database, start) as stream:
        waiting = asyncio.create_task(next_events(stream))
        await database.city.insert_one({"_id": 1})
        (event,) = await asyncio.wait_for(waiting, SOON_SECONDS)
    assert event.document_id == 1


async def next_events(stream: ChangeStream) -> Sequence[ChangeEvent]:
    while not (batch := await stream.next_batch()).events:
        pass
    return batch.events


async def test_waiting_in_vain(database: Database, start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing happens a wait ends with an empty batch, and the stream goes on."""
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
    """An event as MongoDB splits it: its small fields in the first fragment, each large one in one of its own."""
    whole = [raw_event(number), *({"_id": {"_data": "82"}, **part} for part in parts)]
    return [{**part, "splitEvent": {"fragment": place, "of": len(whole)}} for place, part in enumerate(whole, start=1)]


def parsing(database: Database) -> ChangeStream:
    return ChangeStream(database, StreamContent(["city"]), 1 << 32, splits_large_events=True)


async def test_fragments(database: Database) -> None:
    """The fragments of an event are joined; events around it are not touched."""
    document = {"_id": 2, "text": "x"}
    events = await parsing(database)._parse([raw_event(1), *fragments(2, {"fullDocument": document}), raw_event(3)])
    assert [(event.document_id, event.document) for event in events] == [(1, None), (2, document), (3, None)]


async def test_fragments_over_batches(database: Database) -> None:
    """The fragments of an event can come in several batches."""
    stream = parsing(database)
    first, second, third = fragments(1, {"fullDocumentBeforeChange": {"_id": 1}}, {"fullDocument": {"_id": 1}})
    assert await stream._parse([first]) == await stream._parse([second]) == []
    (event,) = await stream._parse([third])
    assert (event.document_id, event.document) == (1, {"_id": 1})


async def test_two_events_in_fragments(database: Database) -> None:
    """Nothing of one event in fragments is taken for the next."""
    one, other = fragments(1, {"fullDocument": {"_id": 1}}), fragments(2, {"updateDescription": {}})
    events = await parsing(database)._parse([*one, *other])
    assert [(event.document_id, event.document) for event in events] == [(1, {"_id": 1}), (2, None)]


async def test_unfinished_fragments(database: Database) -> None:
    """An event of which only the beginning has come is forgotten when another begins."""
    unfinished = fragments(1, {"fullDocument": {"_id": 1}}, {"updateDescription": {}})[:2]
    (event,) = await parsing(database)._parse([*unfinished, *fragments(2, {"updateDescription": {}})])
    assert (event.document_id, event.document) == (2, None)


async def test_event_of_one_fragment(database: Database) -> None:
    """An event that says that it is its only fragment is whole."""
    (event,) = await parsing(database)._parse([raw_event(1, splitEvent={"fragment": 1, "of": 1})])
    assert event.document_id == 1


# Failures

RESUMABLE = [6, 7, 43, 50, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13435, 13436]
"""But for StaleConfig (13388), which a fail point cannot make; see test_faults.py."""
NO_WAY_ON = [136, 260, 280, 286]
REFUSED = [1, 2, 13, 18, 26, 40573, 10334]


@pytest.fixture
async def failing_database(mongo_server: MongoServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """Its client does not wait for a server that it believes to be gone, which it does after some errors."""
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
async def test_failing_stream(
    mongo_server: MongoServer, failing_database: Database, code: int, expected: type[ChangeSourceError]
) -> None:
    """Each of MongoDB's errors, in the middle of a stream, means that one tries again, begins anew, or gives up."""
    start = await current_cluster_time(failing_database)
    async with stream_from(failing_database, start) as stream, fail_commands(mongo_server, "getMore", errorCode=code):
        with pytest.raises(expected):
            await stream.next_batch()


@pytest.mark.parametrize(("code", "expected"), [(11602, SourceUnreachable), (286, HistoryLost), (13, SourceUnusable)])
async def test_failing_to_open(
    mongo_server: MongoServer, failing_database: Database, code: int, expected: type[ChangeSourceError]
) -> None:
    """The same errors mean the same when a stream is opened."""
    start = await current_cluster_time(failing_database)
    async with fail_commands(mongo_server, "aggregate", errorCode=code):
        with pytest.raises(expected):
            await open_change_stream(failing_database, StreamContent(["city"]), start, splits_large_events=False)


async def test_connection_lost(mongo_server: MongoServer, database: Database, start: int) -> None:
    """A connection that breaks is a source that is away."""
    async with stream_from(database, start) as stream, fail_commands(mongo_server, "getMore", closeConnection=True):
        with pytest.raises(SourceUnreachable):
            await stream.next_batch()


async def test_cursor_killed(database: Database, start: int) -> None:
    """A stream whose cursor somebody killed can be opened again."""
    async with stream_from(database, start) as stream:
        await database.command({"killCursors": "$cmd.aggregate", "cursors": [stream._cursor_id]})
        with pytest.raises(SourceUnreachable):
            await stream.next_batch()


# What is left behind


async def open_cursors(database: Database) -> int:
    status = await database.client.admin.command("serverStatus")
    return int(status["metrics"]["cursor"]["open"]["total"])


async def no_cursor_left(database: Database, before: int) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while await open_cursors(database) > before:
            await asyncio.sleep(0.02)


async def test_close(database: Database, start: int) -> None:
    """A closed stream has no cursor on the server."""
    before = await open_cursors(database)
    async with stream_from(database, start):
        assert await open_cursors(database) == before + 1
    assert await open_cursors(database) == before


async def test_close_twice(database: Database, start: int) -> None:
    """A stream can be closed again."""
    async with stream_from(database, start) as stream:
        await stream.close()
        await stream.close()


async def test_close_after_cancelling(database: Database, start: int) -> None:
    """A stream that was cancelled while it waited leaves no cursor."""
    before = await open_cursors(database)
    async with stream_from(database, start) as stream:
        waiting = asyncio.create_task(stream.next_batch())
        await asyncio.wait([waiting], timeout=0.1)
        waiting.cancel()
        await asyncio.wait([waiting])
    await no_cursor_left(database, before)


async def test_cancelled_while_opening(mongo_server: MongoServer, database: Database, start: int) -> None:
    """An opening that is cancelled leaves no cursor, and the database can be used."""
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
