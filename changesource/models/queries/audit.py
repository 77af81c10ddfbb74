"""The records of who did what, and how long they are kept."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from changesource.models.database_threads import STREAMS
from changesource.models.queries.client_changes import HISTORIES
from changesource.models.refusal import Refusal

MAX_DAYS = 36_500
"""A longer time means forever."""


@STREAMS.query
def prune_audit(days: int) -> int:
    """Deletes what is older than `days` from the history of clients and from the refused
    connections, and returns the number of rows. 0 or less deletes nothing.

    The last state before that stays as long as its row exists: later changes are compared with it.
    """
    if not 0 < days <= MAX_DAYS:
        return 0
    limit = timezone.now() - timedelta(days=days)
    deleted, _ = Refusal.objects.filter(last_seen__lt=limit).delete()
    for model in HISTORIES:
        old = model.objects.filter(history_date__lt=limit)
        later = old.filter(id=OuterRef("id"), history_id__gt=OuterRef("history_id"))
        count, _ = old.filter(Q(history_type="-") | Exists(later)).delete()
        deleted += count
    return deleted
