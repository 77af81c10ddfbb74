"""What one process shares: connections, logs, the published versions, watchers, and the sessions to end when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, Protocol

from django.db import Error as DatabaseError
from django.utils import timezone

from changesource.conf import ChangeSourceSettings, load_settings
from changesource.errors import UnknownSource
from changesource.housekeeping import GarbageCollection
from changesource.limits.limits import Limits
from changesource.log.entries import ChangeLog
from changesource.log.memory import MemoryLog
from changesource.log.redis import RedisLog
from changesource.models import client_store, source_store, store
from changesource.models.client_store import ClientInApp, Entitlements, Identity
from changesource.models.database_threads import close_connections
from changesource.mongo.source import Sources
from changesource.protocol import closing
from changesource.protocol.closing import Closing
from changesource.replication.renderer import RowErrorSink
from changesource.replication.row_error_notes import RowErrorNotes
from changesource.replication.source_identity import SourceIdentity
from changesource.replication.version_history import VersionHistory
from changesource.replication.watcher import Watcher
from changesource.tasks import end_tasks

logger = logging.getLogger(__name__)

PRUNE_SECONDS = 3600.0
"""How often what is kept of replicas, changes and refusals is pruned by its age."""
REFRESH_SECONDS = 1.0
"""How soon a publish is noticed."""
ROW_ERRORS_SECONDS = 10.0
"""How often a process that watches looks which documents have row errors, of which others may have found some."""
SESSION_GRACE_SECONDS = 3.0
"""How long sessions may take to reach the end of a transaction when the process stops."""
ENDING_SECONDS = 1.5
"""How long tasks may then take to end, and after them connections to close: a server that does not answer holds them up."""
NOT_OUR_SERVER = (
    "this ASGI server is not Daphne, or was imported after the application: it does not limit messages a second, connections "
    "of an address or the time for a header, and it cuts streams off when it ends (docs/operations.md#asgi-servers)"
)
"""What is missing, for the log."""


class Connection(Protocol):
    """One that a client has opened and that has been let in."""

    identity: Identity
    app_id: str
    shard_num: int

    def end(self, how: Closing) -> None:
        """Ends it soon, whatever it is doing. Again changes nothing."""


class StreamService:
    """Belongs to one event loop. `start` before use, `stop` at the end."""

    def __init__(self, settings: ChangeSourceSettings, app_ids: Collection[str] = ()) -> None:
        self.settings = settings
        self.sources = Sources(settings.sources)
        self.limits = Limits(settings)
        self.is_stopping = False
        self._app_ids = app_ids
        self._published_apps: dict[str, store.PublishedApp] = {}
        self._histories: dict[str, VersionHistory] = {}
        self._logs: dict[str, ChangeLog] = {}
        self._watchers: dict[str, tuple[Watcher, asyncio.Task[None]]] = {}
        self._watches = False
        self._row_errors: dict[str, RowErrorNotes] = {}
        self._know_row_errors_at = 0.0
        self._sessions: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self._entitlements: dict[ClientInApp, Entitlements] = {}
        self._prune_at = 0.0
        self._refreshers: list[asyncio.Task[None]] = []
        self._garbage = GarbageCollection()

    async def start(self, *, watch: bool) -> None:
        """`watch`: also run a watcher for each app (of `app_ids`, if any are given)."""
        self._watches = watch
        self._garbage.begin()
        await self._know_row_errors()
        await self._refresh()
        # Apart: nothing that takes long may hold up the end of what is revoked.
        self._refreshers = [
            asyncio.create_task(self._each_second(self._end_invalid_connections)),
            asyncio.create_task(
                self._each_second(
                    self._refresh,
                    self._prune,
                    self._flush_row_errors,
                    self._know_row_errors,
                    self._garbage.collect_if_due,
                )
            ),
        ]

    async def stop(self) -> None:
        """Sessions end at the next end of a transaction, or after a grace time in the middle; watchers give up."""
        self.is_stopping = True
        self._garbage.end()
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=SESSION_GRACE_SECONDS)
        tasks = [*self._sessions, *(task for _, task in self._watchers.values()), *self._refreshers]
        await _in_time({"streams and watchers": end_tasks(*tasks)})
        await _in_time(
            {
                "storing row errors": self._flush_row_errors(),
                "giving up places": self.limits.close(),
                "connections to MongoDB": self.sources.close(),
                **{f"the log {name}": log.close() for name, log in self._logs.items()},
            }
        )
        await _in_time({"connections to the Django database": close_connections()})

    def published(self, app_id: str) -> store.PublishedApp | None:
        """What of the app is published, at most a second old; None for an app of which nothing is."""
        return self._published_apps.get(app_id)

    @property
    def published_apps(self) -> Mapping[str, store.PublishedApp]:
        return self._published_apps

    def history_of(self, published: store.PublishedApp) -> VersionHistory:
        """The versions of the app; each is compiled once in a process."""
        if published.log_name not in self._histories:
            source_identity = SourceIdentity(published.app_id, published.base_nonce)
            self._histories[published.log_name] = VersionHistory(published.app_id, source_identity)
        return self._histories[published.log_name]

    def log_of(self, published: store.PublishedApp) -> ChangeLog:
        name = published.log_name
        if name not in self._logs:
            self._logs[name] = RedisLog(self.settings.redis_url, name) if self.settings.redis_url else MemoryLog()
        return self._logs[name]

    def row_error_sink(self, app_id: str) -> RowErrorSink:
        """Takes row errors of an app; they are stored within a second or so."""
        return self._row_error_notes(app_id).add

    def add_session(self, task: asyncio.Task[None]) -> None:
        self._sessions.add(task)
        task.add_done_callback(self._sessions.discard)

    def add_connection(self, connection: Connection) -> None:
        """Ends it when its client or its credential is no longer valid, until `remove_connection`."""
        self._connections.add(connection)

    def remove_connection(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def entitlements(self, key: ClientInApp) -> Entitlements | None:
        """What a client with a connection may have, at most a second old; None before that was read, and when it may have
        nothing."""
        return self._entitlements.get(key)

    async def _each_second(self, *works: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            for work in works:
                try:
                    await work()
                except Exception:  # one that ended for a fault of ours would leave nobody to end what is revoked
                    logger.exception("%s failed; again in a second", work.__name__)

    async def _refresh(self) -> None:
        try:
            published_apps = await store.published_apps(self._app_ids)
        except DatabaseError as error:
            logger.warning("published versions could not be read (%s); going on with those known", type(error).__name__)
            return
        self._published_apps = published_apps
        if self._watches:
            await self._match_watchers()

    async def _prune(self) -> None:
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + PRUNE_SECONDS
        try:
            await source_store.prune_replicas()
            await client_store.prune_audit(self.settings.audit_days)
        except DatabaseError as error:
            logger.warning("what is too old was not pruned (%s); again in an hour", type(error).__name__)

    async def _end_invalid_connections(self) -> None:
        connections = list(self._connections)
        if not connections:
            self._entitlements = {}
            return
        is_known = True
        try:
            found = await client_store.read_entitlements({connection.identity.client_id for connection in connections})
            # The same object for the same entitlements: sessions look whether it is another one.
            self._entitlements = {
                key: known if (known := self._entitlements.get(key)) == entitlements else entitlements
                for key, entitlements in found.items()
            }
        except DatabaseError as error:
            logger.warning("clients could not be read (%s); going on with those known", type(error).__name__)
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
        """One watcher for each log of a published app, none for any other."""
        wanted = {published.log_name: published for published in self._published_apps.values()}
        for name in self._watchers.keys() - wanted.keys():
            _, task = self._watchers.pop(name)
            await end_tasks(task)
        for name in wanted.keys() - self._watchers.keys():
            with contextlib.suppress(UnknownSource):
                watcher = self._new_watcher(wanted[name])
                self._watchers[name] = (watcher, asyncio.create_task(watcher.run()))

    def _new_watcher(self, published: store.PublishedApp) -> Watcher:
        try:
            database = self.sources.database(published.definition.source)
        except UnknownSource as error:
            logger.error("app %s cannot be watched: %s", published.app_id, error)
            raise
        return Watcher(
            database,
            self.history_of(published),
            self.log_of(published),
            # It alone ends row errors: who is behind would end those that came later.
            self._row_error_notes(published.app_id),
            lease_seconds=self.settings.lease_seconds,
            heartbeat_seconds=self.settings.heartbeat_seconds,
        )

    def _row_error_notes(self, app_id: str) -> RowErrorNotes:
        return self._row_errors.setdefault(app_id, RowErrorNotes())

    async def _know_row_errors(self) -> None:
        if not self._watches or time.monotonic() < self._know_row_errors_at:
            return
        self._know_row_errors_at = time.monotonic() + ROW_ERRORS_SECONDS
        try:
            stored = await store.documents_with_row_errors(self._app_ids)
        except DatabaseError as error:
            logger.warning("row errors could not be read (%s)", type(error).__name__)
            return
        for app_id in stored.keys() | self._row_errors.keys():
            self._row_error_notes(app_id).know(stored.get(app_id, {}))

    async def _flush_row_errors(self) -> None:
        for app_id, notes in list(self._row_errors.items()):
            ended, errors = notes.take()
            if not ended and not errors:
                continue
            try:
                await store.record_row_errors(app_id, errors, ended)
            except DatabaseError as error:
                logger.warning(
                    "%d row errors of %s could not be stored (%s)", len(errors), app_id, type(error).__name__
                )


async def _in_time(works: Mapping[str, Coroutine[Any, Any, None]]) -> None:
    """Does all at once, by their names, and leaves behind what takes longer than `ENDING_SECONDS`."""
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
    """Makes the service of this process, in a task that starts it and goes on whether anybody waits for it or not. The event
    loop need not run yet."""
    global _start
    _start = asyncio.ensure_future(_start_service(watch, app_ids))
    return _start


async def _start_service(watch: bool, app_ids: Collection[str]) -> StreamService:
    global _service
    _service = StreamService(load_settings(), app_ids)
    await _service.start(watch=watch)
    return _service


async def running_service() -> StreamService:
    """The service of this process, once it has started. Raises what kept it from that."""
    if (start := _start) is None:
        logger.warning(NOT_OUR_SERVER)
        start = begin_service(watch=not load_settings().redis_url)
    return await asyncio.shield(start)


async def stop_service() -> None:
    """Ends the service, also while it starts. Who asks for it until the process has ended gets the one that stops."""
    if _start is not None:
        await _in_time({"the start": end_tasks(_start)})
    if _service is not None:
        await _service.stop()
