"""MongoDB's change stream, read and rendered: the entries that the watcher appends, and that a session reads for itself
where the log does not reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from changesource.log.entries import Entry, EntryId
from changesource.mongo.assembler import Part, TransactionAssembler
from changesource.mongo.change_stream import Batch, ChangeStream, StreamContent, open_change_stream
from changesource.mongo.markers import MARKERS_COLLECTION
from changesource.mongo.source import Database, inspect_source
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.streaming.rendering import Chunk, Renderer, RowErrorSink
from changesource.tasks import end_tasks


@dataclass(slots=True)
class Numbering:
    """Gives entries their places: positions that only grow, and part numbers within a transaction."""

    last: Position
    _open: Position | None = None
    _next_part: int = 0

    def next(self, cluster_time: int, *, is_final: bool) -> EntryId:
        if self._open is None:
            self._open = self.last = self.last.next_for(cluster_time)
        entry_id = EntryId(self._open, self._next_part)
        self._next_part += 1
        if is_final:
            self._open, self._next_part = None, 0
        return entry_id


async def read_entries(
    database: Database, version: CompiledVersion, cluster_time: int, last: Position, sink: RowErrorSink
) -> AsyncGenerator[Entry | None, None]:
    """Entries from `cluster_time` on, inclusive, numbered after `last`; None whenever the stream was read to its end. Close
    it (`contextlib.aclosing`) to free the cursor.

    While an entry is worked on, the next batch is under way. Raises `HistoryLost`, `SourceUnreachable`, `SourceUnusable`.
    """
    report = await inspect_source(database)
    content = StreamContent(
        collections=(*version.tables_of_collection, MARKERS_COLLECTION),
        has_pre_images=bool(version.collections_with_pre_images),
        has_changed_fields=version.has_mappings,
    )
    numbering = Numbering(last)
    renderer = Renderer(database, version, sink)
    while True:
        stream = await open_change_stream(
            database, content, cluster_time, splits_large_events=report.can_split_large_events
        )
        assembler = TransactionAssembler()
        request = asyncio.ensure_future(stream.next_batch())
        try:
            is_invalidated = False
            while not is_invalidated:
                batch = await request
                parts = assembler.finish() if batch.is_end else assembler.add(batch.events)
                is_invalidated = _is_invalidated(batch)
                if is_invalidated:
                    # The database was dropped; what follows has a later cluster time.
                    cluster_time = batch.events[-1].cluster_time + 1
                    parts += assembler.finish()
                else:
                    request = asyncio.ensure_future(stream.next_batch(wait=not assembler.is_holding))
                for part in parts:
                    async for chunk in renderer.render(part):
                        yield _entry(numbering, part, chunk)
                if batch.is_end:
                    yield None
        finally:
            await _end(request, stream)


def _is_invalidated(batch: Batch) -> bool:
    return bool(batch.events) and batch.events[-1].operation == "invalidate"


def _entry(numbering: Numbering, part: Part, chunk: Chunk) -> Entry:
    wall_time_ms = part.events[-1].wall_time_ms if part.events else (part.cluster_time >> 32) * 1000
    return Entry(
        id=numbering.next(part.cluster_time, is_final=chunk.is_final),
        commit_time_ms=wall_time_ms,
        tables={table: b"\n".join(frames) for table, frames in chunk.frames.items()},
        markers=tuple(chunk.markers),
        is_final=chunk.is_final,
    )


async def _end(request: asyncio.Future[Batch], stream: ChangeStream) -> None:
    await end_tasks(request)
    await stream.close()
