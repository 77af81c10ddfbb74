"""What a replica of one version, as a client sees it, needs to become a replica of another. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from changesource.publishing.client_view import ClientView
from changesource.publishing.compiled import CompiledTableFrames
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import Table


@dataclass(frozen=True, slots=True)
class DroppedColumn:
    """`table` and `column` are server names."""

    table: str
    column: str


@dataclass(frozen=True, slots=True)
class ExtendedTable:
    """A table that gets `columns` (server names), all optional, and is the same otherwise: `earlier` is how it was, with
    the same rows. A row has a value in one of them only if its document has one of the top-level `fields`; None: any may."""

    table: CompiledTableFrames
    earlier: CompiledTableFrames
    columns: tuple[str, ...]
    fields: frozenset[str] | None


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
    optional columns goes (`dropped_columns`) or comes (`extended`), and of one that keeps what the replica knows of it, stay;
    those of `extended` that have a value in a new column are to be sent. `dropped_indexes` and `added_indexes` are of tables
    that are neither dropped nor made.
    """

    dropped_indexes: Sequence[DroppedIndex] = field(default_factory=list)
    dropped_columns: Sequence[DroppedColumn] = field(default_factory=list)
    dropped: Sequence[str] = field(default_factory=list)
    extended: Sequence[ExtendedTable] = field(default_factory=list)
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
    an index holds, and a table whose columns change in any other way is made anew, with its indexes and all its rows.
    """
    old_tables = {table.server_name: table for table in old.definition.tables}
    new_tables = {table.server_name: table for table in new.definition.tables}
    earlier = {table.table.name: table for table in old.tables}
    compiled = {table.table.name: table for table in new.tables}
    dropped_indexes: list[DroppedIndex] = []
    dropped_columns: list[DroppedColumn] = []
    added_indexes: list[AddedIndex] = []
    extended: list[ExtendedTable] = []
    rebuilt: list[CompiledTableFrames] = []
    reloaded: list[CompiledTableFrames] = []
    for name in [name for name in old_tables if name in new_tables]:
        columns = _optional_columns(old_tables[name], new_tables[name])
        says_other_rows = _says_other_rows(old_tables[name], new_tables[name]) or old.row_filters.get(
            name
        ) != new.row_filters.get(name)
        if columns is None or (columns.come and (says_other_rows or not _keeps_its_rows(compiled[name].table))):
            rebuilt.append(compiled[name])
            continue
        before, after = _indexes(old_tables[name]), _indexes(new_tables[name])
        dropped_indexes += [DroppedIndex(name, index) for index in before if index not in after]
        added_indexes += [AddedIndex(compiled[name], index) for index in after if index not in before]
        dropped_columns += [DroppedColumn(name, column) for column in columns.gone]
        if columns.come:
            extended.append(
                ExtendedTable(compiled[name], earlier[name], columns.come, _fields(new_tables[name], columns.come))
            )
        elif says_other_rows:
            reloaded.append(compiled[name])
    return VersionChanges(
        dropped_indexes=dropped_indexes,
        dropped_columns=dropped_columns,
        dropped=[name for name in old_tables if name not in new_tables],
        extended=extended,
        rebuilt=rebuilt,
        added=[compiled[name] for name in new_tables if name not in old_tables],
        reloaded=reloaded,
        added_indexes=added_indexes,
    )


@dataclass(frozen=True, slots=True)
class _OptionalColumns:
    """Server names of optional columns that go, and that come."""

    gone: tuple[str, ...]
    come: tuple[str, ...]


def _optional_columns(old: Table, new: Table) -> _OptionalColumns | None:
    """The columns that go and come, if that is all that is different about what a replica knows of them, and nothing that
    is left depends on them; else None."""
    before, after = _columns(old), _columns(new)
    if _key(old) != _key(new) or any(before[name] != after[name] for name in before if name in after):
        return None
    gone = tuple(name for name in before if name not in after)
    come = tuple(name for name in after if name not in before)
    # A row without a value for a required column was left out, and is one now; or was one, and is left out.
    is_optional = all(before[name].optional for name in gone) and all(after[name].optional for name in come)
    return _OptionalColumns(gone, come) if is_optional else None


def _keeps_its_rows(table: CompiledTable) -> bool:
    """Whether each document has the rows that it had, or can be told to have lost them, when `table` has optional columns
    more.

    A column can cost a document its rows: when it cannot be computed, or is too much. Where a key comes from `_id`, whatever
    happens to the document later removes its row. Otherwise that takes the rows of the pre-image, which has lost them
    itself: only a row without a mapping is safe, as it has to be larger than `MAX_ROW_BYTES`, of a document half as large.
    """
    return not (table.needs_pre_images and table.has_mapping)


def _fields(table: Table, columns: Collection[str]) -> frozenset[str] | None:
    if table.mapping:
        return None
    return frozenset(column.field for column in table.columns if column.server_name in columns)


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
        or any(fields.get(column.server_name, column.field) != column.field for column in new.columns)
    )
