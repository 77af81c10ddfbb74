"""Drafts to begin a test with."""

from typing import Any

from changesource.models import App, Column, Table


def build_app(app_id: str = "shop", *, source: str = "default") -> App:
    """An app that can be published: one table `city` with `_id` and an optional `name`."""
    app = App.objects.create(app_id=app_id, source=source)
    build_table(app, "city", {"_id": {}, "name": {"optional": True}})
    return app


def build_table(app: App, name: str, columns: dict[str, dict[str, Any]], **values: Any) -> Table:
    """A table of the draft with `columns`: name → other attributes."""
    table = Table.objects.create(app=app, name=name, position=app.tables.count(), **values)
    for position, (column_name, attributes) in enumerate(columns.items()):
        Column.objects.create(table=table, name=column_name, position=position, **attributes)
    return table
