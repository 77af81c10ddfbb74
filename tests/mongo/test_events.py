"""events.py: a raw change event as the rest of the project sees it."""

from typing import Any

import pytest
from bson import DatetimeMS, Timestamp

from changesource.mongo.events import ChangeEvent, parse_event


def raw(operation: str = "insert", **fields: Any) -> dict[str, Any]:
    return {
        "_id": {"_data": "82"},
        "operationType": operation,
        "clusterTime": Timestamp(5, 7),
        "wallTime": DatetimeMS(5_123),
        "ns": {"db": "shop", "coll": "city"},
        "documentKey": {"_id": 1},
        **fields,
    }


def parsed(operation: str = "insert", **fields: Any) -> ChangeEvent:
    event = parse_event(raw(operation, **fields))
    assert event is not None
    return event


def test_insert() -> None:
    """All that an event says."""
    assert parsed(fullDocument={"_id": 1, "name": "Bern"}) == ChangeEvent(
        operation="upsert",
        collection="city",
        document_id=1,
        document={"_id": 1, "name": "Bern"},
        cluster_time=5 << 32 | 7,
        in_transaction=False,
        wall_time_ms=5_123,
    )


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("insert", "upsert"),
        ("update", "upsert"),
        ("replace", "upsert"),
        ("delete", "delete"),
        ("drop", "drop"),
        ("rename", "drop"),
        ("invalidate", "invalidate"),
    ],
)
def test_operations(operation: str, expected: str) -> None:
    """What each operation means for rows."""
    assert parsed(operation).operation == expected


@pytest.mark.parametrize(
    "operation",
    [
        "create",
        "createIndexes",
        "dropIndexes",
        "modify",
        "dropDatabase",
        "shardCollection",
        "reshardCollection",
        "refineCollectionShardKey",
        "startIndexBuild",
        "something of a later MongoDB",
    ],
)
def test_operations_that_change_no_document(operation: str) -> None:
    """Everything else is passed over, also what a later MongoDB may add."""
    assert parse_event(raw(operation)) is None


def test_update_without_a_post_image() -> None:
    """Where MongoDB has no post-image the document is to be looked up."""
    assert parsed("update", fullDocument=None).document is None


def test_transaction() -> None:
    """Only events of a multi-document transaction have a number of it."""
    assert parsed(lsid={"id": 1}, txnNumber=1).in_transaction


def test_rename() -> None:
    """A renamed collection names both."""
    event = parsed("rename", to={"db": "shop", "coll": "town"}, documentKey=None)
    assert (event.collection, event.renamed_to, event.document_id) == ("city", "town", None)


def test_invalidate() -> None:
    """The end of a stream has no collection and no document."""
    fields = raw("invalidate")
    del fields["ns"], fields["documentKey"]
    event = parse_event(fields)
    assert event is not None
    assert (event.collection, event.document_id) == ("", None)


def test_sharded_collection() -> None:
    """The shard key beside the _id is no part of the identity."""
    assert parsed(documentKey={"region": "eu", "_id": 9}).document_id == 9


def test_null_as_id() -> None:
    """Null is an _id like any other."""
    assert parsed("delete", documentKey={"_id": None}).document_id is None


def test_event_without_a_wall_time() -> None:
    """Before MongoDB 6.0 events have no wall time: the second of the cluster time stands in."""
    fields = raw()
    del fields["wallTime"]
    event = parse_event(fields)
    assert event is not None
    assert event.wall_time_ms == 5_000
