"""What a replica of one version, as a client sees it, needs to become a replica of another. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from changesource.mapping.definition import Table
from changesource.publishing.client_view import ClientView
from changesource.publishing.compiled import CompiledTableFrames


@dataclass(frozen=True, slots=True)
class DroppedColumn:
    """`table` and `column` are server names."""

    table: str
    column: str


@dataclass(frozen=True, slots=True)
class DroppedIndex:
    """`table` and `columns` are server names."""

    table: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddedIndex:
    """`columns` are server names."""

    table: CompiledTableFrames
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VersionChanges:
    """In the order in which they are to be made.

    `dropped` are server names of tables that go. `rebuilt` are dropped and made again, `added` are made, `reloaded`
    keep their columns but not their rows; the rows of all three are to be sent. The rows of a table of which nothing but
    optional columns goes (`dropped_columns`), and of one that keeps what the replica knows of it, stay. `dropped_indexes`
    and `added_indexes` are of tables that are neither dropped nor made.
    """

    dropped_indexes: Sequence[DroppedIndex] = field(default_factory=list)
    dropped_columns: Sequence[DroppedColumn] = field(default_factory=list)
    dropped: Sequence[str] = field(default_factory=list)
    rebuilt: Sequence[CompiledTableFrames] = field(default_factory=list)
    added: Sequence[CompiledTableFrames] = field(default_factory=list)
    reloaded: Sequence[CompiledTableFrames] = field(default_factory=list)
    added_indexes: Sequence[AddedIndex] = field(default_factory=list)

    @property
    def changed_tables(self) -> frozenset[str]:
        """Server names of tables of which not all rows stay."""
        return frozenset((*self.dropped, *(table.table.name for table in self.loaded)))

    @property
    def loaded(self) -> Sequence[CompiledTableFrames]:
        """Tables whose rows are to be sent."""
        return [*self.rebuilt, *self.added, *self.reloaded]


def version_changes(old: ClientView, new: ClientView) -> VersionChanges:
    """The changes between what a client saw of an app and what it sees.

    Built so that zero-cache cannot meet what it ends for: no table and no index is made that is there, no column goes that
    an index holds, and a table whose columns change in any other way is made anew, with its index and all its rows.
    """
    old_tables = {table.server_name: table for table in old.definition.tables}
    new_tables = {table.server_name: table for table in new.definition.tables}
    compiled = {table.table.name: table for table in new.tables}
    dropped_indexes: list[DroppedIndex] = []
    dropped_columns: list[DroppedColumn] = []
    added_indexes: list[AddedIndex] = []
    rebuilt: list[CompiledTableFrames] = []
    reloaded: list[CompiledTableFrames] = []
    for name in [name for name in old_tables if name in new_tables]:
        gone = _columns_that_only_go(old_tables[name], new_tables[name])
        if gone is None:
            rebuilt.append(compiled[name])
            continue
        before, after = _indexes(old_tables[name]), _indexes(new_tables[name])
        dropped_indexes += [DroppedIndex(name, index) for index in before if index not in after]
        added_indexes += [AddedIndex(compiled[name], index) for index in after if index not in before]
        dropped_columns += [DroppedColumn(name, column) for column in gone]
        if _says_other_rows(old_tables[name], new_tables[name]) or old.row_filters.get(name) != new.row_filters.get(
            name
        ):
            reloaded.append(compiled[name])
    return VersionChanges(
        dropped_indexes=dropped_indexes,
        dropped_columns=dropped_columns,
        dropped=[name for name in old_tables if name not in new_tables],
        rebuilt=rebuilt,
        added=[compiled[name] for name in new_tables if name not in old_tables],
        reloaded=reloaded,
        added_indexes=added_indexes,
    )


def _columns_that_only_go(old: Table, new: Table) -> Sequence[str] | None:
    """Server names of columns that `new` has no more, if that is all that is different about what a replica knows of the
    columns, and nothing that is left depends on them; else None."""
    before, after = _columns(old), _columns(new)
    if _key(old) != _key(new) or any(before.get(name) != column for name, column in after.items()):
        return None
    gone = [name for name in before if name not in after]
    # A row without a value for a required column was left out, and is one now.
    return gone if all(before[name].optional for name in gone) else None


@dataclass(frozen=True, slots=True)
class _Known:
    """What a replica knows of a column."""

    type: str
    optional: bool


def _columns(table: Table) -> dict[str, _Known]:
    return {column.server_name: _Known(column.type, column.optional) for column in table.columns}


def _key(table: Table) -> Sequence[str]:
    return _server_names(table, table.primary_key)


def _indexes(table: Table) -> Sequence[tuple[str, ...]]:
    return [_server_names(table, index) for index in table.indexes]


def _server_names(table: Table, names: Sequence[str]) -> tuple[str, ...]:
    server_names = {column.name: column.server_name for column in table.columns}
    return tuple(server_names[name] for name in names)


def _says_other_rows(old: Table, new: Table) -> bool:
    fields = {column.server_name: column.field for column in old.columns}
    return (
        old.collection != new.collection
        or old.mapping != new.mapping
        or any(fields[column.server_name] != column.field for column in new.columns)
    )
