"""Zero schemas in their JSON form.

`{"tables": {name: {"name", "serverName"?, "columns": {name: {"type", "optional"?, "serverName"?}},
"primaryKey"}}, "relationships": …}` is what `JSON.stringify(createSchema(…))` gives. Other keys are
ignored.

A table may also have `"indexes": [[column, …], …]`, which Zero's own form does not have: secondary
indexes of the replica.

A table's `serverName` (in TypeScript: `.from()`) may also be a mapping as JSON text: `{"source",
"filter"?, "projection"?}` or `{"source", "pipeline"}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from changesource.errors import InvalidSchemaFile
from changesource.mql import MqlError, StrictJSONDecoder, normal_mapping_text
from changesource.publishing.table_mappings import mapped_table
from changesource.tables.definition import COLUMN_TYPES, MAX_IDENTIFIER_LENGTH, Column, ColumnType, Table

INDEXES = "indexes"


@dataclass(frozen=True, slots=True)
class Schema:
    """The content of a schema file and of the files beside it. It is not checked here whether it
    can be published.

    `publications` and `queries` are None if no file mentions them: a draft then keeps its own. It also keeps the
    filter columns and the indexes of a table that has none here, unless the table's name is in
    `without_filter_columns` or `without_indexes`.
    """

    tables: tuple[Table, ...]
    relationships: Mapping[str, Any]
    publications: Mapping[str, Any] | None = None
    queries: Mapping[str, Any] | None = None
    without_filter_columns: frozenset[str] = frozenset()
    without_indexes: frozenset[str] = frozenset()


def read_schema(content: bytes) -> Schema:
    """The schema in a file's `content`. Raises `InvalidSchemaFile` with the place of the error."""
    try:
        # Editors on Windows begin a file with a byte order mark.
        schema = json.loads(content.decode("utf-8-sig"), cls=StrictJSONDecoder)
    except UnicodeDecodeError as exc:
        raise InvalidSchemaFile(f"The file is not UTF-8: byte {exc.start} is invalid.") from exc
    except json.JSONDecodeError as exc:
        raise InvalidSchemaFile(f"The file is not JSON: {exc}.") from exc
    schema = _object(schema, "The file")
    tables = _object(_required(schema, "tables", ""), "tables")
    if not tables:
        raise InvalidSchemaFile("tables: Add at least one table.")
    return Schema(
        tables=tuple(_table(name, table, f"tables.{name}") for name, table in tables.items()),
        relationships=_object(schema.get("relationships", {}), "relationships"),
        without_indexes=frozenset(name for name, table in tables.items() if table.get(INDEXES) == []),
    )


def read_indexes(value: object, place: str) -> tuple[tuple[str, ...], ...]:
    """The indexes of a table in a file. Raises `InvalidSchemaFile` with the place, which begins
    with `place`."""
    if not isinstance(value, list) or not all(isinstance(index, list) for index in value):
        raise InvalidSchemaFile(f'{place}: Write a list of indexes, each a list of column names: [["city", "name"]].')
    return tuple(
        tuple(_name(name, f"{place}[{number}][{position}]") for position, name in enumerate(index))
        for number, index in enumerate(value)
    )


def _table(name: str, table: Any, place: str) -> Table:
    table = _object(table, place)
    columns = _object(_required(table, "columns", place), f"{place}.columns")
    primary_key = _required(table, "primaryKey", place)
    if not isinstance(primary_key, list):
        raise InvalidSchemaFile(f"{place}.primaryKey: Write a list of column names, not {_kind(primary_key)}.")
    server_name = table.get("serverName", "")
    has_mapping = isinstance(server_name, str) and server_name.lstrip().startswith("{")
    read = Table(
        name=_own_name(name, table, place),
        server_name="" if has_mapping else _name(server_name, f"{place}.serverName", may_be_empty=True),
        columns=tuple(_column(key, column, f"{place}.columns.{key}") for key, column in columns.items()),
        primary_key=tuple(_name(column, f"{place}.primaryKey[{index}]") for index, column in enumerate(primary_key)),
        indexes=read_indexes(table.get(INDEXES, []), f"{place}.{INDEXES}"),
    )
    return _with_mapping(read, server_name, f"{place}.serverName") if has_mapping else read


def _with_mapping(table: Table, text: str, place: str) -> Table:
    try:
        mapping = json.loads(normal_mapping_text(text) or "{}")
    except MqlError as exc:
        raise InvalidSchemaFile(f"{place}: {exc.reason}") from exc
    return mapped_table(table, mapping, place)


def _column(name: str, column: Any, place: str) -> Column:
    column = _object(column, place)
    optional = column.get("optional", False)
    if not isinstance(optional, bool):
        raise InvalidSchemaFile(f"{place}.optional: Write true or false, not {_kind(optional)}.")
    return Column(
        name=_name(name, place),
        type=_type(_required(column, "type", place), f"{place}.type"),
        optional=optional,
        server_name=_name(column.get("serverName", ""), f"{place}.serverName", may_be_empty=True),
    )


def _type(name: Any, place: str) -> ColumnType:
    if name == "null":
        raise InvalidSchemaFile(f"{place}: A null column never holds a value. Leave the column out.")
    if name not in COLUMN_TYPES:
        shown = repr(name[:MAX_IDENTIFIER_LENGTH]) if isinstance(name, str) else _kind(name)
        raise InvalidSchemaFile(f"{place}: Choose one of {', '.join(COLUMN_TYPES)}, not {shown}.")
    return cast(ColumnType, name)


def _own_name(key: str, table: Mapping[str, Any], place: str) -> str:
    name = _name(key, place)
    if table.get("name", name) != name:
        raise InvalidSchemaFile(f"{place}.name: Write the name that is the table's key, {name!r}.")
    return name


def _name(name: Any, place: str, *, may_be_empty: bool = False) -> str:
    if not isinstance(name, str):
        raise InvalidSchemaFile(f"{place}: Write a name, not {_kind(name)}.")
    if not name and not may_be_empty:
        raise InvalidSchemaFile(f"{place}: A name must not be empty.")
    if name.lstrip().startswith("{"):
        raise InvalidSchemaFile(f"{place}: Only a table's serverName can be a mapping. Write a name.")
    if len(name) > MAX_IDENTIFIER_LENGTH:
        raise InvalidSchemaFile(f"{place}: Use at most {MAX_IDENTIFIER_LENGTH} characters.")
    return name


def _required(parent: Mapping[str, Any], key: str, place: str) -> Any:
    if key not in parent:
        raise InvalidSchemaFile(f"{place}.{key}: This is missing.".lstrip("."))
    return parent[key]


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidSchemaFile(f"{place}: Write a JSON object, not {_kind(value)}.")
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}[type(value)]
