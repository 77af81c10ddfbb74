"""Publishing: the draft of an app becomes its next version."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction

from changesource.conf import load_settings
from changesource.errors import InvalidDefinition, UnknownSource
from changesource.mapping.definition import find_problems
from changesource.models import App, Version
from changesource.models.app import source_variable
from changesource.models.draft import draft_definition


def publish(app: App, user: User | None = None) -> Version:
    """Store the draft of `app` as its next version, published by `user`, and return that.

    A draft that says what the newest version says is not stored again: the newest version is returned.
    Raises `InvalidDefinition` with every problem of the draft, `UnknownSource` when its source has no URI.
    """
    with transaction.atomic():
        app = App.objects.locked(app.pk)
        draft = draft_definition(app)
        if problems := find_problems(draft):
            raise InvalidDefinition("\n".join([f"{app} cannot be published.", *map(str, problems)]))
        if app.source not in load_settings().sources:
            raise UnknownSource(
                f"{app} names the source {app.source!r}, which has no URI. Set {source_variable(app.source)}."
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
