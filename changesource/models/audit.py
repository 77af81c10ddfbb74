"""What tells who did what, and how long it is kept."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from changesource.models.client_changes import HISTORIES
from changesource.models.refusal import Refusal

MAX_DAYS = 36_500
"""More is for ever."""


def prune_audit(days: int) -> int:
    """Deletes what is older than `days` of the history of clients and of refused connections, and says how many rows.
    0 and less keeps everything.

    The last state before that stays while its row does, as what later changes are compared with.
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
