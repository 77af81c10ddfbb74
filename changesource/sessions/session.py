"""One WebSocket of one zero-cache: a snapshot, or the stream from a watermark on.

may it?       which view?                    then
────────────  ─────────────────────────────  ─────────────────────────────────────────
its grant,    no replica: the view that      in transition from nothing (`snapshot.py`),
its shard     is in force now                then close: zero-cache comes back to resume
              a replica: the view at its     steady, or in transition to the next view
              watermark, or a reset          (`stream.py`)
              (`resume.py`)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from django.db import Error as DatabaseError

from changesource.conf import ChangeSourceSettings
from changesource.errors import (
    BarrierNotSeen,
    HistoryLost,
    InvalidUpstreamMessage,
    SourceUnreachable,
    SourceUnusable,
    UnknownSource,
    UnknownVersion,
)
from changesource.models import queries
from changesource.models.queries.access import ClientInApp, Entitlements
from changesource.models.queries.awaited_replicas import ResetNotice
from changesource.models.queries.clients import Identity
from changesource.models.queries.published import PublishedApp
from changesource.models.queries.replicas import ReplicaRecord
from changesource.mongo.source import Database, current_cluster_time
from changesource.protocol import closing, frames
from changesource.protocol.closing import Closing
from changesource.protocol.requests import Resume, StreamRequest
from changesource.protocol.transforms import KEPT_SECONDS
from changesource.protocol.upstream import parse_upstream
from changesource.protocol.watermarks import Position
from changesource.queries.registry import has_named_queries
from changesource.replication.feed import Feed
from changesource.replication.source_identity import reaches
from changesource.service import StreamService
from changesource.sessions.acknowledgements import AcknowledgementNotes, InFlight
from changesource.sessions.client_access import ClientAccess, ViewHistory
from changesource.sessions.outlet import ClientStalled, Outlet, PacedOutlet, SnapshotTooSlow
from changesource.sessions.resume import AHEAD_OF_THE_SOURCE, Reset, history_lost, reset_at_resume, started_over
from changesource.sessions.snapshot import Snapshot
from changesource.sessions.snapshot_progress import SnapshotProgress, shown
from changesource.sessions.source_clock import wait_for_the_clock
from changesource.sessions.stream import Stream
from changesource.sessions.stream_context import StreamContext
from changesource.sessions.transactions import TransactionSender

logger = logging.getLogger(__name__)


class Session:
    """One connection. `run` does everything and says how to close; `receive` takes what zero-cache
    says meanwhile; `end` ends it from outside, whatever it is doing."""

    def __init__(
        self,
        service: StreamService,
        request: StreamRequest,
        client: Identity,
        outlet: Outlet,
        end: Callable[[Closing], None],
    ) -> None:
        self._service = service
        self._settings: ChangeSourceSettings = service.settings
        self._request = request
        self.identity = client
        self.app_id = request.app_id
        self.shard_num = request.shard_num
        self._end = end
        least = self._settings.snapshot_min_bytes_per_second if request.resume is None else 0
        self._outlet = PacedOutlet(outlet, self._settings.stall_seconds, least)
        self._in_flight = InFlight(self._settings.stall_seconds)
        self._replica: ReplicaRecord | None = None
        """What is registered of the replica, once it is known to be this client's."""
        self._reached: Position | None = None
        """Where zero-cache says that the replica is, once the source is known to be there."""
        self._label = f"{request.app_id}/{request.shard_num}"

    def receive(self, message: str | bytes) -> Closing | None:
        """Takes a message from zero-cache. Returns how to close if it is not in the protocol."""
        try:
            acknowledgement = parse_upstream(message)
        except InvalidUpstreamMessage as error:
            logger.warning("%s: refused a message: %s", self._label, error)
            return closing.invalid_message(str(error))
        if acknowledgement is not None:
            confirmed = self._in_flight.acknowledge(acknowledgement.position)
            if confirmed.transactions:
                logger.info(
                    "acknowledged %s by %s: %d transactions, %d rows",
                    acknowledgement.position.watermark,
                    self._label,
                    confirmed.transactions,
                    confirmed.rows,
                    extra={"action": "acknowledged"},
                )
        return None

    def end(self, how: Closing) -> None:
        """Ends the session soon, whatever it is doing."""
        self._end(how)

    async def run(self) -> Closing | None:
        """Returns how to close the connection, or None to leave that to zero-cache, after
        `reset-required`."""
        published = self._service.published(self.app_id)
        try:
            entitlements = await self._read_entitlements()
        except DatabaseError as error:
            return await self._refuse_for(error)
        if published is None or entitlements is None or not entitlements.admits(self.identity):
            return await self._refuse(closing.not_allowed())
        if not entitlements.may_be_shard(self.shard_num):
            return await self._refuse(closing.shard_not_allowed(self.shard_num))
        # Not before: the service would end at once what is refused slowly here.
        self._service.add_connection(self)
        try:
            return await self._run(published, entitlements)
        finally:
            self._service.remove_connection(self)

    async def _run(self, published: PublishedApp, entitlements: Entitlements) -> Closing | None:
        self._access = ClientAccess(self.identity, self.app_id, self._request.publications, entitlements)
        resume = self._request.resume
        try:
            if resume is None:
                return await self._take_snapshot(published)
            outcome = await self._resume(published, resume)
            if isinstance(outcome, Closing):
                return outcome
            await self._require_reset(await self._true_reset(outcome, published))
        except HistoryLost as error:
            await self._require_reset(history_lost(error, resume, self._replica))
        except ClientStalled as error:
            logger.warning("%s: dropped: %s", self._label, error)
            return closing.stalled(self._settings.stall_seconds)
        except SnapshotTooSlow as error:
            logger.warning("%s: dropped: %s", self._label, error)
            return closing.snapshot_too_slow(self._settings.snapshot_min_bytes_per_second)
        except (SourceUnreachable, SourceUnusable, UnknownSource, UnknownVersion, BarrierNotSeen) as error:
            logger.error("%s: %s", self._label, error)
            return await self._refuse(closing.source_unavailable())
        except DatabaseError as error:
            return await self._refuse_for(error)
        return None

    async def _read_entitlements(self) -> Entitlements | None:
        key = ClientInApp(self.identity.client_id, self.app_id)
        return (await queries.access.read_entitlements([key.client_id])).get(key)

    def _context(self, published: PublishedApp) -> StreamContext:
        return StreamContext(
            self._service.sources.database(published.definition.source),
            self.app_id,
            self.shard_num,
            ViewHistory(self._service.history_of(published), self._access),
            self._service.row_error_sink(self.app_id),
        )

    def _feed(self, context: StreamContext, published: PublishedApp, start: Position) -> Feed:
        log = self._service.log_of(published)
        return Feed(context.source, log, start)

    async def _refuse(self, how: Closing) -> Closing:
        await asyncio.sleep(closing.REFUSAL_DELAY_SECONDS)
        return how

    async def _refuse_for(self, error: DatabaseError) -> Closing:
        logger.error("%s: the Django database failed (%s)", self._label, type(error).__name__)
        return await self._refuse(closing.internal_error())

    # Snapshots: in transition from nothing

    async def _take_snapshot(self, published: PublishedApp) -> Closing:
        """Sends a snapshot, in one of the app's slots. Whatever may take long or refuse, and needs no
        slot, comes before or after that."""
        progress = SnapshotProgress(self.app_id, self.shard_num, self.identity.client_id)
        async with shown(progress):
            while True:
                if not self._has_publications(published):
                    return await self._refuse(
                        closing.invalid_request("publications: the app has no publication of that name.")
                    )
                await self._wait_for_the_source(published)
                async with self._service.limits.snapshot_slot(self.app_id, self.identity.client_id):
                    current = self._service.published(self.app_id) or published
                    # Otherwise the app started over in the meantime, perhaps with another source, or
                    # the version that was published in the meantime has other publications.
                    if current.log_name == published.log_name and self._has_publications(current):
                        progress.begin()
                        if (how := await self._send_snapshot(current, progress)) is not None:
                            return how
                        break
                published = current
        return await self._refuse(closing.not_allowed())

    def _has_publications(self, published: PublishedApp) -> bool:
        return all(name in published.definition.publications for name in self._request.publications)

    async def _wait_for_the_source(self, published: PublishedApp) -> None:
        """Returns when the source is known to be the same, and its clock is as far as it was."""
        database = self._service.sources.database(published.definition.source)
        await self._service.history_of(published).check_source(database)
        await wait_for_the_clock(database, self.app_id, self.identity.client_id, self.shard_num)

    async def _send_snapshot(self, published: PublishedApp, progress: SnapshotProgress) -> Closing | None:
        """Returns how to close, or None if the client may no longer read the app."""
        logger.info("%s: snapshot for client %s", self._label, self.identity.name)
        context = self._context(published)
        start = Position(await current_cluster_time(context.database))
        # Only now: the wait for a slot may have been long, and a marker that lies before `start` is
        # no longer met.
        entitlements = await self._read_entitlements()
        if entitlements is None:
            return None
        self._access.note(entitlements)
        # Its marker comes before the snapshot's own, so that nothing is shown that was taken away.
        await self._apply_grant(context.database, published)
        view = await context.views.view_at(start)
        snapshot = Snapshot(context, self._outlet, progress.state, plain_inserts=self._settings.snapshot_plain_inserts)
        async with aclosing(self._feed(context, published, start).readings()) as readings:
            result = await snapshot.send(view, readings)
        await context.views.history.check_source(context.database)
        await queries.replicas.register_replica(
            ReplicaRecord(
                app_id=self.app_id,
                shard_num=self.shard_num,
                replica_version=result.begin.watermark,
                snapshot_end=result.end.watermark,
                version_number=result.view.version.number,
                client_id=self.identity.client_id,
                access_number=result.view.access_number,
                scope=self._access.scope,
                publications=self._access.publications,
            )
        )
        await snapshot.commit()
        logger.info("%s: snapshot sent, %d rows, %d bytes", self._label, result.rows, self._outlet.sent_bytes)
        return closing.snapshot_sent()

    async def _apply_grant(self, database: Database, published: PublishedApp) -> None:
        """Brings a change of what the client may read into force. Its marker waits, as that of a
        stream does, until zero-cache has forgotten answers to named queries: other replicas of the
        client meet it as well."""
        waits = KEPT_SECONDS if has_named_queries(published.definition) else 0.0
        await self._access.apply_grant(database, waits)
        if waits and not self._access.is_in_force:
            await asyncio.sleep(waits)
            await self._access.apply_grant(database)

    # Resuming from where a replica is

    async def _resume(self, published: PublishedApp, resume: Resume) -> Closing | Reset:
        last, version = resume.last_watermark, resume.replica_version
        replica = await queries.replicas.find_replica(self.app_id, self.shard_num, version.watermark)
        if replica is not None and replica.client_id == self.identity.client_id:
            self._replica = replica
        reset = reset_at_resume(replica, self.identity.client_id, published, self._access)
        if reset is not None:
            return reset
        assert replica is not None  # noqa: S101 (otherwise there would be a reset)
        context = self._context(published)
        await context.views.history.check_source(context.database)
        if not await reaches(context.database, last):
            return AHEAD_OF_THE_SOURCE
        self._reached = last
        start = Position.from_watermark(replica.snapshot_end) if last == version else last
        view = await context.views.view_at(last)
        await context.views.look_ahead(view)
        logger.info(
            "%s: resumes after %s with version %d for client %s",
            self._label,
            last.watermark,
            view.version.number,
            self.identity.name,
        )
        sender = TransactionSender(self._outlet, self._in_flight, view, last)
        notes = AcknowledgementNotes(self.app_id, self.shard_num, version.watermark, self._in_flight)
        feed = self._feed(context, published, start)
        return await Stream(self._service, context, feed, sender, notes).run(published)

    async def _true_reset(self, reset: Reset, published: PublishedApp) -> Reset:
        """`reset`, unless the app has started over and that is the reason behind it."""
        if not reset.may_be_a_new_base:
            return reset
        current = (await queries.published.published_apps([self.app_id])).get(self.app_id)
        return started_over(published, current) or reset

    async def _require_reset(self, reset: Reset) -> None:
        """Tells zero-cache, once per connection and never in a hurry. zero-cache then closes it.

        The reset is noted for registered replicas only, and with no position that the source has not
        given. Anything else is only a client's word, and would cause alarms, rows and waits for no
        reason.
        """
        logger.warning("%s: reset-required: %s", self._label, reset.reason, extra={"action": "reset-required"})
        if self._replica is not None:
            newest = self._in_flight.newest or self._reached
            await self._note_reset(
                ResetNotice(
                    app_id=self.app_id,
                    client_id=self.identity.client_id,
                    shard_num=self.shard_num,
                    replica_version=self._replica.replica_version,
                    watermark="" if newest is None else newest.watermark,
                    reason=reset.reason,
                    is_fault=reset.is_fault,
                )
            )
        await asyncio.sleep(closing.RESET_DELAY_SECONDS)
        await self._outlet.send([frames.reset_required(reset.reason)])

    async def _note_reset(self, notice: ResetNotice) -> None:
        try:
            await queries.awaited_replicas.note_reset(notice)
        except DatabaseError as error:  # then no one is told if zero-cache builds no new replica
            logger.warning("%s: the reset was not stored (%s)", self._label, type(error).__name__)
