"""The stream of changes on one connection, from where its replica is."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

from django.db import Error as DatabaseError

from changesource.errors import SourceUnreachable, SourceUnusable, UnknownVersion
from changesource.log.entries import Entry
from changesource.models.queries.published import PublishedApp
from changesource.protocol import closing, frames
from changesource.protocol.closing import Closing
from changesource.protocol.transforms import KEPT_SECONDS
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import ClientView
from changesource.queries.registry import has_named_queries
from changesource.replication.feed import Feed
from changesource.replication.readings import Reading
from changesource.service import StreamService
from changesource.sessions.acknowledgements import AcknowledgementNotes
from changesource.sessions.barrier import entries_to_barrier
from changesource.sessions.resume import Reset, reset_after, reset_in_stream
from changesource.sessions.row_loader import RowLoader
from changesource.sessions.stream_context import StreamContext
from changesource.sessions.transactions import TransactionSender
from changesource.sessions.transition import Replayed, Transition

logger = logging.getLogger(__name__)

LATELY_SECONDS = 60
"""How far, by the source's clock, a replica may have come since a cutover if its rules were not sent
once more. A stream that is not interrupted does so after `KEPT_SECONDS` and a moment."""


class Stream:
    """Passes entries on as transactions, in one of two states.

            an entry: passed on
             ┌────────┐
             ▼        │        a cutover
        ┌────────────────┐ ─────────────────▶ ┌───────────────┐ ─┐ another cutover
    ──▶ │     steady     │                    │ in transition │  │ before the barrier
        └────────────────┘ ◀───────────────── └───────────────┘ ◀┘
             │               at the barrier
             ▼
        Closing or Reset, between two transactions

    - Steady: passes entries on. Between two transactions, it checks whether a grant or a version has
      changed, and withholds what is about to go.
    - In transition: one transaction makes the replica one of the next view (`transition.py`).
    - It reads from the start of the watermark's cluster time. An entry of an earlier version than
      the view's lies before the cutover at that cluster time: the replica has it already.
    """

    def __init__(
        self,
        service: StreamService,
        context: StreamContext,
        feed: Feed,
        sender: TransactionSender,
        notes: AcknowledgementNotes,
    ) -> None:
        self._service = service
        self._context = context
        self._views = context.views
        self._access = context.views.access
        self._feed = feed
        self._sender = sender
        self._notes = notes
        self._known: object = None
        """What the withheld tables and columns were worked out from."""
        self._committed_at = time.monotonic()
        self._repeats_permissions_at: float | None = None

    async def run(self, published: PublishedApp) -> Closing | Reset:
        """Streams until the process stops or the replica may not continue. The app is `published`
        as it is at the start.

        Raises `HistoryLost`, `UnknownVersion`, `BarrierNotSeen`, `ClientStalled`, `SourceUnusable`,
        `django.db.Error`.
        """
        if self._has_named_queries and await self._changed_lately():
            self._repeat_permissions_soon()
        async with aclosing(self._feed.readings()) as readings:
            async for reading in readings:
                if not self._sender.is_open or (isinstance(reading, Entry) and reading.id.part == 0):
                    if self._service.is_stopping:
                        return closing.going_away()
                    await self._look_for_changes()
                    current = self._service.published(published.app_id)
                    if (reset := reset_in_stream(published, current, self._view, self._access)) is not None:
                        return reset
                if isinstance(reading, Entry):
                    await self._take(reading, readings)
                if not self._sender.is_open:
                    if (reset := reset_after(self._feed.position, self._view, self._access)) is not None:
                        return reset
                    await self._repeat_permissions_if_due()
                    await self._commit_if_quiet()
                await self._notes.note_if_due()
        return closing.going_away()

    @property
    def _view(self) -> ClientView:
        return self._sender.view

    async def _take(self, entry: Entry, readings: AsyncIterator[Reading]) -> None:
        while (new := await self._views.after(entry, self._view)) is not None:
            replayed = await self._in_transition(new, entry.position, readings)
            if replayed.following is None:
                return
            entry = replayed.following
        await self._steady(entry)

    async def _steady(self, entry: Entry) -> None:
        """Passes an entry on. One that another version rendered never reaches the replica:
        zero-cache stops for good at a table or column that it does not have."""
        version = self._view.version
        if entry.is_publish or entry.version < version.number:
            return
        if entry.version > version.number:
            raise UnknownVersion(f"Version {entry.version} of {version.app_id} came without its publish.")
        if await self._sender.send(entry):
            self._committed_at = time.monotonic()

    async def _in_transition(self, new: ClientView, position: Position, readings: AsyncIterator[Reading]) -> Replayed:
        """Sends what is different in `new`, at `position`."""
        started = time.monotonic()
        had_named_queries = self._has_named_queries
        transition = Transition(self._context, self._sender, self._view, new)
        loader = RowLoader(self._context, self._sender)
        replayed = await transition.send(position, loader, entries_to_barrier(self._context, readings))
        await self._sender.commit(position.seconds * 1000)
        self._known = None
        self._committed_at = time.monotonic()
        if transition.changes_permissions and (had_named_queries or self._has_named_queries):
            self._repeat_permissions_soon()
        logger.info(
            "%s: version %d in force after %.2f s",
            self._context.label,
            new.version.number,
            self._committed_at - started,
            extra={"action": "view-changed"},
        )
        return replayed

    async def _look_for_changes(self) -> None:
        """Checks whether the client's grant has changed, or another version has been published.
        Either takes effect at a marker; what it takes away is withheld from now on."""
        access, label = self._access, self._context.label
        if (current := self._service.entitlements(access.key)) is not None:
            access.note(current)
        if not access.is_in_force:
            try:
                await access.apply_grant(self._context.database, KEPT_SECONDS if self._has_named_queries else 0.0)
            except (SourceUnreachable, SourceUnusable) as error:
                logger.warning("%s: a change of what the client may read has to wait: %s", label, error)
            except DatabaseError as error:
                logger.warning("%s: the access of the client was not read (%s)", label, type(error).__name__)
        published = self._service.published(self._context.app_id)
        newest = max([self._view.version.number, *(version.number for version in access.coming)])
        if published is not None and published.number > newest:
            try:
                await self._views.look_ahead(self._view)
            except DatabaseError as error:
                logger.warning("%s: published versions were not read (%s)", label, type(error).__name__)
        known = (access.entitlements, access.coming)
        if known != self._known:
            self._known = known
            self._sender.withhold(access.withheld(self._view))

    async def _changed_lately(self) -> bool:
        """Whether the rules of the replica's last cutover may not have been sent once more."""
        began = max(
            await self._views.history.began_at(self._view.version.number),
            self._access.began_at(self._view.access_number),
        )
        return self._sender.last.seconds - Position(began).seconds < LATELY_SECONDS

    def _repeat_permissions_soon(self) -> None:
        """The acknowledgement of the cutover is stored just before that: until then named queries read
        only what the replicas had before as well."""
        self._notes.wait()
        self._repeats_permissions_at = time.monotonic() + KEPT_SECONDS

    async def _repeat_permissions_if_due(self) -> None:
        """Sends the rules once more, in another text, when zero-cache has forgotten what it was
        answered by earlier rules. So it asks for all named queries again. Nothing changes if the
        replica has this text."""
        if self._repeats_permissions_at is None or time.monotonic() < self._repeats_permissions_at:
            return
        self._repeats_permissions_at = None
        await self._notes.note()  # so that the answers may name what has come with the cutover
        row = frames.permissions_row(self._context.app_id, self._context.shard_num, self._view.permissions.again)
        await self._sender.begin(self._feed.position)
        await self._sender.add([row])
        await self._sender.commit(self._feed.position.seconds * 1000)
        self._committed_at = time.monotonic()

    @property
    def _has_named_queries(self) -> bool:
        return has_named_queries(self._view.version.definition)

    async def _commit_if_quiet(self) -> None:
        """Advances the replica's watermark when nothing else has for a while."""
        is_quiet = time.monotonic() - self._committed_at > self._service.settings.quiet_commit_seconds
        if is_quiet and self._feed.position.number > self._sender.last.number:
            await self._sender.send_empty(self._feed.position, self._feed.position.seconds * 1000)
            self._committed_at = time.monotonic()
