"""documents.py: whole collections and single documents, read from the embedded MongoDB."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp

from changesource.errors import SourceUnreachable, SourceUnusable
from changesource.mongo import documents, source
from changesource.mongo.documents import choose_projection, estimate_count, find_documents, scan
from changesource.mongo.source import Database
from tests.mongo.failing import fail_commands
from tests.mongo.opening import open_database
from zerosources.embedded.servers import MongoServer

IN_ORDER: list[Any] = [
    MinKey(),
    None,
    float("nan"),
    float("-inf"),
    -(2**62),
    -1.5,
    0,
    Decimal128("0.5"),
    1,
    Int64(2**60),
    1e300,
    "",
    "$place",
    "1",
    "a",
    "ä",
    {},
    {"a": 1},
    {"a": 1, "b": 2},
    {"a": "$place"},
    Binary(b""),
    Binary(b"ab"),
    Binary.from_uuid(UUID(int=1)),
    ObjectId("000000000000000000000000"),
    ObjectId("ffffffffffffffffffffffff"),
    False,
    True,
    datetime(1900, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    Timestamp(1, 1),
    MaxKey(),
]
"""An _id of every type, in the order in which MongoDB sorts them; `$place` looks like the path of a
field."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "RETRY_SECONDS", 0.01)


async def fill(database: Database, ids: list[Any]) -> None:
    found = [{"_id": identity, "place": place} for place, identity in enumerate(ids)]
    random.Random(1).shuffle(found)
    await database.city.insert_many(found)


async def scanned(database: Database, batch_size: int | None = 3) -> list[int]:
    return [document["place"] async for batch in scan(database, "city", batch_size=batch_size) for document in batch]


async def test_a_scan_reads_every_document_once_in_the_order_of_id(database: Database) -> None:
    """Whatever the type of its `_id` is."""
    await fill(database, IN_ORDER)
    assert await scanned(database) == list(range(len(IN_ORDER)))


@pytest.mark.parametrize("size", [1, 3, None])
async def test_a_scan_can_be_limited_to_documents_with_a_field(
    mongo_server: MongoServer, database: Database, size: int | None
) -> None:
    """Whatever value the field has, and even if the scan is interrupted."""
    values: list[Any] = [None, [], [None], 0, "", {}, [1, None]]
    with_field = [
        {"_id": identity, "place": place, "a": value}
        for place, (identity, value) in enumerate(zip(IN_ORDER, values, strict=False))
    ]
    others = [{"_id": identity, "place": place, "n": {"a": 1}} for place, identity in enumerate(IN_ORDER)][
        len(values) :
    ]
    others[0]["b"] = 1
    await database.city.insert_many([*with_field, *others])
    expected = list(range(len(values) + 1))
    async with fail_commands(mongo_server, "getMore", errorCode=43):
        batches = scan(database, "city", batch_size=size, with_one_of={"a", "b"})
        assert [document["place"] async for batch in batches for document in batch] == expected
    assert [batch async for batch in scan(database, "city", batch_size=size, with_one_of={"c"})] == []


async def test_no_batch_of_a_scan_is_empty_or_larger_than_requested(database: Database) -> None:
    await fill(database, list(range(10)))
    assert [len(batch) async for batch in scan(database, "city", batch_size=3)] == [3, 3, 3, 1]


@pytest.mark.parametrize("batch_size", [None, 2])
async def test_a_scan_can_be_limited_to_some_fields(
    mongo_server: MongoServer, database: Database, batch_size: int | None
) -> None:
    """Documents have these and `_id` only, even after an interruption."""
    await database.city.insert_many([{"_id": number, "a": number, "b": "x", "text": "y" * 5000} for number in range(5)])
    async with fail_commands(mongo_server, "getMore", errorCode=43):
        batches = [batch async for batch in scan(database, "city", {"a", "nowhere"}, batch_size)]
    assert [document for batch in batches for document in batch] == [{"_id": n, "a": n} for n in range(5)]


async def test_whole_documents_are_read_for_a_name_with_a_dot(database: Database) -> None:
    """For a projection it would be a path."""
    await database.city.insert_one({"_id": 1, "a.b": 2, "a": {"b": 3}, "c": "x" * 5000})
    [[found]] = [batch async for batch in scan(database, "city", {"a.b"})]
    assert found["a.b"] == 2
    assert await choose_projection(database, "city", {"a.b"}) is None


@pytest.mark.parametrize(
    ("document", "is_projected"),
    [
        ({"a": 1, "b": "x" * 5000}, True),
        ({"a": 1, "b": "x" * 100}, False),
        ({"a": "x" * 5000, "b": "x" * 1000}, False),
        ({"a": "x" * 5000, "b": "x" * 9000}, True),
    ],
)
async def test_a_projection_is_chosen_if_it_leaves_much_out(
    database: Database, document: dict[str, Any], is_projected: bool
) -> None:
    """Large parts of the documents, with many bytes."""
    await database.city.insert_many([{"_id": number, **document} for number in range(3)])
    assert await choose_projection(database, "city", {"a"}) == ({"_id": 1, "a": 1} if is_projected else None)
    [batch] = [batch async for batch in scan(database, "city", {"a"})]
    assert all(("b" in found) != is_projected for found in batch)


async def test_a_projection_is_used_if_the_size_of_documents_is_unknown(
    mongo_server: MongoServer, database: Database
) -> None:
    """The user lacks the right to read it."""
    await database.city.insert_one({"_id": 1, "a": 1, "b": 2})
    async with fail_commands(mongo_server, "collStats", errorCode=13):
        assert [batch async for batch in scan(database, "city", {"a"})] == [[{"_id": 1, "a": 1}]]


async def test_an_empty_collection_is_read_without_a_projection(database: Database) -> None:
    assert await choose_projection(database, "city", {"a"}) is None


async def test_an_interrupted_choice_of_a_projection_is_raised(mongo_server: MongoServer, database: Database) -> None:
    await database.city.insert_one({"_id": 1, "b": "x" * 5000})
    async with fail_commands(mongo_server, "find", errorCode=6):
        with pytest.raises(SourceUnreachable):
            await choose_projection(database, "city", {"a"})


async def test_documents_that_are_looked_up_have_the_fields_of_the_projection(database: Database) -> None:
    await database.city.insert_many([{"_id": number, "a": number, "b": "x"} for number in range(5)])
    batches = [batch async for batch in find_documents(database, "city", [1, 3], {"_id": 1, "a": 1})]
    assert sorted(document["_id"] for batch in batches for document in batch) == [1, 3]
    assert all(document.keys() == {"_id", "a"} for batch in batches for document in batch)


async def test_a_view_in_place_of_a_collection_yields_nothing(
    mongo_server: MongoServer, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Running streams show nothing of it either, and an error is logged."""
    await fill(database, [1, 2])
    async with fail_commands(mongo_server, "collStats", errorCode=166):  # the embedded server itself does not answer so
        assert await scanned(database, None) == []
    assert "city is a view or a time series collection now" in caplog.text


async def test_a_time_series_collection_in_place_of_a_collection_yields_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`collStats` tells it by a section of its own."""

    async def statistics(*_: object) -> dict[str, Any]:
        return {"avgObjSize": 100, "timeseries": {"bucketsNs": "shop.system.buckets.city"}}

    await fill(database, [1, 2])
    with monkeypatch.context() as patched:
        patched.setattr(type(database), "command", statistics)
        assert await scanned(database, None) == []


@pytest.mark.parametrize("size", [1, 3, 7, None])
async def test_a_scan_interrupted_after_each_batch_reads_everything_once(
    mongo_server: MongoServer, database: Database, size: int | None
) -> None:
    await fill(database, IN_ORDER)
    async with fail_commands(mongo_server, "getMore", errorCode=43):
        assert await scanned(database, size) == list(range(len(IN_ORDER)))


@pytest.mark.parametrize("seed", range(3))
async def test_a_scan_interrupted_anywhere_reads_everything_once(
    mongo_server: MongoServer, database: Database, seed: int
) -> None:
    dice = random.Random(seed)
    await fill(database, IN_ORDER)
    places: list[int] = []
    async for batch in scan(database, "city", batch_size=2):
        places += [document["place"] for document in batch]
        if dice.random() < 0.5:
            async with fail_commands(mongo_server, "getMore", "find", times=1, closeConnection=True):
                await asyncio.sleep(0.01)
    assert places == list(range(len(IN_ORDER)))


async def test_a_scan_without_progress_gives_up(
    mongo_server: MongoServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some tries. It has yielded what it read before."""
    monkeypatch.setattr(documents, "MAX_SCAN_RETRIES", 3)
    await fill(database, list(range(10)))
    batches = scan(database, "city", batch_size=3)
    first = await anext(batches)
    async with fail_commands(mongo_server, "getMore", "find", errorCode=6):
        rest = await asyncio.gather(all_of(batches), return_exceptions=True)
    assert [document["_id"] for document in first] == [0, 1, 2]
    assert isinstance(rest[0], SourceUnreachable)


async def all_of(batches: AsyncIterator[documents.Documents]) -> list[dict[str, Any]]:
    return [document async for batch in batches for document in batch]


async def test_a_refused_scan_is_not_tried_again(
    mongo_server: MongoServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "RETRY_SECONDS", 3600)
    await fill(database, [1])
    async with asyncio.timeout(10), fail_commands(mongo_server, "find", errorCode=13):
        with pytest.raises(SourceUnusable):
            await scanned(database)


async def test_a_missing_collection_has_no_documents(database: Database) -> None:
    assert await scanned(database) == []
    assert await scanned(database, None) == []


async def test_the_default_batch_has_few_large_documents_or_many_small_ones(database: Database) -> None:
    await database.city.insert_many([{"_id": number, "text": "x" * 2**19} for number in range(10)])
    await database.river.insert_many([{"_id": number} for number in range(1500)])
    assert max([len(batch) async for batch in scan(database, "city")]) < 5
    assert max([len(batch) async for batch in scan(database, "river")]) > 500


async def test_documents_that_stay_are_read_whatever_happens_to_others(database: Database) -> None:
    await database.city.insert_many([{"_id": number} for number in range(0, 100, 2)])
    seen: list[int] = []
    async for batch in scan(database, "city", batch_size=5):
        seen += [document["_id"] for document in batch]
        await database.city.insert_one({"_id": seen[-1] - 1})
        await database.city.delete_one({"_id": seen[-1]})
        await database.city.update_one({"_id": 98}, {"$set": {"text": "x" * len(seen) * 100}})
    assert set(range(0, 100, 2)) <= set(seen)
    assert len(seen) == len(set(seen))


async def test_a_scan_of_a_dropped_collection_ends_or_raises_our_error(database: Database) -> None:
    await database.city.insert_many([{"_id": number} for number in range(100)])
    with suppress(SourceUnreachable, SourceUnusable):
        async for _ in scan(database, "city", batch_size=5):
            await database.city.drop()


async def test_a_scan_that_is_abandoned_leaves_no_cursor(database: Database) -> None:
    await fill(database, list(range(100)))
    before = await open_cursors(database)
    batches = scan(database, "city", batch_size=5)
    await anext(batches)
    assert await open_cursors(database) > before
    await batches.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while await open_cursors(database) > before:
            await asyncio.sleep(0.02)


async def open_cursors(database: Database) -> int:
    status = await database.client.admin.command("serverStatus")
    return int(status["metrics"]["cursor"]["open"]["total"])


async def found_documents(database: Database, collection: str, ids: Sequence[Any]) -> list[dict[str, Any]]:
    return [document async for batch in find_documents(database, collection, ids) for document in batch]


async def test_documents_are_found_by_ids_of_every_type(database: Database) -> None:
    """Ids without a document are no error."""
    await fill(database, IN_ORDER)
    found = await found_documents(database, "city", [*IN_ORDER, "not there", 99])
    assert sorted(document["place"] for document in found) == list(range(len(IN_ORDER)))


async def test_a_look_up_without_ids_finds_nothing(database: Database) -> None:
    assert await found_documents(database, "city", []) == []


async def test_more_documents_than_one_look_up_requests_are_found_once_each(database: Database) -> None:
    await database.city.insert_many([{"_id": number} for number in range(1300)])
    found = await found_documents(database, "city", list(range(1400)))
    assert sorted(document["_id"] for document in found) == list(range(1300))


async def test_documents_larger_than_a_reply_are_found_in_batches(database: Database) -> None:
    await database.city.insert_many([{"_id": number, "text": "x" * 5 * 2**20} for number in range(5)])
    batches = [len(batch) async for batch in find_documents(database, "city", list(range(5)))]
    assert sum(batches) == 5
    assert max(batches) <= 3


async def test_a_failed_look_up_tells_whether_to_try_again(
    mongo_server: MongoServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fail_commands(mongo_server, "find", closeConnection=True):
        with pytest.raises(SourceUnreachable):
            await found_documents(database, "city", [1])
    async with fail_commands(mongo_server, "find", errorCode=13):
        with pytest.raises(SourceUnusable):
            await found_documents(database, "city", [1])


async def test_about_how_many_documents_there_are_is_known(
    mongo_server: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "SERVER_SELECTION_TIMEOUT_MS", 50)
    async with open_database(mongo_server) as database:
        await fill(database, list(range(25)))
        assert await estimate_count(database, "city") == 25
        async with fail_commands(mongo_server, "count", errorCode=91):
            with pytest.raises(SourceUnreachable):
                await estimate_count(database, "city")
