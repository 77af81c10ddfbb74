"""Publications files: groups of tables that a zero-cache can ask for.

`{publication: [table, …]}`, bare or under `{"version": 1, "publications": …}`. Tables are named as
in the replica (their server names) or as in the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from changesource.publishing.mapping_file import read_entries
from changesource.publishing.schema_file import Schema


def apply_publications(schema: Schema, content: bytes) -> Schema:
    """`schema` with the publications in a file's `content`, and no others. They are not checked
    here. Raises `InvalidSchemaFile` for anything but an object."""
    names = {table.server_name: table.name for table in schema.tables}
    names |= {table.name: table.name for table in schema.tables}
    found = read_entries(content, "publications", "publication")
    return replace(schema, publications={name: _by_name(group, names) for name, group in found.items()})


def _by_name(group: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(group, list):
        return group
    return [names.get(name, name) if isinstance(name, str) else name for name in group]
