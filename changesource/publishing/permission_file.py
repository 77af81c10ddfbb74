"""Permissions files: who may do what with which rows of each table.

`{table: {"select": [rule, …], …}}`, bare or under `{"version": 1, "permissions": …}`, in the form
that `rules.syntax` reads. Tables are named as in the replica (their server names) or as in the
schema.
"""

from __future__ import annotations

import json
from dataclasses import replace

from changesource.errors import InvalidSchemaFile
from changesource.publishing.mapping_file import read_by_table
from changesource.publishing.schema_file import Schema


def apply_permissions(schema: Schema, content: bytes) -> Schema:
    """`schema` with the permissions in a file's `content`; tables that it does not name stay as
    they are. The rules are not checked here. Raises `InvalidSchemaFile` with the place of the
    error."""
    by_table = read_by_table(schema, content, "permissions")
    for name, permissions in by_table.items():
        if not isinstance(permissions, dict):
            raise InvalidSchemaFile(f"permissions.{name}: Write a JSON object with select, insert, update and delete.")
    texts = {name: json.dumps(permissions, ensure_ascii=False) for name, permissions in by_table.items()}
    return replace(
        schema,
        tables=tuple(replace(table, permissions=texts.get(table.name, table.permissions)) for table in schema.tables),
    )
