"""slow_documents.py: a thread makes the rows of slow documents, and they are the same rows."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from changesource.mql.budget import Budget
from changesource.replication import slow_documents
from changesource.replication.slow_documents import MAX_THREADS, in_thread, rows_in_batches
from changesource.tables.compiled_table import CompiledTable, Row
from changesource.tables.definition import Column
from changesource.tables.row_errors import RowError
from changesource.tasks import LoopShare
from tests.simulation.loop_lag import LoopLag
from tests.simulation.mapped_tables import mapped

NUMBERS = CompiledTable(
    mapped(
        "numbers",
        {"pipeline": [{"$unwind": "$n"}, {"$project": {"_id": 1, "n": 1}}]},
        Column("n", "number"),
        key=("_id", "n"),
    )
)
A_WHILE_SECONDS = 0.3
USUAL_SWITCH_INTERVAL = sys.getswitchinterval()
"""Read before any test has begun: a thread that has just delivered the outcome of an earlier test's
call may not have restored the interval yet."""


def busy(seconds: float) -> None:
    """Keeps the interpreter busy, as making rows does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def rows_and_errors(documents: list[dict[str, Any]]) -> tuple[list[list[Row]], list[RowError]]:
    errors: list[RowError] = []
    batches = [list(rows) async for rows in rows_in_batches(NUMBERS, documents, errors, LoopShare())]
    return batches, errors


async def test_slow_documents_have_the_same_rows_in_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever documents are slow, rows and errors come in the order of the documents, and each
    once."""
    documents: list[dict[str, Any]] = [
        {"_id": "a", "n": [1, "no number"]},
        {"_id": "b", "n": [*range(700), "no number", 1]},
        {"_id": "c", "n": 3},
        {"_id": "d", "n": list(range(900))},
        {"_id": "e"},
    ]
    errors: list[RowError] = []
    rows = [row for document in documents for row in NUMBERS.rows(document, errors)]
    assert len(errors) == 3
    for slow in ("none", "some", "all"):
        quick = {"none": Budget, "some": lambda: Budget(steps=500), "all": lambda: Budget(steps=0)}[slow]
        monkeypatch.setattr(slow_documents.Budget, "quick", quick)
        batches, found = await rows_and_errors(documents)
        assert [row for batch in batches for row in batch] == rows
        assert found == errors


async def test_a_busy_thread_delays_the_loop_by_milliseconds() -> None:
    async with LoopLag() as lag:
        await in_thread(busy, A_WHILE_SECONDS)
    assert lag.quantile(0.9) < A_WHILE_SECONDS / 10, str(lag)
    assert len(lag.lags) > 5


async def test_an_error_in_the_thread_is_raised_in_the_task() -> None:
    """Even one that is no `Exception` of ours."""
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 / 0)


async def test_calls_wait_for_a_thread_in_their_order() -> None:
    running: list[int] = []
    most: list[int] = []
    begun: list[int] = []

    def note(number: int) -> int:
        begun.append(number)
        running.append(number)
        most.append(len(running))
        busy(0.01)
        running.remove(number)
        return number

    assert await asyncio.gather(*(in_thread(note, number) for number in range(10))) == list(range(10))
    assert max(most) <= MAX_THREADS
    assert [number // MAX_THREADS for number in begun] == [number // MAX_THREADS for number in range(10)]


async def test_the_outcome_of_a_cancelled_task_is_dropped() -> None:
    """The task ends at once. A call that has begun ends by itself, one that has not never begins,
    and others follow."""
    go_on = threading.Event()
    started: list[str] = []
    done: list[str] = []

    def work(name: str) -> None:
        started.append(name)
        go_on.wait()
        done.append(name)

    begun = [asyncio.create_task(in_thread(work, "begun")) for _ in range(MAX_THREADS)]
    waiting = asyncio.create_task(in_thread(work, "waiting"))
    await eventually(lambda: len(started) == MAX_THREADS)
    for task in (*begun, waiting):
        task.cancel()
    await asyncio.wait_for(asyncio.gather(*begun, waiting, return_exceptions=True), 1)
    assert all(task.cancelled() for task in (*begun, waiting))
    go_on.set()
    await in_thread(work, "after")
    # One thread may still run its first call when another has run both its own and the last call.
    await eventually(lambda: len(done) == len(started))
    assert sorted(done) == ["after", *["begun"] * MAX_THREADS]


async def test_python_switches_as_usual_when_no_thread_works() -> None:
    """Switching often costs time."""
    seen: list[float] = []
    await asyncio.gather(*(in_thread(lambda: seen.append(sys.getswitchinterval())) for _ in range(5)))
    assert set(seen) == {slow_documents.SWITCH_SECONDS}
    await eventually(lambda: sys.getswitchinterval() == USUAL_SWITCH_INTERVAL)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_process_does_not_wait_for_its_threads() -> None:
    """A process that is told to end while a thread is busy ends at once, and without an error."""
    program = """if True:
        import asyncio
        from changesource.replication.slow_documents import in_thread

        def work():
            while True:
                pass

        async def main():
            task = asyncio.create_task(in_thread(work))
            await asyncio.sleep(0.2)
            task.cancel()
            print("told")

        asyncio.run(main())
    """
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "told\n", "")
