"""Publishing: the draft of an app becomes its next version."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction

from changesource.conf import load_settings
from changesource.errors import InvalidDefinition, UnknownSource
from changesource.mapping.definition import AppDefinition
from changesource.mapping.problems import find_problems
from changesource.models import App, Version
from changesource.models.app import source_variable
from changesource.models.draft import draft_definition
from changesource.publishing.compiled import CompiledVersion


@dataclass(frozen=True, slots=True)
class PreImages:
    """Collections of a source that record pre-images, or have to."""

    source: str = ""
    collections: frozenset[str] = frozenset()

    def has(self, needed: PreImages) -> bool:
        return needed.collections <= (self.collections if self.source == needed.source else frozenset())


def publishable_draft(app: App) -> AppDefinition:
    """The draft of `app`. Raises `InvalidDefinition` with every problem of it, `UnknownSource` when its source has no URI."""
    draft = draft_definition(app)
    if problems := find_problems(draft):
        raise InvalidDefinition("\n".join([f"{app} cannot be published.", *map(str, problems)]))
    if draft.source not in load_settings().sources:
        raise UnknownSource(
            f"{app} names the source {draft.source!r}, which has no URI. Set {source_variable(draft.source)}."
        )
    return draft


def needed_pre_images(draft: AppDefinition) -> PreImages:
    """Those without which some table of `draft`, which has no problems, could not be kept right."""
    return PreImages(draft.source, frozenset(CompiledVersion(draft, 0).collections_with_pre_images))


def publish(app: App, user: User | None = None, *, recorded: PreImages = PreImages()) -> Version:
    """Store the draft of `app` as its next version, published by `user`, and return that.

    A draft that says what the newest version says is not stored again: the newest version is returned. `recorded` are the
    pre-images that are known to be there; `streaming.publisher.publish_app` sees to those.
    Raises what `publishable_draft` raises, and `InvalidDefinition` when the draft needs other pre-images.
    """
    with transaction.atomic():
        app = App.objects.locked(app.pk)
        draft = publishable_draft(app)
        needed = needed_pre_images(draft)
        if not recorded.has(needed):
            raise InvalidDefinition(
                f"{app} was changed while it was being published: it needs pre-images of "
                f"{', '.join(sorted(needed.collections))}, which have not been switched on for it. Publish again."
            )
        newest = newest_version(app)
        if newest is None:
            return Version.objects.create(app=app, number=1, definition=draft.to_json(), published_by=user)
        if newest.definition == draft.to_json():
            return newest
        return Version.objects.create(app=app, number=newest.number + 1, definition=draft.to_json(), published_by=user)


def newest_version(app: App) -> Version | None:
    """The version of `app` that streams, None before the first."""
    return app.versions.order_by("-number").first()


def describe_draft(app: App) -> str:
    """How the draft of `app` stands to what streams, in a few words."""
    newest = newest_version(app)
    if newest is None:
        return "never published"
    if newest.definition == draft_definition(app).to_json():
        return f"version {newest.number}"
    return f"draft differs from version {newest.number}"
