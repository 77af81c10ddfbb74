"""What one client sees of one published version: some of its tables, and some of their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from changesource.log.entries import Entry
from changesource.log.filter_values import FilterValues, unpack_filter_values
from changesource.mql import MqlError
from changesource.publishing.compiled import CompiledTableFrames, CompiledVersion
from changesource.publishing.permissions import permissions_row_of
from changesource.publishing.row_filters import read_row_filters
from changesource.rules.row_filter import RowFilter, row_filter_problems
from changesource.tables.compiled_table import Row
from changesource.tables.definition import AppDefinition, Table


@dataclass(frozen=True, slots=True)
class Access:
    """What a client may read of an app, whatever the version. `tables` are names, None for all
    tables; those that are not in `row_filters` are shown whole."""

    tables: frozenset[str] | None = None
    row_filters: Mapping[str, Any] | None = field(default_factory=dict)
    """None: what is stored cannot be read, so nothing is shown."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    """Name of a table → its entry in `AppDefinition.origins` when it was granted. A table whose
    entry has changed is not shown."""

    @classmethod
    def from_json(cls, text: str) -> Access:
        """The access in `text`, which is `models.Grant.access` as JSON.

        An access that an earlier release stored has a list of tables without origins, or row
        filters over all tables. It is read as that release read it, because its replicas hold just
        that; they then make the transition to what the grant says now.
        """
        stored = json.loads(text)
        tables = stored["tables"]
        origins = tables if isinstance(tables, dict) else {}
        try:
            row_filters: Mapping[str, Any] | None = read_row_filters(stored["rowFilters"])
        except MqlError:
            row_filters = None
        return cls(None if tables is None else frozenset(tables), row_filters, stored["attributes"], origins)


@dataclass(frozen=True, slots=True)
class Withheld:
    """What is no longer sent although a view shows it, because a stored version or access removes
    it later in the stream. Nothing is sent of `tables`, which are dropped there or loaded again.
    `columns` (by table), which are only dropped, are sent as null: they are optional. All are
    server names."""

    tables: frozenset[str] = frozenset()
    columns: Mapping[str, frozenset[str]] = field(default_factory=dict)


NOTHING = Withheld()


class ClientView:
    """The part of `version` that a client sees. The keys of `row_filters` are server names of
    tables; `access_number` is the number of the stored access.

    `definition` has the tables that are shown, and nothing that names another table: rules that ask
    for one are left out, and allow no one.
    """

    def __init__(
        self, version: CompiledVersion, access: Access, publications: Sequence[str] = (), *, access_number: int = 0
    ) -> None:
        self.version = version
        self.access_number = access_number
        filters = access.row_filters or {}
        self.definition = shown_definition(version.definition, access, publications)
        shown = self.definition.tables
        server_names = {table.server_name for table in shown}
        row_filters = {
            table.server_name: RowFilter(table, filters[table.name], access.attributes)
            for table in shown
            if table.name in filters
        }
        self.tables: tuple[CompiledTableFrames, ...] = tuple(
            table for table in version.tables if table.table.name in server_names
        )
        self.tables_of_collection = {
            collection: shown_tables
            for collection, tables in version.tables_of_collection.items()
            if (shown_tables := tuple(table for table in tables if table.table.name in server_names))
        }
        # A filter that every row passes is left out: the log has no values for a table without
        # filter columns.
        self.row_filters: Mapping[str, RowFilter] = {
            name: row_filter for name, row_filter in row_filters.items() if row_filter.constant is not True
        }
        self.permissions = permissions_row_of(self.definition)
        self._shown = {table.table.name: table for table in self.tables}

    def rows(self, table: CompiledTableFrames, rows: Iterator[Row]) -> Iterator[Row]:
        """Those of `rows`, which belong to `table`, that are shown."""
        row_filter = self.row_filters.get(table.table.name)
        if row_filter is None:
            return rows
        return (row for row in rows if row_filter.passes(table.table.filter_values(row)))

    def upserts(self, table: CompiledTableFrames, rows: Iterator[Row], withheld: Withheld) -> Iterator[bytes]:
        """Frames of those of `rows` that are shown. Row filters also see values that are withheld
        from the client."""
        nulls = dict.fromkeys(withheld.columns.get(table.table.name, ()))
        return (table.frames.upsert({**row, **nulls} if nulls else row) for row in self.rows(table, rows))

    def select_frames(self, entry: Entry, withheld: Withheld = NOTHING) -> list[bytes]:
        """The row frames of `entry`, rendered with this version, of what is shown and not
        `withheld`.

        A row that is no longer shown becomes a removal. A row that was not shown, and is not shown
        now, is left out.
        """
        selected: list[bytes] = []
        for name, joined in entry.tables.items():
            table = self._shown.get(name)
            row_filter = self.row_filters.get(name)
            if table is None or name in withheld.tables or (row_filter is not None and row_filter.constant is False):
                continue
            frames: Iterable[bytes] = joined.split(b"\n")
            if row_filter is not None:
                values = unpack_filter_values(entry.filter_values[name])
                frames = _pass_through(table, row_filter, frames, values)
            if columns := withheld.columns.get(name):
                frames = (_with_nulls(table, frame, columns) for frame in frames)
            selected += frames
        return selected


def shown_definition(definition: AppDefinition, access: Access, publications: Sequence[str] = ()) -> AppDefinition:
    """The part of `definition` that a client with `access` sees, and that it asked for."""
    names = _shown_tables(definition, access, publications)
    return replace(definition, tables=tuple(table for table in definition.tables if table.name in names))


def _shown_tables(definition: AppDefinition, access: Access, publications: Sequence[str]) -> frozenset[str]:
    """Names of the tables that are shown. A table is not shown if its filter cannot be used, as it
    may have been written for another version, or if it reads other documents than the table that
    was granted under this name."""
    if access.row_filters is None:
        return frozenset()
    filters = access.row_filters
    names = {table.name for table in definition.tables if _has_usable_filter(definition, table, filters)}
    if access.tables is None and not filters.keys() <= {table.name for table in definition.tables}:
        names &= filters.keys()  # this can only be an access that an earlier release stored
    if access.tables is not None:
        names &= access.tables
    origins = definition.origins()
    names = {name for name in names if access.origins.get(name, origins[name]) == origins[name]}
    if publications:
        names &= {name for publication in publications for name in definition.publications.get(publication, ())}
    return frozenset(names)


def _has_usable_filter(definition: AppDefinition, table: Table, filters: Mapping[str, Any]) -> bool:
    return table.name not in filters or not any(row_filter_problems(definition, table, filters[table.name]))


def _pass_through(
    table: CompiledTableFrames, row_filter: RowFilter, frames: Iterable[bytes], values: Sequence[FilterValues | None]
) -> Iterator[bytes]:
    for frame, of_frame in zip(frames, values, strict=True):
        if of_frame is None or (of_frame.now is not None and row_filter.passes(of_frame.now)):
            yield frame
        elif any(map(row_filter.passes, of_frame.before)):
            yield frame if of_frame.now is None else _removal(table, frame)


def _with_nulls(table: CompiledTableFrames, frame: bytes, columns: Iterable[str]) -> bytes:
    """A frame without the values of `columns`. Parsing it is affordable: only clients that lag
    behind a publish need this."""
    _, message = orjson.loads(frame)
    return table.frames.upsert({**message["new"], **dict.fromkeys(columns)}) if message["tag"] == "insert" else frame


def _removal(table: CompiledTableFrames, upsert: bytes) -> bytes:
    """The removal of the row that a frame inserts. This is rare enough for the frame to be parsed."""
    _, message = orjson.loads(upsert)
    return table.frames.delete({name: message["new"][name] for name in table.table.spec.key})
