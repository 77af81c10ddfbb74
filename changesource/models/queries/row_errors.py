"""Row errors, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from changesource.models.app import App
from changesource.models.database_threads import STREAMS
from changesource.models.row_error import MAX_REASON_LENGTH, RowErrorRecord
from changesource.models.storable_text import storable_text
from changesource.tables.compiled_table import MAX_DOCUMENT_ID_LENGTH
from changesource.tables.row_errors import RowError

MAX_ROW_ERRORS = 1_000
"""Row errors kept for each app. More are of no use to a reader, and one bad field can cause
millions."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What row errors are counted by."""

    table: str
    document_id: str
    column: str


@STREAMS.query
def record_row_errors(app_id: str, errors: Sequence[RowError], ended: Collection[tuple[str, str]] = ()) -> None:
    """Deletes the row errors of `ended`, which are pairs of table and document id; then counts
    `errors` by table, document and column. The newest `MAX_ROW_ERRORS` of an app are kept."""
    if not errors and not ended:
        return
    with transaction.atomic():
        app = App.objects.filter(app_id=app_id).select_for_update(no_key=True).first()
        if app is None:
            return
        _forget(app, ended)
        if errors:
            _count(app, errors)


@STREAMS.query
def documents_with_row_errors(app_ids: Collection[str] = ()) -> dict[str, dict[str, list[str]]]:
    """App id → table → ids of documents; of all apps if `app_ids` is empty."""
    records = RowErrorRecord.objects.filter(Q(app__app_id__in=app_ids) if app_ids else Q()).order_by()
    found: dict[str, dict[str, list[str]]] = {}
    for app_id, table, document_id in records.values_list("app__app_id", "table", "document_id").distinct():
        found.setdefault(app_id, {}).setdefault(table, []).append(document_id)
    return found


def _forget(app: App, ended: Collection[tuple[str, str]]) -> None:
    documents: dict[str, list[str]] = {}
    for table, document_id in ended:
        documents.setdefault(table, []).append(storable_text(document_id, MAX_DOCUMENT_ID_LENGTH))
    for table, document_ids in documents.items():
        app.row_errors.filter(table=table, document_id__in=document_ids).delete()


def _count(app: App, errors: Sequence[RowError]) -> None:
    counts: Counter[_Place] = Counter()
    reasons: dict[_Place, str] = {}
    for error in errors:
        place = _Place(error.table, storable_text(error.document_id, MAX_DOCUMENT_ID_LENGTH), error.column)
        counts[place] += 1
        reasons.pop(place, None)  # so that the newest come last
        reasons[place] = storable_text(error.reason, MAX_REASON_LENGTH)
    newest = dict(list(reasons.items())[-MAX_ROW_ERRORS:])
    now = timezone.now()
    known = app.row_errors.filter(
        table__in={place.table for place in newest},
        document_id__in={place.document_id for place in newest},
    )
    seen_again = []
    for record in known:
        place = _Place(record.table, record.document_id, record.column)
        if place in newest:
            record.count += counts[place]
            record.reason = newest.pop(place)
            record.last_seen = now
            seen_again.append(record)
    RowErrorRecord.objects.bulk_update(seen_again, ["count", "reason", "last_seen"])
    RowErrorRecord.objects.bulk_create(
        RowErrorRecord(
            app=app,
            table=place.table,
            document_id=place.document_id,
            column=place.column,
            reason=reason,
            count=counts[place],
            first_seen=now,
            last_seen=now,
        )
        for place, reason in newest.items()
    )
    surplus = app.row_errors.order_by("-last_seen", "-pk").values_list("pk", flat=True)[MAX_ROW_ERRORS:]
    app.row_errors.filter(pk__in=list(surplus)).delete()
