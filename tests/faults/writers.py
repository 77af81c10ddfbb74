"""Those who change MongoDB while the oracle runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType

from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from tests.faults.counts import Counts
from tests.faults.operations import Operation
from tests.faults.system import System

PAUSE_SECONDS = 0.2
"""Between attempts to write while MongoDB is away."""


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

    def end(self) -> None:
        """Returns when nobody writes any more, and raises what a writer has failed with."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.end()
            return
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, operations: Iterator[Operation]) -> None:
        due = time.monotonic()
        try:
            for operation in operations:
                with ExitStack() as turns:
                    for turn in self._turns_for(number, operation):
                        turns.enter_context(turn)
                    self._note(number, operation)
                    self._send(operation)
                due = max(due + self._pause, time.monotonic() - 1)
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
        except (PyMongoError, AssertionError) as failure:
            self._failures.append(failure)
            self._stop.set()

    def _turns_for(self, number: int, operation: Operation) -> list[threading.Lock]:
        if operation.changes_collections:
            return [*self._turns, self._system.change_of_collections]
        return [self._turns[number]]

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
            if changed:
                self._counts.kinds[operation.kind] += 1


def is_interruption(error: PyMongoError) -> bool:
    """Whether a write failed as MongoDB is away, or is about to be; what became of it is not known."""
    return isinstance(error, ConnectionFailure) or error.has_error_label("TransientTransactionError")
