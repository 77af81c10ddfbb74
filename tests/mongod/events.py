"""Change events with all fields that a MongoDB server of 6.0 or later gives them with
`showExpandedEvents`."""

from datetime import UTC, datetime
from typing import Any

from bson import Binary, Int64, Timestamp

DATABASE = "shop"
SECONDS = 1_700_000_000
Event = dict[str, Any]


def event(step: int, operation: str, collection: str | None = "city", **fields: Any) -> Event:
    """Returns an event of `operation`, `step` increments after some moment."""
    return {
        "_id": {"_data": f"82{SECONDS:08X}{step:08X}2B0229296E04"},
        "operationType": operation,
        "clusterTime": Timestamp(SECONDS, step),
        "wallTime": datetime.fromtimestamp(SECONDS, UTC),
        **({} if collection is None else {"ns": {"db": DATABASE, "coll": collection}}),
        **fields,
    }


def of_document(step: int, operation: str, document_id: Any, collection: str = "city", **fields: Any) -> Event:
    uuid = Binary(b"\x0a" * 16, 4)
    return event(step, operation, collection, collectionUUID=uuid, **{"documentKey": {"_id": document_id}, **fields})


def insert(step: int, document: dict[str, Any], **fields: Any) -> Event:
    return of_document(step, "insert", document["_id"], fullDocument=document, **fields)


def replacement(step: int, document: dict[str, Any], **fields: Any) -> Event:
    return of_document(step, "replace", document["_id"], fullDocument=document, **fields)


def delete(step: int, document_id: Any, **fields: Any) -> Event:
    return of_document(step, "delete", document_id, **fields)


def update(
    step: int,
    document_id: Any,
    updated: dict[str, Any] | None = None,
    removed: list[str] | None = None,
    truncated: list[dict[str, Any]] | None = None,
    paths: dict[str, Any] | None = None,
    **fields: Any,
) -> Event:
    """Returns an update without a post-image, unless `fullDocument` is given: this is what
    `whenAvailable` means for a collection that records none."""
    description = {
        "updatedFields": updated or {},
        "removedFields": removed or [],
        "truncatedArrays": truncated or [],
        "disambiguatedPaths": paths or {},
    }
    return of_document(
        step, "update", document_id, **{"fullDocument": None, "updateDescription": description, **fields}
    )


def in_transaction(*events: Event, number: int = 1) -> list[Event]:
    """Returns the events as those of a multi-document transaction."""
    session = {"id": Binary(bytes([number]) * 16, 4), "uid": b"\x0b" * 32}
    return [{**each, "lsid": session, "txnNumber": Int64(number)} for each in events]


def rename(step: int, before: str, after: str, **description: Any) -> Event:
    to = {"db": DATABASE, "coll": after}
    return event(step, "rename", before, to=to, operationDescription={"to": to, **description})
