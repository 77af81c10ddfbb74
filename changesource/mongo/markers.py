"""Markers: documents of ours in the source database, which are written to give an event of ours a
position in the stream.

They are in one collection. Each kind of marker has one document for each app. It is replaced as a
whole, so that documents do not pile up and the event carries the document; its `nonce` tells which
write an event belongs to.

Anyone with write access to the source can also write to this collection. So a change stream carries
only documents that could be ours, judging by `_id` and size. Each field is read by a strict
grammar, and a document that departs from it is no marker. The position of a marker is taken from
its event, never from its content.

One document of the collection is no marker: the source's id, which says which database this is. It
has no nonce.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from changesource.errors import ChangeSourceError, SourceReadOnly
from changesource.mongo.events import ChangeEvent
from changesource.mongo.faults import UNAUTHORIZED, as_source_error
from changesource.mongo.source import Database
from changesource.tables.definition import MARKERS_COLLECTION as MARKERS_COLLECTION

MarkerKind = Literal["barrier", "heartbeat"]

MAX_MARKER_BYTES = 1024
"""The largest document of a marker: ours have some 300 bytes, and larger ones are not sent."""
MAX_VERSION_NUMBER = 2**31 - 1
"""The largest number that the Django database can store."""

_NONCE = re.compile(r"[0-9a-f]{32}")
"""`uuid4().hex`. The log joins nonces, and relies on their length."""
_ACCESS = "access"
_CLIENT_ID = "[1-9][0-9]{0,18}"
_ACCESS_TEXT = re.compile(rf"{_ACCESS}:(?P<client_id>{_CLIENT_ID}):(?P<nonce>{_NONCE.pattern})")
_SOURCE_ID = {"$regex": rf"^{_NONCE.pattern}\z", "$not": {"$type": "array"}}
"""A filter for a source's id. Without `$not`, an array would match by one of its elements."""


@dataclass(frozen=True, slots=True)
class AccessMarker:
    """The marker of a change of a client's access. `nonce` is that of the stored `AccessVersion`."""

    client_id: int
    nonce: str

    @property
    def text(self) -> str:
        """The nonce of the marker itself."""
        return f"{_ACCESS}:{self.client_id}:{self.nonce}"


@dataclass(frozen=True, slots=True)
class PublishMarker:
    """The marker of a publish: the version's number, and the nonce that identifies its marker."""

    number: int
    nonce: str


async def write_marker(database: Database, app_id: str, kind: MarkerKind) -> str:
    """Writes a marker and returns its nonce. Raises `SourceUnreachable` or `SourceUnusable`; the
    latter as `SourceReadOnly` if the user may not write it."""
    nonce = uuid.uuid4().hex
    await _write(database, app_id, kind, {"nonce": nonce})
    return nonce


async def has_heartbeats(database: Database, app_id: str) -> bool:
    """Whether the app has ever had a heartbeat. Raises `SourceUnreachable`, `SourceUnusable`."""
    try:
        return await database[MARKERS_COLLECTION].find_one({"_id": f"heartbeat:{app_id}"}) is not None
    except PyMongoError as error:
        raise as_source_error(error) from error


async def write_publish_marker(database: Database, app_id: str, marker: PublishMarker) -> None:
    """Tells every reader of the app's change stream that a version begins. Raises what
    `write_marker` raises."""
    await _write(database, app_id, "publish", {"nonce": marker.nonce, "version": marker.number})


async def write_access_marker(database: Database, app_id: str, marker: AccessMarker) -> None:
    """Tells every reader of the app's change stream that a client's access changes. Raises what
    `write_marker` raises."""
    await _write(database, app_id, f"{_ACCESS}:{marker.client_id}", {"nonce": marker.text})


async def _write(database: Database, app_id: str, kind: str, fields: Mapping[str, Any]) -> None:
    marker_id = f"{kind}:{app_id}"
    try:
        await database[MARKERS_COLLECTION].replace_one(
            {"_id": marker_id},
            {"_id": marker_id, "app": app_id, **fields, "at": datetime.now(UTC)},
            upsert=True,
        )
    except PyMongoError as error:
        raise _as_write_error(error) from error


def _as_write_error(error: PyMongoError) -> ChangeSourceError:
    reason = as_source_error(error)
    if isinstance(error, OperationFailure) and error.code == UNAUTHORIZED:
        return SourceReadOnly(reason.args[0])
    return reason


async def read_source_id(database: Database, app_id: str) -> str | None:
    """Returns the id of the app's source; None if there is none, or something else in its place.
    Raises `SourceUnreachable` and `SourceUnusable`."""
    wanted = {"_id": f"source:{app_id}", "source": _SOURCE_ID}
    try:
        document = await database[MARKERS_COLLECTION].find_one(wanted, {"source": 1})
    except PyMongoError as error:
        raise as_source_error(error) from error
    return None if document is None else str(document["source"])


async def write_source_id(database: Database, app_id: str, source_id: str) -> None:
    """Writes the id if there is none, or if something else is in its place. Of several writers, the
    first one counts. Raises what `write_marker` raises."""
    document_id = f"source:{app_id}"
    document = {"_id": document_id, "app": app_id, "source": source_id, "at": datetime.now(UTC)}
    try:
        await database[MARKERS_COLLECTION].replace_one(
            {"_id": document_id, "$nor": [{"source": _SOURCE_ID}]}, document, upsert=True
        )
    except DuplicateKeyError:
        return  # there is one, which may have been written just now
    except PyMongoError as error:
        raise _as_write_error(error) from error


def marker_events(app_id: str) -> list[dict[str, Any]]:
    """Returns filters for the change events of the markers' collection that can mean something to
    `app_id`. The server applies them, so that anything else that is written there costs us nothing,
    however large it is."""
    ids = [f"{kind}:{app_id}" for kind in ("barrier", "heartbeat", "publish")]
    access_ids = rf"^{_ACCESS}:{_CLIENT_ID}:{re.escape(app_id)}\z"
    return [
        {"ns.coll": MARKERS_COLLECTION, "operationType": {"$in": ["drop", "rename"]}},
        {"to.coll": MARKERS_COLLECTION},
        {"ns.coll": MARKERS_COLLECTION, "operationType": "delete", "documentKey._id": f"source:{app_id}"},
        {
            "ns.coll": MARKERS_COLLECTION,
            "operationType": {"$in": ["insert", "replace"]},
            "$or": [{"documentKey._id": {"$in": ids}}, {"documentKey._id": {"$regex": access_ids}}],
            "$expr": {"$lte": [{"$bsonSize": "$fullDocument"}, MAX_MARKER_BYTES]},
        },
    ]


def nonce_of(event: ChangeEvent, app_id: str) -> str | None:
    """Returns the nonce of a barrier or a heartbeat of this app; None for any other event."""
    return _plain_nonce(_marker_of(event, app_id), app_id, ("barrier", "heartbeat"))


def publish_marker_of(event: ChangeEvent, app_id: str) -> PublishMarker | None:
    """Returns the publish of this app that an event announces; None for any other event."""
    document = _marker_of(event, app_id)
    nonce = _plain_nonce(document, app_id, ("publish",))
    number = None if document is None else document.get("version")
    if nonce is None or not isinstance(number, int) or isinstance(number, bool):
        return None
    return PublishMarker(int(number), nonce) if 0 < number <= MAX_VERSION_NUMBER else None


def access_marker_of(event: ChangeEvent, app_id: str) -> AccessMarker | None:
    """Returns the change of a client's access that an event announces; None for any other event."""
    document = _marker_of(event, app_id)
    found = None if document is None else _ACCESS_TEXT.fullmatch(_text(document.get("nonce")))
    if document is None or found is None or document.get("_id") != f"{_ACCESS}:{found['client_id']}:{app_id}":
        return None
    return AccessMarker(int(found["client_id"]), found["nonce"])


def _marker_of(event: ChangeEvent, app_id: str) -> Mapping[str, Any] | None:
    """Returns the document of an event if it could be ours, which is never part of a transaction."""
    document = event.document
    if event.collection != MARKERS_COLLECTION or event.operation != "upsert" or event.in_transaction:
        return None
    return document if document is not None and document.get("app") == app_id else None


def _plain_nonce(document: Mapping[str, Any] | None, app_id: str, kinds: Collection[str]) -> str | None:
    if document is None or document.get("_id") not in [f"{kind}:{app_id}" for kind in kinds]:
        return None
    nonce = _text(document.get("nonce"))
    return nonce if _NONCE.fullmatch(nonce) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
