"""Whether this process can do its work now, and if not, what is missing. Names no host, URI or user."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from django.db import Error as DatabaseError

from changesource.errors import ChangeSourceError
from changesource.models import source_store, store
from changesource.mongo.markers import has_heartbeats
from changesource.mongo.source import inspect_source, majority_cluster_time
from changesource.streaming.service import StreamService

CHECK_SECONDS = 4.0
MAX_LAG_SECONDS = 60.0
"""How far a log may be behind its source. A source without heartbeats is followed every 30 seconds, a publish that is under
way is waited for as long, and a standby takes over within seconds: none of that is a fault."""


async def find_missing(service: StreamService) -> dict[str, str]:
    """What is missing, by name: `database`, `source <name>`, `app <id>`, `log <id>`, `replicas <id>`. Empty when all is
    well."""
    publications = list(service.publications.values())
    checks: dict[str, Awaitable[str]] = {"database": _check_database()}
    for publication in publications:
        source = publication.definition.source
        checks[f"source {source}"] = _check_source(service, source)
        checks[f"app {publication.app_id}"] = _check_watched(service, publication)
        checks[f"log {publication.app_id}"] = check_lag(service, publication)
        checks[f"replicas {publication.app_id}"] = _check_replicas(publication.app_id)
    answers = await asyncio.gather(*(_in_time(check) for check in checks.values()))
    return {name: answer for name, answer in zip(checks, answers, strict=True) if answer}


async def _in_time(check: Awaitable[str]) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:.0f} seconds"


async def _check_database() -> str:
    try:
        await store.latest_publications()
    except DatabaseError as error:
        return f"the Django database failed ({type(error).__name__})"
    return ""


async def _check_source(service: StreamService, source: str) -> str:
    try:
        await inspect_source(service.sources.database(source))
    except ChangeSourceError as error:
        return str(error)
    return ""


async def _check_watched(service: StreamService, publication: store.Publication) -> str:
    try:
        leader = await service.log_of(publication).leader()
    except ChangeSourceError as error:
        return str(error)
    return "" if leader else "nobody watches it; run manage.py watch_changes"


async def check_lag(service: StreamService, publication: store.Publication) -> str:
    """Whether the log has fallen behind its source, by the source's clock alone: what a majority has at this moment, against
    the last change in the log. A quiet source does not make that old, because heartbeats, or the source's own clock, move
    the log on. Neither does so on a sharded cluster without heartbeats, of which nothing is said.

    A log that holds nothing yet is not behind. What does not answer is for the other checks to say.
    """
    try:
        database = service.sources.database(publication.definition.source)
        tail = (await service.log_of(publication).extent()).tail
        if tail is None:
            return ""
        lag_seconds = (await majority_cluster_time(database) >> 32) - tail.position.seconds
        limit_seconds = MAX_LAG_SECONDS
        if lag_seconds > limit_seconds and (await inspect_source(database)).is_sharded:
            if service.settings.heartbeat_seconds <= 0 or not await has_heartbeats(database, publication.app_id):
                return ""
            limit_seconds = max(limit_seconds, 2 * service.settings.heartbeat_seconds)
    except ChangeSourceError:
        return ""
    if lag_seconds <= limit_seconds:
        return ""
    return f"its log is {lag_seconds} seconds behind the source; look at the log and the load of the watcher that leads"


async def _check_replicas(app_id: str) -> str:
    try:
        awaited = (await source_store.awaited_replicas()).get(app_id, [])
    except DatabaseError:
        return ""  # as `database` says
    return " ".join(
        f"Since {one.told_at:%H:%M:%S} UTC shard {one.shard_num} has to build a new replica: {one.reason}"
        for one in awaited
    )
