"""events.py: a raw change event in the form that the rest of the project uses."""

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


def test_an_insert_has_everything_that_the_event_says() -> None:
    assert parsed(fullDocument={"_id": 1, "name": "Bern"}) == ChangeEvent(
        operation="upsert",
        collection="city",
        document_id=1,
        document={"_id": 1, "name": "Bern"},
        cluster_time=5 << 32 | 7,
        in_transaction=False,
        wall_time_ms=5_123,
        is_before_known=True,
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
def test_each_operation_means_something_for_rows(operation: str, expected: str) -> None:
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
def test_operations_that_change_no_document_are_dropped(operation: str) -> None:
    """Even those that a later MongoDB may add."""
    assert parse_event(raw(operation)) is None


def test_an_update_without_a_post_image_has_no_document() -> None:
    """It has to be looked up."""
    assert parsed("update", fullDocument=None).document is None


def test_only_events_of_transactions_are_marked_as_such() -> None:
    assert parsed(lsid={"id": 1}, txnNumber=1).in_transaction


def test_a_rename_has_both_names() -> None:
    event = parsed("rename", to={"db": "shop", "coll": "town"}, documentKey=None)
    assert (event.collection, event.renamed_to, event.document_id) == ("city", "town", None)


def test_an_invalidate_has_no_collection_and_no_document() -> None:
    fields = raw("invalidate")
    del fields["ns"], fields["documentKey"]
    event = parse_event(fields)
    assert event is not None
    assert (event.collection, event.document_id) == ("", None)


def test_the_shard_key_is_no_part_of_the_document_id() -> None:
    assert parsed(documentKey={"region": "eu", "_id": 9}).document_id == 9


def test_null_is_an_id_like_any_other() -> None:
    assert parsed("delete", documentKey={"_id": None}).document_id is None


def test_the_cluster_time_stands_in_for_a_missing_wall_time() -> None:
    """Before MongoDB 6.0, events have no wall time."""
    fields = raw()
    del fields["wallTime"]
    event = parse_event(fields)
    assert event is not None
    assert event.wall_time_ms == 5_000


# Pre-images and changed fields


def test_a_pre_image_is_the_document_before() -> None:
    event = parsed("update", fullDocumentBeforeChange={"_id": 1, "name": "Basel"})
    assert (event.before, event.is_before_known) == ({"_id": 1, "name": "Basel"}, True)


@pytest.mark.parametrize("operation", ["update", "replace", "delete"])
@pytest.mark.parametrize("fields", [{}, {"fullDocumentBeforeChange": None}], ids=["not asked for", "not recorded"])
def test_without_a_pre_image_it_is_unknown_what_was_before(operation: str, fields: dict[str, Any]) -> None:
    """This is not the same as that there was nothing."""
    event = parsed(operation, **fields)
    assert (event.before, event.is_before_known) == (None, False)


def test_insert_has_no_document_before() -> None:
    """It needs no pre-image to say so."""
    assert parsed(fullDocumentBeforeChange=None).is_before_known


def description(
    *updated: str, removed: tuple[str, ...] = (), truncated: tuple[str, ...] = (), **others: Any
) -> dict[str, Any]:
    return {
        "updatedFields": dict.fromkeys(updated, 1),
        "removedFields": list(removed),
        "truncatedArrays": [{"field": name, "newSize": 1} for name in truncated],
        **others,
    }


@pytest.mark.parametrize(
    ("described", "changed"),
    [
        (description("a"), {"a"}),
        (description(removed=("a", "b")), {"a", "b"}),
        (description(truncated=("a",)), {"a"}),
        (description("a", removed=("b",), truncated=("c",)), {"a", "b", "c"}),
        (description("a.b.c"), {"a", "a.b", "a.b.c"}),
        (description("a.3", "a.4.x"), {"a", "a.3", "a.4", "a.4.x"}),
        (description(removed=("a.b",)), {"a", "a.b"}),
        (description(truncated=("a.b",)), {"a", "a.b"}),
        (description("", ".", ".a"), {"", ".", ".a"}),
        (description("$a.$b"), {"$a", "$a.$b"}),
        (description(), None),
        ({"updatedFields": {"a": 1}, "removedFields": []}, {"a"}),
        ({"updatedFields": {"a": 1}, "removedFields": [], "truncatedArrays": None}, {"a"}),
        (description("a.b", disambiguatedPaths={"a.b": ["a.b"]}), {"a", "a.b"}),
    ],
)
def test_changed_fields_include_every_reading_of_a_path(described: dict[str, Any], changed: set[str] | None) -> None:
    """`a.b` may also be a field of that name."""
    assert parsed("update", updateDescription=described).changed == changed


@pytest.mark.parametrize("operation", ["insert", "replace", "delete", "update"])
def test_without_a_description_any_field_may_have_changed(operation: str) -> None:
    assert parsed(operation).changed is None
    assert parsed(operation, updateDescription=None).changed is None
