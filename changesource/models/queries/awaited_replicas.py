"""Replicas that zero-caches were told to build, and have not built yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from changesource.models.app import App
from changesource.models.awaited_replica import MAX_REASON_LENGTH, AwaitedReplica
from changesource.models.database_threads import REVOCATION, STREAMS
from changesource.models.queries import pruning
from changesource.models.replica import Replica


@dataclass(frozen=True, slots=True)
class ResetNotice:
    """`reset-required`, as sent to a zero-cache with the replica `replica_version`. `watermark` is
    the newest that it is known to have, empty for none, and never one that the source has not
    given. `is_fault`: no person asked for the reset."""

    app_id: str
    client_id: int
    shard_num: int
    replica_version: str
    watermark: str
    reason: str
    is_fault: bool


@dataclass(frozen=True, slots=True)
class Awaited:
    """A replica that has not come."""

    app_id: str
    shard_num: int
    reason: str
    told_at: datetime


@STREAMS.query
def note_reset(notice: ResetNotice) -> None:
    """Stores the notice until the next replica is registered. Does nothing for a replica that is
    not registered. The reset of a replica that another one has followed is no fault."""
    with transaction.atomic():
        app = App.objects.select_for_update(no_key=True).filter(app_id=notice.app_id).first()
        if app is None:
            return
        versions = Replica.objects.filter(app=app, client=notice.client_id, shard_num=notice.shard_num)
        registered = list(versions.order_by("-pk").values_list("replica_version", flat=True))
        if notice.replica_version not in registered:
            return
        is_fault = notice.is_fault and notice.replica_version == registered[0]
        known, is_new = AwaitedReplica.objects.get_or_create(
            app=app,
            client_id=notice.client_id,
            shard_num=notice.shard_num,
            defaults={
                "watermark": notice.watermark,
                "reason": notice.reason[:MAX_REASON_LENGTH],
                "is_fault": is_fault,
                "told_at": timezone.now(),
            },
        )
        if is_new:
            pruning.keep_newest_awaited(app, notice.client_id)
            return
        known.watermark = max(known.watermark, notice.watermark)
        known.reason = notice.reason[:MAX_REASON_LENGTH]
        known.is_fault = known.is_fault or is_fault
        known.told_at = timezone.now()
        known.save()


@REVOCATION.query
def awaited_replicas(at_most: int) -> list[Awaited]:
    """The replicas that should be there again, the most recently awaited first. Runs in the
    revocation thread, which strangers cannot hold up: readiness is asked for once a second."""
    alarming = AwaitedReplica.objects.alarming().order_by("-told_at").select_related("app")[:at_most]
    return [Awaited(replica.app.app_id, replica.shard_num, replica.reason, replica.told_at) for replica in alarming]
