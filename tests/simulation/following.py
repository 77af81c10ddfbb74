"""A watcher, a reader and a feed that run during a test."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from changesource.log.entries import ChangeLog, Entry
from changesource.mongo.source import Database
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.replication.app_source import AppSource
from changesource.replication.entry_reader import EntryReader
from changesource.replication.feed import Feed
from changesource.replication.readings import Reading, entries_among
from changesource.replication.version_history import VersionHistory
from changesource.replication.watcher import Watcher
from tests.simulation.builders import BUSY_HISTORY, KnownVersions
from tests.simulation.replica import BusyReplica
from tests.simulation.row_errors import FoundErrors

LEASE_SECONDS = 0.6


def entries_from(database: Database, wanted: CompiledVersion, after: Position) -> AsyncGenerator[Entry, None]:
    """Returns the entries of what is read from the cluster time of `after` on, where `wanted` is in force."""
    return entries_among(readings_from(database, wanted, after))


def readings_from(database: Database, wanted: CompiledVersion, after: Position) -> AsyncGenerator[Reading, None]:
    """Returns the same with the lulls."""
    reader = EntryReader(AppSource(database, KnownVersions(wanted), FoundErrors()), wanted, after.cluster_time, after)
    return reader.readings()


class Watching:
    """A watcher that runs within the `async with` block, which ends it unless it has already been
    ended."""

    def __init__(
        self,
        database: Database,
        log: ChangeLog,
        *,
        heartbeat_seconds: float = 0.2,
        history: VersionHistory = BUSY_HISTORY,
    ) -> None:
        self.watcher = Watcher(
            AppSource(database, history, FoundErrors()),
            log,
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
        """Ends the watcher as a kill does: it does not give up its lease."""
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
    """Cancels the task, and raises its error if it failed."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


class Following:
    """A feed that is read into a replica within the `async with` block. `pause` makes it take
    nothing until `go_on`.

    `sources` tells where entries came from, in order.
    """

    def __init__(self, database: Database, log: ChangeLog, after: Position) -> None:
        self.feed = Feed(AppSource(database, BUSY_HISTORY, FoundErrors()), log, after)
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
        """Returns once the feed reads from `place`."""
        await self.replica.until(lambda: self.feed.reads_from == place)

    async def failure(self) -> BaseException | None:
        """Reads the feed, which must not be running yet, and returns the error that ends it."""
        return (await asyncio.gather(asyncio.wait_for(self._read(), 10), return_exceptions=True))[0]

    async def _read(self) -> None:
        async with aclosing(self.feed.readings()) as readings:
            async for reading in readings:
                if isinstance(reading, Entry):
                    self._note_source()
                    self.replica.apply(reading)
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
