"""One WebSocket of one zero-cache: a snapshot, or the stream from a watermark on."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from django.db import Error as DatabaseError

from changesource.conf import ChangeSourceSettings
from changesource.errors import (
    BarrierNotSeen,
    HistoryLost,
    InvalidUpstreamMessage,
    InvalidWatermark,
    SourceReplaced,
    SourceUnreachable,
    SourceUnusable,
    UnknownSource,
    UnknownVersion,
)
from changesource.log.entries import Entry
from changesource.models import client_store, source_store, store
from changesource.models.client_store import ClientInApp, Entitlements, Identity
from changesource.mongo.source import Database, current_cluster_time
from changesource.protocol import closing, frames
from changesource.protocol.closing import Closing
from changesource.protocol.requests import StreamRequest
from changesource.protocol.upstream import parse_upstream
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import ClientView
from changesource.publishing.compiled import CompiledVersion
from changesource.replication.app_source import AppSource
from changesource.replication.feed import Feed
from changesource.replication.source_identity import reaches
from changesource.replication.version_history import FIRST_ORDINAL_AFTER_MARKER
from changesource.service import StreamService
from changesource.sessions.acknowledgements import InFlight
from changesource.sessions.client_access import ClientAccess, ViewHistory
from changesource.sessions.outlet import ClientStalled, Outlet, PacedOutlet, SnapshotTooSlow
from changesource.sessions.snapshot import Snapshot
from changesource.sessions.snapshot_progress import SnapshotProgress, shown
from changesource.sessions.transactions import TransactionSender
from changesource.sessions.transition import Transition

logger = logging.getLogger(__name__)

NOTE_SECONDS = 10.0
"""How often the newest acknowledgement, and that the replica is in use, is kept in the Django DB."""
ACCESS_WITHOUT_A_PLACE = "What this client may read was changed without a place in the stream."
CLOCK_BEHIND_SECONDS = 60.0
"""How long a snapshot waits for the clock of a source that has taken the place of another."""
CLOCK_POLL_SECONDS = 0.2


class Session:
    """`run` does everything and says how to close; `receive` takes what zero-cache says meanwhile; `end` ends it from
    outside, whatever it is doing."""

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
        self._known: object = None
        least = self._settings.snapshot_min_bytes_per_second if request.resume is None else 0
        self._outlet = PacedOutlet(outlet, self._settings.stall_seconds, least)
        self._in_flight = InFlight(self._settings.stall_seconds)
        self._replica: store.ReplicaRecord | None = None
        """What is registered of the replica, once it is known to be this client's."""
        self._reached: Position | None = None
        """Where zero-cache says that the replica is, once the source is known to have come there."""
        self._replica_version = "" if request.resume is None else request.resume.replica_version.watermark
        self._noted_at = time.monotonic()
        self._label = f"{request.app_id}/{request.shard_num}"

    def receive(self, message: str | bytes) -> Closing | None:
        """Takes a message from zero-cache; how to close when it is not in the protocol."""
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
        self._end(how)

    async def run(self) -> Closing | None:
        """How to close the connection; None to leave that to zero-cache, after `reset-required`."""
        published = self._service.published(self._request.app_id)
        try:
            entitlements = await self._read_entitlements()
        except DatabaseError as error:
            return await self._refuse_for(error)
        if published is None or entitlements is None or not entitlements.admits(self.identity):
            return await self._refuse(closing.not_allowed())
        if not entitlements.may_be_shard(self._request.shard_num):
            return await self._refuse(closing.shard_not_allowed(self._request.shard_num))
        # Not before: the service would end at once what is refused slowly here.
        self._service.add_connection(self)
        try:
            return await self._run(published, entitlements)
        finally:
            self._service.remove_connection(self)

    async def _run(self, published: store.PublishedApp, entitlements: Entitlements) -> Closing | None:
        self._access = ClientAccess(self.identity, self._request.app_id, self._request.publications, entitlements)
        self._views = ViewHistory(self._service.history_of(published), self._access)
        try:
            if self._request.resume is None:
                return await self._take_snapshot(published)
            return await self._resume(published)
        except HistoryLost as error:
            is_fault = isinstance(error, SourceReplaced) or self._is_where_it_was()
            await self._require_reset(str(error), is_fault=is_fault)
            return None
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

    async def _read_entitlements(self) -> Entitlements | None:
        key = ClientInApp(self.identity.client_id, self._request.app_id)
        return (await client_store.read_entitlements([key.client_id])).get(key)

    async def _refuse_for(self, error: DatabaseError) -> Closing:
        logger.error("%s: the Django database failed (%s)", self._label, type(error).__name__)
        return await self._refuse(closing.internal_error())

    # A snapshot

    async def _take_snapshot(self, published: store.PublishedApp) -> Closing:
        """All that can take long, or refuses, and needs no turn comes before the turn, or after it."""
        progress = SnapshotProgress(self.app_id, self.shard_num, self.identity.client_id)
        async with shown(progress):
            while True:
                if not self._has_publications(published):
                    return await self._refuse(
                        closing.invalid_request("publications: the app has no publication of that name.")
                    )
                await self._wait_for_the_source(published)
                async with self._service.limits.snapshot_slot(published.app_id, self.identity.client_id):
                    current = self._service.published(published.app_id) or published
                    # Otherwise the app began anew in the meantime, perhaps with another source, or the version that was
                    # published in the meantime has other publications.
                    if current.log_name == published.log_name and self._has_publications(current):
                        progress.begin()
                        if (how := await self._send_snapshot(current, progress)) is not None:
                            return how
                        break
                published = current
        return await self._refuse(closing.not_allowed())

    def _has_publications(self, published: store.PublishedApp) -> bool:
        return all(name in published.definition.publications for name in self._request.publications)

    async def _wait_for_the_source(self, published: store.PublishedApp) -> None:
        """Until it is the one that was read before, and its clock is as far as it was."""
        database = self._service.sources.database(published.definition.source)
        await self._service.history_of(published).check_source(database)
        await self._wait_for_the_clock(database)

    async def _send_snapshot(self, published: store.PublishedApp, progress: SnapshotProgress) -> Closing | None:
        """How to close; None when the client may not have the app any more."""
        logger.info("%s: snapshot for client %s", self._label, self.identity.name)
        database = self._service.sources.database(published.definition.source)
        start = Position(await current_cluster_time(database))
        # Only now: the line may have been long, and a marker that lies before the start is not met any more.
        entitlements = await self._read_entitlements()
        if entitlements is None:
            return None
        self._access.note(entitlements)
        # Its marker comes before the snapshot's own: nothing is shown that is not to be shown any more.
        await self._access.apply_grant(database)
        view = await self._views.view_at(start)
        feed = self._feed(published, start)
        async with aclosing(feed.entries()) as entries:
            snapshot = Snapshot(
                database,
                self._views,
                view,
                self._request.shard_num,
                self._outlet,
                entries,
                self._service.row_error_sink(published.app_id),
                plain_inserts=self._settings.snapshot_plain_inserts,
                unused=self._unused,
                progress=progress.state,
            )
            result = await snapshot.send()
        await self._service.history_of(published).check_source(database)
        await store.register_replica(
            store.ReplicaRecord(
                app_id=published.app_id,
                shard_num=self._request.shard_num,
                replica_version=result.begin.watermark,
                snapshot_end=result.end.watermark,
                version_number=result.view.version.number,
                client_id=self.identity.client_id,
                access_number=result.view.access_number,
                scope=self._access.scope,
            )
        )
        await self._outlet.send([frames.commit(result.begin, int(time.time() * 1000))])
        logger.info("%s: snapshot sent, %d rows, %d bytes", self._label, result.rows, self._outlet.sent_bytes)
        return closing.snapshot_sent()

    async def _wait_for_the_clock(self, database: Database) -> None:
        """Until the source's clock has reached what the client's replicas have had: zero-cache takes a watermark for newer
        than another by its place, and its clients begin anew at one that is older than theirs."""
        try:
            watermark = await source_store.newest_watermark_of_client(
                self.app_id, self.identity.client_id, self.shard_num
            )
            newest = Position.from_watermark(watermark)
        except InvalidWatermark:
            return
        deadline = time.monotonic() + CLOCK_BEHIND_SECONDS
        while (now := await current_cluster_time(database)) < newest.cluster_time:
            if time.monotonic() > deadline:
                logger.error(
                    "%s: the clock of the source is %d seconds behind that of a former one; the clients of zero-cache "
                    "will load everything again",
                    self._label,
                    newest.seconds - (now >> 32),
                )
                return
            await asyncio.sleep(CLOCK_POLL_SECONDS)

    async def _unused(self, position: Position) -> Position:
        """A position at this cluster time that no replica of the shard began at. Two snapshots may see their markers in one
        transaction, and what is registered of the one would be taken for the other's: so it is drawn."""
        end = (
            FIRST_ORDINAL_AFTER_MARKER
            if position.ordinal < FIRST_ORDINAL_AFTER_MARKER
            else FIRST_ORDINAL_AFTER_MARKER * 2
        )
        while True:
            ordinal = position.ordinal + secrets.randbelow(end - position.ordinal)
            drawn = Position(position.cluster_time, ordinal)
            if await store.find_replica(self._request.app_id, self._request.shard_num, drawn.watermark) is None:
                return drawn

    # The stream

    async def _resume(self, published: store.PublishedApp) -> Closing | None:
        assert self._request.resume is not None  # noqa: S101 (the caller asked)
        last = self._request.resume.last_watermark
        replica = await store.find_replica(published.app_id, self._request.shard_num, self._replica_version)
        if replica is None:
            await self._require_reset("This replica was not built from a snapshot of this change source.")
            return None
        if replica.client_id != self.identity.client_id:
            await self._require_reset("This replica was built for another client.")
            return None
        self._replica = replica
        if replica.version_number < published.base_number:
            await self._require_reset(
                f"{_begins_anew(published)} The replica has version {replica.version_number}.",
                is_fault=bool(published.base_reason),
            )
            return None
        if reason := self._why_not_of_this_access(replica):
            await self._require_reset_for(reason, published)
            return None
        database = self._service.sources.database(published.definition.source)
        await self._service.history_of(published).check_source(database)
        if not await reaches(database, last):  # its own word, which says nothing of the source or of other replicas
            await self._require_reset("The replica is ahead of the source: it was built from another one.")
            return None
        self._reached = last
        is_first = last == self._request.resume.replica_version
        start = Position.from_watermark(replica.snapshot_end) if is_first else last
        view = await self._views.view_at(last)
        await self._views.look_ahead(view)
        logger.info(
            "%s: resumes after %s with version %d for client %s",
            self._label,
            last.watermark,
            view.version.number,
            self.identity.name,
        )
        return await self._stream(published, view, start, last)

    def _is_where_it_was(self) -> bool:
        """Whether zero-cache asks for what follows the newest that its replica is known to have. What came before that may
        well be lost by now."""
        resume = self._request.resume
        if resume is None or self._replica is None:
            return False
        return resume.last_watermark.watermark >= self._replica.acknowledged

    def _why_not_of_this_access(self, replica: store.ReplicaRecord) -> str:
        if replica.scope != self._access.scope:
            return "This replica was built for other publications, or with other attributes of the client."
        entitlements = self._access.entitlements
        if not entitlements.oldest_number <= replica.access_number <= entitlements.newest_number:
            return ACCESS_WITHOUT_A_PLACE
        if self._access.number_at(Position.from_watermark(replica.replica_version)) != replica.access_number:
            return ACCESS_WITHOUT_A_PLACE  # nobody can say what it has been shown
        return ""

    async def _stream(
        self, published: store.PublishedApp, view: ClientView, start: Position, last: Position
    ) -> Closing | None:
        sender = TransactionSender(self._outlet, self._in_flight, view, last)
        database = self._service.sources.database(published.definition.source)
        feed = self._feed(published, start)
        committed_at = time.monotonic()
        async with aclosing(feed.entries()) as entries:
            async for entry in entries:
                is_between = not sender.is_open or (entry is not None and entry.id.part == 0)
                if is_between and self._service.is_stopping:
                    return closing.going_away()
                if is_between:
                    await self._apply_changes(database, view)
                    self._withhold(view, sender)
                    if reason := self._why_not_go_on(published, view):
                        await self._require_reset_for(reason, published)
                        return None
                following = entry
                while following is not None and (new := await self._views.after(following, view)) is not None:
                    following = await self._switch(database, view, new, following.position, sender, entries)
                    view = new
                    self._known = None
                    committed_at = time.monotonic()
                if following is not None and await self._pass_on(following, view.version, sender):
                    committed_at = time.monotonic()
                if not sender.is_open and self._access.number_at(feed.position) > view.access_number:
                    # Its place has gone by, and nothing was met there: the source is not the one where it was.
                    await self._require_reset_for(ACCESS_WITHOUT_A_PLACE, published)
                    return None
                is_quiet = time.monotonic() - committed_at > self._settings.quiet_commit_seconds
                if is_quiet and not sender.is_open and feed.position.number > sender.last.number:
                    await sender.send_empty(feed.position, feed.position.seconds * 1000)
                    committed_at = time.monotonic()
                await self._note_acknowledged()
        return closing.going_away()

    async def _apply_changes(self, database: Database, view: ClientView) -> None:
        """Looks whether the client may read something else now, or another version has been published. What that changes
        comes with a marker."""
        current = self._service.entitlements(self._access.key)
        if current is not None:
            self._access.note(current)
        if not self._access.is_in_force:
            try:
                await self._access.apply_grant(database)
            except (SourceUnreachable, SourceUnusable) as error:
                logger.warning("%s: a change of what the client may read has to wait: %s", self._label, error)
            except DatabaseError as error:
                logger.warning("%s: the access of the client was not read (%s)", self._label, type(error).__name__)
        published = self._service.published(self.app_id)
        newest = max([view.version.number, *(version.number for version in self._access.coming)])
        if published is not None and published.number > newest:
            try:
                await self._views.look_ahead(view)
            except DatabaseError as error:
                logger.warning("%s: published versions were not read (%s)", self._label, type(error).__name__)

    def _withhold(self, view: ClientView, sender: TransactionSender) -> None:
        """What is about to change is not sent any more from here on."""
        known = (self._access.entitlements, self._access.coming)
        if known != self._known:
            self._known = known
            sender.withhold(self._access.withheld(view))

    def _why_not_go_on(self, published: store.PublishedApp, view: ClientView) -> str:
        current = self._service.published(published.app_id)
        if current is None:
            return "The app is no more."
        if current.log_name != published.log_name:
            return _begins_anew(current)
        if view.access_number < self._access.entitlements.oldest_number:
            return ACCESS_WITHOUT_A_PLACE
        return ""

    async def _pass_on(self, entry: Entry, version: CompiledVersion, sender: TransactionSender) -> bool:
        """Whether the entry ended a transaction. What another version rendered never reaches the replica: zero-cache ends for
        good on a table or column that it does not have."""
        if entry.is_publish or entry.version < version.number:
            return False  # from before the publish, at its cluster time, which a resume begins with
        if entry.version > version.number:
            raise UnknownVersion(f"Version {entry.version} of {version.app_id} came without its publish.")
        return await sender.send(entry)

    async def _switch(
        self,
        database: Database,
        old: ClientView,
        new: ClientView,
        position: Position,
        sender: TransactionSender,
        entries: AsyncIterator[Entry | None],
    ) -> Entry | None:
        """Sends what changes from one view to the next. The entry of the next turn if that was met already."""
        sink = self._service.row_error_sink(self._request.app_id)
        switch = Transition(
            database,
            old,
            new,
            self._request.shard_num,
            sender,
            entries,
            self._views,
            sink,
        )
        return await switch.send(position)

    async def _note_acknowledged(self) -> None:
        if time.monotonic() - self._noted_at < NOTE_SECONDS:
            return
        self._noted_at = time.monotonic()
        newest = "" if self._in_flight.newest is None else self._in_flight.newest.watermark
        try:
            await store.note_acknowledged(self._request.app_id, self._request.shard_num, self._replica_version, newest)
        except DatabaseError as error:  # the next note says the same
            logger.warning("%s: acknowledgement not kept (%s)", self._label, type(error).__name__)

    # Parts of both

    def _feed(self, published: store.PublishedApp, start: Position) -> Feed:
        source = AppSource(
            self._service.sources.database(published.definition.source),
            self._service.history_of(published),
            self._service.row_error_sink(published.app_id),
        )
        return Feed(source, self._service.log_of(published), start)

    async def _require_reset_for(self, reason: str, published: store.PublishedApp) -> None:
        """`reason`, unless the app begins anew: with it all that clients may read does, and either may be known first."""
        current = (await store.published_apps([published.app_id])).get(published.app_id)
        if current is not None and current.log_name != published.log_name:
            await self._require_reset(_begins_anew(current), is_fault=bool(current.base_reason))
        else:
            await self._require_reset(reason)

    async def _require_reset(self, reason: str, *, is_fault: bool = False) -> None:
        """Said once for each connection, which is then left to zero-cache to end, and never in a hurry. `is_fault`: nobody
        asked for it, which makes `/readyz` say so until the next snapshot is there.

        It is kept for a replica that is registered alone, and with no position that the source has not given: all else is
        what a client says, and would make alarms, rows and waiting out of nothing.
        """
        logger.warning("%s: reset-required: %s", self._label, reason, extra={"action": "reset-required"})
        if self._replica is not None:
            newest = self._in_flight.newest or self._reached
            await self._note_reset(
                source_store.ResetNotice(
                    app_id=self.app_id,
                    client_id=self.identity.client_id,
                    shard_num=self.shard_num,
                    replica_version=self._replica.replica_version,
                    watermark="" if newest is None else newest.watermark,
                    reason=reason,
                    is_fault=is_fault,
                )
            )
        await asyncio.sleep(closing.RESET_DELAY_SECONDS)
        await self._outlet.send([frames.reset_required(reason)])

    async def _note_reset(self, notice: source_store.ResetNotice) -> None:
        try:
            await source_store.note_reset(notice)
        except DatabaseError as error:  # a zero-cache that builds no new replica is only missed less
            logger.warning("%s: reset-required not kept (%s)", self._label, type(error).__name__)

    async def _refuse(self, how: Closing) -> Closing:
        await asyncio.sleep(closing.REFUSAL_DELAY_SECONDS)
        return how


def _begins_anew(published: store.PublishedApp) -> str:
    because = f": {published.base_reason}" if published.base_reason else ""
    return f"Version {published.base_number} of the app begins anew{because}."
