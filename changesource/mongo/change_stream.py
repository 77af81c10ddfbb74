"""One change stream of a database, read in whole batches.

PyMongo's own ChangeStream hides where a batch ends, and the batch is the unit of commit. So this
module drives the cursor by plain commands in one session. Positions come from cluster times and
never from resume tokens, whose format is the server's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError

from changesource.mongo.decoding import decode_document_in_pieces
from changesource.mongo.events import ChangeEvent, parse_event
from changesource.mongo.faults import as_source_error
from changesource.mongo.markers import MARKERS_COLLECTION, marker_events
from changesource.mongo.source import Database, timestamp_of
from changesource.tasks import LoopShare

logger = logging.getLogger(__name__)

BATCH_SIZE = 1000
AWAIT_MS = 1000
"""How long the server holds a getMore while there are no events."""
ASK_MS = 1
"""The `maxTimeMS` of a getMore that only asks whether there are more events."""
_UNDECODED = CodecOptions(document_class=RawBSONDocument)
"""Otherwise one value that PyMongo cannot decode would cost the whole reply."""


@dataclass(frozen=True, slots=True)
class StreamContent:
    """What a stream yields: the events of `collections`, and the markers of the app `markers_of` if
    that is given.

    On request, events have the documents as they were before (where a collection records
    pre-images), and the names of the fields that an update changed.
    """

    collections: Collection[str] = ()
    markers_of: str = ""
    has_pre_images: bool = False
    has_changed_fields: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """The events of one reply of `size` bytes. `is_end`: the reply was empty, so the stream had
    been read to its end."""

    events: Sequence[ChangeEvent]
    is_end: bool
    size: int = 0


@dataclass(frozen=True, slots=True)
class _Reply:
    events: Sequence[Mapping[str, Any]]
    size: int


class ChangeStream:
    """A change stream from a cluster time on, inclusive.

    Every method raises `HistoryLost`, `SourceUnusable` or `SourceUnreachable`. After any of these
    errors, and after `next_batch` was cancelled, only `close` may be called.
    """

    def __init__(
        self,
        database: Database,
        content: StreamContent,
        cluster_time: int,
        *,
        splits_large_events: bool,
        known_until: int | None = None,
    ) -> None:
        self._database = database
        self._known_until = known_until
        self._pipeline = change_stream_pipeline(content, cluster_time, splits_large_events)
        self._session: AsyncClientSession | None = None
        self._cursor_id = 0
        self._first: _Reply | None = None
        self._fragments: dict[str, Any] = {}

    async def open(self) -> None:
        try:
            self._session = self._database.client.start_session(causal_consistency=False)
            reply = await self._ask(
                {"aggregate": 1, "pipeline": self._pipeline, "cursor": {"batchSize": BATCH_SIZE}},
                readConcern=self._read_concern(),
            )
        except PyMongoError as error:
            raise as_source_error(error) from error
        self._first = reply

    def _read_concern(self) -> dict[str, Any]:
        if self._known_until is None:
            return {"level": "majority"}
        return {"level": "majority", "afterClusterTime": timestamp_of(self._known_until)}

    async def next_batch(self, *, wait: bool = True) -> Batch:
        """Returns the events of the next reply. Without `wait`, an empty batch comes back at once
        if there are no more events."""
        if self._first is not None and self._first.events:
            reply, self._first = self._first, None
            return Batch(await self._parse(reply.events), is_end=False, size=reply.size)
        try:
            reply = await self._ask(
                {
                    "getMore": self._cursor_id,
                    "collection": "$cmd.aggregate",
                    "batchSize": BATCH_SIZE,
                    "maxTimeMS": AWAIT_MS if wait else ASK_MS,
                }
            )
        except PyMongoError as error:
            raise as_source_error(error) from error
        is_end = not reply.events and not self._fragments
        return Batch(await self._parse(reply.events), is_end, size=reply.size if reply.events else 0)

    async def close(self) -> None:
        """Closes the cursor on the server, if the server answers."""
        cursor_id, self._cursor_id = self._cursor_id, 0
        try:
            if cursor_id:
                await self._database.command({"killCursors": "$cmd.aggregate", "cursors": [cursor_id]})
            if self._session is not None:
                await self._session.end_session()
        except PyMongoError as error:
            logger.debug("change stream: cursor not closed (%s)", type(error).__name__)

    async def _ask(self, command: dict[str, Any], **options: Any) -> _Reply:
        reply = await self._database.command({**command, **options}, codec_options=_UNDECODED, session=self._session)
        raw = bytes(reply.raw)
        cursor = (await decode_document_in_pieces(raw))["cursor"]
        self._cursor_id = cursor["id"]
        return _Reply(cursor["firstBatch"] if "firstBatch" in cursor else cursor["nextBatch"], len(raw))

    async def _parse(self, raw_events: Sequence[Mapping[str, Any]]) -> list[ChangeEvent]:
        parsed = []
        share = LoopShare()
        for raw in raw_events:
            whole = self._join(raw) if "splitEvent" in raw else raw
            if whole is not None and (event := parse_event(whole)) is not None:
                parsed.append(event)
            if share.is_used_up:
                await share.yield_control()
        return parsed

    def _join(self, fragment: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Joins the fragments of an event over 16 MB, each of which has some of its top-level
        fields. Returns None until the last one."""
        split = fragment["splitEvent"]
        if split["fragment"] == 1:
            self._fragments = {}
        self._fragments.update(fragment)
        if split["fragment"] < split["of"]:
            return None
        whole, self._fragments = self._fragments, {}
        return whole


def change_stream_pipeline(
    content: StreamContent, cluster_time: int, splits_large_events: bool
) -> list[dict[str, Any]]:
    """Returns the stages of a stream, always the same for the same content."""
    names = sorted({*content.collections} - {MARKERS_COLLECTION})
    options = {
        "startAtOperationTime": timestamp_of(cluster_time),
        "fullDocument": "whenAvailable",
        "showExpandedEvents": True,
    }
    if content.has_pre_images:
        options["fullDocumentBeforeChange"] = "whenAvailable"
    stages: list[dict[str, Any]] = [
        {"$changeStream": options},
        # `ns.coll` alone: matching `{ns: {db, coll}}` is many times slower with many collections
        # (SERVER-114532).
        {
            "$match": {
                "$or": [
                    {"ns.coll": {"$in": names}},
                    {"to.coll": {"$in": names}},
                    {"operationType": "invalidate"},
                    *(marker_events(content.markers_of) if content.markers_of else ()),
                ]
            }
        },
    ]
    if not content.has_changed_fields:
        stages.append({"$project": {"updateDescription": 0}})
    if splits_large_events:
        stages.append({"$changeStreamSplitLargeEvent": {}})
    return stages


async def open_change_stream(
    database: Database,
    content: StreamContent,
    cluster_time: int,
    *,
    splits_large_events: bool,
    known_until: int | None = None,
) -> ChangeStream:
    """Returns an open stream. Leaves nothing behind if opening fails or is cancelled.

    With `known_until`, the server knows of everything up to that cluster time, so that the first
    empty batch comes after it. (This holds on a replica set: a router's empty batch says nothing
    about its shards.)
    """
    stream = ChangeStream(
        database, content, cluster_time, splits_large_events=splits_large_events, known_until=known_until
    )
    try:
        await stream.open()
    except (Exception, asyncio.CancelledError):
        await stream.close()
        raise
    return stream
