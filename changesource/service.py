"""What the streams of one process share: connections to sources, published apps, logs, watchers,
and what clients may have."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, Protocol

from django.db import Error as DatabaseError
from django.utils import timezone

from changesource.conf import ChangeSourceSettings, load_settings
from changesource.errors import UnknownSource
from changesource.housekeeping import Housekeeping
from changesource.limits.limits import Limits
from changesource.log.entries import ChangeLog
from changesource.log.memory import MemoryLog
from changesource.log.redis import RedisLog
from changesource.models import queries
from changesource.models.database_threads import close_connections
from changesource.models.queries.access import ClientInApp, Entitlements
from changesource.models.queries.clients import Identity
from changesource.models.queries.published import PublishedApp
from changesource.mongo.source import Sources
from changesource.protocol import closing
from changesource.protocol.closing import Closing
from changesource.replication.app_source import AppSource
from changesource.replication.row_error_notes import RowErrorSink, SessionRowErrors
from changesource.replication.source_identity import SourceIdentity
from changesource.replication.version_history import VersionHistory
from changesource.replication.watcher import Watcher
from changesource.tasks import end_tasks

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
"""How soon a publish is noticed."""
SESSION_GRACE_SECONDS = 3.0
"""How long sessions may take to reach the end of a transaction when the process stops."""
ENDING_SECONDS = 1.5
"""How long tasks may then take to end, and connections to close after them: a server that does not
answer delays both."""
NOT_OUR_SERVER = (
    "this ASGI server is not Daphne, or was imported after the application: it does not limit messages a second, connections "
    "of an address or the time for a header, and it cuts streams off when it ends (docs/operations.md#asgi-servers)"
)
"""A log line about what is missing."""


class Connection(Protocol):
    """A connection that has been admitted."""

    identity: Identity
    app_id: str
    shard_num: int

    def end(self, how: Closing) -> None:
        """Ends the connection soon, whatever it is doing. A second call changes nothing."""


class StreamService:
    """What the streams of one process share. It belongs to one event loop: call `start` before use
    and `stop` at the end."""

    def __init__(self, settings: ChangeSourceSettings, app_ids: Collection[str] = ()) -> None:
        self.settings = settings
        self.sources = Sources(settings.sources)
        self.limits = Limits(settings)
        self.is_stopping = False
        self._app_ids = app_ids
        self._published_apps: dict[str, PublishedApp] = {}
        self._histories: dict[str, VersionHistory] = {}
        self._logs: dict[str, ChangeLog] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._watches = False
        self._stream_tasks: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self._entitlements: dict[ClientInApp, Entitlements] = {}
        self._periodic: list[asyncio.Task[None]] = []
        self._housekeeping = Housekeeping(app_ids, settings.audit_days)

    async def start(self, *, watch: bool) -> None:
        """Reads what is published and begins the periodic work. `watch`: also runs a watcher for
        each app (of `app_ids`, if any are given)."""
        self._watches = watch
        await self._housekeeping.begin(watches=watch)
        await self._refresh()
        # In a task of its own, so that slow work cannot delay the end of a revoked connection.
        self._periodic = [
            asyncio.create_task(self._each_second(self._end_invalid_connections)),
            asyncio.create_task(self._each_second(self._refresh, *self._housekeeping.duties)),
        ]

    async def stop(self) -> None:
        """Ends sessions at the end of their transaction, or after a grace time within one; watchers
        give up their leases."""
        self.is_stopping = True
        self._housekeeping.end()
        if self._stream_tasks:
            await asyncio.wait(self._stream_tasks, timeout=SESSION_GRACE_SECONDS)
        tasks = [*self._stream_tasks, *self._watchers.values(), *self._periodic]
        await _in_time({"streams and watchers": end_tasks(*tasks)})
        await _in_time(
            {
                "storing row errors": self._housekeeping.row_errors.store_pending(),
                "releasing slots": self.limits.close(),
                "connections to MongoDB": self.sources.close(),
                **{f"the log {name}": log.close() for name, log in self._logs.items()},
            }
        )
        await _in_time({"connections to the Django database": close_connections()})

    def published(self, app_id: str) -> queries.published.PublishedApp | None:
        """What is published of the app, at most a second old; None if nothing is."""
        return self._published_apps.get(app_id)

    @property
    def published_apps(self) -> Mapping[str, PublishedApp]:
        return self._published_apps

    def history_of(self, published: queries.published.PublishedApp) -> VersionHistory:
        """The versions of the app, shared so that a process compiles each version once."""
        if published.log_name not in self._histories:
            source_identity = SourceIdentity(published.app_id, published.base_nonce)
            self._histories[published.log_name] = VersionHistory(published.app_id, source_identity)
        return self._histories[published.log_name]

    def log_of(self, published: PublishedApp) -> ChangeLog:
        name = published.log_name
        if name not in self._logs:
            self._logs[name] = RedisLog(self.settings.redis_url, name) if self.settings.redis_url else MemoryLog()
        return self._logs[name]

    def row_error_sink(self, app_id: str) -> RowErrorSink:
        """Where a session reports row errors of the app; they are stored within a second or so."""
        return SessionRowErrors(self._housekeeping.row_errors.notes_of(app_id))

    def add_stream_task(self, task: asyncio.Task[None]) -> None:
        """Lets `stop` wait for `task`, which serves a WebSocket from its handshake on."""
        self._stream_tasks.add(task)
        task.add_done_callback(self._stream_tasks.discard)

    def add_connection(self, connection: Connection) -> None:
        """Ends `connection`, until `remove_connection`, when its client, grant or credential is no
        longer valid. This is for connections that have been admitted: what is being refused has no
        identity yet, or is held before it is closed."""
        self._connections.add(connection)

    def remove_connection(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def entitlements(self, key: ClientInApp) -> Entitlements | None:
        """What a connected client may have, at most a second old; None if it may have nothing, or
        until this has been read."""
        return self._entitlements.get(key)

    async def _each_second(self, *works: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            for work in works:
                try:
                    await work()
                except Exception:  # if this task ended for a bug of ours, revoked connections would never be ended
                    logger.exception("%s failed; trying again in a second", getattr(work, "__name__", work))

    async def _refresh(self) -> None:
        try:
            published_apps = await queries.published.published_apps(self._app_ids)
        except DatabaseError as error:
            logger.warning(
                "published versions could not be read (%s); continuing with those already known", type(error).__name__
            )
            return
        self._published_apps = published_apps
        if self._watches:
            await self._match_watchers()

    async def _end_invalid_connections(self) -> None:
        connections = list(self._connections)
        if not connections:
            self._entitlements = {}
            return
        is_known = True
        try:
            found = await queries.access.read_entitlements(
                {connection.identity.client_id for connection in connections}
            )
            # Equal entitlements stay the same object: sessions only look whether it is another one.
            self._entitlements = {
                key: known if (known := self._entitlements.get(key)) == entitlements else entitlements
                for key, entitlements in found.items()
            }
        except DatabaseError as error:
            logger.warning("clients could not be read (%s); continuing with those already known", type(error).__name__)
            is_known = False
        for connection in connections:
            how = self._why_invalid(connection, is_known=is_known)
            if how is not None:
                logger.warning("a stream of client %s ends: %s", connection.identity.name, how.reason)
                connection.end(how)

    def _why_invalid(self, connection: Connection, *, is_known: bool) -> Closing | None:
        identity = connection.identity
        now = timezone.now()
        entitlements = self._entitlements.get(ClientInApp(identity.client_id, connection.app_id))
        expiries = (identity.expires_at, entitlements.expires_at if entitlements is not None else None)
        if any(expires_at is not None and expires_at <= now for expires_at in expiries):
            return closing.revoked()
        if not is_known:
            return None
        if entitlements is None:
            return closing.not_allowed()
        if not entitlements.admits(identity):
            return closing.revoked()
        return (
            None if entitlements.may_be_shard(connection.shard_num) else closing.shard_not_allowed(connection.shard_num)
        )

    async def _match_watchers(self) -> None:
        """Runs one watcher for each log of a published app, and none for any other log."""
        wanted = {published.log_name: published for published in self._published_apps.values()}
        for name in self._watchers.keys() - wanted.keys():
            await end_tasks(self._watchers.pop(name))
        for name in wanted.keys() - self._watchers.keys():
            with contextlib.suppress(UnknownSource):
                self._watchers[name] = asyncio.create_task(self._new_watcher(wanted[name]).run())

    def _new_watcher(self, published: PublishedApp) -> Watcher:
        try:
            database = self.sources.database(published.definition.source)
        except UnknownSource as error:
            logger.error("app %s cannot be watched: %s", published.app_id, error)
            raise
        notes = self._housekeeping.row_errors.notes_of(published.app_id)
        return Watcher(
            AppSource(database, self.history_of(published), notes),
            self.log_of(published),
            lease_seconds=self.settings.lease_seconds,
            heartbeat_seconds=self.settings.heartbeat_seconds,
        )


async def _in_time(works: Mapping[str, Coroutine[Any, Any, None]]) -> None:
    """Runs the coroutines at once, and abandons those that exceed `ENDING_SECONDS`."""
    tasks = {asyncio.create_task(work): name for name, work in works.items()}
    done, pending = await asyncio.wait(tasks, timeout=ENDING_SECONDS)
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("while the process ends: %s failed (%s)", tasks[task], type(error).__name__)
    for task in pending:
        logger.warning("while the process ends: %s took longer than %s seconds", tasks[task], ENDING_SECONDS)
        task.cancel()


_service: StreamService | None = None
_start: asyncio.Future[StreamService] | None = None


def begin_service(*, watch: bool, app_ids: Collection[str] = ()) -> asyncio.Future[StreamService]:
    """Creates the service of this process, in a task that starts it and continues whether anything
    awaits it or not. The event loop need not be running yet."""
    global _start
    _start = asyncio.ensure_future(_start_service(watch, app_ids))
    return _start


async def _start_service(watch: bool, app_ids: Collection[str]) -> StreamService:
    global _service
    _service = StreamService(load_settings(), app_ids)
    await _service.start(watch=watch)
    return _service


async def running_service() -> StreamService:
    """Returns the service of this process once it has started, or raises what made it fail."""
    if (start := _start) is None:
        logger.warning(NOT_OUR_SERVER)
        start = begin_service(watch=not load_settings().redis_url)
    return await asyncio.shield(start)


async def stop_service() -> None:
    """Ends the service, even while it is starting. Until the process has ended, `running_service`
    gives the stopping one."""
    if _start is not None:
        await _in_time({"the start": end_tasks(_start)})
    if _service is not None:
        await _service.stop()
