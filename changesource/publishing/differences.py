"""What is different between two versions of an app, for people: what is streamed, and what clients will notice. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from changesource.publishing.client_view import Access, ClientView
from changesource.publishing.compiled import CompiledVersion
from changesource.publishing.version_changes import version_changes
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import AppDefinition, Column, Table

Fate = Literal["added", "dropped", "rebuilt", "reloaded", "extended", "kept"]
"""What becomes of a table's rows in every replica: `version_changes`."""

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
"""Of a text, before or after. The time that `difflib` takes grows with the square: 20,000 lines took 7 seconds."""
CONTEXT_LINES = 3


@dataclass(frozen=True, slots=True)
class AttributeDifference:
    """One attribute with what it said and says; either is empty where there is nothing."""

    label: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """`changes` are empty for a column that is added or dropped; `description` says what it is (or was)."""

    name: str
    change: Literal["added", "dropped", "changed"]
    description: str
    changes: tuple[AttributeDifference, ...] = ()


@dataclass(frozen=True, slots=True)
class DiffLine:
    """`mark` is `+` for a line that comes, `-` for one that goes, a space for one that stays, `…` for some left out."""

    mark: Literal["+", "-", " ", "…"]
    text: str


@dataclass(frozen=True, slots=True)
class TextDifference:
    """What is written as JSON: mapping, permissions, relationships, publications."""

    label: str
    lines: tuple[DiffLine, ...]


@dataclass(frozen=True, slots=True)
class TableDifference:
    """`name` is the one in queries; of a table that is dropped, the one that it had. `notes` are sentences about what else
    follows."""

    name: str
    fate: Fate
    collection: str
    columns: tuple[ColumnDifference, ...] = ()
    attributes: tuple[AttributeDifference, ...] = ()
    texts: tuple[TextDifference, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """What becomes of its rows, in a sentence."""
        if self.fate == "kept":
            gone = any(column.change == "dropped" for column in self.columns)
            return "Columns are dropped. Its rows stay." if gone else "Its rows stay."
        return {
            "added": "Added, with all its rows.",
            "dropped": "Dropped, with all its rows.",
            "rebuilt": "Rebuilt: dropped and made again, with all its rows.",
            "reloaded": "Reloaded: all its rows are read again.",
            "extended": "Extended: optional columns are added. Its rows stay; those with a value for one are sent again.",
        }[self.fate]

    @property
    def loads(self) -> bool:
        """Whether its rows are read from the source."""
        return self.fate in READ


@dataclass(frozen=True, slots=True)
class Difference:
    """`tables` and `texts` only where something is different. `notices` is what clients will notice, in sentences.

    With `begins_anew` there is no way on from the older version: every zero-cache builds a new replica.
    """

    is_same: bool
    begins_anew: bool
    source: AttributeDifference | None
    tables: tuple[TableDifference, ...]
    texts: tuple[TextDifference, ...]
    notices: tuple[str, ...]

    @property
    def loaded_collections(self) -> list[str]:
        """Collections that are read for it."""
        return list(dict.fromkeys(table.collection for table in self.tables if table.loads))

    @property
    def is_only_order(self) -> bool:
        """Whether nothing is different but in which order tables or columns are listed."""
        return not (self.is_same or self.source or self.tables or self.texts)


def compare_versions(old: AppDefinition | None, new: AppDefinition) -> Difference:
    """What a publish of `new` changes about `old`, None for nothing. Neither has problems."""
    if old is None:
        recording = _with_pre_images(new)
        tables = tuple(_added(table, recording) for table in new.tables)
        notice = "Nothing streams yet. zero-caches can connect when this is published."
        return Difference(False, True, None, tables, (), (notice,))
    begins_anew = old.source != new.source
    tables = tuple(_table_differences(old, new, begins_anew))
    return Difference(
        is_same=old.to_json() == new.to_json(),
        begins_anew=begins_anew,
        source=AttributeDifference("source", old.source, new.source) if begins_anew else None,
        tables=tables,
        texts=_texts(old, new, NOT_TEXTS_OF_APPS),
        notices=tuple(_notices(old, new, tables)),
    )


def _table_differences(old: AppDefinition, new: AppDefinition, begins_anew: bool) -> Iterator[TableDifference]:
    """In the order of `new`, then what is dropped. Tables are the same if replicas know them by the same name."""
    before = {table.server_name: table for table in old.tables}
    fates = _fates(old, new)
    recording = _with_pre_images(new) - (frozenset() if begins_anew else _with_pre_images(old))
    for table in new.tables:
        earlier = before.pop(table.server_name, None)
        if earlier is None:
            yield _added(table, recording)
            continue
        difference = TableDifference(
            name=table.name,
            fate="rebuilt" if begins_anew else fates.get(table.server_name, "kept"),
            collection=table.collection,
            columns=tuple(_column_differences(earlier, table)),
            attributes=tuple(_attributes(earlier, table)),
            texts=_texts(earlier, table, NOT_TEXTS_OF_TABLES),
            notes=tuple(_notes(earlier.filter_columns, table, recording)),
        )
        if difference.fate in ("kept", "reloaded", "extended") and not set(table.indexes) <= set(earlier.indexes):
            note = "zero-cache makes the new indexes of the rows that it has."
            difference = replace(difference, notes=(*difference.notes, note))
        if difference.fate != "kept" or difference.columns or difference.attributes or difference.texts:
            yield difference
    for table in before.values():
        yield TableDifference(table.name, "dropped", table.collection)


def _fates(old: AppDefinition, new: AppDefinition) -> dict[str, Fate]:
    changes = version_changes(
        ClientView(CompiledVersion(old, 0), Access()), ClientView(CompiledVersion(new, 0), Access())
    )
    fates: dict[str, Fate] = {table.table.name: "rebuilt" for table in changes.rebuilt}
    fates |= {table.table.name: "reloaded" for table in changes.reloaded}
    return fates | {extended.table.table.name: "extended" for extended in changes.extended}


def _added(table: Table, recording: Collection[str]) -> TableDifference:
    return TableDifference(table.name, "added", table.collection, notes=tuple(_notes((), table, recording)))


def _with_pre_images(definition: AppDefinition) -> frozenset[str]:
    return frozenset(CompiledVersion(definition, 0).collections_with_pre_images)


def _notes(filter_columns: Sequence[str], new: Table, recording: Collection[str]) -> Iterator[str]:
    """For a table that had `filter_columns`, in a version since which the collections `recording` need pre-images."""
    if added := [name for name in new.filter_columns if name not in filter_columns]:
        yield f"Row filters of clients can ask for {', '.join(added)}."
    if gone := [name for name in filter_columns if name not in new.filter_columns]:
        yield f"Row filters of clients can no longer ask for {', '.join(gone)}."
    if new.collection in recording and CompiledTable(new).needs_pre_images:
        yield f"It needs pre-images of the collection {new.collection}: publishing switches them on where they are off."


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
    """Of every attribute that is written as JSON, whichever a definition has."""
    found = []
    for attribute in (field.name for field in fields(new) if field.name not in others):
        before, after = getattr(old, attribute), getattr(new, attribute)
        if before != after:
            found.append(TextDifference(attribute.replace("_", " "), tuple(_diff(_lines(before), _lines(after)))))
    return tuple(found)


def _lines(value: Any) -> list[str]:
    """JSON, or text that is JSON, with a line for each member."""
    if not value:
        return []
    parsed = json.loads(value) if isinstance(value, str) else value
    return json.dumps(parsed, indent=2, ensure_ascii=False).splitlines()


def _diff(old: list[str], new: list[str]) -> Iterator[DiffLine]:
    if max(len(old), len(new)) > MAX_COMPARED_LINES:
        yield DiffLine("-", f"{len(old):,} lines")
        yield DiffLine("+", f"{len(new):,} lines, which are too many to be compared here")
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
        yield "The source is another: every zero-cache builds a new replica, and clients wait for it."
    outdating = [reason for table in tables for reason in _outdating(table)]
    if outdating:
        yield (
            f"{_capitalized('; '.join(outdating))}. Clients whose schema still says otherwise are refused "
            "(SchemaVersionNotSupported) until they update."
        )
    for table in tables:
        if table.fate == "rebuilt":
            yield f"Table {table.name} is made again: clients fetch its rows again."
        if table.fate == "extended":
            yield f"Table {table.name} gets columns: clients fetch its rows again."
        if table.fate == "reloaded":
            yield f"Table {table.name} is read again: clients get the rows that are different then."
        if any(text.label == "permissions" for text in table.texts):
            yield f"The permissions of {table.name} change at once, also for clients that are connected."
    if any(table.fate == "added" or _added_columns(table) for table in tables):
        yield "What is added is of use to clients whose schema has it; others go on as before."
    yield from _publication_notices(old.publications, new.publications)


def _publication_notices(old: Mapping[str, Sequence[str]], new: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name in new:
        if name not in old:
            yield f"zero-caches can ask for the publication {name}: {', '.join(new[name])}."
            continue
        if added := [table for table in new[name] if table not in old[name]]:
            yield f"Publication {name} gets {', '.join(added)}: zero-caches that ask for it have more tables."
        if gone := [table for table in old[name] if table not in new[name]]:
            yield f"Publication {name} loses {', '.join(gone)}: zero-caches have it no more, unless by another one."
    for name in old:
        if name not in new:
            yield f"Publication {name} goes: take it out of the ZERO_APP_PUBLICATIONS of zero-caches that ask for it."


def _outdating(table: TableDifference) -> Iterator[str]:
    """Why zero-cache refuses clients with the older schema (zero-cache: client-schema.ts)."""
    if table.fate == "dropped":
        yield f"table {table.name} goes"
    for column in table.columns:
        if column.change == "dropped":
            yield f"column {table.name}.{column.name} goes"
        for change in column.changes:
            if change.label == "type":
                yield f"column {table.name}.{column.name} becomes a {change.new}"
    if any(attribute.label == NAMED_ATTRIBUTES["primary_key"] for attribute in table.attributes):
        yield f"the primary key of {table.name} changes"


def _added_columns(table: TableDifference) -> list[str]:
    return [column.name for column in table.columns if column.change == "added"]


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
