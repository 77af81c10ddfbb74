"""A definition in the formats that others read: Zero's schema as JSON and TypeScript, and its
permissions. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from changesource.publishing.exports.typescript import typescript_schema
from changesource.publishing.exports.zero_json import zero_schema
from changesource.publishing.permissions import compile_permissions
from changesource.tables.definition import AppDefinition


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One format. `render` raises `InvalidDefinition` for what it cannot express; `ending` is that
    of file names."""

    name: str
    title: str
    ending: str
    content_type: str
    render: Callable[[AppDefinition], str]


def permissions(definition: AppDefinition) -> Mapping[str, Any]:
    """The permissions as Zero compiles them (`{appID}.permissions`), by the server names of tables.
    A table without rules shows its rows to no one."""
    return compile_permissions(definition) or {"tables": {}}


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


EXPORT_FORMATS: Mapping[str, ExportFormat] = {
    export_format.name: export_format
    for export_format in (
        ExportFormat(
            "zero-json",
            "Zero schema, JSON",
            "schema.json",
            "application/json",
            lambda definition: _text(zero_schema(definition)),
        ),
        ExportFormat(
            "typescript", "Zero schema, TypeScript", "schema.ts", "text/plain; charset=utf-8", typescript_schema
        ),
        ExportFormat(
            "permissions-json",
            "Permissions, JSON",
            "permissions.json",
            "application/json",
            lambda definition: _text(permissions(definition)),
        ),
    )
}
