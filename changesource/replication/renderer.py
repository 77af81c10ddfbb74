"""Events → the content of log entries: the frames that go on the wire, by table."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from changesource.errors import SourceUnusable
from changesource.log.filter_values import FilterValues
from changesource.mongo.assembler import Part
from changesource.mongo.documents import choose_projection, find_documents, scan
from changesource.mongo.events import ChangeEvent
from changesource.mongo.markers import MARKERS_COLLECTION, nonce_of
from changesource.mongo.pre_images import restore_pre_images
from changesource.mongo.read_fields import Projection
from changesource.mongo.source import Database
from changesource.mql import Budget, BudgetExceeded
from changesource.publishing.compiled import CompiledTableFrames, CompiledVersion, fields_read
from changesource.replication.document_changes import (
    DocumentChanges,
    RowFrame,
    frame_of_new_row,
    frames_by_id,
    frames_by_pre_images,
)
from changesource.replication.row_error_notes import RowErrorSink
from changesource.replication.slow_documents import in_thread, rows_in_batches
from changesource.tables.compiled_table import CompiledTable, describe_id
from changesource.tables.document_ids import identity_of, is_readable
from changesource.tables.row_errors import RowError
from changesource.tasks import LoopShare

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ENTRY_BYTES = 4 * 2**20
"""About how many bytes of frames go into one entry of the log."""
MAX_ENTRY_FRAMES = 2_000
"""How many frames go into one entry at most: a session with row filters looks at each of them,
which takes some milliseconds."""


@dataclass(slots=True)
class EntryContent:
    """What goes into one entry: frames by table, with their filter values, and nonces of markers.
    `is_final`: the entry ends its transaction."""

    frames: dict[str, list[bytes]] = field(default_factory=dict)
    filter_values: dict[str, list[FilterValues | None]] = field(default_factory=dict)
    markers: list[str] = field(default_factory=list)
    size: int = 0
    frame_count: int = 0
    is_final: bool = False

    def add(self, table: CompiledTable, frame: bytes, values: FilterValues | None = None) -> None:
        self.frames.setdefault(table.name, []).append(frame)
        if table.filter_columns:
            self.filter_values.setdefault(table.name, []).append(values)
        self.size += len(frame)
        self.frame_count += 1


@dataclass(slots=True)
class _CollectionChanges:
    """What a part says about one collection: whether it was emptied or reloaded, and its documents."""

    is_emptied: bool = False
    is_reloaded: bool = False
    documents: dict[Hashable, DocumentChanges] = field(default_factory=dict)


class Renderer:
    """Renders parts for one version, and looks up documents that their events do not carry."""

    def __init__(self, database: Database, version: CompiledVersion, row_errors: RowErrorSink) -> None:
        self._database = database
        self._version = version
        self._row_errors = row_errors
        self._recorded_since: dict[str, int] = {}
        self._projections: dict[str, Projection | None] = {}
        self._share = LoopShare()

    async def render(self, part: Part) -> AsyncIterator[EntryContent]:
        """Yields the contents of at least one entry; the last is final if the part is. Raises
        `SourceUnreachable` or `SourceUnusable`."""
        errors: list[RowError] = []
        content = EntryContent(markers=self._markers(part.events))
        for collection, changes in self._collapse(part.events).items():
            tables = self._version.tables_of_collection[collection]
            async for rendered in self._frames(collection, tables, changes, errors):
                content.add(*rendered)
                if content.size >= MAX_ENTRY_BYTES or content.frame_count >= MAX_ENTRY_FRAMES:
                    yield content
                    content = EntryContent()
            _end_row_errors(self._row_errors, tables, changes, errors)
        if errors:
            self._row_errors.add(errors)
        content.is_final = part.is_final
        yield content

    def _markers(self, events: Sequence[ChangeEvent]) -> list[str]:
        nonces = (nonce_of(event, self._version.app_id) for event in events if event.collection == MARKERS_COLLECTION)
        return [nonce for nonce in nonces if nonce is not None]

    def _collapse(self, events: Sequence[ChangeEvent]) -> dict[str, _CollectionChanges]:
        """Groups the events by collection and document, in the order of the last events."""
        changed: dict[str, _CollectionChanges] = {}
        watched = self._version.tables_of_collection
        for event in events:
            if event.operation == "drop":
                if event.collection in watched:
                    changed[event.collection] = _CollectionChanges(is_emptied=True)
                if event.renamed_to in watched and event.renamed_to is not None:
                    changed[event.renamed_to] = _CollectionChanges(is_emptied=True, is_reloaded=True)
            elif event.collection in watched and event.operation != "invalidate":
                documents = changed.setdefault(event.collection, _CollectionChanges()).documents
                identity = identity_of(event.document_id)
                document = documents.pop(identity, None) or DocumentChanges()
                document.events.append(event)
                documents[identity] = document
        return changed

    async def _frames(
        self,
        collection: str,
        tables: Sequence[CompiledTableFrames],
        changes: _CollectionChanges,
        errors: list[RowError],
    ) -> AsyncIterator[RowFrame]:
        if changes.is_emptied:
            for table in tables:
                yield RowFrame(table.table, table.frames.truncate())
        if changes.is_reloaded:
            async for row in self._all_rows(collection, tables, errors):
                yield row
        documents = changes.documents.values()
        by_id = [table for table in tables if not table.table.needs_pre_images]
        by_pre_images = [table for table in tables if table.table.needs_pre_images]
        async for document in self._looked_up(collection, tables, changes):
            for table in by_id:
                try:
                    frames = frames_by_id(table, document, errors, Budget.quick())
                except BudgetExceeded:
                    frames = await _slow_frames(frames_by_id, table, document, errors)
                for frame in frames:
                    yield frame
            if not by_pre_images:
                document.now = None
            if self._share.is_used_up:
                await self._share.yield_control()
        for table in by_pre_images:
            if all(document.has_pre_images(table.table) for document in documents):
                async for row in self._frames_by_pre_images(table, documents, errors):
                    yield row
            else:
                await self._restore_pre_images(table.table, documents)
                yield RowFrame(table.table, table.frames.truncate())
                async for row in self._all_rows(collection, [table], errors):
                    yield row

    async def _all_rows(
        self, collection: str, tables: Sequence[CompiledTableFrames], errors: list[RowError]
    ) -> AsyncIterator[RowFrame]:
        async for documents in scan(self._database, collection, fields_read(tables)):
            for table in tables:
                async for rows in rows_in_batches(table.table, documents, errors, self._share):
                    for row in rows:
                        yield frame_of_new_row(table, row)

    async def _frames_by_pre_images(
        self, table: CompiledTableFrames, documents: Iterable[DocumentChanges], errors: list[RowError]
    ) -> AsyncIterator[RowFrame]:
        upserts: list[Iterable[RowFrame]] = []
        for document in documents:
            try:
                frames = frames_by_pre_images(table, document, errors, Budget.quick())
            except BudgetExceeded:
                frames = await _slow_frames(frames_by_pre_images, table, document, errors)
            for frame in frames.deletes:
                yield frame
                if self._share.is_used_up:
                    await self._share.yield_control()
            upserts.append(frames.upserts)
            if self._share.is_used_up:
                await self._share.yield_control()
        for frame in chain.from_iterable(upserts):
            yield frame
            if self._share.is_used_up:
                await self._share.yield_control()

    async def _restore_pre_images(self, table: CompiledTable, documents: Iterable[DocumentChanges]) -> None:
        """Switches pre-images on again, so that future events have them. This is done once,
        although more events from before may follow. Where it is not allowed, an error is logged
        that says what a person has to do."""
        said = (
            f"table {table.name} of {self._version.name}: an event of {table.collection} came without a pre-image, "
            "so the table is loaded again."
        )
        extra = {"action": "table-reloaded"}
        latest = max(document.last.cluster_time for document in documents if not document.has_pre_images(table))
        if latest >= self._recorded_since.get(table.collection, 0):
            try:
                since = await restore_pre_images(self._database, table.collection)
            except SourceUnusable as error:
                logger.error("%s %s", said, error, extra=extra)
                return
            if since is None:
                logger.warning("%s The collection has been dropped since.", said, extra=extra)
                return
            self._recorded_since[table.collection] = since
        logger.warning("%s Events from now on have pre-images.", said, extra=extra)

    async def _looked_up(
        self, collection: str, tables: Sequence[CompiledTableFrames], changes: _CollectionChanges
    ) -> AsyncIterator[DocumentChanges]:
        """Yields every document, with its present state if it has to be rendered. Documents that
        are looked up come last, as they are found: they may be far larger than their events, and
        need not be held together."""
        wanted: dict[Hashable, DocumentChanges] = {}
        for identity, document in changes.documents.items():
            last = document.last
            if last.operation == "upsert" and last.document is None:
                if not all(table.table.is_untouched_by(document.changed) for table in tables):
                    wanted[identity] = document
                    continue
            elif last.operation == "upsert":
                document.now = last.document
            yield document
        if not wanted:
            return
        ids = [document.last.document_id for document in wanted.values() if is_readable(document.last.document_id)]
        projection = await self._projection_of(collection, tables)
        async for found in find_documents(self._database, collection, ids, projection):
            for now in found:
                looked_up = wanted.pop(identity_of(now["_id"]), None)
                if looked_up is not None:
                    looked_up.now = now
                    yield looked_up
        for document in wanted.values():
            yield document

    async def _projection_of(self, collection: str, tables: Sequence[CompiledTableFrames]) -> Projection | None:
        """Returns the projection for look-ups, chosen once for each collection. `tables` are the
        tables of the collection."""
        if collection not in self._projections:
            self._projections[collection] = await choose_projection(self._database, collection, fields_read(tables))
        return self._projections[collection]


def _end_row_errors(
    sink: RowErrorSink, tables: Sequence[CompiledTableFrames], changes: _CollectionChanges, errors: Sequence[RowError]
) -> None:
    """Ends the row errors of documents that were rendered without an error, or are gone. A document
    whose `_id` cannot be looked up was not rendered."""
    for table in tables:
        name = table.table.name
        if not (open_documents := sink.open_documents.get(name)):
            continue
        rendered = {
            describe_id(document.last.document_id)
            for document in changes.documents.values()
            if document.last.operation != "upsert"
            or (document.touching(table.table) and is_readable(document.last.document_id))
        }
        if changes.is_emptied:
            rendered |= open_documents
        sink.end(name, rendered - {error.document_id for error in errors if error.table == name})


async def _slow_frames(
    render: Callable[[CompiledTableFrames, DocumentChanges, list[RowError]], T],
    table: CompiledTableFrames,
    document: DocumentChanges,
    errors: list[RowError],
) -> T:
    """Returns what `render` makes of a document that takes more than a quick budget."""
    found: list[RowError] = []
    frames = await in_thread(render, table, document, found)
    errors += found
    return frames
