"""Relationships between the tables of an app, from the form that they have in Zero's schema.

`{table: {name: [connection]}}` or, through a junction, `{table: {name: [connection, connection]}}`. A connection is
`{"sourceField": [column, …], "destField": [column, …], "destSchema": table, "cardinality": "one" | "many"}` (Zero:
zero-schema/table-schema.ts). All names are those that queries use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from changesource.tables.definition import IDENTIFIER_PATTERN, IDENTIFIER_RULE, AppDefinition, Table

MAX_CONNECTIONS = 2
"""A relationship leads to a table directly, or through one junction."""

CARDINALITIES = ("one", "many")


@dataclass(frozen=True, slots=True)
class Connection:
    """One step of a relationship, from a row to the rows of `destination` whose `destination_columns` equal its
    `source_columns`. A null equals nothing."""

    source_columns: tuple[str, ...]
    destination: str
    destination_columns: tuple[str, ...]
    cardinality: str


@dataclass(frozen=True, slots=True)
class Relationship:
    """A relationship called `name`, from the table `source` through its connections."""

    source: str
    name: str
    connections: tuple[Connection, ...]

    @property
    def destination(self) -> str:
        """The table that it leads to."""
        return self.connections[-1].destination


@dataclass(frozen=True, slots=True)
class RelationshipProblem:
    """What is wrong at a place in the relationships of `table`."""

    table: str
    place: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Relationships:
    """The relationships that could be read, by table and name, and what is wrong with the others."""

    by_table: Mapping[str, Mapping[str, Relationship]]
    problems: tuple[RelationshipProblem, ...]


class _Invalid(Exception):
    def __init__(self, message: str, *place: str) -> None:
        super().__init__(message)
        self.message = message
        self.place = place


def read_relationships(app: AppDefinition) -> Relationships:
    """The relationships of `app`, in the order in which they are written."""
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
        for name, written in named.items():
            try:
                relationship = Relationship(
                    source, name, tuple(_read_connections(name, written, tables[source], tables))
                )
                by_table.setdefault(source, {})[name] = relationship
            except _Invalid as error:
                problems.append(RelationshipProblem(source, (source, name, *error.place), error.message))
    return Relationships(by_table, tuple(problems))


def _read_connections(name: str, written: Any, source: Table, tables: Mapping[str, Table]) -> Iterator[Connection]:
    if not IDENTIFIER_PATTERN.fullmatch(name) or name == "__proto__":
        raise _Invalid(IDENTIFIER_RULE)
    if any(column.name == name for column in source.columns):
        raise _Invalid("The table has a column of this name. Rename one of them.")
    if not isinstance(written, list) or not 1 <= len(written) <= MAX_CONNECTIONS:
        raise _Invalid("Write a list of one connection, or of two: to the junction and from there.")
    for index, each in enumerate(written):
        try:
            connection = _read_connection(each, source, tables)
        except _Invalid as error:
            raise _Invalid(error.message, f"[{index}]", *error.place) from error
        yield connection
        source = tables[connection.destination]


def _read_connection(written: Any, source: Table, tables: Mapping[str, Table]) -> Connection:
    if not isinstance(written, Mapping):
        raise _Invalid("Write an object with sourceField, destField, destSchema and cardinality.")
    destination = written.get("destSchema")
    if not isinstance(destination, str) or destination not in tables:
        raise _Invalid("Name a table of this app.", "destSchema")
    cardinality = written.get("cardinality")
    if cardinality not in CARDINALITIES:
        raise _Invalid(f"Write {' or '.join(CARDINALITIES)}.", "cardinality")
    source_columns = _columns(written, "sourceField", source)
    destination_columns = _columns(written, "destField", tables[destination])
    if len(source_columns) != len(destination_columns):
        raise _Invalid("Name as many columns as sourceField does.", "destField")
    for left, right in zip(source_columns, destination_columns, strict=True):
        left_type, right_type = _type(source, left), _type(tables[destination], right)
        if left_type != right_type:
            raise _Invalid(
                f"{left!r} is a {left_type}, but {right!r} a {right_type}: they are never equal.", "destField"
            )
    return Connection(source_columns, destination, destination_columns, cardinality)


def _columns(connection: Mapping[str, Any], key: str, table: Table) -> tuple[str, ...]:
    names = connection.get(key)
    if not isinstance(names, list) or not names:
        raise _Invalid("Write a list of at least one column.", key)
    there_are = {column.name for column in table.columns}
    for name in names:
        if not isinstance(name, str) or name not in there_are:
            raise _Invalid(f"The table {table.name!r} has no column {name!r}.", key)
        if _type(table, name) == "json":
            raise _Invalid(f"{name!r} is a json column, which equals nothing. Take another.", key)
    return tuple(names)


def _type(table: Table, name: str) -> str:
    return next(column.type for column in table.columns if column.name == name)
