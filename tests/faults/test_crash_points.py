"""Watchers and a session that are stopped, killed and cut off between any two steps: a transaction may be seen again, it
is never skipped and never torn, and watermarks only grow."""

import asyncio
import functools
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
import redis.asyncio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from changesource.log.entries import ChangeLog
from changesource.log.memory import MemoryLog
from changesource.log.redis import RedisLog
from changesource.mongo.assembler import TransactionAssembler
from changesource.protocol.watermarks import Position
from changesource.streaming import feed, reading, rendering, watcher
from changesource.streaming.acknowledgements import InFlight
from changesource.streaming.outlet import PacedOutlet
from changesource.streaming.transactions import TransactionSender
from tests.faults.scripted_source import (
    GatedLog,
    Oplog,
    Process,
    ScriptedDatabase,
    Shared,
    inspect_scripted_source,
    interruption,
    lost_history,
    open_scripted_stream,
    scripted_cluster_time,
    settle,
)
from tests.log.builders import cluster_time
from tests.streaming.builders import BUSY, BUSY_HISTORY, whole_view
from tests.streaming.workload import COLLECTIONS, LONE, PAIRED
from zerosources.embedded.servers import ValkeyServer

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
            ScriptedDatabase(self.oplog, process),  # type: ignore[arg-type]
            BUSY_HISTORY,
            GatedLog(self.shared, process),
            lambda errors: None,
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
        found = feed.Feed(database, BUSY_HISTORY, GatedLog(self.shared, process), last, lambda errors: None)
        async with aclosing(found.entries()) as entries:
            async for entry in entries:
                if entry is not None:
                    await sender.send(entry)
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
        self._until(self.watchers[0], 100, lambda: not self.log_is_finished())
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
            self._until(self.session, 1, lambda: self.replica.watermark.cluster_time >= self.oplog.now)
            self.kill(0)
            self._go_on(self.session, MANY_GATES, 0, 1)
            self.change_the_leader(True)
        else:
            self._until(self.watchers[0], 1, self._tail_is_current)
            self._replace_watchers(batch_size)

    @rule()
    def go_on_in_a_log_that_is_cut_otherwise(self) -> None:
        """The session has the first of two writes of one cluster time from MongoDB; the log has both at one position."""
        self.change_the_leader(False)
        self._go_on(self.session, MANY_GATES, 0, 100)
        self.write_one(LONE[0], 0, is_deleted=False, is_new_time=True)
        self.write_one(LONE[0], 1, is_deleted=False, is_new_time=False)
        self._until(self.session, 1, lambda: self.replica.watermark.cluster_time >= self.oplog.now)
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
        self._until(self.watchers[-1], 1, self._tail_is_current)
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

    def _until(self, process: Process, batch_size: int, holds: Callable[[], bool]) -> None:
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


class MemoryTestLog:
    """The log of one process, which is trimmed and emptied."""

    def __init__(self) -> None:
        self.log: ChangeLog = MemoryLog(max_bytes=1)

    async def emptied(self) -> ChangeLog:
        self.log = MemoryLog(max_bytes=1)
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


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is the test's, nothing waits for a clock, and transactions come in many parts."""
    monkeypatch.setattr(reading, "open_change_stream", open_scripted_stream)
    monkeypatch.setattr(reading, "inspect_source", inspect_scripted_source)
    monkeypatch.setattr(reading, "TransactionAssembler", functools.partial(TransactionAssembler, 4))
    monkeypatch.setattr(rendering, "MAX_CHUNK_BYTES", 300)
    monkeypatch.setattr(watcher, "current_cluster_time", scripted_cluster_time)
    monkeypatch.setattr(watcher, "RETRY_SECONDS", 0)
    monkeypatch.setattr(watcher.logger, "exception", fail)
    monkeypatch.setattr(feed, "PATIENCE_SECONDS", -1)
    monkeypatch.setattr(feed, "RETURN_CHECK_SECONDS", -1)
    monkeypatch.setattr(feed, "RETRY_SECONDS", (0,))


def fail(message: str, *arguments: object) -> None:
    raise AssertionError(message % arguments)


def explore(open_log: Callable[[], TestLog], examples: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: CrashPoints(open_log),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def one(machine: CrashPoints, number: int, *, is_new_time: bool = True) -> None:
    machine.write_one("city", number, is_deleted=False, is_new_time=is_new_time)


def unfinished_at_the_tail(machine: CrashPoints) -> None:
    """What a watcher left unfinished, and another reads in smaller batches, is not committed before all of it is there: its
    watermark says that everything earlier is."""
    machine.watch(0, 30, 0, 1)
    for collection in LONE:
        for number in range(3):
            machine.write_one(collection, number, is_deleted=False, is_new_time=True)
    while machine.log_is_finished():
        machine.watch(0, 1, 0, 100)
    machine.kill(1)
    machine.start_watcher()
    machine.watch(0, 30, 0, 2)
    machine.stream(60, 0, 100)
    machine.change_the_leader(False)
    machine.kill(0)
    machine.stream(60, 0, 1)


def a_leader_wakes_up(machine: CrashPoints) -> None:
    """What a paused leader has read appends nothing any more when another has gone on."""
    machine.watch(0, 30, 0, 1)
    one(machine, 1)
    one(machine, 2)
    while machine.watchers[0].has_read < 2:
        machine.watch(0, 1, 0, 100)
    machine.start_watcher()
    while machine.tail().cluster_time == machine.oplog.begin:
        machine.watch(1, 1, 0, 1)
    machine.watch(0, 6, 0, 1)


def trimmed_past_the_session(machine: CrashPoints) -> None:
    """A session notices that what followed its position is no more in the log."""
    machine.watch(0, 30, 0, 1)
    one(machine, 0)
    machine.watch(0, 30, 0, 1)
    machine.stream(40, 0, 1)
    one(machine, 1)
    machine.watch(0, 30, 0, 1)
    one(machine, 2)
    machine.watch(0, 30, 0, 1)
    machine.trim_the_log()
    machine.stream(60, 0, 1)


def cut_otherwise_by_the_log(machine: CrashPoints) -> None:
    """A session that had a part of one cluster time from MongoDB gets the rest from a log that has all of it at the same
    position."""
    machine.watch(0, 30, 0, 1)
    machine.change_the_leader(False)
    one(machine, 0)
    one(machine, 1, is_new_time=False)
    while machine.replica.watermark.cluster_time < machine.oplog.now:
        machine.stream(1, 0, 1)
    machine.kill(0)
    machine.watch(0, 30, 0, 100)
    machine.change_the_leader(True)
    one(machine, 2)
    machine.watch(0, 30, 0, 100)
    machine.stream(60, 0, 1)


def cut_within_a_cluster_time(machine: CrashPoints) -> None:
    """A watcher that goes on after a part of one cluster time reads all of it again."""
    machine.watch(0, 30, 0, 1)
    one(machine, 0)
    one(machine, 1, is_new_time=False)
    while machine.tail().cluster_time < machine.oplog.now:
        machine.watch(0, 1, 0, 1)
    machine.kill(1)
    machine.start_watcher()
    one(machine, 2)
    machine.watch(0, 60, 0, 1)
    machine.stream(60, 0, 1)


def log_lost_within_a_transaction(machine: CrashPoints) -> None:
    """What a session had of a transaction is rolled back when it has to read it from somewhere else."""
    machine.watch(0, 30, 0, 1)
    one(machine, 0)
    machine.write_transaction({0, 1, 2, 3}, is_deleted=False)
    while machine.log_is_finished():
        machine.watch(0, 1, 0, 5)
    machine.stream(30, 0, 1)
    machine.change_the_leader(False)
    machine.empty_the_log()
    machine.stream(60, 0, 1)


SCENARIOS = [
    log_lost_within_a_transaction,
    unfinished_at_the_tail,
    a_leader_wakes_up,
    trimmed_past_the_session,
    cut_otherwise_by_the_log,
    cut_within_a_cluster_time,
]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_scenario(scenario: Callable[[CrashPoints], None], kind: str, valkey_server: ValkeyServer) -> None:
    """Orders of steps in which one of the defences alone counts, which random ones seldom meet."""
    machine = CrashPoints(MemoryTestLog if kind == "memory" else lambda: RedisTestLog(valkey_server.url))
    try:
        scenario(machine)
        machine.nobody_has_failed()
        machine.the_log_is_a_chain()
    finally:
        machine.teardown()


def test_log_of_the_process() -> None:
    """Whatever happens between any two steps, with the log in memory."""
    explore(MemoryTestLog, 200)


def test_log_in_redis(valkey_server: ValkeyServer) -> None:
    """The same, with the log in Redis."""
    explore(lambda: RedisTestLog(valkey_server.url), 30)
