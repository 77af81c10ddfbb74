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


async def test_each_writing_has_its_nonce(database: Database) -> None:
    """No two markers have the same nonce."""
    nonces = [await write_marker(database, "shop", "barrier") for _ in range(5)]
    assert len(set(nonces)) == 5


async def test_nothing_piles_up(database: Database) -> None:
    """Each kind of marker is one document for each app."""
    for _ in range(3):
        await write_marker(database, "shop", "barrier")
        await write_marker(database, "shop", "heartbeat")
        await write_marker(database, "blog", "barrier")
    found = await database[MARKERS_COLLECTION].find().to_list()
    assert sorted(document["_id"] for document in found) == ["barrier:blog", "barrier:shop", "heartbeat:shop"]


async def test_events(database: Database) -> None:
    """Every writing is an event that carries its nonce, also when several are at once."""
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
    """All that an event can mean to the app."""
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
def test_marker(document: dict[str, Any], wanted: object) -> None:
    """A document that we could have written means one thing."""
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
def test_events_that_are_not_ours(document: dict[str, Any], fields: dict[str, Any]) -> None:
    """We write each marker whole, alone, into one collection."""
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
def test_odd_fields(document: dict[str, Any], name: str) -> None:
    """A field that departs from the grammar in anything, or is missing, makes the document no marker."""
    for value in (*ODD_TEXTS, *ODD_VALUES):
        assert meaning(event({**document, name: value})) == []
    assert meaning(event({key: value for key, value in document.items() if key != name})) == []


@pytest.mark.parametrize("name", ["barrier:shop", "heartbeat:shop", "publish:shop", "access:5:shop", "access:6:shop"])
def test_marker_in_the_place_of_another(name: str) -> None:
    """What a document means depends on its _id, which the server has filtered by."""
    for document in (BARRIER, ACCESS):
        if name != document["_id"]:
            assert meaning(event({**document, "_id": name})) in ([], [NONCE] if document is BARRIER else [])


def test_odd_versions() -> None:
    """A version is a whole number that a version can have."""
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


async def test_what_is_not_carried(database: Database) -> None:
    """Of documents that cannot be markers of this app, of updates and of what is too large no event is sent."""
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


async def test_what_is_carried(database: Database) -> None:
    """Markers, and what takes the id of a source away."""
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
async def test_what_is_no_id(database: Database, odd: Any) -> None:
    """Something else in the place of the id is none, and gives way to one."""
    await database[MARKERS_COLLECTION].insert_one({"_id": "source:shop", "source": odd})
    assert await read_source_id(database, "shop") is None
    await write_source_id(database, "shop", NONCE)
    assert await read_source_id(database, "shop") == NONCE


async def test_first_id_counts(database: Database) -> None:
    """An id that is there stays."""
    ids = [f"{number:032x}" for number in range(8)]
    await asyncio.gather(*(write_source_id(database, "shop", one) for one in ids))
    first = await read_source_id(database, "shop")
    assert first in ids
    await write_source_id(database, "shop", NONCE)
    assert await read_source_id(database, "shop") == first


async def test_failures(mongo_server: MongoServer, database: Database) -> None:
    """A marker that cannot be written says whether it is worth another try."""
    async with fail_commands(mongo_server, "update", errorCode=13):
        with pytest.raises(SourceUnusable):
            await write_marker(database, "shop", "barrier")
    async with fail_commands(mongo_server, "update", closeConnection=True):
        with pytest.raises(SourceUnreachable):
            await write_marker(database, "shop", "barrier")
