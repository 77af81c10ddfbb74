"""Watchers and a session that are stopped, killed and cut off between any two steps: a transaction may be seen again, it
is never skipped and never torn, and watermarks only grow."""

import functools
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from changesource.mongo.assembler import TransactionAssembler
from changesource.replication import entry_reader, feed, renderer, watcher
from tests.examples import IS_FAST, examples
from tests.faults.crash_points import CrashPoints, MemoryTestLog, RedisTestLog, TestLog
from tests.faults.scripted_source import inspect_scripted_source, open_scripted_stream, scripted_cluster_time
from tests.simulation.workload import LONE
from zerosources.embedded.servers import ValkeyServer


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is the test's, nothing waits for a clock, and transactions come in many parts."""
    monkeypatch.setattr(entry_reader, "open_change_stream", open_scripted_stream)
    monkeypatch.setattr(entry_reader, "inspect_source", inspect_scripted_source)
    monkeypatch.setattr(entry_reader, "TransactionAssembler", functools.partial(TransactionAssembler, 4))
    monkeypatch.setattr(renderer, "MAX_ENTRY_BYTES", 300)
    monkeypatch.setattr(watcher, "current_cluster_time", scripted_cluster_time)
    monkeypatch.setattr(watcher, "RETRY_SECONDS", 0)
    monkeypatch.setattr(watcher.logger, "exception", fail)
    monkeypatch.setattr(feed, "PATIENCE_SECONDS", -1)
    monkeypatch.setattr(feed, "RETURN_CHECK_SECONDS", -1)
    monkeypatch.setattr(feed, "RETRY_SECONDS", (0,))


def fail(message: str, *arguments: object) -> None:
    raise AssertionError(message % arguments)


LONG_ENOUGH_TO_SHRINK = pytest.mark.timeout(900)
"""Hypothesis may take 300 seconds for it, and an event loop can swallow what the usual timeout raises, and hang."""


def explore(open_log: Callable[[], TestLog], count: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: CrashPoints(open_log),
        settings=settings(
            max_examples=examples(count),
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


def started_over_under_a_writer(machine: CrashPoints) -> None:
    """A log that was lost, and that another watcher starts over at the very place where the lost one ended, is not gone on
    with by who wrote that: a session would miss the rest of a cluster time of which it had a part from MongoDB."""
    machine.watch(0, 30, 0, 1)
    machine.change_the_leader(False)
    one(machine, 0)
    one(machine, 1, is_new_time=False)
    while machine.replica.watermark.cluster_time < machine.oplog.now:
        machine.stream(1, 0, 1)
    machine.watch(0, 30, 0, 100)
    place = machine.tail()
    machine.empty_the_log()
    machine.start_watcher()
    while machine.tail_or_none() is None:
        machine.watch(1, 1, 0, 1)
    assert machine.tail() == place
    one(machine, 2)
    machine.watch(0, 30, 0, 100)
    machine.change_the_leader(True)
    machine.kill(0)
    machine.stream(60, 0, 1)


SCENARIOS = [
    log_lost_within_a_transaction,
    unfinished_at_the_tail,
    a_leader_wakes_up,
    trimmed_past_the_session,
    cut_otherwise_by_the_log,
    cut_within_a_cluster_time,
    started_over_under_a_writer,
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


@LONG_ENOUGH_TO_SHRINK
def test_log_of_the_process() -> None:
    """Whatever happens between any two steps, with the log in memory."""
    explore(MemoryTestLog, 200)


@LONG_ENOUGH_TO_SHRINK
def test_log_in_redis(valkey_server: ValkeyServer) -> None:
    """The same, with the log in Redis."""
    explore(lambda: RedisTestLog(valkey_server.url), 30)


# One fault before each step in turn


class Batches(NamedTuple):
    """How many events a batch has at most, before the fault and after it."""

    before: int
    after: int


BATCHES = [Batches(100, 1), Batches(1, 100), Batches(3, 2)]
STEPS_AFTER_A_WRITE = 12
LEAST_STEPS = 50
STEPS_APART = 10 if IS_FAST else 1


def writes_of_a_course(machine: CrashPoints) -> Iterator[None]:
    """A few writes of each kind: alone, two of one cluster time, several in a row, transactions of several parts."""
    one(machine, 0)
    yield
    one(machine, 1)
    one(machine, 2, is_new_time=False)
    yield
    machine.write_transaction({0, 1, 2, 3}, is_deleted=False)
    one(machine, 0, is_new_time=False)
    yield
    machine.write_a_burst(7)
    yield
    machine.write_transaction({1, 2}, is_deleted=True)
    machine.write_transaction({2, 3}, is_deleted=False)
    yield
    one(machine, 1)
    one(machine, 0, is_new_time=False)
    one(machine, 1, is_new_time=False)
    yield


def watcher_is_replaced(machine: CrashPoints, batches: Batches) -> None:
    machine.kill(1)
    machine.start_watcher()


def watcher_is_overtaken(machine: CrashPoints, batches: Batches) -> None:
    """It wakes up when another has gone on."""
    machine.start_watcher()
    machine.catch_up(len(machine.watchers), batches.after)


def watcher_is_overtaken_by_little(machine: CrashPoints, batches: Batches) -> None:
    """It wakes up when another has appended one entry."""
    machine.start_watcher()
    tail = machine.tail_or_none()
    machine.go_on_until(machine.watchers[-1], batches.after, lambda: machine.tail_or_none() != tail)


def session_is_replaced(machine: CrashPoints, batches: Batches) -> None:
    machine.kill(0)


def session_goes_by_mongodb(machine: CrashPoints, batches: Batches) -> None:
    """And back to the log, where it is."""
    machine.change_the_leader(False)
    machine.catch_up(0, batches.after)
    machine.change_the_leader(True)


def session_has_some_of_mongodb(machine: CrashPoints, batches: Batches) -> None:
    """One transaction, as MongoDB's batches cut it, and what follows from the log, which may be cut otherwise."""
    machine.change_the_leader(False)
    machine.kill(0)
    watermark = machine.replica.watermark
    machine.go_on_until(machine.session, batches.after, lambda: machine.replica.watermark > watermark)
    machine.kill(0)
    machine.catch_up(1, batches.before)
    machine.change_the_leader(True)


def streams_are_cut(machine: CrashPoints, batches: Batches) -> None:
    machine.cut_the_stream(0)
    machine.cut_the_stream(1)


def history_is_lost(machine: CrashPoints, batches: Batches) -> None:
    machine.lose_history(0)


def log_is_emptied(machine: CrashPoints, batches: Batches) -> None:
    machine.empty_the_log()


def log_is_emptied_and_nobody_leads(machine: CrashPoints, batches: Batches) -> None:
    machine.change_the_leader(False)
    machine.empty_the_log()
    machine.stream(12, 0, batches.after)
    machine.change_the_leader(True)


def log_is_trimmed(machine: CrashPoints, batches: Batches) -> None:
    """To what the session may not have had."""
    machine.catch_up(1, batches.after)
    machine.trim_the_log()


FAULTS = [
    watcher_is_replaced,
    watcher_is_overtaken,
    watcher_is_overtaken_by_little,
    session_is_replaced,
    session_goes_by_mongodb,
    session_has_some_of_mongodb,
    streams_are_cut,
    history_is_lost,
    log_is_emptied,
    log_is_emptied_and_nobody_leads,
    log_is_trimmed,
]


@pytest.mark.parametrize("batches", BATCHES, ids=lambda batches: f"{batches.before}-{batches.after}")
@pytest.mark.parametrize("fault", FAULTS)
def test_each_step(fault: Callable[[CrashPoints, Batches], None], batches: Batches) -> None:
    """Whichever step of a watcher and a session the fault comes before, the replica is right after each commit, and in the
    end has everything."""
    for step in count(step=STEPS_APART):
        if not run_course(fault, step, batches):
            break
    assert step > LEAST_STEPS


def run_course(fault: Callable[[CrashPoints, Batches], None], at: int, batches: Batches) -> bool:
    """The writes, some steps of the processes after each, and the fault before one of these. Whether there was that one."""
    machine = CrashPoints(MemoryTestLog)
    steps = count()
    is_met = False
    try:
        for _ in writes_of_a_course(machine):
            for _ in range(STEPS_AFTER_A_WRITE):
                if next(steps) == at:
                    fault(machine, batches)
                    is_met = True
                size = batches.after if is_met else batches.before
                for number in range(len(machine.watchers)):
                    machine.watch(number, 1, 0, size)
                machine.stream(1, 0, size)
                machine.acknowledge()
        machine.nobody_has_failed()
        machine.the_log_is_a_chain()
    finally:
        machine.teardown()
    return is_met
