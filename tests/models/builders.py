"""Drafts to begin a test with."""

import time
from typing import Any

from django.contrib.auth.models import User

from changesource.errors import PublishUnderWay
from changesource.models import App, Client, Column, Grant, Table, Version
from changesource.publishing.versions import begin_publish


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


def set_grant(client: Client, **values: Any) -> Grant:
    """The client's only grant, with `values` saved as admin does."""
    grant = client.grants.get()
    for name, value in values.items():
        setattr(grant, name, value)
    grant.save()
    return grant


def publish(app: App, user: User | None = None, **options: Any) -> Version:
    """The draft as the next version, as if its marker had come back at a cluster time that grows with its number."""
    while True:
        try:
            version = begin_publish(app, user, **options)
        except PublishUnderWay:
            # Somebody else's, which ends soon. Whoever asks SQLite for its lock again at once may keep it from them for ever.
            time.sleep(0.02)
            continue
        break
    if version.cluster_time is None:
        assert Version.objects.confirm(version.nonce, version.number << 32)
        version.refresh_from_db()
    return version
