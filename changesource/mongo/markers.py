"""Markers: documents of ours in the source database, written so that an event of ours has a position.

They live in one collection. Each kind has one document for each app, replaced whole, so that nothing piles up and the
event carries the document; its `nonce` tells which writing of it an event is.

One is no marker but says which database this is: it is written once and has no nonce.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from changesource.errors import ChangeSourceError, SourceReadOnly
from changesource.mongo.faults import UNAUTHORIZED, explain
from changesource.mongo.source import Database

MARKERS_COLLECTION = "zero_sources_markers"

MarkerKind = Literal["barrier", "heartbeat"]


ACCESS_PREFIX = "access"
_ACCESS_TEXT = re.compile(
    rf"{ACCESS_PREFIX}:(?P<client_id>[0-9]{{1,19}}):(?P<nonce>[0-9a-f]{{1,32}})(:(?P<cluster_time>[0-9]{{1,20}}))?"
)
"""Anybody who may write to the source can write a marker: nothing is taken for one that could not be."""


@dataclass(frozen=True, slots=True)
class AccessMarker:
    """What a client may read of an app changes at this marker. `nonce` is that of the stored `AccessVersion`, `cluster_time`
    that of its event, 0 for one that is not out of the stream."""

    client_id: int
    nonce: str
    cluster_time: int = 0

    @property
    def text(self) -> str:
        """The marker's own nonce; with the cluster time, by which an entry of the log names it. The entry's position may be
        later: a log that goes on after an interruption repeats what it has, after its tail."""
        text = f"{ACCESS_PREFIX}:{self.client_id}:{self.nonce}"
        return f"{text}:{self.cluster_time}" if self.cluster_time else text


@dataclass(frozen=True, slots=True)
class PublishMarker:
    """What an event says of a publish: the version's number, and the nonce by which the version knows its own marker."""

    number: int
    nonce: str


async def write_marker(database: Database, app_id: str, kind: MarkerKind) -> str:
    """Writes a marker and gives its nonce. Raises `SourceUnreachable`, `SourceUnusable`, or of that `SourceReadOnly` where
    the user may not write it."""
    nonce = uuid.uuid4().hex
    await _write(database, app_id, kind, {"nonce": nonce})
    return nonce


async def has_heartbeats(database: Database, app_id: str) -> bool:
    """Whether a heartbeat of the app was ever written. Raises `SourceUnreachable` and `SourceUnusable`."""
    try:
        return await database[MARKERS_COLLECTION].find_one({"_id": f"heartbeat:{app_id}"}) is not None
    except PyMongoError as error:
        raise explain(error) from error


async def write_publish_marker(database: Database, app_id: str, marker: PublishMarker) -> None:
    """Says to every reader of the app's change stream that a version begins. Raises as `write_marker` does."""
    await _write(database, app_id, "publish", {"nonce": marker.nonce, "version": marker.number})


async def write_access_marker(database: Database, app_id: str, marker: AccessMarker) -> None:
    """Says to every reader of the app's change stream that a client's access changes. Raises as `write_marker` does."""
    await _write(database, app_id, f"{ACCESS_PREFIX}:{marker.client_id}", {"nonce": marker.text})


async def _write(database: Database, app_id: str, kind: str, fields: Mapping[str, Any]) -> None:
    marker_id = f"{kind}:{app_id}"
    try:
        await database[MARKERS_COLLECTION].replace_one(
            {"_id": marker_id},
            {"_id": marker_id, "app": app_id, **fields, "at": datetime.now(UTC)},
            upsert=True,
        )
    except PyMongoError as error:
        raise _explain_write(error) from error


def _explain_write(error: PyMongoError) -> ChangeSourceError:
    reason = explain(error)
    if isinstance(error, OperationFailure) and error.code == UNAUTHORIZED:
        return SourceReadOnly(reason.args[0])
    return reason


async def read_source_id(database: Database, app_id: str) -> str | None:
    """By what the app's source is known again, None where that was never written. Raises `SourceUnreachable` and
    `SourceUnusable`."""
    try:
        document = await database[MARKERS_COLLECTION].find_one({"_id": f"source:{app_id}"})
    except PyMongoError as error:
        raise explain(error) from error
    source_id = None if document is None else document.get("source")
    return source_id if isinstance(source_id, str) else None


async def write_source_id(database: Database, app_id: str, source_id: str) -> None:
    """Writes it where there is none; the first to write is the one who counts. Raises as `write_marker` does."""
    document_id = f"source:{app_id}"
    fields = {"app": app_id, "source": source_id, "at": datetime.now(UTC)}
    try:
        await database[MARKERS_COLLECTION].update_one({"_id": document_id}, {"$setOnInsert": fields}, upsert=True)
    except DuplicateKeyError:
        return  # somebody wrote it at this moment
    except PyMongoError as error:
        raise _explain_write(error) from error


def nonce_of(document: Mapping[str, Any] | None, app_id: str) -> str | None:
    """The nonce of a marker of this app; None for other apps' markers and for what is no marker."""
    if document is None or document.get("app") != app_id:
        return None
    nonce = document.get("nonce")
    return nonce if isinstance(nonce, str) else None


def publish_marker_of(document: Mapping[str, Any] | None, app_id: str) -> PublishMarker | None:
    """The publish of this app that a marker announces; None for every other document."""
    nonce = nonce_of(document, app_id)
    number = document.get("version") if document is not None else None
    return PublishMarker(number, nonce) if nonce is not None and isinstance(number, int) else None


def access_marker_of(nonce: str) -> AccessMarker | None:
    """The change of access that a marker with this text announces; None for every other marker."""
    found = _ACCESS_TEXT.fullmatch(nonce)
    if found is None:
        return None
    return AccessMarker(int(found["client_id"]), found["nonce"], int(found["cluster_time"] or 0))
