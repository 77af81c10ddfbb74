"""Which process watches each published app, and how far its log has come: for people and for
monitoring."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from changesource.log.redis import RedisLog
from changesource.models import queries
from changesource.models.queries.published import PublishedApp


@dataclass(frozen=True, slots=True)
class WatchedApp:
    """`tail` is the watermark at the log's end, and `tail_age_seconds` its age by this machine's
    clock; both are None for an empty log. `leader` is None if no process leads."""

    app: str
    leader: str | None
    lease_seconds_left: float
    standbys: int
    tail: str | None
    tail_age_seconds: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


async def watched_apps(redis_url: str, app_ids: Collection[str]) -> list[WatchedApp]:
    """The published apps, or those of `app_ids`, ordered by name. Raises `LogUnavailable` and
    `django.db.Error`."""
    apps = await queries.published.published_apps(app_ids)
    return [await _watched(redis_url, published) for _, published in sorted(apps.items())]


async def _watched(redis_url: str, published: PublishedApp) -> WatchedApp:
    log = RedisLog(redis_url, published.log_name)
    try:
        leadership, extent = await log.leadership(), await log.extent()
    finally:
        await log.close()
    tail = None if extent.tail is None else extent.tail.position
    return WatchedApp(
        app=published.app_id,
        leader=leadership.leader,
        lease_seconds_left=leadership.seconds_left,
        standbys=leadership.standbys,
        tail=None if tail is None else tail.watermark,
        tail_age_seconds=None if tail is None else round(max(0.0, time.time() - tail.seconds), 1),
    )
