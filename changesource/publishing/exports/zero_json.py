"""Zero schemas in their JSON form, which `publishing.schema_file` reads."""

from __future__ import annotations

from typing import Any

from changesource.publishing.exports.relationships import relationships_by_table
from changesource.tables.definition import AppDefinition, Column, Table
from changesource.tables.relationships import Relationship


def zero_schema(definition: AppDefinition, *, legacy_queries: bool = True) -> dict[str, Any]:
    """What `JSON.stringify(createSchema(…))` returns for the schema that `typescript_schema`
    writes.

    Raises `InvalidDefinition` for relationships that `createSchema` would refuse.
    """
    return {
        "tables": {table.name: _table(table) for table in definition.tables},
        "relationships": {
            name: {relationship.name: _connections(relationship) for relationship in relationships}
            for name, relationships in relationships_by_table(definition).items()
        },
        **({"enableLegacyQueries": True} if legacy_queries else {}),
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "columns": {column.name: _column(column) for column in table.columns},
        "primaryKey": list(table.primary_key),
        **({"serverName": table.server_name} if table.server_name != table.name else {}),
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "type": column.type,
        "optional": column.optional,
        "customType": None,
        **({"serverName": column.server_name} if column.server_name != column.name else {}),
    }


def _connections(relationship: Relationship) -> list[dict[str, Any]]:
    return [
        {
            "sourceField": list(connection.source_columns),
            "destField": list(connection.destination_columns),
            "destSchema": connection.destination,
            "cardinality": connection.cardinality,
        }
        for connection in relationship.connections
    ]
