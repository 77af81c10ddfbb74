"""The difference between two releases of an app, for people: what is streamed, and what clients
will notice."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from changesource.publishing.release import Release
from changesource.publishing.version_changes import version_changes
from changesource.tables.definition import AppDefinition, Column, Table

Fate = Literal["added", "dropped", "rebuilt", "reloaded", "extended", "kept"]
"""What becomes of a table's rows in every replica; see `version_changes`."""

READ: tuple[Fate, ...] = ("added", "rebuilt", "reloaded", "extended")

NAMED_ATTRIBUTES = {
    "name": "name in queries",
    "collection": "collection",
    "primary_key": "primary key",
    "filter_columns": "filter columns",
    "indexes": "indexes",
}
NOT_TEXTS_OF_TABLES = {*NAMED_ATTRIBUTES, "server_name", "columns"}
NOT_TEXTS_OF_APPS = {"app_id", "source", "tables"}

MAX_COMPARED_LINES = 2_000
"""The longest text, before or after, that is compared. `difflib` takes quadratic time: 7 seconds
for 20,000 lines."""
CONTEXT_LINES = 3


@dataclass(frozen=True, slots=True)
class AttributeDifference:
    """An attribute that changed, with its old and its new value; either may be empty."""

    label: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """`changes` is empty for a column that is added or dropped; `description` says what the column
    is, or was."""

    name: str
    change: Literal["added", "dropped", "changed"]
    description: str
    changes: tuple[AttributeDifference, ...] = ()


@dataclass(frozen=True, slots=True)
class DiffLine:
    """`mark` is `+` for an added line, `-` for a removed one, a space for an unchanged one, `…`
    where some are left out."""

    mark: Literal["+", "-", " ", "…"]
    text: str


@dataclass(frozen=True, slots=True)
class TextDifference:
    """An attribute that is written as JSON: mapping, permissions, relationships, publications."""

    label: str
    lines: tuple[DiffLine, ...]


@dataclass(frozen=True, slots=True)
class TableDifference:
    """`name` is the table's name in queries; for a dropped table, the one that it had. `notes` are
    sentences about further consequences."""

    name: str
    fate: Fate
    collection: str
    columns: tuple[ColumnDifference, ...] = ()
    attributes: tuple[AttributeDifference, ...] = ()
    texts: tuple[TextDifference, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """What becomes of the table's rows, in a sentence."""
        if self.fate == "kept":
            gone = any(column.change == "dropped" for column in self.columns)
            return "Columns are dropped. Its rows stay." if gone else "Its rows stay."
        return {
            "added": "Added, with all its rows.",
            "dropped": "Dropped, with all its rows.",
            "rebuilt": "Rebuilt: dropped and created again, with all its rows.",
            "reloaded": "Reloaded: all its rows are read again.",
            "extended": "Extended: optional columns are added. Its rows stay; those with a new value are sent again.",
        }[self.fate]

    @property
    def loads(self) -> bool:
        """Whether the table's rows are read from the source."""
        return self.fate in READ


@dataclass(frozen=True, slots=True)
class Difference:
    """`tables` and `texts` hold only what differs. `notices` says what clients will notice, in
    sentences.

    If the app `starts_over`, no stream of the older version continues: every zero-cache builds a
    new replica.
    """

    is_same: bool
    starts_over: bool
    source: AttributeDifference | None
    tables: tuple[TableDifference, ...]
    texts: tuple[TextDifference, ...]
    notices: tuple[str, ...]

    @property
    def loaded_collections(self) -> list[str]:
        """The collections that a publish reads."""
        return list(dict.fromkeys(table.collection for table in self.tables if table.loads))

    @property
    def is_only_order(self) -> bool:
        """Whether only the order of tables or columns differs."""
        return not (self.is_same or self.source or self.tables or self.texts)


def compare_releases(old: Release | None, new: Release) -> Difference:
    """What a publish of `new` changes after `old`, which is None before the first version. Neither
    may have problems."""
    if old is None:
        newly_needed = _tables_with_pre_images(new, new.pre_images.collections)
        tables = tuple(_added(table, newly_needed) for table in new.definition.tables)
        notice = "Nothing streams yet. zero-caches can connect once this is published."
        return Difference(False, True, None, tables, (), (notice,))
    before, after = old.definition, new.definition
    starts_over = before.source != after.source
    tables = tuple(_table_differences(old, new, starts_over))
    return Difference(
        is_same=old.json == new.json,
        starts_over=starts_over,
        source=AttributeDifference("source", before.source, after.source) if starts_over else None,
        tables=tables,
        texts=_texts(before, after, NOT_TEXTS_OF_APPS),
        notices=tuple(_notices(before, after, tables)),
    )


def _table_differences(old: Release, new: Release, starts_over: bool) -> Iterator[TableDifference]:
    """In the order of `new`, then the dropped tables. Tables are the same if replicas know them by
    the same name."""
    before = {table.server_name: table for table in old.definition.tables}
    fates = _fates(old, new)
    recorded = frozenset() if starts_over else old.pre_images.collections
    newly_needed = _tables_with_pre_images(new, new.pre_images.collections - recorded)
    for table in new.definition.tables:
        earlier = before.pop(table.server_name, None)
        if earlier is None:
            yield _added(table, newly_needed)
            continue
        difference = TableDifference(
            name=table.name,
            fate="rebuilt" if starts_over else fates.get(table.server_name, "kept"),
            collection=table.collection,
            columns=tuple(_column_differences(earlier, table)),
            attributes=tuple(_attributes(earlier, table)),
            texts=_texts(earlier, table, NOT_TEXTS_OF_TABLES),
            notes=tuple(_notes(earlier.filter_columns, table, newly_needed)),
        )
        if difference.fate in ("kept", "reloaded", "extended") and not set(table.indexes) <= set(earlier.indexes):
            note = "zero-cache builds the new indexes from the rows that it has."
            difference = replace(difference, notes=(*difference.notes, note))
        if difference.fate != "kept" or difference.columns or difference.attributes or difference.texts:
            yield difference
    for table in before.values():
        yield TableDifference(table.name, "dropped", table.collection)


def _fates(old: Release, new: Release) -> dict[str, Fate]:
    changes = version_changes(old.whole_view, new.whole_view)
    fates: dict[str, Fate] = {table.table.name: "rebuilt" for table in changes.rebuilt}
    fates |= {table.table.name: "reloaded" for table in changes.reloaded}
    return fates | {extended.table.table.name: "extended" for extended in changes.extended}


def _added(table: Table, newly_needed: Collection[str]) -> TableDifference:
    return TableDifference(table.name, "added", table.collection, notes=tuple(_notes((), table, newly_needed)))


def _tables_with_pre_images(release: Release, collections: Collection[str]) -> frozenset[str]:
    """Server names of the tables of `collections` that need pre-images."""
    return frozenset(
        table.table.name
        for collection in collections
        for table in release.compiled.tables_of_collection[collection]
        if table.table.needs_pre_images
    )


def _notes(filter_columns: Sequence[str], new: Table, newly_needed: Collection[str]) -> Iterator[str]:
    """For a table that had `filter_columns`. `newly_needed` are the tables that need pre-images
    which no version has needed before."""
    if added := [name for name in new.filter_columns if name not in filter_columns]:
        yield f"Row filters of clients can use {', '.join(added)}."
    if gone := [name for name in filter_columns if name not in new.filter_columns]:
        yield f"Row filters of clients can no longer use {', '.join(gone)}."
    if new.server_name in newly_needed:
        yield f"It needs pre-images of the collection {new.collection}: publishing switches them on if they are off."


def _column_differences(old: Table, new: Table) -> Iterator[ColumnDifference]:
    before = {column.server_name: column for column in old.columns}
    for column in new.columns:
        earlier = before.pop(column.server_name, None)
        if earlier is None:
            yield ColumnDifference(column.name, "added", _description(column))
        elif earlier != column:
            yield ColumnDifference(column.name, "changed", _description(column), tuple(_changes(earlier, column)))
    for column in before.values():
        yield ColumnDifference(column.name, "dropped", _description(column))


def _description(column: Column) -> str:
    return f"{column.type}, {_presence(column)}, shows the field {column.field}"


def _presence(column: Column) -> str:
    return "optional" if column.optional else "required"


def _changes(old: Column, new: Column) -> Iterator[AttributeDifference]:
    pairs = {
        "type": (old.type, new.type),
        "value": (_presence(old), _presence(new)),
        "field": (old.field, new.field),
        "name in queries": (old.name, new.name),
    }
    for label, (before, after) in pairs.items():
        if before != after:
            yield AttributeDifference(label, before, after)


def _attributes(old: Table, new: Table) -> Iterator[AttributeDifference]:
    for attribute, label in NAMED_ATTRIBUTES.items():
        before, after = getattr(old, attribute), getattr(new, attribute)
        if before != after:
            yield AttributeDifference(label, _listed(before), _listed(after))


def _listed(value: str | Sequence[str] | Sequence[Sequence[str]]) -> str:
    if isinstance(value, str):
        return value
    return (", " if all(isinstance(each, str) for each in value) else "; ").join(map(_listed, value))


def _texts(old: Any, new: Any, others: set[str]) -> tuple[TextDifference, ...]:
    """The differences of all attributes that are written as JSON."""
    found = []
    for attribute in (field.name for field in fields(new) if field.name not in others):
        before, after = getattr(old, attribute), getattr(new, attribute)
        if before != after:
            found.append(TextDifference(attribute.replace("_", " "), tuple(_diff(_lines(before), _lines(after)))))
    return tuple(found)


def _lines(value: Any) -> list[str]:
    """A JSON value, or JSON text, with one member on each line."""
    if not value:
        return []
    parsed = json.loads(value) if isinstance(value, str) else value
    return json.dumps(parsed, indent=2, ensure_ascii=False).splitlines()


def _diff(old: list[str], new: list[str]) -> Iterator[DiffLine]:
    if max(len(old), len(new)) > MAX_COMPARED_LINES:
        yield DiffLine("-", f"{len(old):,} lines")
        yield DiffLine("+", f"{len(new):,} lines, too many to be compared here")
        return
    lines = list(difflib.unified_diff(old, new, lineterm="", n=CONTEXT_LINES))[2:]
    for index, line in enumerate(lines):
        if line.startswith("@@"):
            if index:
                yield DiffLine("…", "")
            continue
        mark: Literal["+", "-", " "] = "+" if line[0] == "+" else "-" if line[0] == "-" else " "
        yield DiffLine(mark, line[1:])


def _notices(old: AppDefinition, new: AppDefinition, tables: Sequence[TableDifference]) -> Iterator[str]:
    if old.source != new.source:
        yield "The source is a different one: every zero-cache builds a new replica, and clients wait for it."
    outdating = [reason for table in tables for reason in _outdating(table)]
    if outdating:
        yield (
            f"{_capitalized('; '.join(outdating))}. Clients with the old schema are refused "
            "(SchemaVersionNotSupported) until they are updated."
        )
    for table in tables:
        if table.fate == "rebuilt":
            yield f"Table {table.name} is created again: clients fetch its rows again."
        if table.fate == "extended":
            yield f"Table {table.name} gets new columns: clients fetch its rows again."
        if table.fate == "reloaded":
            yield f"Table {table.name} is read again: clients get the rows that have changed."
        if any(text.label == "permissions" for text in table.texts):
            yield f"The permissions of {table.name} change at once, for connected clients too."
    if any(table.fate == "added" or _added_columns(table) for table in tables):
        yield "Clients whose schema has the additions can use them; others carry on as before."
    yield from _publication_notices(old.publications, new.publications)


def _publication_notices(old: Mapping[str, Sequence[str]], new: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name in new:
        if name not in old:
            yield f"zero-caches can ask for the publication {name}: {', '.join(new[name])}."
            continue
        if added := [table for table in new[name] if table not in old[name]]:
            yield f"Publication {name} gains {', '.join(added)}: zero-caches that ask for it get more tables."
        if gone := [table for table in old[name] if table not in new[name]]:
            yield f"Publication {name} loses {', '.join(gone)}: zero-caches no longer get it, unless through another one."
    for name in old:
        if name not in new:
            yield f"Publication {name} is dropped: remove it from ZERO_APP_PUBLICATIONS wherever a zero-cache asks for it."


def _outdating(table: TableDifference) -> Iterator[str]:
    """Why zero-cache refuses clients with the old schema (zero-cache: client-schema.ts)."""
    if table.fate == "dropped":
        yield f"table {table.name} is dropped"
    for column in table.columns:
        if column.change == "dropped":
            yield f"column {table.name}.{column.name} is dropped"
        for change in column.changes:
            if change.label == "type":
                yield f"column {table.name}.{column.name} becomes {change.new}"
    if any(attribute.label == NAMED_ATTRIBUTES["primary_key"] for attribute in table.attributes):
        yield f"the primary key of {table.name} changes"


def _added_columns(table: TableDifference) -> list[str]:
    return [column.name for column in table.columns if column.change == "added"]


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
