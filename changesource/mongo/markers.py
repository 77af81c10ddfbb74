"""Markers: documents of ours in the source database, written so that an event of ours has a position.

They live in one collection. Each kind has one document for each app, replaced whole, so that nothing piles up and the
event carries the document; its `nonce` tells which writing of it an event is.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pymongo.errors import PyMongoError

from changesource.mongo.faults import explain
from changesource.mongo.source import Database

MARKERS_COLLECTION = "zero_sources_markers"

MarkerKind = Literal["barrier", "heartbeat"]


async def write_marker(database: Database, app_id: str, kind: MarkerKind) -> str:
    """Writes a marker and gives its nonce. Raises `SourceUnreachable` or `SourceUnusable`."""
    nonce = uuid.uuid4().hex
    marker_id = f"{kind}:{app_id}"
    try:
        await database[MARKERS_COLLECTION].replace_one(
            {"_id": marker_id},
            {"_id": marker_id, "app": app_id, "nonce": nonce, "at": datetime.now(UTC)},
            upsert=True,
        )
    except PyMongoError as error:
        raise explain(error) from error
    return nonce


def nonce_of(document: Mapping[str, Any] | None, app_id: str) -> str | None:
    """The nonce of a marker of this app; None for other apps' markers and for what is no marker."""
    if document is None or document.get("app") != app_id:
        return None
    nonce = document.get("nonce")
    return nonce if isinstance(nonce, str) else None
