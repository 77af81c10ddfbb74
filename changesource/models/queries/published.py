"""Published versions of apps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import OuterRef, Q, Subquery

from changesource.models.database_threads import STREAMS
from changesource.models.version import Version
from changesource.tables.definition import AppDefinition


@dataclass(frozen=True, slots=True)
class PublishedApp:
    """The version of an app that is in force now.

    `log_name` names the log of its changes: another source, or another Django database, has another
    log. Streams continue without a break back to the version `base_number`, which was not published
    but created for `base_reason`, if there is one.
    """

    app_id: str
    number: int
    definition: AppDefinition
    log_name: str
    base_number: int
    base_nonce: str = ""
    base_reason: str = ""


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version of an app. `cluster_time` is that of its marker, None while the publish is under
    way. A version for which `is_base` holds is in force without a marker: no stream continues
    across it from an earlier version."""

    number: int
    nonce: str
    cluster_time: int | None

    @property
    def is_base(self) -> bool:
        return self.cluster_time == 0


@dataclass(frozen=True, slots=True)
class _CachedApp:
    nonce: str
    published: PublishedApp


_cache: dict[str, _CachedApp] = {}
"""By app id."""


@STREAMS.query
def published_apps(app_ids: Collection[str] = ()) -> dict[str, PublishedApp]:
    """App id → the newest version, for those of `app_ids` that have one; for every app if `app_ids`
    is empty.

    Cheap enough to be called every second: a definition is read and parsed only if this process has
    not seen it.
    """
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


@STREAMS.query
def stored_versions(app_id: str) -> list[StoredVersion]:
    """The newest version without a marker and all later ones, ordered by number."""
    rows = Version.objects.filter(app__app_id=app_id).order_by("number").values_list("number", "nonce", "cluster_time")
    stored = [StoredVersion(*row) for row in rows]
    base = max((version.number for version in stored if version.is_base), default=0)
    return [version for version in stored if version.number >= base]


@STREAMS.query
def load_definition(nonce: str) -> AppDefinition:
    """The definition of the version with this nonce."""
    return Version.objects.get(nonce=nonce).to_definition()


@STREAMS.query
def abandon_publish(nonce: str) -> None:
    """Deletes the version if its publish is still under way."""
    Version.objects.abandon(nonce)
