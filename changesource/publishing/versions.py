"""Publishing: the draft of an app becomes its next version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from changesource.conf import load_settings
from changesource.errors import ClientsCutOff, DraftChanged, InvalidDefinition, PublishUnderWay, UnknownSource
from changesource.models import AccessVersion, App, Version
from changesource.models.app import source_variable
from changesource.models.draft import draft_definition
from changesource.publishing.compiled import CompiledVersion
from changesource.publishing.definition_problems import find_problems
from changesource.publishing.grants import find_cut_off
from changesource.tables.definition import AppDefinition

FORGOTTEN_AFTER = timedelta(seconds=30)
"""After which a publish that is under way has lost its publisher, who waits for much less."""


@dataclass(frozen=True, slots=True)
class PreImages:
    """Collections of a source that record pre-images, or have to."""

    source: str = ""
    collections: frozenset[str] = frozenset()

    def has(self, needed: PreImages) -> bool:
        return needed.collections <= (self.collections if self.source == needed.source else frozenset())


def publishable_draft(app: App) -> AppDefinition:
    """The draft of `app`. Raises `InvalidDefinition` with every problem of it, `ClientsCutOff` with every client that
    would be cut off, and `UnknownSource` when its source has no URI."""
    draft = draft_definition(app)
    if problems := list(map(str, find_problems(draft))):
        raise InvalidDefinition("\n".join([f"{app} cannot be published.", *problems]))
    if refusing := [str(cut_off) for cut_off in find_cut_off(app, draft) if cut_off.refuses]:
        raise ClientsCutOff("\n".join([f"{app} cannot be published.", *refusing]))
    if draft.source not in load_settings().sources:
        raise UnknownSource(
            f"{app} names the source {draft.source!r}, which has no URI. Set {source_variable(draft.source)}."
        )
    return draft


def needed_pre_images(draft: AppDefinition) -> PreImages:
    """Those without which some table of `draft`, which has no problems, could not be kept right."""
    return PreImages(draft.source, frozenset(CompiledVersion(draft, 0).collections_with_pre_images))


def begin_publish(
    app: App,
    user: User | None = None,
    *,
    recorded: PreImages = PreImages(),
    resets: bool = False,
    reviewed: str = "",
) -> Version:
    """Store the draft of `app` as its next version, published by `user`, and return that.

    A first version, one of another source, and one that `resets` are in force at once: whoever streams an earlier one
    has to begin anew. Any other waits, without a cluster time, for `Version.objects.confirm` or `abandon`. A draft that says
    what the newest version says is not stored again, unless it `resets`: the newest version is returned. `recorded` are
    the pre-images that are known to be there; `streaming.publisher.publish_app` sees to all of this. `reviewed` is the
    `review_digest` of what somebody has looked at.

    Raises what `publishable_draft` raises, `InvalidDefinition` when the draft needs other pre-images, `DraftChanged` when
    it is not what was `reviewed`, and `PublishUnderWay`.
    """
    with transaction.atomic():
        app = App.objects.locked(app.pk)
        if reviewed and reviewed != review_digest(app):
            raise DraftChanged
        draft = publishable_draft(app)
        needed = needed_pre_images(draft)
        if not recorded.has(needed):
            raise InvalidDefinition(
                f"{app} was changed while it was being published: it needs pre-images of "
                f"{', '.join(sorted(needed.collections))}, which have not been switched on for it. Publish again."
            )
        if is_publish_under_way(app):
            raise PublishUnderWay
        if (forgotten := app.versions.filter(cluster_time=None).first()) is not None:
            Version.objects.abandon(forgotten.nonce)
        newest = newest_version(app)
        if newest is not None and newest.definition == draft.to_json() and not resets:
            return newest
        is_base = newest is None or newest.to_definition().source != draft.source or resets
        if is_base:
            AccessVersion.objects.begin_anew(app)
        return Version.objects.create(
            app=app,
            number=1 if newest is None else newest.number + 1,
            definition=draft.to_json(),
            cluster_time=0 if is_base else None,
            published_by=user,
        )


def is_publish_under_way(app: App) -> bool:
    """Whether somebody publishes `app` at this moment."""
    return app.versions.filter(cluster_time=None, published_at__gt=timezone.now() - FORGOTTEN_AFTER).exists()


def review_digest(app: App) -> str:
    """Says what a publish would do now: the draft of `app`, and the version that it follows."""
    newest = newest_version(app)
    reviewed = [newest.number if newest else 0, draft_definition(app).to_json()]
    return hashlib.sha256(json.dumps(reviewed, sort_keys=True).encode()).hexdigest()


def newest_version(app: App) -> Version | None:
    """The version of `app` that streams, None before the first."""
    return Version.objects.newest(app)


def describe_draft(app: App) -> str:
    """How the draft of `app` stands to what streams, in a few words."""
    newest = newest_version(app)
    if newest is None:
        return "never published"
    if newest.definition == draft_definition(app).to_json():
        return f"version {newest.number}"
    return f"draft differs from version {newest.number}"
