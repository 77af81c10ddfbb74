"""Relationships between the tables of an app, from the form that they have in Zero's schema.

`{table: {name: [hop]}}` or, through a junction, `{table: {name: [hop, hop]}}`, where a hop is `{"sourceField": [column, …],
"destField": [column, …], "destSchema": table, "cardinality": "one" | "many"}`. All names are those that queries are written
with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from changesource.tables.definition import IDENTIFIER_PATTERN, AppDefinition, Table

MAX_HOPS = 2
"""Zero: relationships go to a table directly, or through one junction (zero-schema/table-schema.ts)."""

CARDINALITIES = ("one", "many")


@dataclass(frozen=True, slots=True)
class Hop:
    """Rows of `destination` whose `destination_columns` equal the `source_columns` of a row. A null equals nothing."""

    source_columns: tuple[str, ...]
    destination: str
    destination_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Relationship:
    source: str
    name: str
    hops: tuple[Hop, ...]

    @property
    def destination(self) -> str:
        """The table that it leads to."""
        return self.hops[-1].destination


@dataclass(frozen=True, slots=True)
class RelationshipProblem:
    """What is wrong at a place in the relationships of `table`."""

    table: str
    place: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Relationships:
    """Those that could be read, by table and name, and what is wrong with the others."""

    by_table: Mapping[str, Mapping[str, Relationship]]
    problems: tuple[RelationshipProblem, ...]


class _Invalid(Exception):
    def __init__(self, message: str, *place: str) -> None:
        super().__init__(message)
        self.message = message
        self.place = place


def read_relationships(app: AppDefinition) -> Relationships:
    """The relationships of `app`."""
    by_table: dict[str, dict[str, Relationship]] = {}
    problems = []
    tables = {table.name: table for table in app.tables}
    for source, named in app.relationships.items():
        if source not in tables or not isinstance(named, Mapping):
            message = (
                "Write an object with a relationship under each name."
                if source in tables
                else f"There is no table {source!r}. Name a table of this app."
            )
            problems.append(RelationshipProblem(source, (source,), message))
            continue
        for name, hops in named.items():
            try:
                relationship = Relationship(source, name, tuple(_read_hops(name, hops, tables[source], tables)))
                by_table.setdefault(source, {})[name] = relationship
            except _Invalid as error:
                problems.append(RelationshipProblem(source, (source, name, *error.place), error.message))
    return Relationships(by_table, tuple(problems))


def _read_hops(name: str, hops: Any, source: Table, tables: Mapping[str, Table]) -> Iterator[Hop]:
    if not IDENTIFIER_PATTERN.fullmatch(name) or name == "__proto__":
        raise _Invalid("Begin with a letter or underscore, and go on with letters, digits, underscores and hyphens.")
    if any(column.name == name for column in source.columns):
        raise _Invalid("The table has a column of this name. Rename one of them.")
    if not isinstance(hops, list) or not 1 <= len(hops) <= MAX_HOPS:
        raise _Invalid("Write a list of one hop, or of two: to the junction and from there.")
    for index, hop in enumerate(hops):
        try:
            read = _read_hop(hop, source, tables)
        except _Invalid as error:
            raise _Invalid(error.message, f"[{index}]", *error.place) from error
        yield read
        source = tables[read.destination]


def _read_hop(hop: Any, source: Table, tables: Mapping[str, Table]) -> Hop:
    if not isinstance(hop, Mapping):
        raise _Invalid("Write an object with sourceField, destField, destSchema and cardinality.")
    destination = hop.get("destSchema")
    if not isinstance(destination, str) or destination not in tables:
        raise _Invalid("Name a table of this app.", "destSchema")
    if hop.get("cardinality") not in CARDINALITIES:
        raise _Invalid(f"Write {' or '.join(CARDINALITIES)}.", "cardinality")
    source_columns = _columns(hop, "sourceField", source)
    destination_columns = _columns(hop, "destField", tables[destination])
    if len(source_columns) != len(destination_columns):
        raise _Invalid("Name as many columns as sourceField does.", "destField")
    for left, right in zip(source_columns, destination_columns, strict=True):
        left_type, right_type = _type(source, left), _type(tables[destination], right)
        if left_type != right_type:
            raise _Invalid(
                f"{left!r} is a {left_type}, but {right!r} a {right_type}: they are never equal.", "destField"
            )
    return Hop(source_columns, destination, destination_columns)


def _columns(hop: Mapping[str, Any], key: str, table: Table) -> tuple[str, ...]:
    names = hop.get(key)
    if not isinstance(names, list) or not names:
        raise _Invalid("Write a list of columns, one at least.", key)
    there_are = {column.name for column in table.columns}
    for name in names:
        if not isinstance(name, str) or name not in there_are:
            raise _Invalid(f"The table {table.name!r} has no column {name!r}.", key)
        if _type(table, name) == "json":
            raise _Invalid(f"{name!r} is a json column, which equals nothing. Take another.", key)
    return tuple(names)


def _type(table: Table, name: str) -> str:
    return next(column.type for column in table.columns if column.name == name)
