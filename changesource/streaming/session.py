"""One WebSocket of one zero-cache: a snapshot, or the stream from a watermark on."""

from __future__ import annotations

import asyncio
import logging
import time
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
)
from changesource.models import store
from changesource.mongo.source import current_cluster_time
from changesource.protocol import closing, frames
from changesource.protocol.closing import Closing
from changesource.protocol.requests import StreamRequest
from changesource.protocol.upstream import parse_upstream
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.streaming.acknowledgements import InFlight
from changesource.streaming.feed import Feed
from changesource.streaming.outlet import ClientStalled, Outlet, PacedOutlet
from changesource.streaming.service import StreamService
from changesource.streaming.snapshot import Snapshot
from changesource.streaming.transactions import TransactionSender

logger = logging.getLogger(__name__)

NOTE_SECONDS = 10.0
"""How often the newest acknowledgement is kept in the Django DB; nothing depends on it."""
MAX_CLOCK_AHEAD_SECONDS = 60
"""How far a watermark may lie ahead of the source's clock: an election can set it back by a little."""


class Session:
    """`run` does everything and says how to close; `receive` takes what zero-cache says meanwhile."""

    def __init__(
        self, service: StreamService, request: StreamRequest, client: store.ClientAccess, outlet: Outlet
    ) -> None:
        self._service = service
        self._settings: ChangeSourceSettings = service.settings
        self._request = request
        self._client = client
        self._outlet = PacedOutlet(outlet, self._settings.stall_seconds)
        self._in_flight = InFlight(self._settings.stall_seconds)
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

    async def run(self) -> Closing | None:
        """How to close the connection; None to leave that to zero-cache, after `reset-required`."""
        version = self._service.version(self._request.app_id)
        if version is None or self._request.app_id not in self._client.app_ids:
            return await self._refuse(closing.not_allowed())
        try:
            if self._request.resume is None:
                return await self._send_snapshot(version)
            return await self._resume(version)
        except HistoryLost as error:
            await self._require_reset(str(error))
            return None
        except ClientStalled as error:
            logger.warning("%s: dropped: %s", self._label, error)
            return closing.stalled(self._settings.stall_seconds)
        except (SourceUnreachable, SourceUnusable, UnknownSource, BarrierNotSeen) as error:
            logger.error("%s: %s", self._label, error)
            return await self._refuse(closing.source_unavailable())
        except DatabaseError as error:
            logger.error("%s: the Django database failed (%s)", self._label, type(error).__name__)
            return await self._refuse(closing.internal_error())

    # A snapshot

    async def _send_snapshot(self, version: CompiledVersion) -> Closing:
        logger.info("%s: snapshot of version %d for client %s", self._label, version.number, self._client.name)
        database = self._service.sources.database(version.source)
        start = Position(await current_cluster_time(database))
        feed = self._feed(version, start)
        async with aclosing(feed.entries()) as entries:
            snapshot = Snapshot(
                database,
                version,
                self._request.shard_num,
                self._outlet,
                entries,
                self._service.row_error_sink(version.app_id),
                plain_inserts=self._settings.snapshot_plain_inserts,
            )
            result = await snapshot.send()
        await store.register_replica(
            store.ReplicaRecord(
                app_id=version.app_id,
                shard_num=self._request.shard_num,
                replica_version=result.begin.watermark,
                snapshot_end=result.end.watermark,
                version_number=version.number,
            ),
            self._client.client_id,
        )
        await self._outlet.send([frames.commit(result.begin, int(time.time() * 1000))])
        logger.info("%s: snapshot sent, %d rows, %d bytes", self._label, result.rows, self._outlet.sent_bytes)
        return closing.snapshot_sent()

    # The stream

    async def _resume(self, version: CompiledVersion) -> Closing | None:
        assert self._request.resume is not None  # noqa: S101 (the caller asked)
        last = self._request.resume.last_watermark
        replica = await store.find_replica(version.app_id, self._request.shard_num, self._replica_version)
        if replica is None:
            await self._require_reset("This replica was not built from a snapshot of this change source.")
            return None
        if replica.version_number != version.number:
            await self._require_reset(
                f"Version {version.number} of the app is published; the replica has version {replica.version_number}."
            )
            return None
        database = self._service.sources.database(version.source)
        now = await current_cluster_time(database)
        if last.seconds > (now >> 32) + MAX_CLOCK_AHEAD_SECONDS:
            await self._require_reset("The replica is ahead of the source: it was built from another one.")
            return None
        is_first = last == self._request.resume.replica_version
        start = Position.from_watermark(replica.snapshot_end) if is_first else last
        logger.info("%s: resumes after %s for client %s", self._label, last.watermark, self._client.name)
        return await self._stream(version, start, last)

    async def _stream(self, version: CompiledVersion, start: Position, last: Position) -> Closing | None:
        tables = [table.table.name for table in version.tables]
        sender = TransactionSender(self._outlet, self._in_flight, tables, last)
        feed = self._feed(version, start)
        committed_at = time.monotonic()
        async with aclosing(feed.entries()) as entries:
            async for entry in entries:
                is_between = not sender.is_open or (entry is not None and entry.id.part == 0)
                if is_between and self._service.is_stopping:
                    return closing.going_away()
                if is_between and (current := self._service.version(version.app_id)) is not version:
                    if current is None:
                        return await self._refuse(closing.not_allowed())
                    await self._require_reset(f"Version {current.number} of the app has been published.")
                    return None
                if entry is not None and await sender.send(entry):
                    committed_at = time.monotonic()
                is_quiet = time.monotonic() - committed_at > self._settings.quiet_commit_seconds
                if is_quiet and not sender.is_open and feed.position.number > sender.last.number:
                    await sender.send_empty(feed.position, feed.position.seconds * 1000)
                    committed_at = time.monotonic()
                await self._note_acknowledged()
        return closing.going_away()

    async def _note_acknowledged(self) -> None:
        if self._in_flight.newest is None or time.monotonic() - self._noted_at < NOTE_SECONDS:
            return
        self._noted_at = time.monotonic()
        newest = self._in_flight.newest.watermark
        try:
            await store.note_acknowledged(self._request.app_id, self._request.shard_num, self._replica_version, newest)
        except DatabaseError as error:  # nothing depends on the note
            logger.warning("%s: acknowledgement not kept (%s)", self._label, type(error).__name__)

    # Parts of both

    def _feed(self, version: CompiledVersion, start: Position) -> Feed:
        return Feed(
            self._service.sources.database(version.source),
            version,
            self._service.log_of(version),
            start,
            self._service.row_error_sink(version.app_id),
        )

    async def _require_reset(self, reason: str) -> None:
        """Said once for each connection, which is then left to zero-cache to end, and never in a hurry."""
        logger.warning("%s: reset-required: %s", self._label, reason, extra={"action": "reset-required"})
        await asyncio.sleep(closing.REFUSAL_DELAY_SECONDS)
        await self._outlet.send([frames.reset_required(reason)])

    async def _refuse(self, how: Closing) -> Closing:
        await asyncio.sleep(closing.REFUSAL_DELAY_SECONDS)
        return how
