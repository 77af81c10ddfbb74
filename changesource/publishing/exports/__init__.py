"""A definition in the formats that others read: Zero's schema as JSON and TypeScript, the
latter with the named queries, and its permissions. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from changesource.publishing.exports.typescript import typescript_schema
from changesource.publishing.exports.zero_json import zero_schema
from changesource.publishing.permissions import compile_permissions
from changesource.queries.registry import NamedQuery
from changesource.tables.definition import AppDefinition


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What an export depends on besides the definition: the query functions of the app, by name, and whether clients may also
    define queries themselves. By default they may if the app has no named queries."""

    queries: Mapping[str, NamedQuery] = field(default_factory=dict)
    legacy_queries: bool | None = None

    def has_legacy_queries(self, definition: AppDefinition) -> bool:
        if self.legacy_queries is None:
            return not self.queries and not definition.queries
        return self.legacy_queries


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One format. `ending` is that of file names."""

    name: str
    title: str
    ending: str
    content_type: str
    write: Callable[[AppDefinition, ExportOptions], str]

    def render(self, definition: AppDefinition, options: ExportOptions | None = None) -> str:
        """`definition` in this format. Raises `InvalidDefinition` for what it cannot express."""
        return self.write(definition, options or ExportOptions())


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
            lambda definition, options: _text(
                zero_schema(definition, legacy_queries=options.has_legacy_queries(definition))
            ),
        ),
        ExportFormat(
            "typescript",
            "Zero schema and named queries, TypeScript",
            "schema.ts",
            "text/plain; charset=utf-8",
            lambda definition, options: typescript_schema(
                definition, options.queries, legacy_queries=options.has_legacy_queries(definition)
            ),
        ),
        ExportFormat(
            "permissions-json",
            "Permissions, JSON",
            "permissions.json",
            "application/json",
            lambda definition, _: _text(permissions(definition)),
        ),
    )
}
