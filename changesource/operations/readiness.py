"""Whether this process can do its work now and, if not, what is missing. Names no host, URI or
user."""

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
from changesource.models import queries
from changesource.models.queries.awaited_replicas import Awaited
from changesource.models.queries.published import PublishedApp
from changesource.mongo.markers import has_heartbeats
from changesource.mongo.source import inspect_source, majority_cluster_time
from changesource.replication.source_identity import SourceIdentity
from changesource.service import StreamService

logger = logging.getLogger(__name__)

CHECK_SECONDS = 4.0
NO_ANSWER = f"no answer within {CHECK_SECONDS:.0f} seconds"
FRESH_SECONDS = 1.0
"""How long an answer is reused for every caller: anyone may ask, as often as they like."""
MAX_LAG_SECONDS = 60.0
"""How far a log may be behind its source. A source without heartbeats moves the log every 30
seconds, a reader waits as long for a publish that is under way, and a standby takes over within
seconds: none of these is a fault."""
MAX_AWAITED = 20
"""The most awaited replicas that an answer names."""

KINDS = {
    "database": "the Django database does not answer",
    "source": "a source cannot be read",
    "identity": "the database behind an app's source has changed again, and a person has to decide",
    "app": "an app is not watched, or its log does not answer",
    "log": "the log of an app is behind its source",
    "replicas": "a zero-cache was told to build a new replica and has not done so yet",
    "check": "it could not be determined",
}
"""What anyone may know about what is missing, by the first word of its name."""


class Readiness:
    """What is missing for one process, worked out at most once a second, however many ask. It
    belongs to one event loop."""

    def __init__(self) -> None:
        self._missing: dict[str, str] = {}
        self._found_at = -math.inf
        self._search: asyncio.Task[None] | None = None

    async def missing(self, service: StreamService) -> Mapping[str, str]:
        """The answer of `find_missing`, at most `FRESH_SECONDS` old."""
        if time.monotonic() - self._found_at >= FRESH_SECONDS:
            if self._search is None or self._search.done():
                self._search = asyncio.create_task(self._find(service))
            await asyncio.shield(self._search)  # a caller that goes away does not cancel it for the others
        return self._missing

    async def _find(self, service: StreamService) -> None:
        try:
            missing = await find_missing(service)
        except Exception:  # a process that cannot tell whether it is ready is not ready
            logger.exception("whether the process is ready could not be determined")
            missing = {"check": "it failed; the log says why"}
        self._found_at = time.monotonic()
        for name in missing.keys() - self._missing.keys():
            logger.warning("not ready: %s: %s", name, missing[name])
        for name in self._missing.keys() - missing.keys():
            logger.info("ready again: %s", name)
        self._missing = missing


_readiness: WeakKeyDictionary[StreamService, Readiness] = WeakKeyDictionary()


async def missing_of(service: StreamService) -> Mapping[str, str]:
    """The answer of `Readiness.missing`, shared by all callers that ask about `service`."""
    if service not in _readiness:
        _readiness[service] = Readiness()
    return await _readiness[service].missing(service)


def kinds_of(missing: Mapping[str, str]) -> dict[str, str]:
    """What anyone may know about `missing`: that an app, a source or a client has a problem, but
    not which one."""
    kinds = {name.partition(" ")[0] for name in missing}
    return {kind: KINDS.get(kind, "it is missing") for kind in sorted(kinds)}


async def find_missing(service: StreamService) -> dict[str, str]:
    """Name → what is missing: `database`, `source <name>`, `identity <id>`, `app <id>`, `log <id>`,
    `replicas <id>`. Empty if all is well."""
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
    """`database`, or `replicas <id>` for each app with replicas that have not come. One query."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            awaited = await queries.awaited_replicas.awaited_replicas(MAX_AWAITED)
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


async def _check_identity(service: StreamService, published: PublishedApp) -> str:
    """Why the app no longer trusts its source; empty if it does."""
    source_identity = SourceIdentity(published.app_id, published.base_nonce)
    try:
        return await source_identity.doubt(service.sources.database(published.definition.source))
    except (ChangeSourceError, DatabaseError):
        return ""  # `source` and `database` report it


async def _check_watched(service: StreamService, published: PublishedApp) -> str:
    try:
        leader = await service.log_of(published).leader()
    except ChangeSourceError as error:
        return str(error)
    return "" if leader else "no process watches it; run manage.py watch_changes"


async def check_lag(service: StreamService, published: PublishedApp) -> str:
    """Why the log counts as being behind its source, empty if it does not, by the source's clock
    alone: what a majority has at this moment, against the last change in the log. The log of a
    quiet source does not grow old, because heartbeats, or the source's own clock, move it on. On a
    sharded cluster without heartbeats neither does, so nothing is reported.

    A log that is still empty is not behind. The other checks report what does not answer.
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
    return f"its log is {lag_seconds} seconds behind the source; check the messages and the load of the leading watcher"
