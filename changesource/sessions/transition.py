"""One publish on one connection, or one change of what its client may read: a single Zero transaction that makes a replica
of what was shown into one of what is.

It begins at the marker: schema changes, then the rows of new and changed tables, read from MongoDB, then
what changed in all tables until a second marker, which closes it as it does a snapshot. The rows are then those of that
moment. A reader that resumes at the transaction's watermark sees the changes after it again, which changes nothing.

    change stream ──── changes ────M───────── changes, in the new version ─────────Q──── changes ────▶
                                   │        ┌─ scan ─┐                           │
    replica        rows as of M ───┴ schema ┘        └─ what changed since M ────┴ rows as of Q

A table that gets optional columns, and is the same otherwise, keeps its rows, which have null there. Only rows with a value
in a new column are sent, whole. Let the scan read a document at any moment S.

- If it is as it was at M, its row in the replica is right but for the new columns, which are null, or come with the row of S.
- If it changed between M and Q, the row of S may be newer than the rest, or belong to a document that is gone by Q. That does
  not last: what changed since M comes later in the same transaction, as whole rows and removals.
- A change that leaves a row as it was does not send it. Then its new columns were also the same before and after, so that
  the row of S has them right.

A part of a row is never sent, as zero-cache would make a row of it where there is none, with nulls in required columns. Where
a document has lost its row, because a new column cannot be computed or is too much, the row is removed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from changesource.errors import BarrierNotSeen
from changesource.log.entries import Entry
from changesource.mongo.documents import scan
from changesource.mongo.markers import write_marker
from changesource.mongo.source import Database
from changesource.protocol import frames
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import ClientView, Withheld
from changesource.publishing.compiled import CompiledTableFrames, fields_read
from changesource.publishing.version_changes import ExtendedTable, VersionChanges, version_changes
from changesource.replication.row_error_notes import RowErrorSink
from changesource.replication.slow_documents import rows_in_batches
from changesource.sessions.client_access import ViewHistory
from changesource.sessions.snapshot import BARRIER_SECONDS
from changesource.sessions.transactions import TransactionSender
from changesource.tables.compiled_table import ID, Document, describe_id
from changesource.tables.row_errors import RowError
from changesource.tasks import LoopShare

logger = logging.getLogger(__name__)

T = TypeVar("T", CompiledTableFrames, ExtendedTable)


class Transition:
    """From `old` to `new`. `entries` are the feed's, from after the entry of the cutover on.

    Of the tables that are to go at a later cutover, or to be loaded again, no row is sent, and of columns that are to go no
    value. Tables of which something was withheld until now, and is not any more, are loaded again: another version may show
    it to a client that was to lose it.
    """

    def __init__(
        self,
        database: Database,
        old: ClientView,
        new: ClientView,
        shard_num: int,
        sender: TransactionSender,
        entries: AsyncIterator[Entry | None],
        views: ViewHistory,
        sink: RowErrorSink,
    ) -> None:
        self._database = database
        self._views = views
        self._old = old
        self._new = new
        self._shard_num = shard_num
        self._sender = sender
        self._entries = entries
        self._sink = sink
        self._share = LoopShare()

    async def send(self, position: Position) -> Entry | None:
        """The whole transaction, at `position` or later. The entry of the next cutover, if that was met before the end.

        Raises `BarrierNotSeen`, `ClientStalled`, and what the feed and the scan raise.
        """
        started = time.monotonic()
        before, withheld = map(self._views.access.withheld, (self._old, self._new))
        changes = self._changes(before, withheld)
        sender, version = self._sender, self._new.version
        await sender.begin(position)
        await sender.add(_schema_frames(changes))
        sender.show(self._new)
        sender.withhold(withheld)
        loaded = [table for table in changes.loaded if table.table.name not in withheld.tables]
        for collection, tables in _by_collection(loaded).items():
            await self._load(collection, tables, withheld)
        extended = _still_to_extend(changes, withheld)
        for collection, extended_tables in _by_collection(extended).items():
            await self._extend(collection, extended_tables, withheld)
        following = await self._reach_barrier() if loaded or extended else None
        await sender.add([frames.permissions_row(version.app_id, self._shard_num, self._new.permissions)])
        await sender.commit(position.seconds * 1000)
        logger.info(
            "%s/%d: version %d in force after %.2f s",
            version.app_id,
            self._shard_num,
            version.number,
            time.monotonic() - started,
            extra={"action": "version-switched"},
        )
        return following

    def _changes(self, before: Withheld, withheld: Withheld) -> VersionChanges:
        changes = version_changes(self._old, self._new)
        again = [
            table
            for table in self._new.tables
            if table.table.name not in changes.changed_tables | withheld.tables
            and _is_shown_again(table, before, withheld)
        ]
        return replace(changes, reloaded=[*changes.reloaded, *again])

    async def _load(self, collection: str, tables: Sequence[CompiledTableFrames], withheld: Withheld) -> None:
        async for documents in scan(self._database, collection, fields_read(tables)):
            errors: list[RowError] = []
            for table in tables:
                async for rows in rows_in_batches(table.table, documents, errors, self._share):
                    await self._sender.add(self._new.upserts(table, iter(rows), withheld))
            if errors:
                self._sink.add(errors)

    async def _extend(self, collection: str, tables: Sequence[ExtendedTable], withheld: Withheld) -> None:
        read = fields_read([version for table in tables for version in (table.earlier, table.table)])
        async with aclosing(scan(self._database, collection, read, with_one_of=_fields(tables))) as batches:
            async for documents in batches:
                for table in tables:
                    errors: list[RowError] = []
                    async for rows in rows_in_batches(table.table.table, documents, errors, self._share):
                        with_value = (row for row in rows if any(row[name] is not None for name in table.columns))
                        await self._sender.add(self._new.upserts(table.table, with_value, withheld))
                    if errors:
                        self._sink.add(errors)
                        await self._sender.add(self._removals(table, documents, errors))

    def _removals(
        self, extended: ExtendedTable, documents: Sequence[Document], errors: Sequence[RowError]
    ) -> Iterator[bytes]:
        """Of the rows of documents that have none any more, since a new column cannot be computed or is too much."""
        without_rows = {error.document_id for error in errors if not error.column}
        if not without_rows:
            return
        earlier = extended.earlier
        for document in documents:
            if describe_id(document.get(ID)) in without_rows:
                for row in self._old.rows(earlier, iter(earlier.table.rows(document, []))):
                    yield earlier.frames.delete({name: row[name] for name in earlier.table.spec.key})

    async def _reach_barrier(self) -> Entry | None:
        """Adds what changed up to a marker of now. Ends before the next cutover, whose entry is then given back."""
        app_id = self._new.version.app_id
        nonce = await write_marker(self._database, app_id, "barrier")
        deadline = time.monotonic() + BARRIER_SECONDS
        is_seen = False
        async for entry in self._entries:
            if entry is not None:
                deadline = time.monotonic() + BARRIER_SECONDS
                if await self._views.after(entry, self._new) is not None:
                    return entry
                if entry.version == self._new.version.number:
                    await self._sender.add_changes(entry)
                is_seen = is_seen or nonce in entry.markers
                if is_seen and entry.is_final:
                    return None
            elif time.monotonic() > deadline:
                break
        raise BarrierNotSeen(
            f"App {app_id}: a marker did not come back within {BARRIER_SECONDS:.0f} seconds. "
            "Check that the change stream of the source works (manage.py check_source)."
        )


def _is_shown_again(table: CompiledTableFrames, before: Withheld, withheld: Withheld) -> bool:
    """Whether a replica lacks something of `table`, which keeps its rows, that was withheld `before`."""
    name = table.table.name
    columns = before.columns.get(name, frozenset()) - withheld.columns.get(name, frozenset())
    return name in before.tables or any(column.name in columns for column in table.table.spec.columns)


def _still_to_extend(changes: VersionChanges, withheld: Withheld) -> list[ExtendedTable]:
    """Those of which not all rows are sent anyway, now or later."""
    others = {*withheld.tables, *(table.table.name for table in changes.loaded)}
    return [extended for extended in changes.extended if extended.table.table.name not in others]


def _schema_frames(changes: VersionChanges) -> Iterator[bytes]:
    for index in changes.dropped_indexes:
        yield frames.drop_index(index.table, index.columns)
    for column in changes.dropped_columns:
        yield frames.drop_column(column.table, column.column)
    for extended in changes.extended:
        for name in extended.columns:
            yield frames.add_column(extended.table.table.spec, name)
    for name in [*changes.dropped, *(table.table.name for table in changes.rebuilt)]:
        yield frames.drop_table(name)
    for table in [*changes.rebuilt, *changes.added]:
        yield from frames.create_table(table.table.spec)
    for table in changes.reloaded:
        yield table.frames.truncate()
    for added in changes.added_indexes:
        yield frames.create_index(added.table.table.spec, added.columns)


def _by_collection(tables: Sequence[T]) -> dict[str, list[T]]:
    grouped: dict[str, list[T]] = {}
    for table in tables:
        compiled = table.table if isinstance(table, ExtendedTable) else table
        grouped.setdefault(compiled.table.collection, []).append(table)
    return grouped


def _fields(tables: Sequence[ExtendedTable]) -> frozenset[str]:
    """One of which a document has if a row of it has a value in a new column; empty: any may."""
    fields: set[str] = set()
    for table in tables:
        if table.fields is None:
            return frozenset()
        fields |= table.fields
    return frozenset(fields)
