"""Applies a mapping as files write it, `{"source", "filter"?, "projection"?}` or `{"source",
"pipeline"}`, to a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from changesource.errors import InvalidSchemaFile
from changesource.mql import MqlError, Shape, compile_pipeline, read_mapping_text
from changesource.tables.definition import Column, Table

ID = "_id"
SAYS_NOTHING: tuple[tuple[str, Any], ...] = (("filter", {}), ("filter", None), ("projection", {}), ("projection", None))


def mapped_table(table: Table, mapping: object, place: str) -> Table:
    """`table` with its collection, its mapping and the fields of its columns.

    A column shows the field that the mapping gives under the column's server name, or else under
    its name. A projection that only selects and renames top-level fields becomes the fields of the
    columns. Raises `InvalidSchemaFile` with the place, which begins with `place`.
    """
    if not isinstance(mapping, dict):
        raise InvalidSchemaFile(f"{place}: Write a JSON object with a source.")
    source = mapping.get("source")
    if not isinstance(source, str) or not source:
        raise InvalidSchemaFile(f"{place}.source: Write the name of a collection.")
    specification = {key: value for key, value in mapping.items() if key != "source"}
    try:
        shape = compile_pipeline(read_mapping_text(_text(specification))).shape()
    except MqlError as error:
        steps = ".".join((place, *error.place))
        raise InvalidSchemaFile(f"{steps}: {error.message}") from error
    specification = {key: value for key, value in specification.items() if (key, value) not in SAYS_NOTHING}
    projection = specification.get("projection", {})
    if specification.keys() <= {"projection"}:
        fields = [_renamed_field(column, projection) for column in table.columns]
        if all(fields):
            return _with_fields(replace(table, collection=source, mapping=""), fields)
    fields = [_given_field(column, projection, shape) for column in table.columns]
    return _with_fields(replace(table, collection=source, mapping=_text(specification)), fields)


def _text(specification: Mapping[str, Any]) -> str:
    return json.dumps(specification, ensure_ascii=False) if specification else ""


def _with_fields(table: Table, fields: list[str]) -> Table:
    columns = zip(table.columns, fields, strict=True)
    return replace(table, columns=tuple(replace(column, field=field) for column, field in columns))


def _renamed_field(column: Column, projection: Mapping[str, Any]) -> str:
    """The field of the document that the column shows; empty if a name is not enough to say it.

    As in MongoDB, `_id` is included unless it is excluded; others are included if named, or if the
    projection only excludes.
    """
    name = _given_name(column, projection)
    value = projection.get(name)
    if _is_one(value):
        return name
    if name in projection:
        is_field = isinstance(value, str) and value.startswith("$") and value[1:2] not in ("", "$") and "." not in value
        return str(value)[1:] if is_field else ""
    only_excludes = all(_is_zero(value) for value in projection.values())
    return name if only_excludes or name == ID else ""


def _given_field(column: Column, projection: Mapping[str, Any], shape: Shape) -> str:
    name = _given_name(column, projection)
    is_given_by_name = shape.has(column.name) and not shape.has(name)
    return column.name if is_given_by_name else name


def _given_name(column: Column, projection: Mapping[str, Any]) -> str:
    """The one of its two names that the projection uses for the column. For a column of `_id`, `"id": 1`
    means `_id`, which is included."""
    given = {path.partition(".")[0]: value for path, value in projection.items() if not _is_zero(value)}
    is_id = column.server_name == ID and ID not in projection and _is_one(given.get(column.name))
    is_by_name = column.name in given and column.server_name not in given and not is_id
    return column.name if is_by_name else column.server_name


def _is_one(value: object) -> bool:
    return isinstance(value, int | float) and bool(value)


def _is_zero(value: object) -> bool:
    return isinstance(value, int | float) and not value
