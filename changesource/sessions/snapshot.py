"""The snapshot: one Zero transaction with every row, consistent however long it takes.

It is a transition from no view at all (`transition.py`), between two barriers (`barrier.py`). It
needs no snapshot history of the server.

    change stream ───────────P───────── changes ───────────Q────── changes ─────▶
                   marker ───┘     ┌─ scan ─┐   marker ────┘
    transaction              begin ┘        └───────────── replay, commit
    next connection                                               "I have P": from Q on

- Write a barrier. It comes back at P, which is the replica version and the transaction's watermark.
- Create Zero's tables and the app's, and scan the collections.
- Write another barrier. It comes back at Q. Replay what changed between P and Q on the scanned rows.
- Register the replica as (P, Q), and only then commit: every replica that zero-cache has is known.
- zero-cache resumes with P, and the stream continues from Q.

Without P, the stream could only continue from Q, and a change during the scan would be lost:

    scan     ── reads x ───────────────
    source   ──────────── x changes ────Q─────▶      neither in a row nor after Q

Without Q, the stream could continue from P and bring the same changes. But until it had, users
would see rows of different moments: one side of a transfer without the other.

A publish that meets a snapshot, at M:

    change stream ──P──── changes ────M──── changes, rendered by the new version ────Q────▶
    transaction     └ begin, scan      │                                       marker ─┘
                      replay ────────▶ commit: the rows are those just before M
    next connection                    └ meets M: transition to the new version

A snapshot that replayed past M would send rows of the new version to tables of the old one, and one
that began again at M would never end where publishes are frequent. A change of access ends the
replay in the same way.

A source that may not be written to has no barriers. On a replica set P is then what a majority had
before the scan, and MongoDB itself is read from P to what a majority has after it, from a server
that is known to have come that far.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from changesource.errors import SourceReadOnly, SourceUnreachable, SourceUnusable
from changesource.log.entries import Entry
from changesource.models import queries
from changesource.models.queries.snapshots import SnapshotState
from changesource.mongo.documents import Documents, estimate_count
from changesource.mongo.source import inspect_source, majority_cluster_time
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import ClientView
from changesource.publishing.compiled import CompiledTableFrames
from changesource.replication.readings import Reading
from changesource.replication.slow_documents import rows_in_batches
from changesource.replication.version_history import FIRST_ORDINAL_AFTER_MARKER
from changesource.sessions.acknowledgements import InFlight
from changesource.sessions.barrier import entries_to_barrier, entries_to_now
from changesource.sessions.outlet import PacedOutlet
from changesource.sessions.row_loader import RowLoader
from changesource.sessions.snapshot_progress import DocumentCounts
from changesource.sessions.stream_context import StreamContext
from changesource.sessions.transactions import TransactionSender
from changesource.sessions.transition import Transition
from changesource.tables.compiled_table import Row
from changesource.tables.row_errors import RowError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    """`begin` is the replica's version, P; `end` is where its rows are and where the stream
    continues, Q. `view` is what was shown."""

    begin: Position
    end: Position
    rows: int
    view: ClientView


@dataclass(frozen=True, slots=True)
class _Start:
    """P, what is shown there, and the entries from P to Q. Asking for the first one sets Q."""

    begin: Position
    view: ClientView
    changes: AsyncGenerator[Entry, None]


class Snapshot:
    """One snapshot for one shard. Call `send`, register the replica, and then call `commit`.

    `plain_inserts` sends each row in a message of its own. What has been read and sent is counted
    in `progress`.
    """

    def __init__(
        self, context: StreamContext, outlet: PacedOutlet, progress: SnapshotState, *, plain_inserts: bool
    ) -> None:
        self._context = context
        self._outlet = outlet
        self._progress = progress
        self._plain_inserts = plain_inserts

    async def send(self, view: ClientView, readings: AsyncIterator[Reading]) -> SnapshotResult:
        """Sends everything but the commit. `readings` are the feed's, from before the first barrier,
        where `view` is shown.

        Raises `BarrierNotSeen`, `ClientStalled`, `SnapshotTooSlow`, `django.db.Error`, and what the
        feed and the scan raise.
        """
        start = await self._begin(view, readings)
        # zero-cache acknowledges nothing before the commit, and the connection ends with that.
        self._sender = TransactionSender(self._outlet, InFlight(math.inf), start.view, Position(0))
        backfills_at = None if self._plain_inserts else start.begin
        loader = _SnapshotLoader(self._context, self._sender, self._progress, backfills_at)
        for collection in start.view.tables_of_collection:
            await loader.expect(collection)
        transition = Transition(self._context, self._sender, None, start.view)
        replayed = await transition.send(start.begin, loader, start.changes)
        return SnapshotResult(start.begin, replayed.end, self._progress.rows, start.view)

    async def commit(self) -> None:
        """Ends the transaction that `send` has sent."""
        await self._sender.commit(int(time.time() * 1000))

    async def _begin(self, view: ClientView, readings: AsyncIterator[Reading]) -> _Start:
        context = self._context
        try:
            position, view = await self._reach_barrier(view, readings)
            begin = await unused_position(context, position)
            return _Start(begin, view, entries_to_barrier(context, readings))
        except SourceReadOnly as error:
            if (await inspect_source(context.database)).is_sharded:
                raise SourceUnusable(
                    f"{error.args[0]} A sharded cluster needs it for snapshots: it does not show where its stream ends."
                ) from error
        logger.info("snapshot of %s: without markers, the source may only be read", context.label)
        begin = await unused_position(context, Position(await majority_cluster_time(context.database)))
        return _Start(begin, view, entries_to_now(context, view.version, begin))

    async def _reach_barrier(self, view: ClientView, readings: AsyncIterator[Reading]) -> tuple[Position, ClientView]:
        """The position of the transaction that holds a marker written now, and what is shown there."""
        position = Position(0)
        async with aclosing(entries_to_barrier(self._context, readings)) as before:
            async for entry in before:
                view = await self._context.views.after(entry, view) or view
                position = entry.position
        return position, view


async def unused_position(context: StreamContext, position: Position) -> Position:
    """A position at this cluster time, on the same side of a cutover, where no replica began.

    It is drawn at random. Two snapshots of a shard may see their markers in one transaction before
    either is registered, and one registration would then be taken for the other. Raises
    `django.db.Error`.
    """
    is_before_marker = position.ordinal < FIRST_ORDINAL_AFTER_MARKER
    end = FIRST_ORDINAL_AFTER_MARKER if is_before_marker else FIRST_ORDINAL_AFTER_MARKER * 2
    while True:
        ordinal = position.ordinal + secrets.randbelow(end - position.ordinal)
        drawn = Position(position.cluster_time, ordinal)
        if await queries.replicas.find_replica(context.app_id, context.shard_num, drawn.watermark) is None:
            return drawn


class _SnapshotLoader(RowLoader):
    """Counts what it reads and sends. Rows go out many to a message, in backfills at
    `backfills_at`; one by one if that is None."""

    def __init__(
        self,
        context: StreamContext,
        sender: TransactionSender,
        progress: SnapshotState,
        backfills_at: Position | None,
    ) -> None:
        super().__init__(context, sender)
        self._progress = progress
        self._counts = DocumentCounts(progress)
        self._backfills_at = backfills_at

    async def expect(self, collection: str) -> None:
        """Asks roughly how many documents there are to read. Only progress depends on it."""
        try:
            documents = await estimate_count(self._context.database, collection)
        except (SourceUnreachable, SourceUnusable) as error:  # the scan will say so if it lasts
            logger.info("snapshot of %s: %s is not counted: %s", self._context.label, collection, error)
            documents = 0
        self._counts.expect(collection, documents)

    async def _scan(
        self, collection: str, fields: Collection[str], with_one_of: Collection[str] = ()
    ) -> AsyncGenerator[Documents, None]:
        await self.expect(collection)  # it may have grown since the first look
        async with aclosing(super()._scan(collection, fields, with_one_of)) as batches:
            async for documents in batches:
                yield documents
                self._counts.add(collection, len(documents))
        self._counts.end(collection)

    async def _add_rows(self, table: CompiledTableFrames, documents: Documents) -> None:
        errors: list[RowError] = []
        backfills = None if self._backfills_at is None else table.frames.backfills(self._backfills_at)
        async for rows in rows_in_batches(table.table, documents, errors, self._share):
            shown = self._counted(self._sender.view.rows(table, iter(rows)))
            await self._sender.add(map(table.frames.upsert, shown) if backfills is None else backfills.add(shown))
        if backfills is not None:
            await self._sender.add(backfills.rest())
        self._report(errors)

    def _counted(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            self._progress.rows += 1
            yield row
