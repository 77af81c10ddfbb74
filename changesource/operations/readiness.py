"""Whether this process can do its work now, and if not, what is missing. Names no host, URI or user."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Mapping
from weakref import WeakKeyDictionary

from django.db import Error as DatabaseError

from changesource.errors import ChangeSourceError
from changesource.models import source_store, store
from changesource.models.source_store import Awaited
from changesource.mongo.markers import has_heartbeats
from changesource.mongo.source import inspect_source, majority_cluster_time
from changesource.replication.source_identity import SourceIdentity
from changesource.service import StreamService

logger = logging.getLogger(__name__)

CHECK_SECONDS = 4.0
NO_ANSWER = f"no answer within {CHECK_SECONDS:.0f} seconds"
FRESH_SECONDS = 1.0
"""For how long an answer is given to all who ask. Anybody may, as often as they like."""
MAX_LAG_SECONDS = 60.0
"""How far a log may be behind its source. A source without heartbeats is followed every 30 seconds, a publish that is under
way is waited for as long, and a standby takes over within seconds: none of that is a fault."""
MAX_AWAITED = 20
"""How many replicas that do not come are named."""

KINDS = {
    "database": "the Django database does not answer",
    "source": "a source cannot be read",
    "identity": "the database behind an app's source has changed again, and a person has to decide",
    "app": "an app is not watched, or its log does not answer",
    "log": "the log of an app is behind its source",
    "replicas": "a zero-cache was told to build a new replica and has not yet",
    "check": "it could not be found out",
}
"""What everybody may know of what is missing, by the first word of its name."""


class Readiness:
    """What is missing for one process, worked out once a second at most, whoever asks. Belongs to one event loop."""

    def __init__(self) -> None:
        self._missing: dict[str, str] = {}
        self._found_at = -math.inf
        self._search: asyncio.Task[None] | None = None

    async def missing(self, service: StreamService) -> Mapping[str, str]:
        """As `find_missing`, at most `FRESH_SECONDS` old."""
        if time.monotonic() - self._found_at >= FRESH_SECONDS:
            if self._search is None or self._search.done():
                self._search = asyncio.create_task(self._find(service))
            await asyncio.shield(self._search)  # a caller that goes away leaves the others theirs
        return self._missing

    async def _find(self, service: StreamService) -> None:
        try:
            missing = await find_missing(service)
        except Exception:  # a process that does not know whether it is ready is not
            logger.exception("whether the process is ready could not be found out")
            missing = {"check": "it failed; the log says why"}
        self._found_at = time.monotonic()
        for name in missing.keys() - self._missing.keys():
            logger.warning("not ready: %s: %s", name, missing[name])
        for name in self._missing.keys() - missing.keys():
            logger.info("ready again: %s", name)
        self._missing = missing


_readiness: WeakKeyDictionary[StreamService, Readiness] = WeakKeyDictionary()


async def missing_of(service: StreamService) -> Mapping[str, str]:
    """As `Readiness.missing`, for all who ask about `service`."""
    if service not in _readiness:
        _readiness[service] = Readiness()
    return await _readiness[service].missing(service)


def kinds_of(missing: Mapping[str, str]) -> dict[str, str]:
    """What everybody may know of `missing`: of an app, a source or a client no more than that there is one."""
    kinds = {name.partition(" ")[0] for name in missing}
    return {kind: KINDS.get(kind, "it is missing") for kind in sorted(kinds)}


async def find_missing(service: StreamService) -> dict[str, str]:
    """What is missing, by name: `database`, `source <name>`, `identity <id>`, `app <id>`, `log <id>`, `replicas <id>`. Empty
    when all is well."""
    checks: dict[str, Awaitable[str]] = {}
    for published in service.published_apps.values():
        source = published.definition.source
        if f"source {source}" not in checks:
            checks[f"source {source}"] = _check_source(service, source)
        checks[f"identity {published.app_id}"] = _check_identity(service, published)
        checks[f"app {published.app_id}"] = _check_watched(service, published)
        checks[f"log {published.app_id}"] = check_lag(service, published)
    database = asyncio.create_task(_check_database(service))
    answers = await asyncio.gather(*(_in_time(check) for check in checks.values()))
    return await database | {name: answer for name, answer in zip(checks, answers, strict=True) if answer}


async def _in_time(check: Awaitable[str]) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check
    except TimeoutError:
        return NO_ANSWER


async def _check_database(service: StreamService) -> dict[str, str]:
    """`database`, or `replicas <id>` of apps of which some do not come. One query."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            awaited = await source_store.awaited_replicas(MAX_AWAITED)
    except DatabaseError as error:
        return {"database": f"the Django database failed ({type(error).__name__})"}
    except TimeoutError:
        return {"database": NO_ANSWER}
    of_app: defaultdict[str, list[Awaited]] = defaultdict(list)
    for one in awaited:
        if one.app_id in service.published_apps:
            of_app[one.app_id].append(one)
    return {f"replicas {app_id}": " ".join(map(_missed, of_this_app)) for app_id, of_this_app in of_app.items()}


def _missed(one: Awaited) -> str:
    return f"Since {one.told_at:%H:%M:%S} UTC shard {one.shard_num} has to build a new replica: {one.reason}"


async def _check_source(service: StreamService, source: str) -> str:
    try:
        await inspect_source(service.sources.database(source))
    except ChangeSourceError as error:
        return str(error)
    return ""


async def _check_identity(service: StreamService, published: store.PublishedApp) -> str:
    """Whether the app still trusts its source."""
    source_identity = SourceIdentity(published.app_id, published.base_nonce)
    try:
        return await source_identity.doubt(service.sources.database(published.definition.source))
    except (ChangeSourceError, DatabaseError):
        return ""  # as `source` and `database` say


async def _check_watched(service: StreamService, published: store.PublishedApp) -> str:
    try:
        leader = await service.log_of(published).leader()
    except ChangeSourceError as error:
        return str(error)
    return "" if leader else "nobody watches it; run manage.py watch_changes"


async def check_lag(service: StreamService, published: store.PublishedApp) -> str:
    """Whether the log has fallen behind its source, by the source's clock alone: what a majority has at this moment, against
    the last change in the log. A quiet source does not make that old, because heartbeats, or the source's own clock, move
    the log on. Neither does so on a sharded cluster without heartbeats, of which nothing is said.

    A log that holds nothing yet is not behind. What does not answer is for the other checks to say.
    """
    try:
        database = service.sources.database(published.definition.source)
        tail = (await service.log_of(published).extent()).tail
        if tail is None:
            return ""
        lag_seconds = (await majority_cluster_time(database) >> 32) - tail.position.seconds
        limit_seconds = MAX_LAG_SECONDS
        if lag_seconds > limit_seconds and (await inspect_source(database)).is_sharded:
            if service.settings.heartbeat_seconds <= 0 or not await has_heartbeats(database, published.app_id):
                return ""
            limit_seconds = max(limit_seconds, 2 * service.settings.heartbeat_seconds)
    except ChangeSourceError:
        return ""
    if lag_seconds <= limit_seconds:
        return ""
    return f"its log is {lag_seconds} seconds behind the source; look at the log and the load of the watcher that leads"
