"""Replicas that clients have built, and how far each has come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Max, Q, QuerySet, Subquery, Value
from django.db.models.functions import Greatest
from django.utils import timezone

from changesource.models.app import App
from changesource.models.awaited_replica import AwaitedReplica
from changesource.models.client import Client
from changesource.models.database_threads import STREAMS
from changesource.models.queries import pruning
from changesource.models.replica import Replica
from changesource.models.version import Version

RECENT = timedelta(minutes=1)
"""A replica that was in use within this time may answer queries now, beside the last one. Streams note
their replicas several times a minute, but not in a transition."""


@dataclass(frozen=True, slots=True)
class ReplicaRecord:
    """A replica as it was registered at the end of its snapshot. `replica_version` and
    `snapshot_end` are watermarks.

    `client_id` is the client that built it, `access_number` the access version under which it did
    so, and `scope` what else its rows depend on. `acknowledged` is the newest watermark that its
    zero-cache is known to have stored since, or empty.
    """

    app_id: str
    shard_num: int
    replica_version: str
    snapshot_end: str
    version_number: int
    client_id: int | None
    access_number: int
    scope: str
    acknowledged: str = ""
    publications: tuple[str, ...] = ()


@STREAMS.query
def register_replica(record: ReplicaRecord) -> None:
    """Stores what a resume of this replica needs. Does nothing if its app has been deleted
    meanwhile."""
    with transaction.atomic():
        app = App.objects.filter(app_id=record.app_id).first()
        if app is None:
            return
        Replica.objects.update_or_create(
            app=app,
            shard_num=record.shard_num,
            replica_version=record.replica_version,
            defaults={
                "snapshot_end": record.snapshot_end,
                "version_number": record.version_number,
                "client": Client.objects.filter(pk=record.client_id or 0).first(),
                "access_number": record.access_number,
                "scope": record.scope,
                "publications": list(record.publications),
                "last_seen_at": timezone.now(),
            },
        )
        AwaitedReplica.objects.filter(app=app, shard_num=record.shard_num, client=record.client_id).delete()
        pruning.keep_newest_replicas(app, record.client_id)


@STREAMS.query
def find_replica(app_id: str, shard_num: int, replica_version: str) -> ReplicaRecord | None:
    """The replica as it was registered, or None if it never was."""
    replica = _replicas(app_id, shard_num, replica_version).first()
    return None if replica is None else _record(app_id, replica)


@STREAMS.query
def recent_replicas(app_id: str, shard_num: int, client_id: int) -> list[ReplicaRecord]:
    """The client's replicas of the shard that may answer queries now, the last one first: that one,
    even if its stream has been silent for long, as in a transition or without a source; and others
    that were in use within `RECENT`."""
    of_shard = Replica.objects.filter(app__app_id=app_id, shard_num=shard_num, client=client_id)
    last = of_shard.order_by("-last_seen_at", "-pk").values("pk")[:1]
    found = of_shard.filter(Q(last_seen_at__gte=timezone.now() - RECENT) | Q(pk=Subquery(last)))
    return [_record(app_id, replica) for replica in found.order_by("-last_seen_at", "-pk")]


@STREAMS.query
def note_acknowledged(app_id: str, shard_num: int, replica_version: str, watermark: str) -> None:
    """Stores that the replica's zero-cache was seen now, and the newest watermark that it has
    stored, empty for none. A watermark older than the stored one changes nothing."""
    _replicas(app_id, shard_num, replica_version).update(
        acknowledged=Greatest("acknowledged", Value(watermark)), last_seen_at=timezone.now()
    )


@STREAMS.query
def newest_watermark(base_nonce: str) -> str:
    """The newest watermark that any replica is known to have of the version with this nonce or of a
    later one; or empty."""
    base = Version.objects.filter(nonce=base_nonce).first()
    if base is None:
        return ""
    return _newest_of(Replica.objects.filter(app=base.app_id, version_number__gte=base.number))


@STREAMS.query
def newest_watermark_of_client(app_id: str, client_id: int, shard_num: int) -> str:
    """The newest watermark that the client's replicas of the shard are known to have had; or
    empty."""
    of_client = Q(app__app_id=app_id, client=client_id, shard_num=shard_num)
    told = AwaitedReplica.objects.filter(of_client).aggregate(newest=Max("watermark"))
    return max(_newest_of(Replica.objects.filter(of_client)), told["newest"] or "")


def _replicas(app_id: str, shard_num: int, replica_version: str) -> QuerySet[Replica]:
    return Replica.objects.filter(app__app_id=app_id, shard_num=shard_num, replica_version=replica_version)


def _record(app_id: str, replica: Replica) -> ReplicaRecord:
    return ReplicaRecord(
        app_id,
        replica.shard_num,
        replica.replica_version,
        replica.snapshot_end,
        replica.version_number,
        replica.client_id,
        replica.access_number,
        replica.scope,
        replica.acknowledged,
        tuple(replica.publications),
    )


def _newest_of(replicas: QuerySet[Replica]) -> str:
    found = replicas.aggregate(Max("acknowledged"), Max("snapshot_end"))
    return max(filter(None, found.values()), default="")
