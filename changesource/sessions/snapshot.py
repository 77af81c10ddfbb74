"""The snapshot: one Zero transaction with every row, consistent however long it takes.

It is closed by barriers. A marker written before the scan comes back in the change stream at a position P; a marker
written after it, at Q. What changed between P and Q is replayed on top of the scanned rows, in the same transaction: the
rows are then those of Q. No snapshot history of the server is needed, and nothing is lost between snapshot and stream.

A source that may not be written to has no markers. On a replica set P is then what a majority had before the scan, and
MongoDB itself is read from P until a majority's state after the scan, from a server that is known to have reached that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from changesource.errors import BarrierNotSeen, SourceReadOnly, SourceUnreachable, SourceUnusable
from changesource.log.entries import Entry
from changesource.models.snapshot_store import SnapshotState
from changesource.mongo.documents import estimate_count, scan
from changesource.mongo.markers import write_marker
from changesource.mongo.source import Database, inspect_source, majority_cluster_time
from changesource.protocol import frames
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import ClientView
from changesource.publishing.compiled import CompiledTableFrames, CompiledVersion, fields_read
from changesource.replication.app_source import AppSource
from changesource.replication.entry_reader import EntryReader
from changesource.replication.row_error_notes import RowErrorSink
from changesource.replication.slow_documents import rows_in_batches
from changesource.sessions.client_access import ViewHistory
from changesource.sessions.outlet import PacedOutlet
from changesource.sessions.snapshot_progress import DocumentCounts
from changesource.tables.compiled_table import Document, Row
from changesource.tables.row_errors import RowError
from changesource.tasks import LoopShare

logger = logging.getLogger(__name__)

BARRIER_SECONDS = 60.0
"""How long a marker may take to come back."""


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    """`begin` is the replica's version, P; `end` is where its rows are, Q, and where the stream goes on. `view` is what was
    shown."""

    begin: Position
    end: Position
    rows: int
    view: ClientView


class Snapshot:
    """One snapshot for one shard, of what is shown at the first barrier. `entries` are the feed's, from before that on, where
    `view` is shown."""

    def __init__(
        self,
        database: Database,
        views: ViewHistory,
        view: ClientView,
        shard_num: int,
        outlet: PacedOutlet,
        entries: AsyncIterator[Entry | None],
        sink: RowErrorSink,
        *,
        plain_inserts: bool,
        unused: Callable[[Position], Awaitable[Position]],
        progress: SnapshotState,
    ) -> None:
        self._database = database
        self._views = views
        self._view = view
        self._shard_num = shard_num
        self._outlet = outlet
        self._entries = entries
        self._sink = sink
        self._plain_inserts = plain_inserts
        self._unused = unused
        self._progress = progress
        self._share = LoopShare()

    async def send(self) -> SnapshotResult:
        """Everything but the commit, so that the caller can note the result first. Raises `BarrierNotSeen`,
        `ClientStalled`, and what the feed and the scan raise."""
        begin, replay = await self._begin()
        counts = DocumentCounts(self._progress)
        for collection in self._view.tables_of_collection:
            counts.expect(collection, await self._estimate(collection))
        await self._outlet.send(self._opening(begin))
        for collection, tables in self._view.tables_of_collection.items():
            counts.expect(collection, await self._estimate(collection))  # it may have grown meanwhile
            await self._send_collection(collection, tables, begin, counts)
            counts.end(collection)
        end = await replay(begin)
        await self._outlet.send([frames.permissions_row(self._version.app_id, self._shard_num, self._view.permissions)])
        return SnapshotResult(begin, end, self._progress.rows, self._view)

    @property
    def _version(self) -> CompiledVersion:
        return self._view.version

    async def _begin(self) -> tuple[Position, Callable[[Position], Awaitable[Position]]]:
        """P, and what replays the changes between P and Q."""
        try:
            return await self._unused(await self._reach_barrier()), self._replay_to_barrier
        except SourceReadOnly as error:
            if (await inspect_source(self._database)).is_sharded:
                raise SourceUnusable(
                    f"{error.args[0]} A sharded cluster needs it for snapshots: it does not show where its stream ends."
                ) from error
        logger.info("snapshot of %s: without markers, the source may only be read", self._version.name)
        return await self._unused(Position(await majority_cluster_time(self._database))), self._replay_to_now

    def _opening(self, begin: Position) -> list[bytes]:
        opening = [frames.begin(begin)]
        for spec in frames.zero_tables(self._version.app_id, self._shard_num):
            opening += frames.create_table(spec)
        for table in self._view.tables:
            opening += frames.create_table(table.table.spec)
        return opening

    async def _reach_barrier(self) -> Position:
        """Writes a marker and reads to it; the position of the transaction that holds it."""
        nonce = await write_marker(self._database, self._version.app_id, "barrier")
        is_seen = False
        async with aclosing(self._entries_in_time()) as entries:
            async for entry in entries:
                self._view = await self._views.after(entry, self._view) or self._view
                is_seen = is_seen or nonce in entry.markers
                if is_seen and entry.is_final:
                    return entry.position
        raise self._not_seen()

    async def _replay_to_barrier(self, begin: Position) -> Position:
        """Writes a marker and sends what changed before it; the position of the last transaction that counts. A cutover ends
        it: that transaction is the one before then, and the cutover follows in the stream."""
        nonce = await write_marker(self._database, self._version.app_id, "barrier")
        end = begin
        is_seen = False
        async with aclosing(self._entries_in_time()) as entries:
            async for entry in entries:
                if await self._views.after(entry, self._view) is not None:
                    return end
                if rows := self._view.select_frames(entry):
                    await self._outlet.send(rows)
                is_seen = is_seen or nonce in entry.markers
                if entry.is_final:
                    end = max(end, entry.position)
                    if is_seen:
                        return end
        raise self._not_seen()

    async def _replay_to_now(self, begin: Position) -> Position:
        """Sends what a majority has now, read from MongoDB itself: the log's writer may be behind, and nothing tells by how
        much. The position of the last transaction of it."""
        now = await majority_cluster_time(self._database)
        end = begin
        source = AppSource(self._database, self._views.history, self._sink)
        reader = EntryReader(source, self._version, begin.cluster_time, begin, known_until=now)
        async with aclosing(reader.entries()) as entries:
            async for entry in entries:
                if entry is None or entry.is_publish:
                    break
                if rows := self._view.select_frames(entry):
                    await self._outlet.send(rows)
                if entry.is_final:
                    end = entry.position
                    if end.cluster_time > now:
                        break
        return end

    async def _entries_in_time(self) -> AsyncGenerator[Entry, None]:
        """Entries, until none has come for `BARRIER_SECONDS`."""
        deadline = time.monotonic() + BARRIER_SECONDS
        async for entry in self._entries:
            if entry is not None:
                deadline = time.monotonic() + BARRIER_SECONDS
                yield entry
            elif time.monotonic() > deadline:
                return

    def _not_seen(self) -> BarrierNotSeen:
        return BarrierNotSeen(
            f"App {self._version.app_id}: a marker did not come back within {BARRIER_SECONDS:.0f} seconds. "
            "Check that the change stream of the source works (manage.py check_source)."
        )

    async def _estimate(self, collection: str) -> int:
        try:
            return await estimate_count(self._database, collection)
        except (SourceUnreachable, SourceUnusable) as error:  # for progress only; the scan says it if it lasts
            logger.info("snapshot of %s: %s is not counted: %s", self._version.name, collection, error)
            return 0

    async def _send_collection(
        self, collection: str, tables: Sequence[CompiledTableFrames], position: Position, counts: DocumentCounts
    ) -> None:
        async with aclosing(scan(self._database, collection, fields_read(tables))) as batches:
            async for documents in batches:
                errors: list[RowError] = []
                for table in tables:
                    await self._send_rows(table, documents, position, errors)
                counts.add(collection, len(documents))
                if errors:
                    self._sink.add(errors)

    async def _send_rows(
        self,
        table: CompiledTableFrames,
        documents: Iterable[Document],
        position: Position,
        errors: list[RowError],
    ) -> None:
        backfills = table.frames.backfills(position)
        async for rows in rows_in_batches(table.table, documents, errors, self._share):
            shown = self._counted(self._view.rows(table, iter(rows)))
            await self._outlet.send(map(table.frames.upsert, shown) if self._plain_inserts else backfills.add(shown))
        await self._outlet.send(backfills.rest())

    def _counted(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            self._progress.rows += 1
            yield row
