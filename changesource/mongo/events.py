"""Change events in the form that the rest of the project uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bson import DatetimeMS

from changesource.mongo.source import cluster_time_of

Operation = Literal["upsert", "delete", "drop", "invalidate"]

_OPERATIONS: Mapping[str, Operation] = {
    "insert": "upsert",
    "update": "upsert",
    "replace": "upsert",
    "delete": "delete",
    "drop": "drop",
    "rename": "drop",
    "invalidate": "invalidate",
}


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """One change event.

    Attributes:
        document: the document as it is after the event. None for an upsert means that it has to be
            looked up.
        in_transaction: the event belongs to a multi-document transaction of MongoDB.
        renamed_to: the new name of a renamed collection.
        before: the document as it was before. None if there was none, or if the event does not say.
        is_before_known: tells these two cases apart.
        changed: the top-level fields that an update changed; None for "any".
    """

    operation: Operation
    collection: str
    document_id: Any
    document: dict[str, Any] | None
    cluster_time: int
    in_transaction: bool
    wall_time_ms: int
    renamed_to: str | None = None
    before: dict[str, Any] | None = None
    is_before_known: bool = False
    changed: frozenset[str] | None = None


def parse_event(event: Mapping[str, Any]) -> ChangeEvent | None:
    """Returns None for operations that change no document (`create`, `modify` …)."""
    operation = _OPERATIONS.get(event["operationType"])
    if operation is None:
        return None
    key = event.get("documentKey")
    cluster_time = cluster_time_of(event["clusterTime"])
    wall_time = event.get("wallTime")
    before = event.get("fullDocumentBeforeChange")
    return ChangeEvent(
        operation=operation,
        collection=event["ns"]["coll"] if "ns" in event and "coll" in event["ns"] else "",
        document_id=key["_id"] if key else None,
        document=event.get("fullDocument"),
        cluster_time=cluster_time,
        in_transaction="txnNumber" in event,
        wall_time_ms=int(wall_time) if isinstance(wall_time, DatetimeMS) else (cluster_time >> 32) * 1000,
        renamed_to=event["to"]["coll"] if "to" in event else None,
        before=before,
        is_before_known=before is not None or event["operationType"] == "insert",
        changed=_changed_fields(event.get("updateDescription") or {}) or None,
    )


def _changed_fields(description: Mapping[str, Any]) -> frozenset[str]:
    """Returns every name that a changed path can begin with: `a.b` is a field of `a`, or a field
    whose name has a dot. An empty result says nothing, because MongoDB has no events of updates
    that changed nothing."""
    paths = [
        *description.get("updatedFields", ()),
        *description.get("removedFields", ()),
        *(truncated["field"] for truncated in description.get("truncatedArrays") or ()),
    ]
    names = set(paths)
    for path in paths:
        while "." in path:
            path = path.rpartition(".")[0]
            if path in names:
                break  # and so is everything that it can begin with
            names.add(path)
    return frozenset(names)
