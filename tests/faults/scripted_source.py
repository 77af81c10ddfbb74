"""A source whose change stream a test writes and cuts into batches itself, and a process that it stops at every step."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from changesource.errors import HistoryLost, SourceUnreachable
from changesource.log.entries import ChangeLog, Entry, EntryId, Extent
from changesource.mongo.change_stream import Batch, StreamContent
from changesource.mongo.events import ChangeEvent
from changesource.mongo.source import SourceReport

SETTLING_TURNS = 25
"""The most turns of the event loop until all tasks have come to where they wait."""

Document = tuple[str, object]
T = TypeVar("T")


class Process:
    """A task that waits at gates, before and after everything that it has to do with others. `busy` counts what it has
    under way outside the event loop, `has_read` the events that it was given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stream_failure: Exception | None = None
        self.batch_size = 1
        self.has_read = 0
        self.busy = 0
        self._gates: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    def start(self, run: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(run)

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Does it, between two gates: a process that is killed may have done it or not, and never know."""
        await self.gate()
        self.busy += 1
        try:
            result = await operation()
        finally:
            self.busy -= 1
        await self.gate()
        return result

    async def gate(self) -> None:
        gate = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        try:
            await gate
        finally:
            if gate in self._gates:
                self._gates.remove(gate)

    def pass_gate(self, index: int) -> None:
        """Lets one of its tasks go on to the next gate."""
        if self._gates:
            self._gates.pop(index % len(self._gates)).set_result(None)

    async def kill(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    def check(self) -> None:
        """Raises what it has failed with."""
        assert self._task is not None
        if self._task.done():
            self._task.result()
            raise AssertionError(f"{self.name} ended by itself")


async def settle(*processes: Process) -> None:
    """Returns when all processes wait at gates: the event loop then has nothing else to run."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    turns = 0
    while turns < SETTLING_TURNS:
        await asyncio.sleep(0)
        if any(process.busy for process in processes):
            turns = 0
        elif ready:
            turns += 1
        else:
            return


class Oplog:
    """What was written, in order. `histories` has each document's cluster times and values, None where it was deleted."""

    def __init__(self, begin: int) -> None:
        self.begin = self.now = begin
        self.events: list[ChangeEvent] = []
        self.histories: dict[Document, list[tuple[int, object]]] = {}

    def write(
        self, documents: dict[Document, object], *, is_new_time: bool = True, in_transaction: bool = False
    ) -> None:
        """One write, or one transaction, of all documents; None deletes."""
        if is_new_time or in_transaction or not self.events or self.events[-1].in_transaction:
            self.now += 1
        for (collection, document_id), value in documents.items():
            self.histories.setdefault((collection, document_id), [(self.begin, None)]).append((self.now, value))
            self.events.append(
                ChangeEvent(
                    operation="delete" if value is None else "upsert",
                    collection=collection,
                    document_id=document_id,
                    document=None if value is None else {"_id": document_id, "value": value},
                    cluster_time=self.now,
                    in_transaction=in_transaction,
                    wall_time_ms=(self.now >> 32) * 1000,
                )
            )

    def values_since(self, document: Document, cluster_time: int) -> list[object]:
        """What a document was after all writes before `cluster_time`, and what it became later."""
        history = self.histories[document]
        last_before = max(index for index, (time, _) in enumerate(history) if time < cluster_time or index == 0)
        return [value for _, value in history[last_before:]]


class ScriptedDatabase:
    """One process's connection to the source."""

    def __init__(self, oplog: Oplog, process: Process) -> None:
        self.oplog = oplog
        self.process = process


class ScriptedStream:
    """In place of a `ChangeStream`: gives as many events at a time as the process is told to take."""

    def __init__(self, database: ScriptedDatabase, cluster_time: int) -> None:
        self._oplog = database.oplog
        self._process = database.process
        events = self._oplog.events
        self._next = next((i for i, event in enumerate(events) if event.cluster_time >= cluster_time), len(events))

    async def next_batch(self, *, wait: bool = True) -> Batch:
        await self._process.gate()
        failure, self._process.stream_failure = self._process.stream_failure, None
        if failure is not None:
            raise failure
        events = self._oplog.events[self._next : self._next + self._process.batch_size]
        self._next += len(events)
        self._process.has_read += len(events)
        return Batch(events, is_end=not events)

    async def close(self) -> None:
        return None


async def open_scripted_stream(
    database: ScriptedDatabase, content: StreamContent, cluster_time: int, **options: object
) -> ScriptedStream:
    await database.process.gate()
    return ScriptedStream(database, cluster_time)


async def inspect_scripted_source(database: ScriptedDatabase) -> SourceReport:
    return SourceReport((8, 0, 0), "replica set")


async def scripted_cluster_time(database: ScriptedDatabase) -> int:
    await database.process.gate()
    return database.oplog.now


def interruption() -> SourceUnreachable:
    return SourceUnreachable("The test cut the connection.")


def lost_history() -> HistoryLost:
    return HistoryLost("The test cut the history.")


class Shared:
    """The log that all processes have in common, whichever it is at the moment, and who seems to lead."""

    def __init__(self, log: ChangeLog) -> None:
        self.log = log
        self.leader: str | None = "somebody"


class GatedLog:
    """A process's view of the log. The lease keeps nobody from writing: that is the worst that it can do."""

    def __init__(self, shared: Shared, process: Process) -> None:
        self._shared = shared
        self._process = process

    async def append(self, entry: Entry, after: EntryId | None, log_id: str | None = None) -> str:
        return await self._process.call(lambda: self._shared.log.append(entry, after, log_id))

    async def extent(self) -> Extent:
        return await self._process.call(lambda: self._shared.log.extent())

    async def read(self, after: EntryId | None, limit: int) -> list[Entry]:
        return await self._process.call(lambda: self._shared.log.read(after, limit))

    @property
    def generation(self) -> int:
        return self._shared.log.generation

    async def wait(self, generation: int, timeout_seconds: float) -> None:
        await self._process.gate()

    async def trim(self) -> None:
        return None

    async def acquire_lease(self, owner: str, seconds: float) -> bool:
        await self._process.gate()
        return True

    async def release_lease(self, owner: str) -> None:
        return None

    async def leader(self) -> str | None:
        return self._shared.leader

    async def close(self) -> None:
        return None
