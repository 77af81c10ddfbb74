"""Reads MongoDB's change stream and renders it: the watcher appends these entries to the log, and a
session reads them for itself where the log does not reach."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from changesource.log.entries import AccessCutover, Entry, EntryId
from changesource.log.filter_values import pack_filter_values
from changesource.mongo.assembler import Part, TransactionAssembler
from changesource.mongo.change_stream import Batch, ChangeStream, StreamContent, open_change_stream
from changesource.mongo.markers import (
    MARKERS_COLLECTION,
    AccessMarker,
    access_marker_of,
    publish_marker_of,
)
from changesource.mongo.source import Database, inspect_source, majority_cluster_time
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.replication.app_source import AppSource
from changesource.replication.readings import Lull, Reading, entries_among
from changesource.replication.renderer import EntryContent, Renderer
from changesource.replication.version_history import position_of_cutover
from changesource.tasks import end_tasks

QUIET_SECONDS = 30.0
"""How long there is no event before the position follows the source's clock instead. This is longer
than the time between two heartbeats, which are events themselves where we may write them."""


@dataclass(slots=True)
class Numbering:
    """Gives entries their places: positions that only grow, and part numbers within a transaction.

    A reader that repeats a transaction which the log's former writer left unfinished meets events
    of earlier cluster times than the position `last` of the log's tail. No places are left for them
    before `last`, and a replica whose watermark lay between them would lack the others. So they
    become parts of one transaction, which ends with the first event that is not `is_behind`.
    """

    last: Position
    _open: Position | None = None
    _next_part: int = 0

    def is_behind(self, cluster_time: int) -> bool:
        """Whether events of `cluster_time` lie before the last position, so that their transaction
        may not end with them."""
        return cluster_time < self.last.cluster_time

    def next(self, cluster_time: int, *, is_final: bool) -> EntryId:
        if self._open is None:
            self._open = self.last = self.last.next_for(cluster_time)
        entry_id = EntryId(self._open, self._next_part)
        self._next_part += 1
        if is_final:
            self._open, self._next_part = None, 0
        return entry_id


class EntryReader:
    """Reads the change stream of one app from `cluster_time` on, inclusive, where `version` is in
    force. Entries get places after `last`. On a replica set, everything up to `known_until` comes
    before the first lull."""

    def __init__(
        self,
        source: AppSource,
        version: CompiledVersion,
        cluster_time: int,
        last: Position,
        *,
        known_until: int | None = None,
    ) -> None:
        self._source = source
        self._database = source.database
        self._history = source.history
        self._known_until = known_until
        self._version = version
        self._cluster_time = cluster_time
        self._numbering = Numbering(last)
        self._renderer = Renderer(source.database, version, source.row_errors)

    def entries(self) -> AsyncGenerator[Entry, None]:
        """Yields what `readings` yields, without the lulls."""
        return entries_among(self.readings())

    async def readings(self) -> AsyncGenerator[Reading, None]:
        """Yields entries, and a lull whenever the stream has been read to its end. Close the
        generator (`contextlib.aclosing`) to free the cursor.

        The next batch is requested while an entry is worked on. Raises `HistoryLost`,
        `SourceUnreachable`, `SourceUnusable`; `django.db.Error` if the Django database fails when a
        publish is met; and, before the first entry, `SourceReplaced`.
        """
        report = await inspect_source(self._database)
        await self._history.check_source(self._database, self._numbering.last)
        quiet = _QuietStream(self._database, is_known=not report.is_sharded)
        while True:
            stream = await open_change_stream(
                self._database,
                _content_for(self._version),
                self._cluster_time,
                splits_large_events=report.can_split_large_events,
                known_until=self._known_until,
            )
            async with aclosing(self._readings_of(stream, quiet)) as readings:
                async for reading in readings:
                    yield reading

    async def _readings_of(self, stream: ChangeStream, quiet: _QuietStream) -> AsyncGenerator[Reading, None]:
        """Yields the readings of `stream`. Ends where another stream has to be opened, at
        `self._cluster_time`."""
        assembler = TransactionAssembler()
        request = asyncio.ensure_future(stream.next_batch())
        try:
            while True:
                batch = await request
                if self._history.source is not None:
                    await self._history.source.restore_after(self._database, batch)
                parts = assembler.finish() if batch.is_end else assembler.add(batch.events, batch.size)
                is_invalidated = _is_invalidated(batch)
                if is_invalidated:
                    # The database was dropped; what follows has a later cluster time.
                    self._cluster_time = batch.events[-1].cluster_time + 1
                    parts += assembler.finish()
                else:
                    request = asyncio.ensure_future(stream.next_batch(wait=not assembler.is_holding))
                received_at = time.monotonic()
                for part in parts:
                    for segment in split_at_cutovers(part, await self._cutovers_in(part, received_at)):
                        content = _content_for(self._version)
                        async for entry in self._entries_of_segment(segment):
                            yield entry
                        if _content_for(self._version) != content:
                            # The next stream begins with the marker again, whose version is then
                            # already in force.
                            self._cluster_time = segment.cluster_time
                            return
                if is_invalidated:
                    return
                cluster_time = await quiet.position_after(batch)
                if cluster_time is not None and cluster_time > self._numbering.last.cluster_time:
                    yield self._empty_entry(cluster_time)
                if batch.is_end:
                    yield Lull()
        finally:
            await _end(request, stream)

    def _empty_entry(self, cluster_time: int) -> Entry:
        return Entry(
            id=self._numbering.next(cluster_time, is_final=True),
            commit_time_ms=(cluster_time >> 32) * 1000,
            version=self._version.number,
        )

    async def _cutovers_in(self, part: Part, received_at: float) -> dict[int, Cutover]:
        """Returns the cutovers among the events of a part, by the indexes of their markers. Raises
        `django.db.Error` for a publish."""
        cutovers: dict[int, Cutover] = {}
        if part.index or not part.is_final:
            return cutovers  # the part is of a MongoDB transaction, in which no marker is written
        number = self._version.number
        for index, event in enumerate(part.events):
            if event.collection != MARKERS_COLLECTION:
                continue
            if (publish := publish_marker_of(event, self._version.app_id)) is not None and publish.number > number:
                version = await self._history.published_by(publish, event.cluster_time, received_at)
                if version is not None:
                    number = version.number
                    cutovers[index] = Cutover(version, event.cluster_time, event.wall_time_ms)
            access = access_marker_of(event, self._version.app_id)
            if access is not None and await self._history.begins_access(access, event.cluster_time, received_at):
                cutovers[index] = Cutover(access, event.cluster_time, event.wall_time_ms)
        return cutovers

    async def _entries_of_segment(self, segment: Part | Cutover) -> AsyncGenerator[Entry, None]:
        if isinstance(segment, Part):
            async for content in self._renderer.render(segment):
                yield entry_of(self._numbering, self._version, segment, content)
            return
        if self._numbering.is_behind(segment.cluster_time):
            return  # the log already has it, before the transaction that begins again
        access_cutover = None
        if isinstance(segment.to, CompiledVersion):
            self._version = segment.to
            self._renderer = Renderer(self._database, segment.to, self._source.row_errors)
        else:
            access_cutover = AccessCutover(segment.to.client_id, segment.to.nonce, segment.cluster_time)
        self._numbering.last = max(
            self._numbering.last, Position.from_number(position_of_cutover(segment.cluster_time).number - 1)
        )
        yield Entry(
            id=self._numbering.next(segment.cluster_time, is_final=True),
            commit_time_ms=segment.wall_time_ms,
            version=self._version.number,
            is_publish=access_cutover is None,
            access_cutover=access_cutover,
        )


class _QuietStream:
    """How far a stream has been read while it yields no events.

    The stream says nothing about writes to other collections. These would push a position that
    stays behind out of the oplog. `is_known` is false for a router, whose empty batch says nothing
    about its shards.
    """

    def __init__(self, database: Database, *, is_known: bool) -> None:
        self._database = database
        self._is_known = is_known
        self._since = time.monotonic()
        self._reached: int | None = None
        self._empty_batches = 0

    async def position_after(self, batch: Batch) -> int | None:
        """Returns, from time to time, a cluster time up to which (inclusive) everything has been
        read; otherwise None. Raises `SourceUnreachable` and `SourceUnusable`."""
        if not batch.is_end:
            self._since, self._reached = time.monotonic(), None
        elif self._reached is not None:
            # The first batch had already been requested when that cluster time was read; the second
            # was requested afterwards.
            self._empty_batches += 1
            if self._empty_batches == 2:
                self._since = time.monotonic()
                reached, self._reached = self._reached, None
                return reached
        elif self._is_known and time.monotonic() - self._since > QUIET_SECONDS:
            self._reached, self._empty_batches = await majority_cluster_time(self._database), 0
        return None


def _content_for(version: CompiledVersion) -> StreamContent:
    return StreamContent(
        collections=frozenset(version.tables_of_collection),
        markers_of=version.app_id,
        has_pre_images=bool(version.collections_with_pre_images),
        has_changed_fields=version.has_mappings,
    )


@dataclass(frozen=True, slots=True)
class Cutover:
    """A place in the stream where what is sent changes: to another published version, or to another
    access of a client."""

    to: CompiledVersion | AccessMarker
    cluster_time: int
    wall_time_ms: int


def split_at_cutovers(part: Part, cutovers: Mapping[int, Cutover]) -> Iterator[Part | Cutover]:
    """Yields the segments of a part before, between and after these cutovers. One version is in
    force throughout a segment."""
    start = 0
    for index, cutover in cutovers.items():
        if index > start:
            before = part.events[start:index]
            yield Part(before, before[-1].cluster_time)
        yield cutover
        start = index + 1
    if start == 0:
        yield part
    elif start < len(part.events):
        yield Part(part.events[start:], part.cluster_time)


def _is_invalidated(batch: Batch) -> bool:
    return bool(batch.events) and batch.events[-1].operation == "invalidate"


def entry_of(numbering: Numbering, version: CompiledVersion, part: Part, content: EntryContent) -> Entry:
    """Returns the log's entry for what was rendered of `part`."""
    wall_time_ms = part.events[-1].wall_time_ms if part.events else (part.cluster_time >> 32) * 1000
    is_final = content.is_final and not numbering.is_behind(part.cluster_time)
    return Entry(
        id=numbering.next(part.cluster_time, is_final=is_final),
        commit_time_ms=wall_time_ms,
        tables={table: b"\n".join(frames) for table, frames in content.frames.items()},
        markers=tuple(content.markers),
        is_final=is_final,
        version=version.number,
        filter_values={table: pack_filter_values(values) for table, values in content.filter_values.items()},
    )


async def _end(request: asyncio.Future[Batch], stream: ChangeStream) -> None:
    await end_tasks(request)
    await stream.close()
