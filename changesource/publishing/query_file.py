"""Files of named queries, in the form that `queries.written` reads: `{name: {"table": …}}`, bare or under
`{"version": 1, "queries": …}`."""

from __future__ import annotations

from dataclasses import replace

from changesource.publishing.mapping_file import read_entries
from changesource.publishing.schema_file import Schema


def apply_queries(schema: Schema, content: bytes) -> Schema:
    """`schema` with the named queries in a file's `content`, and no others. They are not checked here. Raises
    `InvalidSchemaFile` for anything but an object."""
    return replace(schema, queries=read_entries(content, "queries", "query"))
