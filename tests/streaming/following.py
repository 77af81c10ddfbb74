"""A watcher and a session's feed, running."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from changesource.log.entries import ChangeLog
from changesource.mongo.source import Database
from changesource.protocol.watermarks import Position
from changesource.streaming.feed import Feed
from changesource.streaming.watcher import Watcher
from tests.streaming.builders import BUSY
from tests.streaming.replica import BusyReplica

LEASE_SECONDS = 0.6


@asynccontextmanager
async def watching(database: Database, log: ChangeLog, *, heartbeat_seconds: float = 0.2) -> AsyncIterator[Watcher]:
    """A watcher that runs meanwhile."""
    watcher = new_watcher(database, log, heartbeat_seconds=heartbeat_seconds)
    running = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        await end(running)


def new_watcher(database: Database, log: ChangeLog, *, heartbeat_seconds: float = 0.2) -> Watcher:
    return Watcher(
        database,
        BUSY,
        log,
        lambda errors: None,
        lease_seconds=LEASE_SECONDS,
        heartbeat_seconds=heartbeat_seconds,
    )


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
        self.feed = Feed(database, BUSY, log, after, lambda errors: None)
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
