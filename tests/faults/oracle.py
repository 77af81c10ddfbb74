"""A random workload, and at barriers a check that the replica holds what MongoDB holds.

A run is rounds: writers send operations for a while, faults happen meanwhile, and then everything stops for a barrier.
All of it goes into a recording, a text file with one JSON object a line:

    {"round": 3, "writer": 1, "transaction": false, "commands": [MongoDB commands in Extended JSON]}
    {"round": 3, "fault": "…", "after": how many operations the round had then}

To make a failing run smaller by hand: `make oracle REPLAY=FILE` does what FILE says. Remove rounds, faults, one writer, or
halves of what is left as long as it still fails; everything in it stands for itself.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from bson import json_util
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from tests.e2e.deployment import difference, replica_or_none, wait_until_not_none
from tests.embedded.waiting import wait_until
from tests.faults.faults import FAULTS, Fault
from tests.faults.operations import Operation, Operations
from tests.faults.system import System
from tests.faults.tables import BARRIERS
from tests.node.tools import ReplicaContents
from zerosources.embedded.server import ServerError

WRITERS = 2
FAULTS_OF_ROUND = 2
BARRIER_SECONDS = 60.0
"""How long the marker document of a barrier may take to arrive, with everything healed."""
PAUSE_SECONDS = 0.2
"""Between attempts to write while MongoDB is away."""


class Mismatch(AssertionError):
    """The replica is not what it has to be. The message says where, and which recording shows it."""


@dataclass
class Counts:
    """What a run has done."""

    operations: int = 0
    mutations: int = 0
    interrupted: int = 0
    barriers: int = 0
    mismatches: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = [f"{name}: {getattr(self, name)}" for name in ("operations", "mutations", "interrupted", "barriers")]
        lines += [f"faults: {self.faults.total()}"]
        lines += [f"  {name}: {count}" for name, count in sorted(self.faults.items())]
        return "\n".join([*lines, f"mismatches: {self.mismatches}"])


class Recording:
    """Appends to the file at `path`, so that what a run did is there whatever ends it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def operation(self, round_number: int, writer: int, operation: Operation) -> None:
        # Each command by itself: Extended JSON keeps its order of fields, of which the first is the command's name.
        commands = json_util.dumps(operation.commands, json_options=json_util.CANONICAL_JSON_OPTIONS)
        is_transaction = json.dumps(operation.is_transaction)
        self._write(
            f'{{"round": {round_number}, "writer": {writer}, "transaction": {is_transaction}, "commands": {commands}}}'
        )

    def fault(self, round_number: int, name: str, after: int) -> None:
        self._write(json.dumps({"round": round_number, "fault": name, "after": after}))

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _write(self, line: str) -> None:
        with self._lock:
            self._file.write(f"{line}\n")


@dataclass
class RecordedRound:
    """What a recording says of one round: operations by writer, and names of faults with when they happened."""

    operations: dict[int, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    faults: list[tuple[int, str]] = field(default_factory=list)


def read_recording(path: Path) -> list[RecordedRound]:
    """The rounds of the recording at `path`, in order."""
    rounds: dict[int, RecordedRound] = defaultdict(RecordedRound)
    for line in path.read_text(encoding="utf-8").splitlines():
        stored = json_util.loads(line, json_options=json_util.CANONICAL_JSON_OPTIONS)
        found = rounds[int(stored["round"])]
        if "fault" in stored:
            found.faults.append((int(stored["after"]), stored["fault"]))
        else:
            found.operations[int(stored["writer"])].append(Operation(stored["commands"], stored["transaction"]))
    return [rounds[number] for number in sorted(rounds)]


class Writers:
    """Threads that send operations, one for each sequence of `operations`, until those end or they are stopped. As a context
    manager they begin on entry and have ended on exit."""

    def __init__(
        self,
        system: System,
        counts: Counts,
        operations: Sequence[Iterator[Operation]],
        note: Callable[[int, Operation], None],
        *,
        rate: float,
    ) -> None:
        self._system = system
        self._counts = counts
        self._note = note
        self._pause = len(operations) / rate
        self._stop = threading.Event()
        self._lock = threading.Lock()
        # The embedded MongoDB locks up when a collection is dropped while somebody else writes to it.
        self._turns = [threading.Lock() for _ in operations]
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number, sequence), name=f"writer-{number}")
            for number, sequence in enumerate(operations)
        ]
        self.sent = 0

    @property
    def are_writing(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def wait(self, seconds: float) -> None:
        """Returns after this time, or when a writer has failed."""
        self._stop.wait(seconds)

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failures and error is None:
            raise self._failures[0]

    def _run(self, number: int, operations: Iterator[Operation]) -> None:
        due = time.monotonic()
        try:
            for operation in operations:
                with ExitStack() as turns:
                    for turn in self._turns if operation.changes_collections else [self._turns[number]]:
                        turns.enter_context(turn)
                    self._note(number, operation)
                    self._send(operation)
                due = max(due + self._pause, time.monotonic() - 1)
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
        except (PyMongoError, AssertionError) as failure:
            self._failures.append(failure)
            self._stop.set()

    def _send(self, operation: Operation) -> None:
        try:
            changed = operation.send(self._system.deployment.database)
        except (ConnectionFailure, OperationFailure) as error:
            if not is_interruption(error):
                raise
            with self._lock:
                self._counts.interrupted += 1
            self._stop.wait(PAUSE_SECONDS)
            changed = 0
        with self._lock:
            self.sent += 1
            self._counts.operations += 1
            self._counts.mutations += changed


def is_interruption(error: PyMongoError) -> bool:
    """Whether a write failed as MongoDB is away, or is about to be; what became of it is not known."""
    return isinstance(error, ConnectionFailure) or error.has_error_label("TransientTransactionError")


class Oracle:
    """Runs rounds against `system`. `counts` says what has been done so far."""

    def __init__(self, system: System, recording: Recording) -> None:
        self.system = system
        self.counts = Counts()
        self._recording = recording
        self._round = 0
        self._replica_versions: dict[Path, str] = {}

    def random_round(
        self, sequences: Sequence[Iterator[Operation]], seconds: float, faults: Sequence[Fault] = (), *, rate: float
    ) -> None:
        """Operations of `sequences` for so long, with `faults` spread over the time, and a barrier."""
        pause = seconds / (len(faults) + 1)
        with self._writers(sequences, rate) as writers:
            started = time.monotonic()
            writers.wait(pause)
            for number, fault in enumerate(faults):
                self._break(fault, writers)
                writers.wait(max(0.5, started + (number + 2) * pause - time.monotonic()))
        self.barrier()

    def recorded_round(self, recorded: RecordedRound, *, rate: float) -> None:
        """What `recorded` says, and a barrier."""
        with self._writers(
            [iter(operations) for _, operations in sorted(recorded.operations.items())], rate
        ) as writers:
            for after, name in recorded.faults:
                wait_until(lambda after=after: writers.sent >= after or not writers.are_writing, 3600)
                self._break(FAULTS[name], writers)
            wait_until(lambda: not writers.are_writing, 3600)
        self.barrier()

    def _break(self, fault: Fault, writers: Writers) -> None:
        self._recording.fault(self._round, fault.name, writers.sent)
        self.counts.faults[fault.name] += 1
        try:
            fault.inject(self.system)
            writers.wait(fault.hold_seconds)
        finally:
            fault.heal(self.system)

    def barrier(self) -> ReplicaContents:
        """The replica is, at the moment at which it has a document that was written last, what MongoDB is.

        Raises:
            Mismatch: it is not, or the document does not arrive, or zero-cache has ended or begun anew.
        """
        name = f"after round {self._round}"
        self.system.deployment.database[BARRIERS].insert_one({"_id": name})
        contents = self._wait_for(name)
        self.counts.barriers += 1
        expected, found = self.system.expected_rows(), self.system.found_rows(contents)
        if found != expected:
            self._fail(difference(expected, found))
        self._round += 1
        return contents

    def _wait_for(self, barrier: str) -> ReplicaContents:
        tables = tuple(table.server_name for table in self.system.deployment.definition.tables)

        def arrived() -> ReplicaContents | None:
            self.system.zero_cache.check_running()
            found = replica_or_none(self.system.zero_cache, tables)
            return found if found and any(row["_id"] == barrier for row in found.rows[BARRIERS]) else None

        try:
            found: ReplicaContents = wait_until_not_none(arrived, BARRIER_SECONDS)
        except ServerError as error:
            self._fail(str(error))
        except AssertionError:
            self._fail(f"The document {barrier!r} has not arrived within {BARRIER_SECONDS:g} s.")
        first = self._replica_versions.setdefault(self.system.zero_cache.replica_path, found.replica_version)
        if first != found.replica_version:
            self._fail("zero-cache has taken another snapshot.")
        return found

    def _writers(self, sequences: Sequence[Iterator[Operation]], rate: float) -> Writers:
        def note(writer: int, operation: Operation) -> None:
            self._recording.operation(self._round, writer, operation)

        return Writers(self.system, self.counts, sequences, note, rate=rate)

    def _fail(self, what: str) -> NoReturn:
        self.counts.mismatches += 1
        raise Mismatch(f"Round {self._round}: {what}\nWhat was done is in {self._recording.path}.")


def run(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    faults: Sequence[Fault] = tuple(FAULTS.values()),
    rate: float = 150,
    fault_seconds: float = 5,
) -> Counts:
    """An oracle over random rounds for so long, with one of `faults` every `fault_seconds`: all of them in random order, and
    again. Raises `Mismatch`."""
    with System(folder) as system, Recording(folder / "recording.ndjson") as recording:
        oracle = Oracle(system, recording)
        sequences = [iter(Operations(seed, writer)) for writer in range(WRITERS)]
        order = shuffled_for_ever(faults, random.Random(seed))
        deadline = time.monotonic() + seconds
        oracle.barrier()
        while time.monotonic() < deadline:
            chosen = list(itertools.islice(order, FAULTS_OF_ROUND))
            oracle.random_round(sequences, fault_seconds * FAULTS_OF_ROUND, chosen, rate=rate)
        return oracle.counts


def replay(folder: Path, path: Path, *, rate: float = 150) -> Counts:
    """An oracle over what the recording at `path` says. Raises `Mismatch`."""
    with System(folder) as system, Recording(folder / "recording.ndjson") as recording:
        oracle = Oracle(system, recording)
        oracle.barrier()
        for recorded in read_recording(path):
            oracle.recorded_round(recorded, rate=rate)
        return oracle.counts


def shuffled_for_ever(faults: Sequence[Fault], dice: random.Random) -> Iterator[Fault]:
    while faults:
        yield from dice.sample(faults, len(faults))
