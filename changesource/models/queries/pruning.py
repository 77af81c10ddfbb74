"""How many replicas, awaited replicas and access versions are kept, and for how long. Clients
create the first two as they like; the third grow with each change of a grant."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet
from django.utils import timezone

from changesource.models.access_version import AccessVersion
from changesource.models.app import App
from changesource.models.awaited_replica import AwaitedReplica
from changesource.models.database_threads import STREAMS
from changesource.models.replica import Replica

UNSEEN_FOR = timedelta(days=90)
"""A zero-cache that was not seen for this long does not come back. If it does, it builds another
replica."""
SUPERSEDED_FOR = timedelta(days=7)
"""How long a row is kept after a newer one has replaced it: longer than a snapshot takes, or the
exchange of one zero-cache for another."""
MAX_OF_CLIENT = 1_000
"""The newest rows of each kind that are kept for one client and one app. A replica in use has an
open stream and is noted every 10 seconds, and a client has far fewer streams
(STREAMS_PER_CLIENT)."""


@STREAMS.query
def prune_replicas() -> int:
    """Deletes what no zero-cache in use can need, and returns the number of rows."""
    now = timezone.now()
    newer = Replica.objects.filter(
        app=OuterRef("app"), client=OuterRef("client"), shard_num=OuterRef("shard_num"), pk__gt=OuterRef("pk")
    )
    is_superseded = Q(client=None) | Exists(newer.exclude(acknowledged=""))
    old = Q(last_seen_at__lt=now - UNSEEN_FOR) | Q(is_superseded, last_seen_at__lt=now - SUPERSEDED_FOR)
    deleted, _ = Replica.objects.filter(old).delete()
    count, _ = AwaitedReplica.objects.filter(told_at__lt=now - UNSEEN_FOR).delete()
    return deleted + count + _prune_access_versions(now)


def keep_newest_replicas(app: App, client_id: int | None) -> None:
    """Deletes the client's replicas beyond the newest `MAX_OF_CLIENT`."""
    _delete_surplus(Replica.objects.filter(app=app, client=client_id).order_by("-last_seen_at", "-pk"))


def keep_newest_awaited(app: App, client_id: int) -> None:
    """Deletes the client's awaited replicas beyond the newest `MAX_OF_CLIENT`. Faults are kept
    longer than others."""
    awaited = AwaitedReplica.objects.filter(app=app, client=client_id)
    _delete_surplus(awaited.order_by("-is_fault", "-told_at", "-pk"))


def _prune_access_versions(now: datetime) -> int:
    """Deletes the oldest versions of each client in each app, up to the first one that may still be
    needed.

    A version is needed while it is in force, and for `SUPERSEDED_FOR` after that. The watermark of
    a replica says, by its place, under which version its rows were sent, and zero-cache may come
    back with any watermark since its replica's first: the one in a backup of its file. So all
    versions since the one that a replica was built under are needed, without a gap: across a gap,
    rows would count as sent under an earlier version than they were.
    """
    deleted = 0
    of_client_in_app = AccessVersion.objects.order_by().values_list("client", "app")
    for client, app, _ in of_client_in_app.annotate(count=Count("pk")).filter(count__gt=1):
        versions = AccessVersion.objects.filter(client=client, app=app)
        in_force = versions.filter(cluster_time__isnull=False, created_at__lt=now - SUPERSEDED_FOR)
        needed = _newest_number(in_force)
        base = _newest_number(versions.filter(cluster_time=0))  # no replica from before it continues
        built = Replica.objects.filter(client=client, app=app, access_number__gte=base)
        oldest = built.aggregate(oldest=Min("access_number"))["oldest"]
        if oldest is not None:
            needed = min(needed, oldest)
        needed = max(needed, _newest_number(versions) - MAX_OF_CLIENT + 1)
        count, _ = versions.filter(number__lt=needed).delete()
        deleted += count
    return deleted


def _newest_number(versions: QuerySet[AccessVersion]) -> int:
    found: int | None = versions.aggregate(newest=Max("number"))["newest"]
    return found or 0


def _delete_surplus(newest_first: QuerySet[Replica] | QuerySet[AwaitedReplica]) -> None:
    surplus = list(newest_first.values_list("pk", flat=True)[MAX_OF_CLIENT:])
    if surplus:
        newest_first.model.objects.filter(pk__in=surplus).delete()
