"""Documents whose rows take long to make: a thread makes them, while the event loop continues.

The loop itself makes rows within a quick budget, which suffices for nearly every document. If it
does not suffice, a thread makes the rows of this document again with the full budget. Meanwhile
leases are renewed and the streams of other apps flow: Python switches from one thread to another
after the switch interval, which is shortened while such a thread works.

A thread cannot be cancelled. What it makes for a task that has been cancelled is dropped, and a
process that ends does not wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

from changesource.mql import Budget, BudgetExceeded
from changesource.tables.compiled_table import CompiledTable, Document, Row
from changesource.tables.row_errors import RowError
from changesource.tasks import LoopShare

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 2
"""Python runs one at a time. The second keeps an app from waiting for another's slow document."""
SWITCH_SECONDS = 0.0005
"""How long the loop waits for such a thread each time it has waited for a socket. Python's default
of 5 ms is too long for a loop that sends some thousand times a second."""
ROWS_AT_ONCE = 500
"""How many rows of a document are passed on together: few enough to be filtered and written as JSON
within a millisecond."""


async def in_thread(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Runs the function in one of at most `MAX_THREADS` threads, in the order of the calls. Returns
    or raises what it does.

    If the task is cancelled, the call is dropped unless it has begun; if it has begun, its outcome
    is dropped.
    """
    call = _Call(lambda: function(*arguments, **options))
    _threads.run(call)
    try:
        outcome: T = await call.outcome
        return outcome
    finally:
        call.is_dropped = True


async def rows_in_batches(
    table: CompiledTable, documents: Iterable[Document], errors: list[RowError], share: LoopShare
) -> AsyncIterator[Sequence[Row]]:
    """Yields the rows of `documents` in order, in lists that are small enough to be worked on
    without a pause. Yields to the event loop in between."""
    rows: list[Row] = []
    for document in documents:
        try:
            rows += table.rows(document, errors, Budget.quick())
        except BudgetExceeded:
            if rows:
                yield rows
                rows = []
            made = await slow_rows(table, document, errors)
            for start in range(0, len(made), ROWS_AT_ONCE):
                yield made[start : start + ROWS_AT_ONCE]
                if share.is_used_up:
                    await share.yield_control()
        if len(rows) >= ROWS_AT_ONCE or share.is_used_up:
            if rows:
                yield rows
                rows = []
            if share.is_used_up:
                await share.yield_control()
    if rows:
        yield rows


async def slow_rows(table: CompiledTable, document: Document, errors: list[RowError]) -> list[Row]:
    """Does what `CompiledTable.rows` does, in a thread."""
    found: list[RowError] = []
    rows = await in_thread(table.rows, document, found)
    errors += found
    return rows


class _Call:
    """One call, whose outcome is delivered in the caller's event loop."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Any] = self._loop.create_future()
        self.is_dropped = False

    def run(self) -> None:
        if self.is_dropped:
            return
        try:
            result = self._function()
        except BaseException as error:  # noqa: BLE001 (the caller gets it)
            self._tell(self._fail, error)
        else:
            self._tell(self._succeed, result)

    def _tell(self, how: Callable[[Any], None], what: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nothing awaits the outcome
            self._loop.call_soon_threadsafe(how, what)

    def _succeed(self, result: Any) -> None:
        if not self.outcome.done():
            self.outcome.set_result(result)

    def _fail(self, error: BaseException) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


class _Threads:
    """The threads, which start when they are first needed. They are daemons, unlike those of
    `concurrent.futures`, for which a process that ends would wait."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._count = self._working = 0
        self._usual_interval = 0.0

    def run(self, call: _Call) -> None:
        with self._lock:
            if self._count < MAX_THREADS:
                self._count += 1
                threading.Thread(target=self._work, name=f"slow-documents-{self._count}", daemon=True).start()
        self._calls.put(call)

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            self._begin()
            try:
                call.run()
            finally:
                self._end()
            del call  # it may hold large objects

    def _begin(self) -> None:
        with self._lock:
            if self._working == 0:
                self._usual_interval = sys.getswitchinterval()
                sys.setswitchinterval(min(SWITCH_SECONDS, self._usual_interval))
            self._working += 1

    def _end(self) -> None:
        with self._lock:
            self._working -= 1
            if self._working == 0:
                sys.setswitchinterval(self._usual_interval)


_threads = _Threads()
