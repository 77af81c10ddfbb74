"""Refused connections, counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F
from django.utils import timezone

from changesource.models.database_threads import STREAMS
from changesource.models.refusal import (
    MAX_ADDRESS_LENGTH,
    MAX_CLIENT_LENGTH,
    MAX_REASON_LENGTH,
    MAX_REFUSALS,
    Refusal,
)
from changesource.models.storable_text import storable_text

REFUSALS_AT_ONCE = 500
"""Counted by one statement: a database accepts a bounded number of parameters."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What refused connections are counted by. `client` is a name, empty if the client is not
    known; `code` is the WebSocket close code, or the HTTP status before there is a WebSocket."""

    address: str
    client: str
    code: int
    reason: str


@STREAMS.query
def record_refusals(counts: Mapping[Refused, int]) -> None:
    """Adds `counts` to the stored ones, as seen now. The newest `MAX_REFUSALS` are kept.

    There is no transaction around it, so that processes that count the same refusals do not wait
    for each other. A row that does not exist is created with a count of 0, by any of them, and then
    counted up.
    """
    if not counts:
        return
    now = timezone.now()
    stored: Counter[Refused] = Counter()
    for refused, count in list(counts.items())[-MAX_REFUSALS:]:
        stored[_storable(refused)] += count
    keys = list(stored)
    for begin in range(0, len(keys), REFUSALS_AT_ONCE):
        _count_refusals({key: stored[key] for key in keys[begin : begin + REFUSALS_AT_ONCE]}, now)
    surplus = Refusal.objects.order_by("-last_seen", "-pk").values_list("pk", flat=True)[MAX_REFUSALS:]
    Refusal.objects.filter(pk__in=list(surplus)).delete()


def _count_refusals(counts: Mapping[Refused, int], now: datetime) -> None:
    Refusal.objects.bulk_create(
        [
            Refusal(
                address=refused.address,
                client=refused.client,
                code=refused.code,
                reason=refused.reason,
                count=0,
                first_seen=now,
                last_seen=now,
            )
            for refused in counts
        ],
        ignore_conflicts=True,
    )
    rows = Refusal.objects.filter(address__in={refused.address for refused in counts}).order_by()
    by_count: defaultdict[int, list[int]] = defaultdict(list)
    for pk, address, client, code, reason in rows.values_list("pk", "address", "client", "code", "reason"):
        if count := counts.get(Refused(address, client, code, reason)):
            by_count[count].append(pk)
    for count, pks in by_count.items():
        Refusal.objects.filter(pk__in=pks).update(count=F("count") + count, last_seen=now)


def _storable(refused: Refused) -> Refused:
    return Refused(
        storable_text(refused.address, MAX_ADDRESS_LENGTH),
        storable_text(refused.client, MAX_CLIENT_LENGTH),
        refused.code,
        storable_text(refused.reason, MAX_REASON_LENGTH),
    )
