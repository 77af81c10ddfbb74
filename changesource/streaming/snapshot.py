"""The snapshot: one Zero transaction with every row, consistent however long it takes.

It is closed by barriers. A marker written before the scan comes back in the change stream at a position P; a marker
written after it, at Q. What changed between P and Q is replayed on top of the scanned rows, in the same transaction: the
rows are then those of Q. No snapshot history of the server is needed, and nothing is lost between snapshot and stream.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from changesource.errors import BarrierNotSeen
from changesource.log.entries import Entry
from changesource.mapping.row_errors import RowError
from changesource.mapping.tables import Document, Row
from changesource.mongo.documents import estimate_count, scan
from changesource.mongo.markers import write_marker
from changesource.mongo.source import Database
from changesource.protocol import frames
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledTableFrames, CompiledVersion
from changesource.streaming.outlet import PacedOutlet
from changesource.streaming.rendering import RowErrorSink
from changesource.streaming.transactions import select_frames

logger = logging.getLogger(__name__)

BARRIER_SECONDS = 60.0
"""How long a marker may take to come back."""
PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    """`begin` is the replica's version, P; `end` is where its rows are, Q, and where the stream goes on."""

    begin: Position
    end: Position
    rows: int


class Snapshot:
    """One snapshot of `version` for one shard. `entries` are the feed's, from before the first barrier."""

    def __init__(
        self,
        database: Database,
        version: CompiledVersion,
        shard_num: int,
        outlet: PacedOutlet,
        entries: AsyncIterator[Entry | None],
        sink: RowErrorSink,
        *,
        plain_inserts: bool,
    ) -> None:
        self._database = database
        self._version = version
        self._shard_num = shard_num
        self._outlet = outlet
        self._entries = entries
        self._sink = sink
        self._plain_inserts = plain_inserts
        self._rows = 0
        self._total = 0
        self._started_at = time.monotonic()
        self._reported_at = self._started_at

    async def send(self) -> SnapshotResult:
        """Everything but the commit, so that the caller can note the result first. Raises `BarrierNotSeen`,
        `ClientStalled`, and what the feed and the scan raise."""
        begin = await self._reach_barrier(replay=False)
        self._total = sum([await estimate_count(self._database, name) for name in self._version.tables_of_collection])
        await self._outlet.send(self._opening(begin))
        for collection, tables in self._version.tables_of_collection.items():
            await self._send_collection(collection, tables, begin)
        end = await self._reach_barrier(replay=True)
        await self._outlet.send([frames.permissions_row(self._version.app_id, self._shard_num)])
        return SnapshotResult(begin, end, self._rows)

    def _opening(self, begin: Position) -> list[bytes]:
        opening = [frames.begin(begin)]
        for spec in frames.zero_tables(self._version.app_id, self._shard_num):
            opening += frames.create_table(spec)
        for table in self._version.tables:
            opening += frames.create_table(table.table.spec)
        return opening

    async def _reach_barrier(self, *, replay: bool) -> Position:
        """Writes a marker and reads to it; the position of the transaction that holds it."""
        nonce = await write_marker(self._database, self._version.app_id, "barrier")
        deadline = time.monotonic() + BARRIER_SECONDS
        tables = {table.table.name for table in self._version.tables}
        is_seen = False
        async for entry in self._entries:
            if entry is not None:
                deadline = time.monotonic() + BARRIER_SECONDS
                if replay and (rows := select_frames(entry, tables)):
                    await self._outlet.send(rows)
                is_seen = is_seen or nonce in entry.markers
                if is_seen and entry.is_final:
                    return entry.position
            elif time.monotonic() > deadline:
                break
        raise BarrierNotSeen(
            f"App {self._version.app_id}: a marker did not come back within {BARRIER_SECONDS:.0f} seconds. "
            "Check that the change stream of the source works (manage.py check_source)."
        )

    async def _send_collection(
        self, collection: str, tables: Sequence[CompiledTableFrames], position: Position
    ) -> None:
        async for documents in scan(self._database, collection):
            errors: list[RowError] = []
            for table in tables:
                await self._outlet.send(self._row_frames(table, documents, position, errors))
            if errors:
                self._sink(errors)
            self._report_progress()

    def _row_frames(
        self,
        table: CompiledTableFrames,
        documents: Iterable[Document],
        position: Position,
        errors: list[RowError],
    ) -> Iterator[bytes]:
        rows = self._counted(row for document in documents for row in table.table.rows(document, errors))
        if self._plain_inserts:
            return map(table.frames.upsert, rows)
        return table.frames.backfills(rows, position)

    def _counted(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            self._rows += 1
            yield row

    def _report_progress(self) -> None:
        now = time.monotonic()
        if now - self._reported_at >= PROGRESS_SECONDS:
            self._reported_at = now
            rate = self._rows / (now - self._started_at)
            logger.info(
                "snapshot of %s: %d rows of about %d, %.0f rows/s", self._version.name, self._rows, self._total, rate
            )
