"""The watcher: reads the change stream of one app's source, renders it once, and appends it to the
log.

Any number of watchers may run for an app; one leads. The lease decides which one works, so that
there is one change stream for each app. The log's compare-and-set decides what is appended, so that
a leader that was paused and wakes up does no harm.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

from django.db import Error as DatabaseError

from changesource.errors import (
    ChangeSourceError,
    HistoryLost,
    LeaseLost,
    LogMismatch,
    LogUnavailable,
    SourceReadOnly,
    SourceReplaced,
    SourceUnreachable,
    SourceUnusable,
)
from changesource.log.entries import ChangeLog, Entry, EntryId
from changesource.mongo.markers import write_marker
from changesource.mongo.source import current_cluster_time
from changesource.protocol.watermarks import Position
from changesource.replication.app_source import AppSource
from changesource.replication.entry_reader import EntryReader
from changesource.tasks import end_tasks

logger = logging.getLogger(__name__)

TRIM_SECONDS = 5.0
RETRY_SECONDS = 1.0
STANDBY_SECONDS = 0.5
"""How soon a standby notices that the lease was given up or has expired."""
MAX_LONGER_LEASE = 16
"""By what factor a lease may be longer than usual. Until it expires, no watcher takes over from a
leader that was killed."""


class Watcher:
    """Fills the log of one app. `owner` is its name in the lease; `is_leading` says whether it
    leads.

    The lease is renewed while rows are made, however long that takes, because they are made in
    short slices of the event loop or in a thread. Still, the whole process can be held up for
    longer than a lease, by a single call into C or by a machine that stands still. Then two
    watchers could take the lease from each other over the same batch, again and again:

        time ──▶
        first    leads, reads the batch, is held up, loses the lease, stands by …
        second                                       leads, reads the batch, is held up, loses the lease …

    So a watcher that lost the lease before it made progress takes one that is twice as long the
    next time, until its work fits, and goes back to the usual lease after it has made progress.
    Entries of the cluster time at which it began are no progress, because every leader appends them
    again.
    """

    def __init__(self, source: AppSource, log: ChangeLog, *, lease_seconds: float, heartbeat_seconds: float) -> None:
        self._source = source
        self._database = source.database
        self._history = source.history
        self._log = log
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._longer_lease = 1
        self._has_made_progress = False
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.is_leading = False

    async def run(self) -> None:
        """Runs until it is cancelled, and then gives up the lease. Tries again after any failure."""
        while True:
            try:
                # Before the lease: if the source is another one, this log is no longer written.
                await self._history.check_source(self._database)
                await self._stand_by()
                await self._lead()
            except LeaseLost as error:
                logger.info("watcher of %s: %s", self._history.app_id, error)
                if not self._has_made_progress:
                    self._longer_lease = min(2 * self._longer_lease, MAX_LONGER_LEASE)
                    logger.warning(
                        "watcher of %s: the lease was lost before any progress was made. The next one is %g seconds long.",
                        self._history.app_id,
                        self._seconds,
                        extra={"action": "longer-lease"},
                    )
            except LogMismatch as error:
                logger.info("watcher of %s: %s", self._history.app_id, error)
            except ChangeSourceError as error:
                logger.warning("watcher of %s: %s Trying again.", self._history.app_id, error)
                await asyncio.sleep(RETRY_SECONDS)
            except DatabaseError as error:  # it is queried when a log begins, and when a publish is met
                logger.warning(
                    "watcher of %s: the Django database failed (%s). Trying again.",
                    self._history.app_id,
                    type(error).__name__,
                )
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:  # if the watcher ended for a bug of ours, nothing would report it
                logger.exception("watcher of %s failed. Trying again.", self._history.app_id)
                await asyncio.sleep(RETRY_SECONDS)

    @property
    def _seconds(self) -> float:
        """How long a lease lasts."""
        return self._lease_seconds * self._longer_lease

    async def _stand_by(self) -> None:
        """Waits until it has the lease. Logs which watcher leads, once for each leader."""
        known: str | None = None
        while not await self._log.acquire_lease(self.owner, self._seconds):
            leader = await self._log.leader()
            if leader is not None and leader != known:
                known = leader
                logger.info(
                    "watcher of %s: stands by, %s leads", self._history.app_id, leader, extra={"action": "stand by"}
                )
            await asyncio.sleep(min(STANDBY_SECONDS, self._lease_seconds / 3))

    async def _lead(self) -> None:
        self.is_leading = True
        self._has_made_progress = False
        logger.info("watcher of %s: leads as %s", self._history.app_id, self.owner, extra={"action": "lead"})
        try:
            await _until_first_ends(self._copy(), self._keep_lease(), self._keep_heartbeat(), self._keep_trim())
        finally:
            self.is_leading = False
            await self._give_up_lease()

    async def _give_up_lease(self) -> None:
        try:
            await self._log.release_lease(self.owner)
        except LogUnavailable as error:
            logger.info("watcher of %s: the lease was not released and will expire: %s", self._history.app_id, error)

    async def _copy(self) -> None:
        """Copies the change stream into the log, after the log's tail."""
        extent = await self._log.extent()
        tail, log_id = (extent.tail, extent.log_id) if extent.tail else await self._start_log(None, None)
        # An unfinished transaction at the tail begins again, with all of its events.
        whole = extent.whole or tail
        while True:
            version = await self._history.at(whole.position)
            reader = EntryReader(self._source, version, whole.position.cluster_time, tail.position)
            try:
                async with aclosing(reader.entries()) as entries:
                    async for entry in entries:
                        await self._log.append(entry, tail, log_id)
                        tail = entry.id
                        if entry.is_final and tail.position.cluster_time > whole.position.cluster_time:
                            self._has_made_progress, self._longer_lease = True, 1
            except SourceReplaced:
                raise  # this log is not continued
            except HistoryLost as error:
                logger.error("watcher of %s: %s The log starts over.", self._history.app_id, error)
                tail, log_id = await self._start_log(tail, log_id)
                whole = tail
                await asyncio.sleep(RETRY_SECONDS)

    async def _start_log(self, tail: EntryId | None, log_id: str | None) -> tuple[EntryId, str]:
        start = Position(await current_cluster_time(self._database))
        if tail is not None:
            start = tail.position.next_for(start.cluster_time)
        entry = Entry(id=EntryId(start), commit_time_ms=start.seconds * 1000, is_start=True)
        log_id = await self._log.append(entry, tail, log_id)
        logger.info("watcher of %s: the log begins at %s", self._history.app_id, start.watermark)
        return entry.id, log_id

    async def _keep_lease(self) -> None:
        """Renews the lease. Raises `LeaseLost` if another watcher has it, or if Redis did not
        answer before it expired. That time is counted from the request, not from the last answer: a
        loop that was busy for long still asks once."""
        while True:
            third = self._seconds / 3
            await asyncio.sleep(third)
            try:
                async with asyncio.timeout(2 * third):
                    is_renewed = await self._log.acquire_lease(self.owner, self._seconds)
            except TimeoutError as error:
                raise LeaseLost("The lease expired: Redis did not answer, and another watcher may lead.") from error
            if not is_renewed:
                raise LeaseLost

    async def _keep_heartbeat(self) -> None:
        if self._heartbeat_seconds <= 0:
            return await asyncio.Event().wait() and None
        is_read_only = False
        while True:
            try:
                await write_marker(self._database, self._history.app_id, "heartbeat")
                is_read_only = False
            except SourceReadOnly as error:
                if not is_read_only:
                    logger.warning("watcher of %s: no heartbeats: %s", self._history.app_id, error)
                is_read_only = True
            except (SourceUnreachable, SourceUnusable) as error:
                logger.warning("watcher of %s: no heartbeat: %s", self._history.app_id, error)
            await asyncio.sleep(self._heartbeat_seconds)

    async def _keep_trim(self) -> None:
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            await self._log.trim()


async def _until_first_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Runs all coroutines. When one ends or fails, cancels the others and raises its error."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(*tasks)
    for task in done:
        task.result()
