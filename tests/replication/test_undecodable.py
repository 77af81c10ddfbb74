"""A document that PyMongo does not decode is a row error, and the stream continues."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from changesource.mongo import change_stream
from changesource.mongo.documents import first_documents, scan
from changesource.mongo.markers import write_marker
from changesource.mongo.source import Database
from changesource.protocol.watermarks import Position
from changesource.replication.app_source import AppSource
from changesource.replication.entry_reader import EntryReader
from changesource.tables.definition import Column
from changesource.tables.row_errors import RowError
from tests.mongo.undecodable import SPOILT, spoilt
from tests.simulation.builders import APP_ID, KnownVersions, table, version
from tests.simulation.replica import frame_summary
from tests.simulation.row_errors import FoundErrors
from zerosources.embedded.servers import MongoServer

CITY = version(table("city", Column("name", "string", optional=True), Column("photo", "string", optional=True)))
DEADLINE_SECONDS = 20.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_stream, "AWAIT_MS", 100)


@pytest.fixture
async def reading(mongo_server: MongoServer, database: Database) -> AsyncIterator[Database]:
    """The test's database as the product sees it."""
    async with spoilt(mongo_server, database) as found:
        yield found


async def read_to_marker(database: Database, start: Position, errors: FoundErrors) -> list[tuple[str, dict[str, Any]]]:
    """Returns what happened to rows until a marker that is written now."""
    nonce = await write_marker(database, APP_ID, "barrier")
    reader = EntryReader(AppSource(database, KnownVersions(CITY), errors), CITY, start.cluster_time, start)
    changes: list[tuple[str, dict[str, Any]]] = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(reader.entries()) as entries:
        async for entry in entries:
            for frames in entry.tables.values():
                changes += [frame_summary(frame) for frame in frames.split(b"\n")]
            if nonce in entry.markers:
                break
    return changes


async def test_an_undecodable_value_is_null_and_a_row_error(
    database: Database, reading: Database, start: Position
) -> None:
    """What comes after it is read as usual."""
    await database.city.insert_one({"_id": "a", "name": "Bern", "photo": SPOILT})
    await database.city.insert_one({"_id": "b", "name": "Basel"})
    errors = FoundErrors()
    changes = await read_to_marker(reading, start, errors)
    assert changes == [
        ("insert", {"_id": "a", "name": "Bern", "photo": None}),
        ("insert", {"_id": "b", "name": "Basel", "photo": None}),
    ]
    assert [(error.table, error.document_id, error.column) for error in errors] == [("city", "a", "photo")]
    assert "not valid BSON" in errors[0].reason


async def test_an_undecodable_value_in_a_look_up_is_null_and_a_row_error(
    database: Database, reading: Database, start: Position
) -> None:
    await database.city.insert_one({"_id": "a", "name": "Bern", "photo": SPOILT})
    await database.city.update_one({"_id": "a"}, {"$set": {"name": "Biel"}})
    errors = FoundErrors()
    changes = await read_to_marker(reading, start, errors)
    assert changes[-1] == ("insert", {"_id": "a", "name": "Biel", "photo": None})
    assert {error.column for error in errors} == {"photo"}


async def test_a_document_with_an_undecodable_id_has_no_row(
    database: Database, reading: Database, start: Position
) -> None:
    await database.city.insert_one({"_id": SPOILT, "name": "Bern"})
    errors = FoundErrors()
    assert [operation for operation, _ in await read_to_marker(reading, start, errors)] == []
    assert [error.column for error in errors] == ["_id"]


async def test_a_scan_yields_undecodable_documents_and_the_others_of_their_batch(
    database: Database, reading: Database
) -> None:
    await database.city.insert_many([{"_id": "a"}, {"_id": "b", "photo": SPOILT}, {"_id": SPOILT}, {"_id": "z"}])
    found = [document async for documents in scan(reading, "city") for document in documents]
    errors: list[RowError] = []
    (city,) = CITY.tables_of_collection["city"]
    rows = [row["_id"] for document in found for row in city.table.rows(document, errors)]
    assert rows == ["a", "b", "z"]
    assert sorted(error.column for error in errors) == ["_id", "photo"]
    assert sum([len(documents) async for documents in first_documents(reading, "city", 10)]) == 4
