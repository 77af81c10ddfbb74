"""When faults happen: one every few seconds, whatever the ones before it are still waiting for."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from tests.faults.fault import Fault, FaultMissed, Part
from tests.faults.system import System

SHORTEST_PAUSE_SECONDS = 1.0
"""Between two faults that are late."""


class FaultFailed(AssertionError):
    """What a fault expects of the system did not happen. The message says which fault and how."""


class FaultSchedule:
    """Starts a fault every `every_seconds`, each in a thread of its own. As a context manager it begins on entry, and has
    healed everything on exit.

    All of `faults` happen in random order, then all again. One that would break a part of the system that another one still
    has for itself is put off, and what is late is made up for.

    Attributes:
        counts: faults that took place, by name.
        missed: faults that found nothing to break, by name.
    """

    def __init__(
        self,
        system: System,
        faults: Sequence[Fault],
        dice: random.Random,
        note: Callable[[Fault], None],
        *,
        every_seconds: float,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self._system = system
        self._faults = faults
        self._dice = dice
        self._note = note
        self._every_seconds = every_seconds
        self._waiting: list[Fault] = []
        self._active: list[Fault] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[str] = []
        self._changed = threading.Condition()
        self._is_paused = False
        self._is_ending = False
        self._clock = threading.Thread(target=self._run, name="faults")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Everything is healed within, and nothing new happens."""
        with self._changed:
            self._is_paused = True
            self._changed.wait_for(lambda: not self._active)
        try:
            self.check()
            yield
        finally:
            with self._changed:
                self._is_paused = False
                self._changed.notify_all()

    def start(self, fault: Fault) -> None:
        """Let it happen now, or as soon as nothing else has the parts that it breaks."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_possible(fault))
            self._begin(fault)

    def check(self) -> None:
        """Raises FaultFailed if a fault has failed."""
        if self._failures:
            raise FaultFailed("\n".join(self._failures))

    def __enter__(self) -> FaultSchedule:
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback_: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._clock.join()
        for thread in self._threads:
            thread.join()
        if error is None:
            self.check()

    def _run(self) -> None:
        due = time.monotonic() + self._every_seconds
        while self._faults:
            with self._changed:
                self._changed.wait_for(lambda due=due: self._is_ending, max(0.0, due - time.monotonic()))
                self._changed.wait_for(lambda: self._is_ending or self._next() is not None)
                if self._is_ending:
                    return
                fault = self._next()
                assert fault is not None
                self._waiting.remove(fault)
                self._begin(fault)
                self._changed.wait_for(lambda: self._is_ending, SHORTEST_PAUSE_SECONDS)
            due += self._every_seconds

    def _next(self) -> Fault | None:
        if self._is_paused:
            return None
        if not self._waiting:
            self._waiting = self._dice.sample(self._faults, len(self._faults))
        return next((fault for fault in self._waiting if self._is_possible(fault)), None)

    def _is_possible(self, fault: Fault) -> bool:
        taken: set[Part] = set().union(*(active.parts for active in self._active))
        return not taken & fault.parts

    def _begin(self, fault: Fault) -> None:
        self._note(fault)
        self._active.append(fault)
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._let_happen, args=(fault,), name=f"fault: {fault.name}")
        self._threads.append(thread)
        thread.start()

    def _let_happen(self, fault: Fault) -> None:
        counts, failure = self.counts, ""
        try:
            self._break(fault)
        except FaultMissed:
            counts = self.missed
        except Exception:  # noqa: BLE001 - whatever it is ends the run, which raises it
            failure = f"The fault {fault.name!r} failed.\n{traceback.format_exc()}"
        with self._changed:
            counts[fault.name] += 1
            if failure:
                self._failures.append(failure)
            self._active.remove(fault)
            self._changed.notify_all()

    def _break(self, fault: Fault) -> None:
        try:
            fault.inject(self._system)
            with self._changed:
                self._changed.wait_for(lambda: self._is_ending, fault.hold_seconds)
        except FaultMissed:
            raise
        except BaseException:
            fault.heal(self._system)
            raise
        fault.heal(self._system)
