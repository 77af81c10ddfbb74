"""One transaction that makes a replica of one view into a replica of the next.

A view changes where a version is published, and where what a client may read changes. A snapshot is
the same from no view at all (`snapshot.py`); there M is the barrier P.

    change stream ──── changes ────M───────── changes, in the new view ────────Q──── changes ───▶
                                   │        ┌─ scan ─┐                       │
    replica        rows as of M ───┴ schema ┘        └ what changed since M ─┴ rows as of Q

- Begin at M, the cutover, which every reader meets at the same place.
- Change the schema.
- Read the rows of new and changed tables from MongoDB, however long that takes.
- Write a barrier, and add what changed in all tables from M to where it comes back, Q.
- Replace the permissions row, and commit: the rows are those of Q.

A reader that resumes at the transaction's watermark sees the changes from M to Q once more, which
changes nothing.

Without the replay, the rows would belong to no single moment, as a scan takes time:

    scan     reads x ──────────────── reads y
    source   ────────── x, y change ──────────▶     the replica has the old x and the new y

Another cutover before Q ends the transaction there, before the entry of that cutover. What follows
is rendered by another version, and zero-cache stops for good at a table or column that it does not
have.

A table that gets optional columns, and is the same otherwise, keeps its rows, which have null
there. Only rows with a value in a new column are sent, whole. Let the scan read a document at any
moment S.

- If it is as it was at M, its row in the replica is right but for the new columns, which are null,
  or come with the row of S.
- If it changed between M and Q, the row of S may be newer than the rest, or belong to a document
  that is gone by Q. That does not last: what changed since M comes later in the same transaction,
  as whole rows and removals.
- A change that leaves a row as it was does not send it. Then its new columns were also the same
  before and after, so that the row of S has them right.

A part of a row is never sent: zero-cache would make a row of it where there is none, with nulls in
required columns. Where a document has lost its row, because a new column cannot be computed or
makes it too large, the row is removed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from changesource.log.entries import Entry
from changesource.protocol import frames
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import NOTHING, ClientView, Withheld
from changesource.publishing.compiled import CompiledTableFrames
from changesource.publishing.version_changes import ExtendedTable, VersionChanges, version_changes
from changesource.sessions.row_loader import RowLoader
from changesource.sessions.stream_context import StreamContext
from changesource.sessions.transactions import TransactionSender

T = TypeVar("T", CompiledTableFrames, ExtendedTable)


@dataclass(frozen=True, slots=True)
class Replayed:
    """Where a transition's rows are: at `end`. `following` is the entry of the next cutover, if
    that was met first."""

    end: Position
    following: Entry | None = None


class Transition:
    """The change from the view `old`, None for a replica that has nothing yet, to `new`.

    No row is sent of a table, and no value of a column, that a later cutover is known to take away.
    A table of which something was withheld, and no longer is, is loaded again: another version may
    show it to a client that was to lose it.
    """

    def __init__(
        self, context: StreamContext, sender: TransactionSender, old: ClientView | None, new: ClientView
    ) -> None:
        self._context = context
        self._sender = sender
        self._old = old
        self._new = new
        self._withheld = NOTHING
        if old is None:
            self._changes = VersionChanges(added=new.tables)
        else:
            before, self._withheld = map(context.views.access.withheld, (old, new))
            self._changes = _changes_of_shown(old, new, before, self._withheld)

    async def send(self, position: Position, loader: RowLoader, changes: AsyncGenerator[Entry, None]) -> Replayed:
        """Sends the whole transaction but its commit, at `position` or later. `changes` are the
        entries from M to Q.

        Raises `ClientStalled`, and what `loader` and `changes` raise.
        """
        sender = self._sender
        await sender.begin(position)
        await sender.add(self._schema())
        sender.show(self._new)
        sender.withhold(self._withheld)
        has_rows = await self._load(loader)
        replayed = await self._replay(position, changes) if has_rows else Replayed(position)
        permissions = frames.permissions_row(self._context.app_id, self._context.shard_num, self._new.permissions)
        await sender.add([permissions])
        return replayed

    @property
    def changes_permissions(self) -> bool:
        """Whether other rules begin here than the replica had. `Stream` then sends them once
        more."""
        return self._old is not None and self._old.permissions != self._new.permissions

    def _schema(self) -> Iterator[bytes]:
        if self._old is None:
            for spec in frames.zero_tables(self._context.app_id, self._context.shard_num):
                yield from frames.create_table(spec)
        yield from _schema_frames(self._changes)

    async def _load(self, loader: RowLoader) -> bool:
        """Whether changes have to follow: rows were read, or it is a snapshot, whose end they tell."""
        loaded = [table for table in self._changes.loaded if table.table.name not in self._withheld.tables]
        for collection, tables in _by_collection(loaded).items():
            await loader.load(collection, tables)
        if self._old is None:
            return True
        extended = _still_to_extend(self._changes, self._withheld)
        for collection, extended_tables in _by_collection(extended).items():
            await loader.extend(collection, extended_tables, self._old)
        return bool(loaded or extended)

    async def _replay(self, begin: Position, changes: AsyncGenerator[Entry, None]) -> Replayed:
        """Adds what changed since `begin`. The end is that of the last whole transaction."""
        end = begin
        async with aclosing(changes) as entries:
            async for entry in entries:
                if await self._context.views.after(entry, self._new) is not None:
                    return Replayed(end, entry)
                if entry.version == self._new.version.number:
                    await self._sender.add_changes(entry)
                if entry.is_final:
                    end = max(end, entry.position)
        return Replayed(end)


def _changes_of_shown(old: ClientView, new: ClientView, before: Withheld, withheld: Withheld) -> VersionChanges:
    """What is different. Tables that stay, but lack what was withheld `before`, are loaded again."""
    changes = version_changes(old, new)
    again = [
        table
        for table in new.tables
        if table.table.name not in changes.changed_tables | withheld.tables and _is_shown_again(table, before, withheld)
    ]
    return replace(changes, reloaded=[*changes.reloaded, *again])


def _is_shown_again(table: CompiledTableFrames, before: Withheld, withheld: Withheld) -> bool:
    """Whether a replica lacks something of `table` that was withheld `before` and no longer is."""
    name = table.table.name
    columns = before.columns.get(name, frozenset()) - withheld.columns.get(name, frozenset())
    return name in before.tables or any(column.name in columns for column in table.table.spec.columns)


def _still_to_extend(changes: VersionChanges, withheld: Withheld) -> list[ExtendedTable]:
    """The extended tables whose rows are not all sent anyway, now or later."""
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
