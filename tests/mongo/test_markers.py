"""markers.py: documents of ours in the source, and their events."""

import asyncio
from typing import Any

import pytest

from changesource.errors import SourceUnreachable, SourceUnusable
from changesource.mongo.change_stream import StreamContent, open_change_stream
from changesource.mongo.markers import MARKERS_COLLECTION, AccessMarker, access_marker_of, nonce_of, write_marker
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
    stream = await open_change_stream(database, StreamContent([MARKERS_COLLECTION]), start, splits_large_events=False)
    found: list[str | None] = []
    while not (batch := await stream.next_batch(wait=False)).is_end:
        found += [nonce_of(event.document, "shop") for event in batch.events]
    await stream.close()
    assert sorted(nonce or "" for nonce in found) == sorted(nonces)


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"_id": "barrier:blog", "app": "blog", "nonce": "x"},
        {"_id": "barrier:shop", "app": "shop"},
        {"_id": "barrier:shop", "app": "shop", "nonce": 5},
        {"_id": "barrier:shop", "nonce": "x"},
    ],
    ids=["none", "empty", "another app's", "no nonce", "odd nonce", "no app"],
)
def test_what_is_no_marker(document: dict[str, Any] | None) -> None:
    """What somebody else wrote, and markers of other apps, have no nonce."""
    assert nonce_of(document, "shop") is None


def test_nonce() -> None:
    """A marker of the app has its nonce, whatever else is in it."""
    assert nonce_of({"_id": 1, "app": "shop", "nonce": "x", "more": 1}, "shop") == "x"


async def test_failures(mongo_server: MongoServer, database: Database) -> None:
    """A marker that cannot be written says whether it is worth another try."""
    async with fail_commands(mongo_server, "update", errorCode=13):
        with pytest.raises(SourceUnusable):
            await write_marker(database, "shop", "barrier")
    async with fail_commands(mongo_server, "update", closeConnection=True):
        with pytest.raises(SourceUnreachable):
            await write_marker(database, "shop", "barrier")


# What a text announces

NONCE = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("marker", [AccessMarker(5, NONCE), AccessMarker(2**63 - 1, NONCE, 7301444403200000014)])
def test_access_marker(marker: AccessMarker) -> None:
    """It is read as it was written, in the source and in the log."""
    assert access_marker_of(marker.text) == marker


@pytest.mark.parametrize(
    "text",
    [
        *("", "access", "access:5", "access:5:", "access::ab", "access:-1:ab", "access:x:ab", "access:٣:ab", NONCE),
        *("access:5:a b", "access:5:ab\n", "access:5:ab:", "barrier:5:ab"),
        *(f"access:{'9' * 5000}:ab", f"access:5:ab:{'9' * 5000}"),
    ],
)
def test_other_text(text: str) -> None:
    """Whoever may write to the source can write anything: it is no access marker, and no exception."""
    assert access_marker_of(text) is None
