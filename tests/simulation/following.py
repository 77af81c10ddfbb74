"""A watcher, a reader and a session's feed, running."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from changesource.log.entries import ChangeLog, Entry
from changesource.mongo.source import Database
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.replication.entry_reader import EntryReader
from changesource.replication.feed import Feed
from changesource.replication.version_history import VersionHistory
from changesource.replication.watcher import Watcher
from tests.simulation.builders import BUSY_HISTORY, KnownVersions
from tests.simulation.replica import BusyReplica

LEASE_SECONDS = 0.6


def entries_from(database: Database, wanted: CompiledVersion, after: Position) -> AsyncGenerator[Entry | None, None]:
    """What is read from the cluster time of `after` on, where `wanted` is in force."""
    reader = EntryReader(database, KnownVersions(wanted), wanted, after.cluster_time, after, lambda errors: None)
    return reader.entries()


class Watching:
    """A watcher that runs meanwhile; a context manager, which ends it if it has not been ended."""

    def __init__(
        self,
        database: Database,
        log: ChangeLog,
        *,
        heartbeat_seconds: float = 0.2,
        history: VersionHistory = BUSY_HISTORY,
    ) -> None:
        self.watcher = Watcher(
            database,
            history,
            log,
            lambda errors: None,
            lease_seconds=LEASE_SECONDS,
            heartbeat_seconds=heartbeat_seconds,
        )
        self._log = log
        self._task: asyncio.Task[None] | None = None

    @property
    def is_leading(self) -> bool:
        return self.watcher.is_leading

    async def stop(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            await end(task)

    async def die(self) -> None:
        """Ends it as a kill does: nothing is given up."""
        self._log.release_lease = do_nothing  # type: ignore[method-assign]
        await self.stop()

    async def __aenter__(self) -> "Watching":
        self._task = asyncio.create_task(self.watcher.run())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()


async def do_nothing(owner: str) -> None:
    return None


async def end(task: asyncio.Task[None]) -> None:
    """Cancels, and raises what the task failed with, if it did."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


class Following:
    """A feed that is read into a replica meanwhile; `pause` makes the session take nothing for a while.

    `sources` says where entries came from, in order.
    """

    def __init__(self, database: Database, log: ChangeLog, after: Position) -> None:
        self.feed = Feed(database, BUSY_HISTORY, log, after, lambda errors: None)
        self.replica = BusyReplica()
        self.sources: list[str] = []
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._task: asyncio.Task[None] | None = None

    def pause(self) -> None:
        self._may_read.clear()

    def go_on(self) -> None:
        self._may_read.set()

    async def reads_from(self, place: str) -> None:
        """Returns when the feed reads there."""
        await self.replica.until(lambda: self.feed.reads_from == place)

    async def failure(self) -> BaseException | None:
        """What ends the feed, which does not run yet."""
        return (await asyncio.gather(asyncio.wait_for(self._read(), 10), return_exceptions=True))[0]

    async def _read(self) -> None:
        async with aclosing(self.feed.entries()) as entries:
            async for entry in entries:
                if entry is not None:
                    self._note_source()
                    self.replica.apply(entry)
                self.replica.changed()
                await self._may_read.wait()

    def _note_source(self) -> None:
        if self.sources[-1:] != [self.feed.reads_from]:
            self.sources.append(self.feed.reads_from)

    async def __aenter__(self) -> "Following":
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._task is not None
        await end(self._task)
