"""A random workload, and at barriers a check that the replica holds what MongoDB holds.

A run is rounds: writers send operations for a while, then they wait for a barrier. Faults happen all the time, but while a
barrier settles. `recording.py` says how what has happened is kept, and done again.
"""

from __future__ import annotations

import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tests.e2e.deployment import FileState, difference, file_state, replica_or_none, wait_until_not_none
from tests.embedded.waiting import wait_until
from tests.faults import artefacts
from tests.faults.artefacts import Kept
from tests.faults.counts import Counts
from tests.faults.fault import Fault
from tests.faults.faults import FAULTS
from tests.faults.operations import Operation, Operations
from tests.faults.recording import Recording, read_recording
from tests.faults.schedule import FaultSchedule
from tests.faults.system import System
from tests.faults.tables import BARRIERS
from tests.faults.writers import Writers
from tests.node.tools import ReplicaContents
from zerosources.embedded.server import ServerError

WRITERS = 2
ROUND_SECONDS, SHORTEST_ROUND_SECONDS = 20.0, 5.0
FAULT_SECONDS = 5.0
RATE = 150.0
"""Operations a second. What runs besides has as many processors as they."""
BARRIER_SECONDS = 120.0
"""How long the marker document of a barrier may take to arrive, with everything healed: on a busy machine."""

READY_SECONDS = 30.0
"""How long `/readyz` may stay red after that: who leads may have to be settled, on a busy machine."""

MAX_REASONS = 2_000
"""Characters of them in a report."""
MOST_LEADS = 3
"""How often a watcher may begin to lead within a barrier: after the last fault, and as the machine is busy."""

STUCK_SECONDS = 20.0
"""After which a zero-cache that has got a transaction and not applied it is looked at."""

KILLED = 128 + signal.SIGKILL


class Mismatch(AssertionError):
    """The replica is not what it has to be, or something has ended that must not. The message says what, and where the
    recording of it is."""


class Oracle:
    """Runs rounds against `system`. `counts` says what has been done so far."""

    def __init__(self, system: System, recording: Recording) -> None:
        self.system = system
        self.counts = Counts()
        self.recording = recording
        self._round = 0
        self._replica_versions: dict[Path, str] = {}
        self._ends: dict[Path, list[int]] = {}
        self._started = time.monotonic()

    def random_round(
        self, sequences: Sequence[Iterator[Operation]], schedule: FaultSchedule, seconds: float, *, rate: float
    ) -> None:
        """Operations of `sequences` for so long and until `schedule` has healed what it has broken, and a barrier."""
        with self._writers(sequences, rate) as writers:
            writers.wait(seconds)
            with schedule.paused():
                writers.end()
                self.barrier()

    def recorded_round(
        self,
        operations: Mapping[int, Sequence[Operation]],
        faults: Sequence[tuple[int, str]],
        schedule: FaultSchedule,
        *,
        rate: float,
    ) -> None:
        """These operations, by writer, with faults after so many of them, and a barrier."""
        with self._writers([iter(operations[writer]) for writer in sorted(operations)], rate) as writers:
            for after, name in faults:
                wait_until(lambda after=after: writers.sent >= after or not writers.are_writing, 3600)
                schedule.start(FAULTS[name])
            wait_until(lambda: not writers.are_writing, 3600)
            with schedule.paused():
                self.barrier()

    def barrier(self) -> None:
        """The replica is, at the moment at which it has a document that was written last, what MongoDB is.

        Raises:
            Mismatch: it is not, or the document does not arrive, or a process has ended, or zero-cache has started over.
        """
        started, leads = time.monotonic(), self.system.leads
        name = f"after round {self._round}"
        barriers = self.system.deployment.database[BARRIERS]
        # Idempotent, as the driver tries again where MongoDB is about to go away.
        barriers.replace_one({"_id": name}, {"_id": name}, upsert=True)
        contents = self._wait_for(name)
        self.counts.settling_seconds.append(time.monotonic() - started)
        self.counts.seconds = time.monotonic() - self._started
        self._ends[self.system.zero_cache.replica_path] = self.system.zero_cache.exit_statuses
        self.counts.ended = sum(status != KILLED for statuses in self._ends.values() for status in statuses)
        expected, found = self.system.expected_rows(), self.system.found_rows(contents)
        if found != expected:
            self._fail(difference(expected, found))
        self._check_ready()
        self._check_leads(self.system.leads - leads)
        if excess := self.system.excess():
            self._fail(excess)
        self._round += 1
        self.recording.begin_round(self._round, self.system.documents())

    def _check_ready(self) -> None:
        """Everything is healed, so that soon nothing is missing."""
        missing: list[str] = []

        def is_ready() -> bool:
            missing[:] = [self.system.missing()]
            return missing == [""]

        try:
            wait_until(is_ready, READY_SECONDS)
        except AssertionError:
            self._fail(f"/readyz is red while nothing is broken. {missing[0][:MAX_REASONS]}")

    def _check_leads(self, leads: int) -> None:
        """With nothing broken, what a watcher has to work on does not take the lease from it."""
        self.counts.leads = max(self.counts.leads, leads)
        if leads > MOST_LEADS:
            self._fail(f"A watcher has begun to lead {leads} times while nothing was broken.")

    def _wait_for(self, barrier: str) -> ReplicaContents:
        tables = tuple(table.server_name for table in self.system.deployment.definition.tables)
        patience_ends = time.monotonic() + STUCK_SECONDS
        seen: list[FileState] = []

        def arrived() -> ReplicaContents | None:
            nonlocal patience_ends
            self.system.check_running()
            if time.monotonic() > patience_ends and self.system.is_stuck(barrier):
                self.system.zero_cache.kill()
                self.counts.stuck += 1
                patience_ends = time.monotonic() + BARRIER_SECONDS
            # Reading takes a process of its own, which would keep zero-cache from what is waited for.
            if (state := file_state(self.system.zero_cache.replica_path)) == seen:
                return None
            seen[:] = state
            found = replica_or_none(self.system.zero_cache, tables)
            if found is None:
                seen.clear()
                return None
            self._check_replica_version(found)
            return found if any(row["_id"] == barrier for row in found.rows[BARRIERS]) else None

        try:
            found: ReplicaContents = wait_until_not_none(arrived, BARRIER_SECONDS)
        except ServerError as error:
            self._fail(str(error))
        except Mismatch:
            raise
        except AssertionError:
            self._fail(f"The document {barrier!r} has not arrived within {BARRIER_SECONDS:g} s.")
        return found

    def _check_replica_version(self, found: ReplicaContents) -> None:
        first = self._replica_versions.setdefault(self.system.zero_cache.replica_path, found.replica_version)
        if first != found.replica_version:
            self._fail("zero-cache has taken another snapshot.")

    def _writers(self, sequences: Sequence[Iterator[Operation]], rate: float) -> Writers:
        return Writers(self.system, self.counts, sequences, self.recording.operation, rate=rate)

    def _fail(self, what: str) -> NoReturn:
        self.counts.mismatches += 1
        self.counts.seconds = time.monotonic() - self._started
        raise Mismatch(f"Round {self._round}: {what}")


def run(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    faults: Sequence[Fault] = tuple(FAULTS.values()),
    least_mutations: int = 0,
    with_each_fault: bool = False,
    rate: float = RATE,
    fault_seconds: float = FAULT_SECONDS,
    keeps: Kept = Kept.OF_FAILURES,
    tell: Callable[[Counts], None] | None = None,
) -> Counts:
    """An oracle over random rounds, with one of `faults` every `fault_seconds`, for so long and until there have been
    `least_mutations`, and `with_each_fault` until each of `faults` has happened. `tell` is called after each round.

    Raises:
        Mismatch: its message says which folder has the recording, the logs and the replica.
    """

    def rounds(oracle: Oracle) -> None:
        sequences = [iter(Operations(seed, writer)) for writer in range(WRITERS)]
        deadline = time.monotonic() + seconds
        with schedule_of(oracle, faults, seed, fault_seconds) as schedule:

            def is_missing() -> bool:
                happened = {*schedule.counts, *schedule.missed}
                return with_each_fault and not happened >= {fault.name for fault in faults}

            while time.monotonic() < deadline or oracle.counts.mutations < least_mutations or is_missing():
                left = max(SHORTEST_ROUND_SECONDS, deadline - time.monotonic())
                oracle.random_round(sequences, schedule, min(ROUND_SECONDS, left), rate=rate)
                if tell is not None:
                    tell(oracle.counts)

    return judged(folder, f"seed-{seed}", rounds, keeps=keeps)


def replay(folder: Path, lines: Sequence[str], *, rate: float = RATE, keeps: Kept = Kept.OF_FAILURES) -> Counts:
    """An oracle over what a recording says. Raises `Mismatch`."""
    state, recorded_rounds = read_recording(lines)

    def rounds(oracle: Oracle) -> None:
        oracle.system.load(state)
        with schedule_of(oracle, (), 0, FAULT_SECONDS) as schedule:
            for recorded in recorded_rounds:
                oracle.recorded_round(recorded.operations, recorded.faults, schedule, rate=rate)

    return judged(folder, "replay", rounds, keeps=keeps)


def schedule_of(oracle: Oracle, faults: Sequence[Fault], seed: int, every_seconds: float) -> FaultSchedule:
    def note(fault: Fault) -> None:
        oracle.recording.fault(fault.name)

    schedule = FaultSchedule(oracle.system, faults, random.Random(seed), note, every_seconds=every_seconds)
    oracle.counts.faults, oracle.counts.missed = schedule.counts, schedule.missed
    return schedule


def judged(folder: Path, name: str, rounds: Callable[[Oracle], None], *, keeps: Kept) -> Counts:
    """What `rounds` counts, with a system below `folder`.

    Raises:
        Mismatch: `rounds` has failed.
    """
    with System(folder) as system, Recording(folder / "recording") as recording:
        oracle = Oracle(system, recording)
        try:
            oracle.barrier()
            rounds(oracle)
        except Exception as error:
            if not isinstance(error, Mismatch):
                oracle.counts.mismatches += 1
            what = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
            report = f"{what}\n{oracle.counts}"
            if keeps is not Kept.NEVER:
                report += (
                    f"\nWhat was done, logs and the replica are in {artefacts.keep(system, recording, name, report)}."
                )
            raise Mismatch(report) from error
        if keeps is Kept.ALWAYS:
            artefacts.keep(system, recording, name, f"{oracle.counts}\n{oracle.counts.table()}")
        return oracle.counts
