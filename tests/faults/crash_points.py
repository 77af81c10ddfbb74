"""Watchers and a session that a test stops, kills and cuts off between any two steps, and the replica that they fill."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import redis.asyncio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from changesource.log.entries import ChangeLog, Entry
from changesource.log.memory import MAX_BYTES, MemoryLog
from changesource.log.redis import RedisLog
from changesource.protocol.watermarks import Position
from changesource.replication import feed, watcher
from changesource.replication.app_source import AppSource
from changesource.sessions.acknowledgements import InFlight
from changesource.sessions.outlet import PacedOutlet
from changesource.sessions.transactions import TransactionSender
from tests.faults.scripted_source import (
    GatedLog,
    Oplog,
    Process,
    ScriptedDatabase,
    Shared,
    interruption,
    lost_history,
    settle,
)
from tests.log.builders import cluster_time
from tests.simulation.builders import BUSY, BUSY_HISTORY, whole_view
from tests.simulation.row_errors import FoundErrors
from tests.simulation.workload import COLLECTIONS, LONE, PAIRED

FOREVER_SECONDS = 1e6
MAX_WATCHERS = 3
STEPS = st.sampled_from([1, 2, 3, 4, 6, 8, 12, 20, 40])
BATCH_SIZES = st.sampled_from([1, 2, 3, 5, 100])
MANY_GATES = 30
"""Enough for a process to catch up with what is usually there."""
MANY_STEPS = 3_000
"""More than any workload of one example takes."""


class ReplicaModel:
    """What zero-cache makes of frames: it applies a transaction at its commit and keeps the watermark with it."""

    def __init__(self, oplog: Oplog) -> None:
        self.watermark = Position(oplog.begin)
        self.tables: dict[str, dict[str, object]] = {name: {} for name in COLLECTIONS}
        self._oplog = oplog
        self._begun: str | None = None
        self._open: list[dict[str, Any]] = []

    def connect(self) -> None:
        """A new connection: what was not committed is forgotten."""
        self._begun, self._open = None, []

    def take(self, frame: bytes) -> None:
        tag, change, *rest = json.loads(frame)
        match tag:
            case "begin":
                assert self._begun is None, "a transaction began within another"
                self._begun = rest[0]["commitWatermark"]
            case "rollback":
                assert self._begun is not None, "nothing was to be rolled back"
                self.connect()
            case "commit":
                assert self._begun == rest[0]["watermark"], "a commit of what did not begin"
                self._commit(Position.from_watermark(rest[0]["watermark"]))
            case "data":
                assert self._begun is not None, "a row outside of transactions"
                self._open.append(change)

    def _commit(self, watermark: Position) -> None:
        assert watermark > self.watermark, "the watermark did not grow"
        self.watermark = watermark
        for change in self._open:
            self._apply(change)
        self.connect()
        assert self.tables["left"] == self.tables["right"], "a transaction was torn"
        for collection, document_id in self._oplog.histories:
            found = self.tables[collection].get(str(document_id))
            expected = self._oplog.values_since((collection, document_id), watermark.cluster_time)
            assert found in expected, f"{collection} {document_id} is {found} at {watermark}, not one of {expected}"

    def _apply(self, change: dict[str, Any]) -> None:
        if change["tag"] == "insert":
            row = change["new"]
            self.tables[change["relation"]["name"]][row["_id"]] = json.loads(row["value"])
        else:
            assert change["tag"] == "delete"
            self.tables[change["relation"]["name"]].pop(change["key"]["_id"], None)

    def has_everything(self) -> bool:
        return all(
            self.tables[collection].get(str(document_id)) == history[-1][1]
            for (collection, document_id), history in self._oplog.histories.items()
        )


class Connection:
    """A session's outlet, up to the replica."""

    def __init__(self, process: Process, replica: ReplicaModel) -> None:
        self._process = process
        self._replica = replica

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        async def deliver() -> None:
            for frame in frames:
                self._replica.take(frame)

        await self._process.call(deliver)


class CrashPoints(RuleBasedStateMachine):
    """`open_log` opens the log at first, and again when it has been emptied."""

    def __init__(self, open_log: Callable[[], "TestLog"]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.oplog = Oplog(cluster_time(0))
        self.replica = ReplicaModel(self.oplog)
        self.number = 0
        self.watchers: list[Process] = []
        self.is_quiet = False
        self.is_over = False
        self.runner.run(self._start(open_log))

    async def _start(self, open_log: Callable[[], "TestLog"]) -> None:
        self.log = open_log()
        self.shared = Shared(self.log.log)
        self._start_watcher()
        self._start_session()
        await self._settle()

    def _start_watcher(self) -> None:
        process = Process(f"watcher {len(self.watchers)}")
        made = watcher.Watcher(
            AppSource(ScriptedDatabase(self.oplog, process), BUSY_HISTORY, FoundErrors()),  # type: ignore[arg-type]
            GatedLog(self.shared, process),
            lease_seconds=FOREVER_SECONDS,
            heartbeat_seconds=0,
        )
        process.start(made.run())
        self.watchers.append(process)

    def _start_session(self) -> None:
        self.session = Process("session")
        self.in_flight = InFlight(FOREVER_SECONDS, max_bytes=600)
        self.replica.connect()
        self.session.start(self._run_session(self.session, self.in_flight))

    async def _run_session(self, process: Process, in_flight: InFlight) -> None:
        """What `Session` does between a resume and the end of the connection."""
        last = self.replica.watermark
        outlet = PacedOutlet(Connection(process, self.replica), FOREVER_SECONDS)
        sender = TransactionSender(outlet, in_flight, whole_view(BUSY), last)
        database: Any = ScriptedDatabase(self.oplog, process)
        found = feed.Feed(AppSource(database, BUSY_HISTORY, FoundErrors()), GatedLog(self.shared, process), last)
        async with aclosing(found.readings()) as readings:
            async for reading in readings:
                if isinstance(reading, Entry):
                    await sender.send(reading)
                if self.is_quiet and not sender.is_open and found.position > sender.last:
                    await sender.send_empty(found.position, 0)

    @property
    def processes(self) -> list[Process]:
        return [self.session, *self.watchers]

    async def _settle(self) -> None:
        await settle(*self.processes)

    def log_is_finished(self) -> bool:
        extent = self.runner.run(self.shared.log.extent())
        return extent.whole == extent.tail

    def tail(self) -> Position:
        tail = self.tail_or_none()
        assert tail is not None
        return tail

    def tail_or_none(self) -> Position | None:
        tail = self.runner.run(self.shared.log.extent()).tail
        return None if tail is None else tail.position

    def _do(self, action: Awaitable[None] | None = None) -> None:
        async def run() -> None:
            if action is not None:
                await action
            await self._settle()

        self.runner.run(run())

    @rule(
        collection=st.sampled_from(LONE),
        number=st.integers(0, 2),
        is_deleted=st.booleans(),
        is_new_time=st.booleans(),
    )
    def write_one(self, collection: str, number: int, is_deleted: bool, is_new_time: bool) -> None:
        self.number += 1
        self.oplog.write({(collection, number): None if is_deleted else self.number}, is_new_time=is_new_time)

    @rule(numbers=st.sets(st.integers(0, 5), min_size=1), is_deleted=st.booleans())
    def write_transaction(self, numbers: set[int], is_deleted: bool) -> None:
        self.number += 1
        value = None if is_deleted else self.number
        self.oplog.write({(name, number): value for name in PAIRED for number in numbers}, in_transaction=True)

    @precondition(lambda self: self.watchers)
    @rule(who=st.integers(0, MAX_WATCHERS), steps=STEPS, gate=st.integers(0, 1), batch_size=BATCH_SIZES)
    def watch(self, who: int, steps: int, gate: int, batch_size: int) -> None:
        self._go_on(self.watchers[who % len(self.watchers)], steps, gate, batch_size)

    @rule(steps=STEPS, gate=st.integers(0, 1), batch_size=BATCH_SIZES)
    def stream(self, steps: int, gate: int, batch_size: int) -> None:
        self._go_on(self.session, steps, gate, batch_size)

    def _go_on(self, process: Process, steps: int, gate: int, batch_size: int) -> None:
        process.batch_size = batch_size
        for _ in range(steps):
            process.pass_gate(gate)
            self._do()

    # Longer ways to states that single steps seldom lead to: what follows them may be anything.

    @rule(who=st.integers(0, MAX_WATCHERS), batch_size=BATCH_SIZES)
    def catch_up(self, who: int, batch_size: int) -> None:
        """One process does all that it can for now."""
        self._go_on(self.processes[who % len(self.processes)], MANY_GATES, 0, batch_size)

    @rule(count=st.integers(3, 7))
    def write_a_burst(self, count: int) -> None:
        """Writes of a cluster time each, which one batch makes one transaction of."""
        for number in range(count):
            self.write_one(LONE[number % len(LONE)], number // len(LONE), is_deleted=False, is_new_time=True)

    @precondition(lambda self: self.watchers)
    @rule(is_killed=st.booleans(), batch_size=BATCH_SIZES, is_streamed=st.booleans())
    def stop_a_watcher_within_a_transaction(self, is_killed: bool, batch_size: int, is_streamed: bool) -> None:
        """Its log ends with some parts of it, which the session may have had; the next one reads in other batches."""
        self.go_on_until(self.watchers[0], 100, lambda: not self.log_is_finished())
        if is_streamed:
            self._go_on(self.session, MANY_GATES, 0, 100)
        if is_killed:
            self._replace_watchers(batch_size)

    @precondition(lambda self: self.watchers)
    @rule(by_session=st.booleans(), leads=st.booleans(), batch_size=BATCH_SIZES)
    def stop_within_a_cluster_time(self, by_session: bool, leads: bool, batch_size: int) -> None:
        """Two writes of one cluster time: a process that has had the first of them begins again."""
        self.write_one(LONE[0], 0, is_deleted=False, is_new_time=True)
        self.write_one(LONE[0], 1, is_deleted=False, is_new_time=False)
        if by_session:
            self.change_the_leader(leads)
            self.go_on_until(self.session, 1, lambda: self.replica.watermark.cluster_time >= self.oplog.now)
            self.kill(0)
            self._go_on(self.session, MANY_GATES, 0, 1)
            self.change_the_leader(True)
        else:
            self.go_on_until(self.watchers[0], 1, self._tail_is_current)
            self._replace_watchers(batch_size)

    @rule()
    def go_on_in_a_log_that_is_cut_otherwise(self) -> None:
        """The session has the first of two writes of one cluster time from MongoDB; the log has both at one position."""
        self.change_the_leader(False)
        self._go_on(self.session, MANY_GATES, 0, 100)
        self.write_one(LONE[0], 0, is_deleted=False, is_new_time=True)
        self.write_one(LONE[0], 1, is_deleted=False, is_new_time=False)
        self.go_on_until(self.session, 1, lambda: self.replica.watermark.cluster_time >= self.oplog.now)
        self._replace_watchers(100)
        self.change_the_leader(True)
        self.kill(0)

    @precondition(lambda self: self.watchers)
    @rule(steps=st.integers(1, 8))
    def overtake_a_watcher(self, steps: int) -> None:
        """What the first has read, another writes, in other batches; then the first goes on."""
        if len(self.watchers) < MAX_WATCHERS:
            self.start_watcher()
        self._go_on(self.watchers[0], steps, 0, 100)
        self.go_on_until(self.watchers[-1], 1, self._tail_is_current)
        self._go_on(self.watchers[0], steps, 0, 1)

    @precondition(lambda self: self.watchers)
    @rule(count=st.integers(1, 3))
    def trim_past_the_session(self, count: int) -> None:
        """It is current, and does not have what is gone."""
        self._go_on(self.watchers[0], MANY_GATES, 0, 1)
        self._go_on(self.session, MANY_GATES, 0, 1)
        for number in range(count):
            self.write_one(LONE[0], number, is_deleted=False, is_new_time=True)
            self._go_on(self.watchers[0], MANY_GATES // 2, 0, 1)
        self.trim_the_log()

    def _tail_is_current(self) -> bool:
        return self.tail_or_none() is not None and self.tail().cluster_time >= self.oplog.now

    def go_on_until(self, process: Process, batch_size: int, holds: Callable[[], bool]) -> None:
        """Lets it go on until then, or for long."""
        for _ in range(MANY_GATES):
            if holds():
                return
            self._go_on(process, 1, 0, batch_size)

    def _replace_watchers(self, batch_size: int) -> None:
        while self.watchers:
            self.kill(1)
        self.start_watcher()
        self._go_on(self.watchers[0], MANY_GATES, 0, batch_size)

    @rule(who=st.integers(0, MAX_WATCHERS))
    def kill(self, who: int) -> None:
        process = self.processes[who % len(self.processes)]

        async def kill() -> None:
            await process.kill()
            if process is self.session:
                self._start_session()
            else:
                self.watchers.remove(process)

        self._do(kill())

    @precondition(lambda self: len(self.watchers) < MAX_WATCHERS)
    @rule()
    def start_watcher(self) -> None:
        async def start() -> None:
            self._start_watcher()

        self._do(start())

    @rule(who=st.integers(0, MAX_WATCHERS))
    def cut_the_stream(self, who: int) -> None:
        self.processes[who % len(self.processes)].stream_failure = interruption()

    @precondition(lambda self: self.watchers)
    @rule(who=st.integers(0, MAX_WATCHERS))
    def lose_history(self, who: int) -> None:
        self.watchers[who % len(self.watchers)].stream_failure = lost_history()

    @rule()
    def empty_the_log(self) -> None:
        async def empty() -> None:
            self.shared.log = await self.log.emptied()

        self._do(empty())

    @rule()
    def trim_the_log(self) -> None:
        self._do(self.log.trim())

    @rule(leads=st.booleans())
    def change_the_leader(self, leads: bool) -> None:
        self.shared.leader = "somebody" if leads else None

    @rule(is_quiet=st.booleans())
    def change_quietness(self, is_quiet: bool) -> None:
        self.is_quiet = is_quiet

    @rule()
    def acknowledge(self) -> None:
        self.in_flight.acknowledge(self.replica.watermark)
        self._do()

    @invariant()
    def nobody_has_failed(self) -> None:
        for process in self.processes:
            process.check()

    @invariant()
    def the_log_is_a_chain(self) -> None:
        found = self.runner.run(self.shared.log.read(None, 10_000))
        for before, entry in pairwise(found):
            assert entry.id > before.id, "the log is out of order"
            assert entry.previous == before.id, "an entry was appended after another one than it says"

    def teardown(self) -> None:
        """In the end one watcher and the session go on undisturbed, and the replica becomes what was written."""
        try:
            self.runner.run(self._end())
        finally:
            self.runner.close()

    async def _end(self) -> None:
        try:
            for process in self.watchers:
                await process.kill()
            self.watchers = []
            self._start_watcher()
            self.shared.leader = "somebody"
            self.is_quiet = False
            await self._until_everything_is_there()
        finally:
            for process in self.processes:
                await process.kill()
            await self.log.close()

    async def _until_everything_is_there(self) -> None:
        for step in range(MANY_STEPS):
            if self.replica.has_everything():
                return
            process = self.processes[step % 2]
            process.batch_size = 3
            process.pass_gate(step // 2)
            self.in_flight.acknowledge(self.replica.watermark)
            await self._settle()
            process.check()
        raise AssertionError(f"the replica stays at {self.replica.watermark}: {self.replica.tables}")


class TrimmableLog(MemoryLog):
    """Holds everything until it is trimmed, to its last entry."""

    async def trim(self) -> None:
        self._max_bytes = 1
        self._drop_oldest()
        self._max_bytes = MAX_BYTES


class MemoryTestLog:
    """The log of one process, which is trimmed and emptied."""

    def __init__(self) -> None:
        self.log: ChangeLog = TrimmableLog()

    async def emptied(self) -> ChangeLog:
        self.log = TrimmableLog()
        return self.log

    async def trim(self) -> None:
        await self.log.trim()

    async def close(self) -> None:
        return None


class RedisTestLog:
    """The same in Redis."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(url)
        self._name = uuid.uuid4().hex
        self.log: ChangeLog = RedisLog(url, self._name)

    async def emptied(self) -> ChangeLog:
        await self._redis.delete(*(f"changesource:3:{{{self._name}}}:{part}" for part in ("log", "tail")))
        return self.log

    async def trim(self) -> None:
        await self._redis.xtrim(f"changesource:3:{{{self._name}}}:log", maxlen=1, approximate=False)

    async def close(self) -> None:
        await self.emptied()
        await self.log.close()
        await self._redis.aclose()


TestLog = MemoryTestLog | RedisTestLog
