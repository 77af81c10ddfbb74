"""A table mapping file: which collection each table shows, and which field each column.

`{table: {"source": collection, "projection"?: {column: 1 | "$field"}}}`, bare or under `{"version": 1, "mappings": …}`.
Tables and columns are named as in the replica (their server names) or as in the schema. Tables are one-to-one: what
a file says beyond that, such as a filter or a pipeline, is refused rather than left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from changesource.errors import InvalidSchemaFile
from changesource.mapping.definition import Column, Table
from changesource.publishing.json_text import StorableJSONDecoder
from changesource.publishing.schema_file import Schema

FORMAT_VERSION = 1


def apply_mappings(schema: Schema, content: bytes) -> Schema:
    """`schema` with the collections and fields that the mapping file's `content` names; tables that it does not name stay
    as they are. Raises `InvalidSchemaFile` with the place that is wrong."""
    mappings = _read(content)
    tables = {name: table for table in schema.tables for name in (table.server_name, table.name)}
    for name in mappings:
        if name not in tables:
            raise InvalidSchemaFile(f"mappings.{name[:80]}: The schema has no table of this name.")
    by_table = {tables[name].name: mapping for name, mapping in mappings.items()}
    return replace(
        schema,
        tables=tuple(
            _mapped(table, by_table[table.name], f"mappings.{table.name}") if table.name in by_table else table
            for table in schema.tables
        ),
    )


def _read(content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content.decode("utf-8-sig"), cls=StorableJSONDecoder)
    except (UnicodeDecodeError, json.JSONDecodeError) as exc:
        raise InvalidSchemaFile("The mapping file is not JSON in UTF-8.") from exc
    if isinstance(found, dict) and "mappings" in found and found.keys() <= {"version", "mappings", "$schema"}:
        if found.get("version", FORMAT_VERSION) != FORMAT_VERSION:
            raise InvalidSchemaFile(f"version: This release reads mapping files of version {FORMAT_VERSION}.")
        found = found["mappings"]
    if not isinstance(found, dict):
        raise InvalidSchemaFile("mappings: Write a JSON object with a mapping for each table.")
    return found


def _mapped(table: Table, mapping: Any, place: str) -> Table:
    if not isinstance(mapping, dict):
        raise InvalidSchemaFile(f"{place}: Write a JSON object with a source.")
    source = mapping.get("source")
    if not isinstance(source, str) or not source:
        raise InvalidSchemaFile(f"{place}.source: Write the name of a collection.")
    for key, value in mapping.items():
        if key not in ("source", "projection") and value:
            raise InvalidSchemaFile(
                f"{place}.{key[:80]}: A table is a whole collection in this release, row by row. Take this out, or leave the "
                "table out."
            )
    projection = mapping.get("projection") or {}
    if not isinstance(projection, dict):
        raise InvalidSchemaFile(f"{place}.projection: Write a JSON object.")
    columns = tuple(_projected(column, projection, f"{place}.projection") for column in table.columns)
    return replace(table, collection=source, columns=columns)


def _projected(column: Column, projection: Mapping[str, Any], place: str) -> Column:
    """`column` with its field. As in MongoDB: `_id` is in unless it is taken out; others are in if they are named, or if
    the projection only takes out."""
    name = column.server_name if column.server_name in projection else column.name
    if name not in projection:
        only_takes_out = all(value in (0, False) for value in projection.values())
        if only_takes_out or column.server_name == "_id":
            return column
        raise InvalidSchemaFile(f"{place}: The column {column.name} is not in it, so it would never hold a value.")
    value = projection[name]
    if value is True or (value == 1 and not isinstance(value, str)):
        return column
    if isinstance(value, str) and value.startswith("$") and len(value) > 1 and "." not in value and value[1] != "$":
        return replace(column, field=value[1:])
    if value in (0, False):
        raise InvalidSchemaFile(f"{place}.{name[:80]}: The table has this column, so it cannot be taken out.")
    raise InvalidSchemaFile(
        f'{place}.{name[:80]}: Write 1, or a top-level field as "$field". Nothing else is supported.'
    )
