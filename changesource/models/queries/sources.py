"""Which database a source is, and apps that start over when it is another one."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from changesource.models.access_version import AccessVersion
from changesource.models.app import App
from changesource.models.database_threads import STREAMS
from changesource.models.version import Version

START_OVER_INTERVAL = timedelta(days=1)
"""How long an app that has started over by itself does not do so again. All replicas then load
everything again, which may take hours; a person who restores a database twice in a day is at hand;
and anyone who may write to the source can cause it."""


@STREAMS.query
def source_id_of(base_nonce: str) -> str:
    """Identifies the database from which the version with this nonce, and later ones, stream. Empty
    if it is not known yet."""
    return Version.objects.filter(nonce=base_nonce).values_list("source_id", flat=True).first() or ""


@STREAMS.query
def keep_source_id(base_nonce: str, source_id: str) -> str:
    """Stores `source_id` unless one is stored already, and returns the stored one, which may be
    another process's."""
    Version.objects.filter(nonce=base_nonce, source_id="").update(source_id=source_id)
    return source_id_of.blocking(base_nonce)


@STREAMS.query
def start_over(app_id: str, base_nonce: str, source_id: str, reason: str) -> bool:
    """Makes the app stream from the database `source_id`, empty for an unknown one: what the
    version with this nonce began has ended. Does nothing if another process did this before.
    Returns False, and changes nothing, if that version is younger than `START_OVER_INTERVAL` and
    was not published by a person."""
    with transaction.atomic():
        app = App.objects.select_for_update(no_key=True).filter(app_id=app_id).first()
        if app is None:
            return True
        base = app.versions.filter(cluster_time=0).order_by("-number").first()
        newest = Version.objects.newest(app)
        if base is None or newest is None or base.nonce != base_nonce:
            return True
        if _has_just_started_over(base):
            return False
        # A publisher that is under way learns that it has to publish again: the marker may be in
        # either database.
        app.versions.filter(cluster_time=None).delete()
        AccessVersion.objects.start_over(app)
        Version.objects.create(
            app=app,
            number=newest.number + 1,
            definition=newest.definition,
            cluster_time=0,
            source_id=source_id,
            reason=reason,
        )
    return True


@STREAMS.query
def has_just_started_over(base_nonce: str) -> bool:
    """Whether `start_over` would refuse, because the version with this nonce came of starting over
    a short while ago."""
    return _has_just_started_over(Version.objects.filter(nonce=base_nonce).first())


def _has_just_started_over(base: Version | None) -> bool:
    return base is not None and bool(base.reason) and timezone.now() - base.published_at < START_OVER_INTERVAL
