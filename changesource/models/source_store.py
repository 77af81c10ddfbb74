"""What the streaming code keeps in the Django DB about sources: which database one is, and who has to begin anew. Raises as
`store` does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from changesource.models.access_version import AccessVersion
from changesource.models.app import App
from changesource.models.awaited_replica import MAX_REASON_LENGTH, AwaitedReplica
from changesource.models.database_threads import REVOCATION
from changesource.models.replica import Replica
from changesource.models.replica_pruning import keep_newest_awaited
from changesource.models.replica_pruning import prune_replicas as _prune_replicas
from changesource.models.store import in_database
from changesource.models.version import Version

for_readiness = REVOCATION.ask


@dataclass(frozen=True, slots=True)
class ResetNotice:
    """`reset-required`, as it is said to a zero-cache with the replica `replica_version`. `watermark` is the newest that it
    is known to have, empty for none: never one that the source has not given. `is_fault`: nobody asked for it."""

    app_id: str
    client_id: int
    shard_num: int
    replica_version: str
    watermark: str
    reason: str
    is_fault: bool


@dataclass(frozen=True, slots=True)
class Awaited:
    """A replica that does not come."""

    app_id: str
    shard_num: int
    reason: str
    told_at: datetime


async def source_id_of(base_nonce: str) -> str:
    """By which the database is known again that the version with this nonce, and those that follow it, stream from. Empty
    when nobody has looked."""
    return await in_database(_source_id_of, base_nonce)


async def keep_source_id(base_nonce: str, source_id: str) -> str:
    """Keeps what was found at the first look; the one that is kept, which may be somebody else's."""
    return await in_database(_keep_source_id, base_nonce, source_id)


BEGINS_ANEW_AFTER = timedelta(days=1)
"""How long an app that began anew by itself does not do so again. All replicas load everything again then, which may take
hours; a person who restores a database twice in a day is at hand; and everybody who may write to the source can bring it
about."""


async def begin_anew(app_id: str, base_nonce: str, source_id: str, reason: str) -> bool:
    """The app streams on from the database of `source_id`, empty for one that is not known: what the version with this
    nonce began has ended. Nothing happens when somebody else did this before. False if the version itself is younger than
    `BEGINS_ANEW_AFTER` and no person published it: then all stays as it is."""
    return await in_database(_begin_anew, app_id, base_nonce, source_id, reason)


async def has_just_begun_anew(base_nonce: str) -> bool:
    """Whether `begin_anew` would change nothing, because the version with this nonce began by itself a short while ago."""
    return await in_database(lambda: _has_just_begun_anew(Version.objects.filter(nonce=base_nonce).first()))


async def newest_watermark(base_nonce: str) -> str:
    """The newest that a replica is known to have of the version with this nonce and those that follow it; empty for none."""
    return await in_database(_newest_watermark, base_nonce)


async def newest_watermark_of_client(app_id: str, client_id: int, shard_num: int) -> str:
    """The newest that the client's replicas of the shard are known to have had; empty for none."""
    return await in_database(_newest_watermark_of_client, app_id, client_id, shard_num)


async def note_reset(notice: ResetNotice) -> None:
    """Keeps that it was said, until the replica is registered that follows. Nothing happens for a replica that is not
    registered; one that another has followed is no fault."""
    await in_database(_note_reset, notice)


async def awaited_replicas(at_most: int) -> list[Awaited]:
    """The replicas that should be there again, those that were told of last. Asked for in the thread of revocation, which
    strangers cannot hold up: whether the process is ready is asked for once a second."""
    return await for_readiness(_awaited_replicas, at_most)


async def prune_replicas() -> int:
    """As `replica_pruning.prune_replicas`."""
    return await in_database(_prune_replicas)


def _source_id_of(base_nonce: str) -> str:
    return Version.objects.filter(nonce=base_nonce).values_list("source_id", flat=True).first() or ""


def _keep_source_id(base_nonce: str, source_id: str) -> str:
    Version.objects.filter(nonce=base_nonce, source_id="").update(source_id=source_id)
    return _source_id_of(base_nonce)


def _has_just_begun_anew(base: Version | None) -> bool:
    return base is not None and bool(base.reason) and timezone.now() - base.published_at < BEGINS_ANEW_AFTER


def _begin_anew(app_id: str, base_nonce: str, source_id: str, reason: str) -> bool:
    with transaction.atomic():
        app = App.objects.select_for_update(no_key=True).filter(app_id=app_id).first()
        if app is None:
            return True
        base = app.versions.filter(cluster_time=0).order_by("-number").first()
        newest = Version.objects.newest(app)
        if base is None or newest is None or base.nonce != base_nonce:
            return True
        if _has_just_begun_anew(base):
            return False
        # Its publisher learns that it has to publish again: the marker may be in either database.
        app.versions.filter(cluster_time=None).delete()
        AccessVersion.objects.begin_anew(app)
        Version.objects.create(
            app=app,
            number=newest.number + 1,
            definition=newest.definition,
            cluster_time=0,
            source_id=source_id,
            reason=reason,
        )
    return True


def _newest_watermark(base_nonce: str) -> str:
    base = Version.objects.filter(nonce=base_nonce).first()
    if base is None:
        return ""
    return _newest_of(Replica.objects.filter(app=base.app_id, version_number__gte=base.number))


def _newest_watermark_of_client(app_id: str, client_id: int, shard_num: int) -> str:
    of_client = Q(app__app_id=app_id, client=client_id, shard_num=shard_num)
    told = AwaitedReplica.objects.filter(of_client).aggregate(newest=Max("watermark"))
    return max(_newest_of(Replica.objects.filter(of_client)), told["newest"] or "")


def _newest_of(replicas: QuerySet[Replica]) -> str:
    found = replicas.aggregate(Max("acknowledged"), Max("snapshot_end"))
    return max(filter(None, found.values()), default="")


def _note_reset(notice: ResetNotice) -> None:
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
            keep_newest_awaited(app, notice.client_id)
            return
        known.watermark = max(known.watermark, notice.watermark)
        known.reason = notice.reason[:MAX_REASON_LENGTH]
        known.is_fault = known.is_fault or is_fault
        known.told_at = timezone.now()
        known.save()


def _awaited_replicas(at_most: int) -> list[Awaited]:
    alarming = AwaitedReplica.objects.alarming().order_by("-told_at").select_related("app")[:at_most]
    return [Awaited(replica.app.app_id, replica.shard_num, replica.reason, replica.told_at) for replica in alarming]
