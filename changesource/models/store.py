"""What the streaming code asks of the Django DB, as coroutines that give plain data.

Each runs one query or one transaction in a thread of `database_threads`, and raises `django.db.Error` when the database
does not answer. A connection that broke is replaced at the next call. Cancelling one of them leaves a query that has begun
to end by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Greatest
from django.utils import timezone

from changesource.models.app import App
from changesource.models.awaited_replica import AwaitedReplica
from changesource.models.client import Client
from changesource.models.database_threads import STREAMS
from changesource.models.replica import Replica
from changesource.models.replica_pruning import keep_newest_replicas
from changesource.models.row_error import MAX_DOCUMENT_ID_LENGTH, MAX_REASON_LENGTH, RowErrorRecord
from changesource.models.version import Version
from changesource.tables.definition import AppDefinition
from changesource.tables.row_errors import RowError

MAX_ROW_ERRORS = 1_000
"""Row errors kept in an app. More are of no use to a reader, and one bad field can give millions."""


@dataclass(frozen=True, slots=True)
class PublishedApp:
    """The published version of an app that is in force now. `log_name` names the log of its changes: another one for
    another source, and for another Django database. The version of number `base_number` is what it goes back to without
    a break, and began anew for `base_reason`, if it was not published."""

    app_id: str
    number: int
    definition: AppDefinition
    log_name: str
    base_number: int
    base_nonce: str = ""
    base_reason: str = ""


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version of an app. `cluster_time` is its marker's, None while its publish is under way. `is_base` says that it is in
    force without a marker: nothing streams on over it from an earlier version."""

    number: int
    nonce: str
    cluster_time: int | None

    @property
    def is_base(self) -> bool:
        return self.cluster_time == 0


@dataclass(frozen=True, slots=True)
class ReplicaRecord:
    """A replica as it was registered at the end of its snapshot. `replica_version`, `snapshot_end`: watermarks.

    `client_id` is who built it, `access_number` what that client might read then, and `scope` what else its rows depend on.
    `acknowledged` is the newest watermark that its zero-cache is known to have stored since, empty for none.
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


async def published_apps(app_ids: Collection[str] = ()) -> dict[str, PublishedApp]:
    """The newest version of each of `app_ids` that has one, of every app for no ids, by app id.

    Cheap enough to be called every second: a definition is read and parsed only when it is new here.
    """
    return await in_database(_published_apps, app_ids)


async def stored_versions(app_id: str) -> list[StoredVersion]:
    """The newest version without a marker and all later ones, in the order of their numbers."""
    return await in_database(_stored_versions, app_id)


async def load_definition(nonce: str) -> AppDefinition:
    """What the version with this nonce says."""
    return await in_database(lambda: Version.objects.get(nonce=nonce).to_definition())


async def abandon_publish(nonce: str) -> None:
    """Takes the version away if its publish is still under way."""
    await in_database(Version.objects.abandon, nonce)


async def register_replica(record: ReplicaRecord) -> None:
    """Keep what a resume of this replica needs. Nothing happens when its app has been deleted meanwhile."""
    await in_database(_register_replica, record)


async def find_replica(app_id: str, shard_num: int, replica_version: str) -> ReplicaRecord | None:
    """The replica as it was registered, None when it never was."""
    return await in_database(_find_replica, app_id, shard_num, replica_version)


async def note_acknowledged(app_id: str, shard_num: int, replica_version: str, watermark: str) -> None:
    """Keep that the replica's zero-cache was here, and the newest watermark that it has stored, empty for none. An older one
    than is kept changes nothing."""
    await in_database(_note_acknowledged, app_id, shard_num, replica_version, watermark)


async def record_row_errors(app_id: str, errors: Sequence[RowError], ended: Collection[tuple[str, str]] = ()) -> None:
    """Forget the row errors of `ended`, which are tables and document ids; then count `errors`, by table, document and
    column. The newest `MAX_ROW_ERRORS` of an app are kept."""
    if errors or ended:
        await in_database(_record_row_errors, app_id, errors, ended)


async def documents_with_row_errors(app_ids: Collection[str] = ()) -> dict[str, dict[str, list[str]]]:
    """Ids of documents, by table and by app; of all apps for no ids."""
    return await in_database(_documents_with_row_errors, app_ids)


in_database = STREAMS.ask


@dataclass(frozen=True, slots=True)
class _CachedApp:
    nonce: str
    published: PublishedApp


_cache: dict[str, _CachedApp] = {}
"""By app id."""


def _published_apps(app_ids: Collection[str]) -> dict[str, PublishedApp]:
    of_these_apps = Q(app__app_id__in=app_ids) if app_ids else Q()
    of_app = Version.objects.filter(app=OuterRef("app"), cluster_time__isnull=False).order_by("-number")
    newest = Version.objects.filter(of_these_apps, pk=Subquery(of_app.values("pk")[:1])).order_by()
    base = of_app.filter(cluster_time=0)
    found: dict[str, PublishedApp] = {}
    rows = newest.annotate(
        base_nonce=Subquery(base.values("nonce")[:1]),
        base_number=Subquery(base.values("number")[:1]),
        base_reason=Subquery(base.values("reason")[:1]),
    ).values_list("pk", "app__app_id", "nonce", "base_nonce", "base_number", "base_reason")
    for pk, app_id, nonce, base_nonce, base_number, base_reason in rows:
        cached = _cache.get(app_id)
        if cached is None or cached.nonce != nonce:
            version = Version.objects.get(pk=pk)
            published = PublishedApp(
                app_id,
                version.number,
                version.to_definition(),
                f"{app_id}.{base_nonce[:12]}",
                base_number,
                base_nonce,
                base_reason,
            )
            cached = _cache[app_id] = _CachedApp(nonce, published)
        found[app_id] = cached.published
    return found


def _stored_versions(app_id: str) -> list[StoredVersion]:
    rows = Version.objects.filter(app__app_id=app_id).order_by("number").values_list("number", "nonce", "cluster_time")
    stored = [StoredVersion(*row) for row in rows]
    base = max((version.number for version in stored if version.is_base), default=0)
    return [version for version in stored if version.number >= base]


def _register_replica(record: ReplicaRecord) -> None:
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
                "last_seen_at": timezone.now(),
            },
        )
        AwaitedReplica.objects.filter(app=app, shard_num=record.shard_num, client=record.client_id).delete()
        keep_newest_replicas(app, record.client_id)


def _find_replica(app_id: str, shard_num: int, replica_version: str) -> ReplicaRecord | None:
    replica = _replicas(app_id, shard_num, replica_version).first()
    if replica is None:
        return None
    return ReplicaRecord(
        app_id,
        shard_num,
        replica_version,
        replica.snapshot_end,
        replica.version_number,
        replica.client_id,
        replica.access_number,
        replica.scope,
        replica.acknowledged,
    )


def _note_acknowledged(app_id: str, shard_num: int, replica_version: str, watermark: str) -> None:
    _replicas(app_id, shard_num, replica_version).update(
        acknowledged=Greatest("acknowledged", Value(watermark)), last_seen_at=timezone.now()
    )


def _replicas(app_id: str, shard_num: int, replica_version: str) -> QuerySet[Replica]:
    return Replica.objects.filter(app__app_id=app_id, shard_num=shard_num, replica_version=replica_version)


@dataclass(frozen=True, slots=True)
class _Place:
    """What row errors are counted by."""

    table: str
    document_id: str
    column: str


def _documents_with_row_errors(app_ids: Collection[str]) -> dict[str, dict[str, list[str]]]:
    records = RowErrorRecord.objects.filter(Q(app__app_id__in=app_ids) if app_ids else Q()).order_by()
    found: dict[str, dict[str, list[str]]] = {}
    for app_id, table, document_id in records.values_list("app__app_id", "table", "document_id").distinct():
        found.setdefault(app_id, {}).setdefault(table, []).append(document_id)
    return found


def _forget_row_errors(app: App, ended: Collection[tuple[str, str]]) -> None:
    documents: dict[str, list[str]] = {}
    for table, document_id in ended:
        documents.setdefault(table, []).append(_storable(document_id, MAX_DOCUMENT_ID_LENGTH))
    for table, document_ids in documents.items():
        app.row_errors.filter(table=table, document_id__in=document_ids).delete()


def _record_row_errors(app_id: str, errors: Sequence[RowError], ended: Collection[tuple[str, str]]) -> None:
    counts: Counter[_Place] = Counter()
    reasons: dict[_Place, str] = {}
    for error in errors:
        place = _Place(error.table, _storable(error.document_id, MAX_DOCUMENT_ID_LENGTH), error.column)
        counts[place] += 1
        reasons.pop(place, None)  # so that the newest come last
        reasons[place] = _storable(error.reason, MAX_REASON_LENGTH)
    newest = dict(list(reasons.items())[-MAX_ROW_ERRORS:])
    now = timezone.now()
    with transaction.atomic():
        app = App.objects.filter(app_id=app_id).select_for_update(no_key=True).first()
        if app is None:
            return
        _forget_row_errors(app, ended)
        if not errors:
            return
        known = RowErrorRecord.objects.filter(
            app=app,
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


def _storable(text: str, max_length: int) -> str:
    """`text` as every database takes it: cut, and without NUL, which PostgreSQL refuses and an `_id` may hold."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:max_length]
