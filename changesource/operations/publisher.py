"""Publishing into running streams: the version is stored, and a marker in the source tells every
reader where it begins."""

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
from changesource.protocol.transforms import KEPT_SECONDS
from changesource.publishing.review import Review
from changesource.publishing.versions import ABANDONED_AFTER, begin_publish, is_publish_under_way
from changesource.queries.registry import has_named_queries
from changesource.queries.transform import replica_tables

logger = logging.getLogger(__name__)

Warn = Callable[[str], object]

MARKER_SECONDS = ASK_SECONDS / 2
"""How long the marker of a publish may take to come back."""
WAIT_SECONDS = ABANDONED_AFTER.total_seconds() + 5
"""How long a publish waits for another one: until one that lost its publisher counts as
abandoned."""
POLL_SECONDS = 0.05


def publish_app(
    app: App, user: User | None = None, *, resets: bool = False, reviewed: str = "", warn: Warn = logger.warning
) -> Version:
    """Publishes the draft of `app`: every reader of its streams meets the new version at one
    position.

    Pre-images that it needs are switched on. `warn` is called with what may be wrong with its
    collections. With `resets`, every zero-cache of the app builds a new replica; no marker is
    written, so no right to write to the source is needed. A first version needs no marker either.
    If `reviewed`, the `Review.digest` that a person has seen, is given, nothing else is published.

    Raises what `publishing.versions.begin_publish` raises, `InvalidDefinition` also for a
    collection that has no change stream, `SourceUnusable` with the remedy if pre-images cannot be
    switched on or the marker cannot be written, `SourceUnreachable`, and `BarrierNotSeen`. The
    Django database is then unchanged. Do not call it inside a transaction, which would hide the
    version from the readers that meet its marker.
    """
    return finish_publish(when_free(lambda: prepare_publish(app, user, resets=resets, reviewed=reviewed, warn=warn)))


def prepare_publish(
    app: App, user: User | None = None, *, resets: bool = False, reviewed: str = "", warn: Warn = logger.warning
) -> Version:
    """The part of a publish that may run in a transaction of the Django database; `finish_publish`
    follows once that has been committed. Raises as `publish_app` does."""
    review = Review(app)
    if reviewed and reviewed != review.digest:
        raise DraftChanged  # before pre-images are switched on; begin_publish notices what changes from here on
    review.refuse_unpublishable()
    if is_publish_under_way(app):
        raise PublishUnderWay  # `when_free` tries again, and must not ask the source each time
    _check_collections(review, warn)
    needed = review.draft.pre_images
    if needed.collections:
        ask_source(needed.source, lambda database: enable_pre_images(database, sorted(needed.collections)))
    return begin_publish(app, user, recorded=needed, resets=resets, reviewed=reviewed, known=review.draft)


def _check_collections(review: Review, warn: Warn) -> None:
    """Raises `InvalidDefinition`. If the source does not answer, that is a warning: a publish may
    not need it."""
    problems = find_collection_problems(review.draft)
    if problems.refused:
        raise InvalidDefinition("\n".join([f"{review.app} cannot be published.", *map(str, problems.refused)]))
    for warning in problems.warnings:
        warn(str(warning))


def when_free(prepare: Callable[[], Version]) -> Version:
    """What `prepare` returns, once no other publish is under way. Raises `PublishUnderWay` if that
    takes too long.

    Nothing is locked meanwhile: on SQLite, waiting inside a transaction would block the very
    publish that is awaited.
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
    """Writes the marker of a version that needs one, and stores its position with the version.
    Raises as `publish_app` does; the version is then gone."""
    if version.cluster_time is not None:
        return version
    app_id = version.app.app_id
    marker = PublishMarker(version.number, version.nonce)
    source = version.to_definition().source
    try:
        if _takes_from_queries(version):
            # None is answered with what goes, from when the version is stored. An earlier answer that names a
            # table which is gone would stop the whole client group.
            time.sleep(KEPT_SECONDS)
        cluster_time = ask_source(source, lambda database: _mark(database, app_id, marker))
    except BaseException:
        Version.objects.abandon(version.nonce)
        raise
    if not Version.objects.confirm(version.nonce, cluster_time):
        raise PublishUnderWay("The publish took too long, and a reader of the stream ended it. Publish again.")
    version.cluster_time = cluster_time
    return version


def _takes_from_queries(version: Version) -> bool:
    """Whether named queries may read a table or a column that replicas lose with `version`."""
    newest = Version.objects.newest(version.app)
    if newest is None:
        return False
    old, new = newest.to_definition(), version.to_definition()
    if not has_named_queries(old):
        return False
    after = replica_tables(new)
    return any(not columns <= after.get(table, frozenset()) for table, columns in replica_tables(old).items())


async def _mark(database: Database, app_id: str, marker: PublishMarker) -> int:
    """Writes the marker, and returns the cluster time of its event."""
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
