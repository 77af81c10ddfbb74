"""Publishing with what it takes on the source: pre-images, without which some tables could not be kept right."""

from __future__ import annotations

from django.contrib.auth.models import User

from changesource.models import App, Version
from changesource.mongo.pre_images import enable_pre_images
from changesource.publishing.versions import needed_pre_images, publish, publishable_draft
from changesource.streaming.source_calls import ask_source


def publish_app(app: App, user: User | None = None) -> Version:
    """Publish the draft of `app`, after switching on the pre-images that it needs. MongoDB is not asked if it needs none.

    Raises what `publishing.versions.publish` raises, `SourceUnusable` with the commands to run where pre-images cannot be
    switched on from here, and `SourceUnreachable`. The Django database is then as it was.
    """
    needed = needed_pre_images(publishable_draft(app))
    if needed.collections:
        ask_source(needed.source, lambda database: enable_pre_images(database, sorted(needed.collections)))
    return publish(app, user, recorded=needed)
