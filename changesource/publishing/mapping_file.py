"""Mapping files: what each table shows of which collection.

`{table: {"source", "filter"?, "projection"?} | {"source", "pipeline"}}`, bare or under `{"version":
1, "mappings": …}`; the values are in MongoDB's language, as Extended JSON. Tables are named as in
the replica (their server names) or as in the schema. Beside its mapping each may have
`"filterColumns"`, a list of names of columns, and `"indexes"`, a list of such lists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from changesource.errors import InvalidSchemaFile
from changesource.mql import MqlError, normal_mapping_text
from changesource.publishing.schema_file import INDEXES, Schema, read_indexes
from changesource.publishing.table_mappings import mapped_table
from changesource.tables.definition import Table

FORMAT_VERSION = 1
FILTER_COLUMNS = "filterColumns"


def apply_mappings(schema: Schema, content: bytes) -> Schema:
    """`schema` with the mappings in the `content` of a mapping file; tables that it does not name
    stay as they are. Raises `InvalidSchemaFile` with the place of the error."""
    by_table = read_by_table(schema, content, "mappings")
    return replace(
        schema,
        tables=tuple(
            _applied(table, by_table[table.name], f"mappings.{table.name}") if table.name in by_table else table
            for table in schema.tables
        ),
        without_filter_columns=frozenset(
            name for name, mapping in by_table.items() if mapping.get(FILTER_COLUMNS) == []
        ),
        without_indexes=schema.without_indexes.difference(
            name for name, mapping in by_table.items() if INDEXES in mapping
        )
        | {name for name, mapping in by_table.items() if mapping.get(INDEXES) == []},
    )


def read_by_table(schema: Schema, content: bytes, key: Literal["mappings", "permissions"]) -> Mapping[str, Any]:
    """Name of a table → its entry in a file, bare or under `{"version": 1, key: …}`. Raises
    `InvalidSchemaFile` for a table that is not in `schema`, and for a table that is there under
    both of its names."""
    found = read_entries(content, key, "table")
    tables = {table.name: table for table in schema.tables} | {table.server_name: table for table in schema.tables}
    for name in found:
        if name not in tables:
            raise InvalidSchemaFile(f"{key}.{name[:80]}: The schema has no table with this name.")
    by_table = {tables[name].name: value for name, value in found.items()}
    if len(by_table) < len(found):
        twice = next(name for name in found if tables[name].name != name and tables[name].name in found)
        raise InvalidSchemaFile(f"{key}.{twice}: The table is also there under its other name. Keep one of them.")
    return by_table


def _applied(table: Table, mapping: object, place: str) -> Table:
    if not isinstance(mapping, dict):
        return mapped_table(table, mapping, place)
    names = mapping.get(FILTER_COLUMNS, list(table.filter_columns))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidSchemaFile(f"{place}.{FILTER_COLUMNS}: Write a list of column names.")
    indexes = read_indexes(mapping[INDEXES], f"{place}.{INDEXES}") if INDEXES in mapping else table.indexes
    others = {key: value for key, value in mapping.items() if key not in (FILTER_COLUMNS, INDEXES)}
    return replace(mapped_table(table, others, place), filter_columns=tuple(names), indexes=indexes)


def read_entries(content: bytes, key: str, of: str) -> Mapping[str, Any]:
    """The object in a file, which has an entry for each `of`, bare or under `{"version": 1, key:
    …}`. Raises `InvalidSchemaFile`."""
    try:
        # Read like a single mapping: no repeated keys, and nothing that could not be stored.
        found = json.loads(normal_mapping_text(content.decode("utf-8-sig")) or "{}")
    except UnicodeDecodeError as exc:
        raise InvalidSchemaFile(f"The {key} file is not JSON in UTF-8.") from exc
    except (MqlError, ValueError) as exc:
        reason = exc.reason if isinstance(exc, MqlError) else "A number is too large."
        raise InvalidSchemaFile(f"The {key} file: {reason}") from exc
    if isinstance(found, dict) and key in found and found.keys() <= {"version", key, "$schema"}:
        if found.get("version", FORMAT_VERSION) != FORMAT_VERSION:
            raise InvalidSchemaFile(f"version: This release reads {key} files of version {FORMAT_VERSION}.")
        found = found[key]
    if not isinstance(found, dict):
        raise InvalidSchemaFile(f"{key}: Write a JSON object with an entry for each {of}.")
    return found
