"""The draft of an app becomes its next version."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from changesource.errors import DraftChanged, InvalidDefinition, PublishUnderWay
from changesource.models import AccessVersion, App, Version
from changesource.publishing.release import NO_PRE_IMAGES, PreImages, Release
from changesource.publishing.review import Review

ABANDONED_AFTER = timedelta(seconds=30)
"""A publish that has been under way for longer has lost its publisher, which waits for much
less."""


def begin_publish(
    app: App,
    user: User | None = None,
    *,
    recorded: PreImages = NO_PRE_IMAGES,
    resets: bool = False,
    reviewed: str = "",
    known: Release | None = None,
) -> Version:
    """Stores the draft of `app` as its next version, published by `user`, and returns that version.

    A first version, one of another source, and one that `resets` are in force at once: streams of
    an earlier version have to start over. Any other version waits, without a cluster time, for
    `Version.objects.confirm` or `abandon`. A draft that equals the newest version is not stored
    again, unless it `resets`: the newest version is returned.

    `recorded` are the pre-images that are known to be recorded; `operations.publisher` takes care
    of all this. `reviewed` is the `Review.digest` that a person has seen, empty if no person has
    looked. `known` is as in `Review`.

    Raises what `Review.refuse_unpublishable` raises, `InvalidDefinition` if the draft needs other
    pre-images, `DraftChanged` if it is not what was `reviewed`, and `PublishUnderWay`.
    """
    with transaction.atomic():
        app = App.objects.locked(app.pk)
        review = Review(app, known)
        if reviewed and reviewed != review.digest:
            raise DraftChanged
        review.refuse_unpublishable()
        draft = review.draft
        if not recorded.has(draft.pre_images):
            raise InvalidDefinition(
                f"{app} was changed while it was being published: it now needs pre-images of "
                f"{', '.join(sorted(draft.pre_images.collections))}, which are not switched on. Publish again."
            )
        if is_publish_under_way(app):
            raise PublishUnderWay
        if (abandoned := app.versions.filter(cluster_time=None).first()) is not None:
            Version.objects.abandon(abandoned.nonce)
        newest = Version.objects.newest(app)  # not the review's: a publish may have been confirmed since then
        if newest is not None and newest.definition == draft.json and not resets:
            return newest
        is_base = newest is None or newest.definition["source"] != draft.definition.source or resets
        if is_base:
            AccessVersion.objects.start_over(app)
        return Version.objects.create(
            app=app,
            number=1 if newest is None else newest.number + 1,
            definition=draft.json,
            cluster_time=0 if is_base else None,
            published_by=user,
        )


def is_publish_under_way(app: App) -> bool:
    """Whether `app` is being published at this moment."""
    return app.versions.filter(cluster_time=None, published_at__gt=timezone.now() - ABANDONED_AFTER).exists()
