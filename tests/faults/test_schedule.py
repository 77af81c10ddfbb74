"""Faults happen when they are due."""

import random
import threading
from contextlib import suppress
from typing import cast

import pytest

from tests.embedded.waiting import wait_until
from tests.faults.fault import Fault, FaultMissed, Part
from tests.faults.schedule import FaultFailed, FaultSchedule
from tests.faults.system import System

NO_SYSTEM = cast("System", None)


class Event(Fault):
    """A fault that breaks nothing, and lasts until `may_heal`."""

    hold_seconds = 0.0

    def __init__(self, part: Part, name: str = "", error: Exception | None = None) -> None:
        self.name = name or part.value
        self.parts = frozenset({part})
        self.may_heal = threading.Event()
        self.may_heal.set()
        self.is_healed = False
        self._error = error

    def inject(self, system: System) -> None:
        if self._error is not None:
            raise self._error

    def heal(self, system: System) -> None:
        assert self.may_heal.wait(30)
        self.is_healed = True


def schedule_of(*faults: Fault, order: list[str] | None = None) -> FaultSchedule:
    noted: list[str] = [] if order is None else order
    return FaultSchedule(
        NO_SYSTEM, faults, random.Random(1), lambda fault: noted.append(fault.name), every_seconds=0.01
    )


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.schedule.SHORTEST_PAUSE_SECONDS", 0.001)


def test_each_happens_before_any_does_again() -> None:
    """Rounds hold every fault once, in different orders."""
    order: list[str] = []
    with schedule_of(*(Event(part) for part in Part), order=order) as schedule:
        wait_until(lambda: schedule.counts.total() >= 3 * len(Part))
    rounds = [order[start : start + len(Part)] for start in range(0, 3 * len(Part), len(Part))]
    assert all(sorted(names) == sorted(part.value for part in Part) for names in rounds)
    assert rounds[0] != rounds[1]


def test_one_that_takes_long_holds_up_only_what_breaks_the_same() -> None:
    """Others go on; those of the same part wait until it has healed."""
    slow, same, other = Event(Part.REDIS, "slow"), Event(Part.REDIS, "same"), Event(Part.MONGO, "other")
    slow.may_heal.clear()
    order: list[str] = []
    with schedule_of(other, order=order) as schedule:
        schedule.start(slow)
        wait_until(lambda: schedule.counts["other"] >= 3)
        waiting = threading.Thread(target=schedule.start, args=(same,))
        waiting.start()
        wait_until(lambda: schedule.counts["other"] >= 6)
        assert "same" not in order
        slow.may_heal.set()
        waiting.join()
    assert schedule.counts["same"] == 1


def test_nothing_is_broken_during_a_pause() -> None:
    """A pause begins when everything is healed, and nothing begins within it."""
    fault = Event(Part.REDIS)
    fault.may_heal.clear()
    order: list[str] = []
    with schedule_of(fault, order=order) as schedule:
        wait_until(lambda: order)
        threading.Timer(0.05, fault.may_heal.set).start()
        with schedule.paused():
            assert fault.is_healed
            assert len(order) == 1
        wait_until(lambda: len(order) > 1)


def test_one_that_found_nothing_is_counted_apart() -> None:
    """It has not taken place."""
    with schedule_of(Event(Part.REDIS, error=FaultMissed("nobody leads"))) as schedule:
        wait_until(lambda: schedule.missed.total())
    assert schedule.counts.total() == 0


def test_one_that_fails_ends_the_run() -> None:
    """What a fault expects of the system is checked like the rest."""
    schedule = schedule_of(Event(Part.REDIS, error=AssertionError("serve ended with 1")))
    with suppress(FaultFailed), schedule:
        wait_until(lambda: schedule.counts.total())
    with pytest.raises(FaultFailed, match="serve ended with 1"):
        schedule.check()
