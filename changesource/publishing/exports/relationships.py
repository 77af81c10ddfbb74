"""The relationships of an app, as Zero's `createSchema` takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from changesource.errors import InvalidDefinition
from changesource.tables.definition import AppDefinition, Table

CARDINALITIES = ("one", "many")
MAX_CONNECTIONS = 2
"""Straight to the other table, or through a junction."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One step from a table to the next. Fields are names of columns; `dest_table` is the name of a table."""

    source_fields: tuple[str, ...]
    dest_fields: tuple[str, ...]
    dest_table: str


@dataclass(frozen=True, slots=True)
class Relationship:
    """Rows of other tables that belong to one: `cardinality` is `one` or `many`, for each of its connections."""

    name: str
    cardinality: str
    connections: tuple[Connection, ...]


def relationships_by_table(definition: AppDefinition) -> Mapping[str, Sequence[Relationship]]:
    """Name of a table → its relationships, in the order in which they are written.

    Raises `InvalidDefinition` with the place of the first that `createSchema` would refuse or could not have given.
    """
    tables = {table.name: table for table in definition.tables}
    return {
        name: list(_relationships(tables, name, written, f"relationships.{name}"))
        for name, written in definition.relationships.items()
    }


def _relationships(tables: Mapping[str, Table], name: str, written: Any, place: str) -> Iterator[Relationship]:
    if name not in tables:
        _refuse(place, "There is no table of this name.")
    for relationship, connections in _object(written, place).items():
        if relationship in _columns(tables[name]):
            _refuse(f"{place}.{relationship}", "A column of the table has this name. Rename the relationship.")
        yield _relationship(tables, tables[name], relationship, connections, f"{place}.{relationship}")


def _relationship(tables: Mapping[str, Table], source: Table, name: str, written: Any, place: str) -> Relationship:
    if not isinstance(written, list) or not 0 < len(written) <= MAX_CONNECTIONS:
        _refuse(place, "Write a list of one connection, or of two through a junction.")
    connections = []
    for index, connection in enumerate(written):
        connections.append(_connection(tables, source, connection, f"{place}[{index}]"))
        source = tables[connections[-1].dest_table]
    cardinality = written[0].get("cardinality")
    if cardinality not in CARDINALITIES or any(each.get("cardinality") != cardinality for each in written):
        _refuse(place, "Write the cardinality one or many, the same for each connection.")
    return Relationship(name, cardinality, tuple(connections))


def _connection(tables: Mapping[str, Table], source: Table, written: Any, place: str) -> Connection:
    written = _object(written, place)
    dest_table = written.get("destSchema")
    if not isinstance(dest_table, str) or dest_table not in tables:
        _refuse(f"{place}.destSchema", "Name a table of the schema.")
    source_fields = _fields(source, written.get("sourceField"), f"{place}.sourceField")
    dest_fields = _fields(tables[dest_table], written.get("destField"), f"{place}.destField")
    if len(source_fields) != len(dest_fields):
        _refuse(place, "Name as many columns in sourceField as in destField.")
    return Connection(source_fields, dest_fields, dest_table)


def _fields(table: Table, written: Any, place: str) -> tuple[str, ...]:
    columns = _columns(table)
    if not isinstance(written, list) or not written or any(name not in columns for name in written):
        _refuse(place, f"Write a list of columns of {table.name}.")
    return tuple(written)


def _columns(table: Table) -> list[str]:
    return [column.name for column in table.columns]


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        _refuse(place, "Write a JSON object.")
    return value


def _refuse(place: str, message: str) -> NoReturn:
    raise InvalidDefinition(f"{place}: {message}")
