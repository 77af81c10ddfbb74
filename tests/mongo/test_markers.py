"""markers.py: documents of ours in the source, and their events."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from bson import DatetimeMS, Decimal128, Int64, MinKey, Timestamp

from changesource.errors import SourceUnreachable, SourceUnusable
from changesource.mongo.change_stream import StreamContent, open_change_stream
from changesource.mongo.events import ChangeEvent
from changesource.mongo.markers import (
    MARKERS_COLLECTION,
    AccessMarker,
    PublishMarker,
    access_marker_of,
    nonce_of,
    publish_marker_of,
    read_source_id,
    write_access_marker,
    write_marker,
    write_publish_marker,
    write_source_id,
)
from changesource.mongo.source import Database, current_cluster_time
from tests.mongo.failing import fail_commands
from zerosources.embedded.servers import MongoServer


async def test_each_write_has_a_nonce_of_its_own(database: Database) -> None:
    nonces = [await write_marker(database, "shop", "barrier") for _ in range(5)]
    assert len(set(nonces)) == 5


async def test_each_kind_of_marker_is_one_document_for_each_app(database: Database) -> None:
    for _ in range(3):
        await write_marker(database, "shop", "barrier")
        await write_marker(database, "shop", "heartbeat")
        await write_marker(database, "blog", "barrier")
    found = await database[MARKERS_COLLECTION].find().to_list()
    assert sorted(document["_id"] for document in found) == ["barrier:blog", "barrier:shop", "heartbeat:shop"]


async def test_each_write_is_an_event_with_its_nonce(database: Database) -> None:
    """Even if there are several at once."""
    start = await current_cluster_time(database)
    nonces = await asyncio.gather(*(write_marker(database, "shop", "barrier") for _ in range(5)))
    found = [nonce_of(event, "shop") or "" for event in await met(database, start)]
    assert sorted(found) == sorted(nonces)


NONCE = "0123456789abcdef0123456789abcdef"
BARRIER = {"_id": "barrier:shop", "app": "shop", "nonce": NONCE}
PUBLISH = {"_id": "publish:shop", "app": "shop", "nonce": NONCE, "version": 2}
ACCESS = {"_id": "access:5:shop", "app": "shop", "nonce": f"access:5:{NONCE}"}


def event(document: Any) -> ChangeEvent:
    return ChangeEvent("upsert", MARKERS_COLLECTION, None, document, 1, False, 0)


def meaning(event: ChangeEvent) -> list[object]:
    """Returns everything that an event can mean to the app."""
    found = [nonce_of(event, "shop"), publish_marker_of(event, "shop"), access_marker_of(event, "shop")]
    return [one for one in found if one is not None]


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        (BARRIER, NONCE),
        ({**BARRIER, "_id": "heartbeat:shop", "more": 1}, NONCE),
        (PUBLISH, PublishMarker(2, NONCE)),
        ({**PUBLISH, "version": Int64(2**31 - 1)}, PublishMarker(2**31 - 1, NONCE)),
        (ACCESS, AccessMarker(5, NONCE)),
        (
            {**ACCESS, "_id": f"access:{10**19 - 1}:shop", "nonce": f"access:{10**19 - 1}:{NONCE}"},
            AccessMarker(10**19 - 1, NONCE),
        ),
    ],
    ids=["barrier", "heartbeat", "publish", "largest version", "access", "largest client"],
)
def test_a_document_that_could_be_ours_means_one_thing(document: dict[str, Any], wanted: object) -> None:
    assert meaning(event(document)) == [wanted]


@pytest.mark.parametrize("document", [BARRIER, PUBLISH, ACCESS], ids=["barrier", "publish", "access"])
@pytest.mark.parametrize(
    "fields",
    [
        {"in_transaction": True},
        {"collection": "city"},
        {"operation": "delete"},
        {"document": None},
    ],
    ids=["in a transaction", "elsewhere", "deleted", "not carried"],
)
def test_events_that_we_could_not_cause_mean_nothing(document: dict[str, Any], fields: dict[str, Any]) -> None:
    """We write each marker whole, alone, and into one collection."""
    assert meaning(replace(event(document), **fields)) == []


ODD_TEXTS = [
    *("", "x", NONCE[1:], f"{NONCE}0", NONCE.upper(), f"{NONCE}\n", f"\n{NONCE}", f"{NONCE} {NONCE}", f"{NONCE}\0"),
    *("٣" * 32, "\ud800" * 32, "é" * 32, "９" * 32, "x" * 2**20),
    *(
        f"access:6:{NONCE}",
        f"access:05:{NONCE}",
        f"access:٥:{NONCE}",
        f"access:-5:{NONCE}",
        f"access:{'9' * 20}:{NONCE}",
    ),
    *(f"access:5:{NONCE}:7301444403200000014", f"access:5:{NONCE} ", f"x access:5:{NONCE}", "access:5:ab", "access:5:"),
]
ODD_VALUES = [
    None,
    True,
    0,
    5.0,
    Int64(5),
    b"x" * 32,
    [NONCE],
    {"": NONCE},
    Decimal128("1"),
    DatetimeMS(2**63 - 1),
    MinKey(),
]
ODD_VERSIONS = [None, True, 0, -1, 2.0, 2**31, Int64(2**63 - 1), "2", [2], {"": 2}, Decimal128("2"), Timestamp(2, 2)]


@pytest.mark.parametrize("document", [BARRIER, PUBLISH, ACCESS], ids=["barrier", "publish", "access"])
@pytest.mark.parametrize("name", ["_id", "app", "nonce"])
def test_a_document_that_departs_from_the_grammar_is_no_marker(document: dict[str, Any], name: str) -> None:
    """So is one that lacks a field."""
    for value in (*ODD_TEXTS, *ODD_VALUES):
        assert meaning(event({**document, name: value})) == []
    assert meaning(event({key: value for key, value in document.items() if key != name})) == []


@pytest.mark.parametrize("name", ["barrier:shop", "heartbeat:shop", "publish:shop", "access:5:shop", "access:6:shop"])
def test_the_id_decides_which_kind_of_marker_a_document_is(name: str) -> None:
    """The server has filtered by it."""
    for document in (BARRIER, ACCESS):
        if name != document["_id"]:
            assert meaning(event({**document, "_id": name})) in ([], [NONCE] if document is BARRIER else [])


def test_a_version_must_be_a_whole_number_in_range() -> None:
    for version in ODD_VERSIONS:
        assert meaning(event({**PUBLISH, "version": version})) == []


# What the server sends


async def met(database: Database, start: int, app_id: str = "shop") -> list[ChangeEvent]:
    stream = await open_change_stream(database, StreamContent(markers_of=app_id), start, splits_large_events=False)
    found: list[ChangeEvent] = []
    while not (batch := await stream.next_batch(wait=False)).is_end:
        assert batch.size < 100_000
        found += batch.events
    await stream.close()
    return found


async def test_the_server_does_not_send_documents_that_cannot_be_markers(database: Database) -> None:
    """Neither of another app, nor updates, nor documents that are too large."""
    start = await current_cluster_time(database)
    markers = database[MARKERS_COLLECTION]
    ids = [1, True, b"x", None, {"a": 1}, "x", "end:shop", "barrier:shop2", "barrier:blog", "barrier:shop\n"]
    ids += [
        "access::shop",
        "access:x:shop",
        f"access:{'1' * 20}:shop",
        "access:05:shop",
        "access:5:shop:shop",
        "source:shop",
    ]
    for document_id in ids:
        await markers.insert_one({"_id": document_id, "app": "shop", "nonce": NONCE})
    await markers.insert_one({"_id": "barrier:shop", "app": "shop", "nonce": "x" * 15 * 2**20})
    await markers.update_one({"_id": "barrier:shop"}, {"$set": {"nonce": NONCE}})
    await markers.delete_one({"_id": "barrier:shop"})
    assert await met(database, start) == []


async def test_the_server_sends_markers_and_the_loss_of_the_id(database: Database) -> None:
    start = await current_cluster_time(database)
    markers = database[MARKERS_COLLECTION]
    nonce = await write_marker(database, "shop", "barrier")
    await write_publish_marker(database, "shop", PublishMarker(2, NONCE))
    await write_access_marker(database, "shop", AccessMarker(5, NONCE))
    await write_source_id(database, "shop", NONCE)
    await markers.delete_one({"_id": "source:shop"})
    await markers.rename("elsewhere")
    await database.elsewhere.rename(MARKERS_COLLECTION)
    await markers.drop()
    found = await met(database, start)
    assert [one for event in found for one in meaning(event)] == [
        nonce,
        PublishMarker(2, NONCE),
        AccessMarker(5, NONCE),
    ]
    assert [event.operation for event in found[3:]] == ["delete", "drop", "drop", "drop"]


# The id of a source


@pytest.mark.parametrize(
    "odd",
    [None, 5, "", "x" * 2**20, f"{NONCE}\n", NONCE.upper(), [NONCE], [NONCE] * 10_000, {"": NONCE}, True],
    ids=["null", "number", "empty", "huge", "line end", "upper case", "array", "large array", "document", "true"],
)
async def test_anything_else_in_the_place_of_the_id_is_replaced(database: Database, odd: Any) -> None:
    await database[MARKERS_COLLECTION].insert_one({"_id": "source:shop", "source": odd})
    assert await read_source_id(database, "shop") is None
    await write_source_id(database, "shop", NONCE)
    assert await read_source_id(database, "shop") == NONCE


async def test_an_existing_id_is_not_replaced(database: Database) -> None:
    ids = [f"{number:032x}" for number in range(8)]
    await asyncio.gather(*(write_source_id(database, "shop", one) for one in ids))
    first = await read_source_id(database, "shop")
    assert first in ids
    await write_source_id(database, "shop", NONCE)
    assert await read_source_id(database, "shop") == first


async def test_a_failed_write_tells_whether_to_try_again(mongo_server: MongoServer, database: Database) -> None:
    async with fail_commands(mongo_server, "update", errorCode=13):
        with pytest.raises(SourceUnusable):
            await write_marker(database, "shop", "barrier")
    async with fail_commands(mongo_server, "update", closeConnection=True):
        with pytest.raises(SourceUnreachable):
            await write_marker(database, "shop", "barrier")
