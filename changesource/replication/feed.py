"""What a session reads: the entries of one app from a position on, from the log where it reaches,
otherwise from MongoDB."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from changesource.errors import LogUnavailable, SourceUnreachable
from changesource.log.entries import ChangeLog, Entry, EntryId, Extent
from changesource.protocol.watermarks import Position
from changesource.replication.app_source import AppSource
from changesource.replication.entry_reader import EntryReader
from changesource.replication.readings import Lull, Reading

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often a session looks at the log if it does not hear the doorbell."""
PATIENCE_SECONDS = 3.0
"""How long a session waits for a log without a leader before it reads MongoDB instead."""
RETURN_CHECK_SECONDS = 0.5
"""How often a session that reads MongoDB checks whether the log has caught up with it."""
RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)
MAX_READ_ENTRIES = 32


class Feed:
    """The entries of one app for one session, from a log that may be trimmed, replaced or
    abandoned, without a gap.

    - The feed reads the log while the log covers the position (`Extent.covers`) and a watcher
      leads, or led until `PATIENCE_SECONDS` ago.
    - Otherwise it reads MongoDB itself, by the watcher's own code. It checks beside the stream
      whether the log has caught up, and goes back to it between two transactions.
    - It leaves the log at a hole (`Entry.previous`), at another log (`Entry.log_id`), and when no
      watcher leads any longer.
    - Wherever it begins to read, it begins at the *cluster time* of its position, inclusive, and
      not after the position. It therefore repeats entries. That is harmless: the session numbers
      what it sends after what the replica has, and zero-cache applies a frame twice with the same
      outcome as once.

    A position cannot tell which events of its cluster time have been read, because two readers may
    cut them into commits differently. Below, one insertMany wrote a and b at cluster time 100; c
    came at 101:

        time ──▶
        MongoDB    [a] 100.0                the reply held only a; the replica has watermark 100.0
        log        [a b] 100.0  [c] 101.0   the watcher's reply held both; read from now on
        naive                   [c] 101.0   continues after 100.0: b is never sent
        feed       [a b] 100.0  [c] 101.0   begins at cluster time 100; the session sends 100.1

    `position` is that of the last whole transaction that was yielded. `reads_from` says where the
    feed reads now, for people.
    """

    def __init__(self, source: AppSource, log: ChangeLog, after: Position) -> None:
        self.position = after
        self.reads_from = "nowhere"
        self._source = source
        self._app_id = source.history.app_id
        self._log = log
        self._leaderless_since: float | None = None

    async def readings(self) -> AsyncGenerator[Reading, None]:
        """Yields entries from the cluster time of the start on, inclusive, without an end; a lull
        when there is nothing for now. Where the feed changes between the log and MongoDB, an open
        transaction begins again with its part 0.

        Raises `HistoryLost` if neither the log nor MongoDB reaches back to the position, and
        `SourceUnusable` if MongoDB refuses. After all other errors the feed tries again.
        """
        failures = 0
        while True:
            if await self._log_serves():
                self.reads_from = "log"
                async for reading in self._from_log():
                    yield reading
                continue
            if not self._has_lost_patience():
                yield Lull()
                await self._log.wait(self._log.generation, POLL_SECONDS)
                continue
            self.reads_from = "MongoDB"
            try:
                async with aclosing(self._from_mongodb()) as readings:
                    async for reading in readings:
                        failures = 0
                        yield reading
            except SourceUnreachable as error:
                delay = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                failures += 1
                logger.warning("feed of %s: %s Trying again in %s s.", self._app_id, error, delay)
                yield Lull()
                await asyncio.sleep(delay)

    async def _from_log(self) -> AsyncGenerator[Reading, None]:
        """Ends when the log has a hole after what was yielded, is another log, or has no writer."""
        after = EntryId.before(self.position.cluster_time)
        log_id: str | None = None  # places of two logs cannot be compared
        while True:
            generation = self._log.generation
            try:
                found = await self._log.read(after, MAX_READ_ENTRIES)
            except LogUnavailable:
                return
            for entry in found:
                if log_id not in (None, entry.log_id) or not self._follows(entry, after):
                    return
                after, log_id = entry.id, entry.log_id
                if entry.is_start:
                    continue
                if entry.is_final:
                    self.position = max(self.position, entry.position)
                yield entry
            if not found:
                yield Lull()
                await self._log.wait(generation, POLL_SECONDS)
                if self._log.generation == generation and not await self._log_serves(log_id):
                    return

    def _follows(self, entry: Entry, after: EntryId) -> bool:
        if entry.is_start:
            return entry.position.cluster_time <= self.position.cluster_time
        return entry.previous is not None and entry.previous <= after

    async def _from_mongodb(self) -> AsyncGenerator[Reading, None]:
        """Ends when the log has caught up."""
        logger.info("feed of %s: reading MongoDB from %s", self._app_id, self.position.watermark)
        checked_at = time.monotonic()
        check: asyncio.Task[bool] | None = None
        version = await self._source.history.at(self.position)
        reader = EntryReader(self._source, version, self.position.cluster_time, self.position)
        readings = reader.readings()
        try:
            async for reading in readings:
                is_between = isinstance(reading, Lull) or reading.is_final
                if isinstance(reading, Entry) and reading.is_final:
                    self.position = max(self.position, reading.position)
                yield reading
                if check is not None and check.done() and is_between:
                    if check.result():
                        logger.info("feed of %s: back to the log", self._app_id)
                        return
                    check = None
                if check is None and time.monotonic() - checked_at > RETURN_CHECK_SECONDS:
                    checked_at = time.monotonic()
                    # In a task of its own: a Redis that does not answer must not hold up the
                    # stream.
                    check = asyncio.create_task(self._log_has_caught_up())
        finally:
            if check is not None:
                check.cancel()
            await readings.aclose()

    async def _log_serves(self, log_id: str | None = None) -> bool:
        """Whether the log reaches back to the position and has a writer, or had one until a moment
        ago; and whether it is still the log `log_id`, if that is given."""
        extent, leader = await self._look()
        if leader is not None:
            self._leaderless_since = None
        elif self._leaderless_since is None:
            self._leaderless_since = time.monotonic()
        is_same = log_id in (None, extent.log_id)
        return is_same and extent.covers(self.position) and (leader is not None or not self._has_lost_patience())

    def _has_lost_patience(self) -> bool:
        since = self._leaderless_since
        return since is None or time.monotonic() - since > PATIENCE_SECONDS

    async def _log_has_caught_up(self) -> bool:
        extent, leader = await self._look()
        is_ahead = extent.tail is not None and extent.tail.position >= self.position
        return leader is not None and is_ahead and extent.covers(self.position)

    async def _look(self) -> tuple[Extent, str | None]:
        try:
            return await self._log.extent(), await self._log.leader()
        except LogUnavailable:
            return Extent(), None
