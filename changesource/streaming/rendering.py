"""Events → log entries: what changed, as the text frames that go on the wire, grouped by table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
from bson import ObjectId

from changesource.mapping.row_errors import RowError
from changesource.mongo.assembler import Part
from changesource.mongo.documents import find_documents, scan
from changesource.mongo.events import ChangeEvent
from changesource.mongo.markers import MARKERS_COLLECTION, nonce_of
from changesource.mongo.source import Database
from changesource.publishing.compiled import CompiledTableFrames, CompiledVersion

MAX_CHUNK_BYTES = 4 * 2**20
"""About how many bytes of frames go into one entry of the log."""

RowErrorSink = Callable[[Sequence[RowError]], None]


@dataclass(slots=True)
class Chunk:
    """Frames of a transaction, or of a piece of it; `is_final` ends the transaction."""

    frames: dict[str, list[bytes]] = field(default_factory=dict)
    markers: list[str] = field(default_factory=list)
    size: int = 0
    is_final: bool = False

    def add(self, table: str, frame: bytes) -> None:
        self.frames.setdefault(table, []).append(frame)
        self.size += len(frame)


@dataclass(slots=True)
class _CollectionChanges:
    """What a part says about one collection: whether it was emptied first, and each document's last event."""

    is_emptied: bool = False
    is_reloaded: bool = False
    events: dict[Hashable, ChangeEvent] = field(default_factory=dict)


class Renderer:
    """Renders parts for one published version; looks up documents that their events do not carry."""

    def __init__(self, database: Database, version: CompiledVersion, sink: RowErrorSink) -> None:
        self._database = database
        self._version = version
        self._sink = sink

    async def render(self, part: Part) -> AsyncIterator[Chunk]:
        """At least one chunk; the last is final if the part is. Raises `SourceUnreachable` or `SourceUnusable`."""
        errors: list[RowError] = []
        chunk = Chunk(markers=self._markers(part.events))
        for collection, changes in self._collapse(part.events).items():
            tables = self._version.tables_of_collection[collection]
            async for table, frame in self._frames(collection, tables, changes, errors):
                chunk.add(table, frame)
                if chunk.size >= MAX_CHUNK_BYTES:
                    yield chunk
                    chunk = Chunk()
        if errors:
            self._sink(errors)
        chunk.is_final = part.is_final
        yield chunk

    def _markers(self, events: Sequence[ChangeEvent]) -> list[str]:
        nonces = (
            nonce_of(event.document, self._version.app_id) for event in events if event.collection == MARKERS_COLLECTION
        )
        return [nonce for nonce in nonces if nonce is not None]

    def _collapse(self, events: Sequence[ChangeEvent]) -> dict[str, _CollectionChanges]:
        """Several events on one document become its last state, in the order of the last events."""
        changed: dict[str, _CollectionChanges] = {}
        watched = self._version.tables_of_collection
        for event in events:
            if event.operation == "drop":
                if event.collection in watched:
                    changed[event.collection] = _CollectionChanges(is_emptied=True)
                if event.renamed_to in watched and event.renamed_to is not None:
                    changed[event.renamed_to] = _CollectionChanges(is_emptied=True, is_reloaded=True)
            elif event.collection in watched and event.operation != "invalidate":
                changes = changed.setdefault(event.collection, _CollectionChanges())
                identity = identity_of(event.document_id)
                changes.events.pop(identity, None)
                changes.events[identity] = event
        return changed

    async def _frames(
        self,
        collection: str,
        tables: Sequence[CompiledTableFrames],
        changes: _CollectionChanges,
        errors: list[RowError],
    ) -> AsyncIterator[tuple[str, bytes]]:
        if changes.is_emptied:
            for table in tables:
                yield table.table.name, table.frames.truncate()
        if changes.is_reloaded:
            async for documents in scan(self._database, collection):
                for document in documents:
                    for named_frame in render_document(tables, document["_id"], document, errors):
                        yield named_frame
        documents_now = await self._look_up(collection, changes)
        for identity, event in changes.events.items():
            current = event.document if event.document is not None else documents_now.get(identity)
            if event.operation == "delete":
                current = None
            for named_frame in render_document(tables, event.document_id, current, errors):
                yield named_frame

    async def _look_up(self, collection: str, changes: _CollectionChanges) -> dict[Hashable, dict[str, Any]]:
        wanted = [
            event.document_id
            for event in changes.events.values()
            if event.operation == "upsert" and event.document is None
        ]
        if not wanted:
            return {}
        documents = await find_documents(self._database, collection, wanted)
        return {identity_of(document["_id"]): document for document in documents}


def render_document(
    tables: Sequence[CompiledTableFrames],
    document_id: object,
    document: dict[str, Any] | None,
    errors: list[RowError],
) -> Iterator[tuple[str, bytes]]:
    """What the document's state means for each table: its row, or the removal of the row where it gives none."""
    for table in tables:
        rows = table.table.rows(document, errors) if document is not None else []
        if rows:
            for row in rows:
                yield table.table.name, table.frames.upsert(row)
        elif (key := table.table.key(document_id)) is not None:
            yield table.table.name, table.frames.delete(key)


def identity_of(document_id: Any) -> Hashable:
    """Something hashable that is equal for equal ids of one BSON type: Python holds 1 and True for the same key."""
    if type(document_id) is ObjectId or type(document_id) is str:
        return document_id
    return bson.encode({"": document_id})
