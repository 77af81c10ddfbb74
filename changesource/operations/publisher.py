"""Publishing into running streams: the version is stored, and a marker in the source says to every reader where it begins."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from django.contrib.auth.models import User

from changesource.errors import BarrierNotSeen, DraftChanged, InvalidDefinition, PublishUnderWay
from changesource.models import App, Version
from changesource.mongo.change_stream import StreamContent, open_change_stream
from changesource.mongo.markers import PublishMarker, publish_marker_of, write_publish_marker
from changesource.mongo.pre_images import enable_pre_images
from changesource.mongo.source import Database, current_cluster_time
from changesource.operations.ask_source import ASK_SECONDS, ask_source
from changesource.operations.publish_estimate import find_collection_problems
from changesource.publishing.versions import (
    FORGOTTEN_AFTER,
    begin_publish,
    is_publish_under_way,
    needed_pre_images,
    publishable_draft,
    review_digest,
)
from changesource.tables.definition import AppDefinition

logger = logging.getLogger(__name__)

Warn = Callable[[str], object]

MARKER_SECONDS = ASK_SECONDS / 2
"""How long the marker of a publish may take to come back."""
WAIT_SECONDS = FORGOTTEN_AFTER.total_seconds() + 5
"""How long a publish waits for others: until one that lost its publisher has been given up."""
POLL_SECONDS = 0.05


def publish_app(
    app: App, user: User | None = None, *, resets: bool = False, reviewed: str = "", warn: Warn = logger.warning
) -> Version:
    """Publish the draft of `app`: every reader of its streams meets the new version at one position.

    Pre-images that it needs are switched on. `warn` is told what may be wrong with its collections. With `resets` no marker
    is written, which takes no right to write to the source: every zero-cache of the app then builds a new replica. A first
    version needs no marker either. Nothing is published that is not what was `reviewed`, a
    `publishing.versions.review_digest`, if that is given.

    Raises what `publishing.versions.begin_publish` raises, `InvalidDefinition` also for a collection that has no change
    stream, `SourceUnusable` with what to do where pre-images cannot be switched on or the marker cannot be written,
    `SourceUnreachable`, and `BarrierNotSeen`. The Django database is then as it was. Do not call it inside a transaction,
    which would hide the version from the readers that meet its marker.
    """
    return finish_publish(when_free(lambda: prepare_publish(app, user, resets=resets, reviewed=reviewed, warn=warn)))


def prepare_publish(
    app: App, user: User | None = None, *, resets: bool = False, reviewed: str = "", warn: Warn = logger.warning
) -> Version:
    """All of a publish that may be part of a transaction of the Django database; `finish_publish` follows when that has been
    committed. Raises as `publish_app`."""
    if reviewed and reviewed != review_digest(app):
        raise DraftChanged  # before pre-images are switched on; what happens from here on is found by begin_publish
    draft = publishable_draft(app)
    if is_publish_under_way(app):
        raise PublishUnderWay  # which `when_free` tries again: the source is not to be asked each time
    _check_collections(app, draft, warn)
    needed = needed_pre_images(draft)
    if needed.collections:
        ask_source(needed.source, lambda database: enable_pre_images(database, sorted(needed.collections)))
    return begin_publish(app, user, recorded=needed, resets=resets, reviewed=reviewed)


def _check_collections(app: App, draft: AppDefinition, warn: Warn) -> None:
    """Raises `InvalidDefinition`. A source that is away is a warning: a publish that needs nothing of it may go on."""
    problems = find_collection_problems(draft)
    if problems.refused:
        raise InvalidDefinition("\n".join([f"{app} cannot be published.", *map(str, problems.refused)]))
    for warning in problems.warnings:
        warn(str(warning))


def when_free(prepare: Callable[[], Version]) -> Version:
    """What `prepare` gives, once nobody else's publish is under way. Raises `PublishUnderWay` when it stays so.

    Nothing is held meanwhile: who waits inside a transaction keeps SQLite from the publish that is waited for.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return prepare()
        except PublishUnderWay:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def finish_publish(version: Version) -> Version:
    """Writes the marker of a version that needs one, and gives it the position. Raises as `publish_app`; the version is then
    gone."""
    if version.cluster_time is not None:
        return version
    app_id = version.app.app_id
    marker = PublishMarker(version.number, version.nonce)
    source = version.to_definition().source
    try:
        cluster_time = ask_source(source, lambda database: _mark(database, app_id, marker))
    except BaseException:
        Version.objects.abandon(version.nonce)
        raise
    if not Version.objects.confirm(version.nonce, cluster_time):
        raise PublishUnderWay("The publish took too long and was given up by a reader of the stream. Publish again.")
    version.cluster_time = cluster_time
    return version


async def _mark(database: Database, app_id: str, marker: PublishMarker) -> int:
    """The cluster time of the marker's event."""
    start = await current_cluster_time(database)
    await write_publish_marker(database, app_id, marker)
    stream = await open_change_stream(database, StreamContent(markers_of=app_id), start, splits_large_events=False)
    try:
        async with asyncio.timeout(MARKER_SECONDS):
            while True:
                batch = await stream.next_batch()
                for event in batch.events:
                    if publish_marker_of(event, app_id) == marker:
                        return event.cluster_time
    except TimeoutError as error:
        raise BarrierNotSeen(
            f"The marker of version {marker.number} did not come back within {MARKER_SECONDS:.0f} seconds. "
            "Nothing was published. Check that the change stream of the source works (manage.py check_source)."
        ) from error
    finally:
        await stream.close()
