"""The changes of clients: of their fields, grants and credentials, whose hashes no history
holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import F, Window
from django.db.models.functions import Lag
from django.utils.formats import localize
from django.utils.timezone import localtime

from changesource.models.app import App
from changesource.models.client import Client, Grant
from changesource.models.credential import Credential

MAX_CHANGES = 500
"""The most changes on one page."""

HISTORIES: Final[tuple[Any, ...]] = (Client.history.model, Grant.history.model, Credential.history.model)
"""The models that hold every saved state of each."""

_WHAT = {"+": "created", "~": "changed", "-": "deleted"}
_NOT_SHOWN = frozenset({"id", "client", "created_at"})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """Values as people read them; empty for none."""

    field: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Change:
    """`what` is created, changed or deleted; `user` is empty for a command or the service itself.
    `is_complete`: the previous state is known, because it has not been pruned."""

    at: datetime
    user: str
    what: str
    client: str
    subject: str
    fields: tuple[FieldChange, ...]
    is_complete: bool


def newest_changes(client: Client | None = None) -> list[Change]:
    """The changes of `client`, or of all clients including deleted ones: at most `MAX_CHANGES`, the
    newest first."""
    records = [record for model in HISTORIES for record in _newest_records(model, client)]
    records.sort(key=lambda record: (record.history_date, record.history_id), reverse=True)
    records = records[:MAX_CHANGES]
    names = _Names(records)
    return [_change(record, names) for record in records]


def _newest_records(model: Any, client: Client | None) -> list[Any]:
    """Each record has the one before it as `before`, None for the first."""
    records = model.objects.order_by("-history_id")
    if client is not None:
        records = records.filter(**{"id" if model is Client.history.model else "client_id": client.pk})
    previous = Window(Lag("history_id"), partition_by=F("id"), order_by=F("history_id").asc())
    newest = list(records.annotate(previous_id=previous)[:MAX_CHANGES])
    before = model.objects.in_bulk([record.previous_id for record in newest if record.previous_id])
    for record in newest:
        record.before = before.get(record.previous_id)
    return newest


class _Names:
    """The current names of clients and apps, or their last names."""

    def __init__(self, records: list[Any]) -> None:
        clients = {_client_id(record) for record in records}
        history = Client.history.model.objects.filter(id__in=clients).order_by("history_id")
        self.clients: dict[int, str] = dict(history.values_list("id", "name"))
        apps = {record.app_id for record in records if isinstance(record, Grant.history.model)}
        self.apps: dict[int, str] = dict(App.objects.filter(pk__in=apps).values_list("pk", "app_id"))

    def client(self, pk: int) -> str:
        return self.clients.get(pk, f"client {pk}")

    def app(self, pk: int) -> str:
        return self.apps.get(pk, f"app {pk}, which has been deleted")


def _change(record: Any, names: _Names) -> Change:
    is_complete = record.history_type != "~" or record.before is not None
    return Change(
        at=record.history_date,
        user=record.history_user_id,
        what=_WHAT[record.history_type],
        client=names.client(_client_id(record)),
        subject=_subject(record, names),
        fields=tuple(_field_changes(record)) if is_complete else (),
        is_complete=is_complete,
    )


def _field_changes(record: Any) -> Iterator[FieldChange]:
    """The fields that a creation fills, or that a change changes. A deletion needs no more
    words."""
    if record.history_type == "-":
        return
    for field in record.tracked_fields:
        if field.name in _NOT_SHOWN or field.name == "app":
            continue
        old = _text(getattr(record.before, field.attname)) if record.history_type == "~" else ""
        new = _text(getattr(record, field.attname))
        if old != new:
            yield FieldChange(str(field.verbose_name), old, new)


def _client_id(record: Any) -> int:
    return int(record.id if isinstance(record, Client.history.model) else record.client_id)


def _subject(record: Any, names: _Names) -> str:
    if isinstance(record, Grant.history.model):
        return f"grant for {names.app(record.app_id)}"
    if isinstance(record, Credential.history.model):
        return f"credential {record.label or record.id}"
    return "client"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return str(localize(localtime(value)))
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if value else ""
