"""How a replica of one version, as a client sees it, becomes a replica of another version. Pure."""

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
    """A table that gains `columns` (server names), all optional, and is otherwise the same;
    `earlier` is the table before, with the same rows. A row has a value in one of them only if its
    document has one of the top-level `fields`, or, if that is None, whatever its document has."""

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
    """The changes, in the order in which they have to be made.

    `dropped` are server names of tables. `rebuilt` are dropped and created again, `added` are
    created, `reloaded` keep their columns but not their rows; the rows of all three have to be
    sent. All other tables keep their rows: those that only lose optional columns
    (`dropped_columns`), those that only gain some (`extended`), and those that do not change for
    the replica. The rows of `extended` that have a value in a new column have to be sent.
    `dropped_indexes` and `added_indexes` belong to tables that are neither dropped nor created.
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
        """Server names of tables that do not keep all their rows."""
        return frozenset((*self.dropped, *(table.table.name for table in self.loaded)))

    @property
    def loaded(self) -> Sequence[CompiledTableFrames]:
        """Tables whose rows have to be sent."""
        return [*self.rebuilt, *self.added, *self.reloaded]


def version_changes(old: ClientView, new: ClientView) -> VersionChanges:
    """The changes from what a client saw of an app to what it sees now.

    They avoid everything at which zero-cache would stop: no table or index is created that exists,
    no column is dropped that an index uses, and a table whose columns change in any other way is
    created again, with its indexes and all its rows.
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
        has_other_rows = (
            _has_other_rows(old_tables[name], new_tables[name])
            or old.row_filters.get(name) != new.row_filters.get(name)
            or (columns is not None and _may_gain_rows(old_tables[name], columns.dropped))
        )
        if columns is None or (columns.added and (has_other_rows or not _keeps_its_rows(compiled[name].table))):
            rebuilt.append(compiled[name])
            continue
        before, after = _indexes(old_tables[name]), _indexes(new_tables[name])
        dropped_indexes += [DroppedIndex(name, index) for index in before if index not in after]
        added_indexes += [AddedIndex(compiled[name], index) for index in after if index not in before]
        dropped_columns += [DroppedColumn(name, column) for column in columns.dropped]
        if columns.added:
            extended.append(
                ExtendedTable(compiled[name], earlier[name], columns.added, _fields(new_tables[name], columns.added))
            )
        elif has_other_rows:
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
    """Server names of the optional columns that are dropped, and of those that are added."""

    dropped: tuple[str, ...]
    added: tuple[str, ...]


def _optional_columns(old: Table, new: Table) -> _OptionalColumns | None:
    """The dropped and added columns, if that is the only difference in what a replica knows about
    the columns, and nothing else depends on them; otherwise None."""
    before, after = _columns(old), _columns(new)
    if _key(old) != _key(new) or any(before[name] != after[name] for name in before if name in after):
        return None
    dropped = tuple(name for name in before if name not in after)
    added = tuple(name for name in after if name not in before)
    # With a required column, a row that was left out for lack of a value would appear, or one that
    # was there would vanish.
    is_optional = all(before[name].optional for name in dropped) and all(after[name].optional for name in added)
    return _OptionalColumns(dropped, added) if is_optional else None


def _may_gain_rows(table: Table, dropped: Collection[str]) -> bool:
    """Whether documents that have no rows in `table` may have some without the `dropped` columns.

    A column that cannot be computed costs a document its rows, which appear when the column goes.
    Without a mapping a column cannot do that: a value that does not fit is null.
    """
    return bool(dropped) and bool(table.mapping)


def _keeps_its_rows(table: CompiledTable) -> bool:
    """Whether documents keep their rows when `table` gains optional columns, or their rows can
    still be removed later.

    A column can cost a document its rows: if it cannot be computed, or is too large. If the key
    comes from `_id`, any later change of the document removes its row. Otherwise that takes the
    rows of the pre-image, which has lost them too. Only tables without a mapping are safe then: a
    row would have to be larger than `MAX_ROW_BYTES`, and a document has half of that.
    """
    return not (table.needs_pre_images and table.has_mapping)


def _fields(table: Table, columns: Collection[str]) -> frozenset[str] | None:
    if table.mapping:
        return None
    return frozenset(column.field for column in table.columns if column.server_name in columns)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a replica knows about a column."""

    type: str
    optional: bool


def _columns(table: Table) -> dict[str, _Known]:
    return {column.server_name: _Known(column.type, column.optional) for column in table.columns}


def _key(table: Table) -> Sequence[str]:
    return table.server_names(table.primary_key)


def _indexes(table: Table) -> Sequence[tuple[str, ...]]:
    return [table.server_names(index) for index in table.indexes]


def _has_other_rows(old: Table, new: Table) -> bool:
    fields = {column.server_name: column.field for column in old.columns}
    return (
        old.collection != new.collection
        or old.mapping != new.mapping
        or any(fields.get(column.server_name, column.field) != column.field for column in new.columns)
    )
