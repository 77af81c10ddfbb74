"""The draft of an app as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from changesource.models.app import App
from changesource.models.column import Column
from changesource.models.table import Table
from changesource.tables import definition


def draft_definition(app: App) -> definition.AppDefinition:
    """The draft of `app` as it is now, which a publish would store. It may have problems."""
    return definition.AppDefinition(
        app_id=app.app_id,
        source=app.source,
        tables=tuple(
            table_definition(table, table.columns.all())
            for table in app.tables.order_by("position", "pk").prefetch_related("columns")
        ),
        relationships=app.relationships,
        publications=app.publications,
        queries=app.queries,
    )


def table_definition(table: Table, columns: Iterable[Column]) -> definition.Table:
    """`table` with `columns`, ordered by position. Neither has to be stored."""
    return definition.Table(
        name=table.name,
        server_name=table.server_name,
        collection=table.collection,
        columns=tuple(
            definition.Column(
                name=column.name,
                server_name=column.server_name,
                field=column.field,
                type=cast(definition.ColumnType, column.type),
                optional=column.optional,
            )
            for column in sorted(columns, key=lambda column: column.position)
        ),
        primary_key=tuple(table.primary_key),
        mapping=table.mapping,
        permissions=table.permissions,
        filter_columns=tuple(table.filter_columns),
        indexes=tuple(tuple(index) for index in table.indexes),
    )
