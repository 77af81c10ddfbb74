"""The threads in which a process queries the Django database for its streams.

asgiref would run every query in one thread, where anyone can build up a queue: each wrong token and
each readiness probe queries the database. Queries that end a connection therefore have a thread of
their own, queries that open one have another, and all others share a third. A fourth runs the query
functions of a project, which may take long. Each thread has its own connection to the database.
(Django gives each request of a view a thread.)
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial, update_wrapper
from typing import Generic, ParamSpec, TypeVar

from django.db import connections

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


IDLE_SECONDS = 10.0
"""A connection that was idle for this long is tested before it is used again: a proxy or the
database may have closed it."""


class DatabaseThread:
    """One thread with its own connection, for any event loop. The connection stays open, whatever
    CONN_MAX_AGE says: when strangers have used up the connections that the database allows, this
    thread still has one."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"database-{name}")
        self._asked_at = -IDLE_SECONDS

    async def ask(
        self, query: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Runs `query` in the thread, after the queries that came before it, and returns its
        result. Cancelling this call drops a query that has not begun, and lets one that has begun
        run to its end."""
        bound = partial(query, *args, **kwargs)
        in_context = partial(contextvars.copy_context().run, self._ask, bound)
        return await asyncio.get_running_loop().run_in_executor(self._executor, in_context)

    def query(self, function: Callable[Arguments, Result]) -> Query[Arguments, Result]:
        """A decorator: `await function(...)` then runs it in this thread."""
        return Query(self, function)

    def _ask(self, query: Callable[[], Result]) -> Result:
        self._keep_connections()
        try:
            return query()
        finally:
            self._asked_at = time.monotonic()
            self._keep_connections()

    def _keep_connections(self) -> None:
        """Django drops or replaces connections between requests; a stream has no requests."""
        was_idle = time.monotonic() - self._asked_at >= IDLE_SECONDS
        for connection in connections.all(initialized_only=True):
            connection.close_at = None
            connection.health_check_enabled = True  # type: ignore[attr-defined]
            connection.health_check_done = not was_idle  # type: ignore[attr-defined]
            connection.close_if_unusable_or_obsolete()


class Query(Generic[Arguments, Result]):
    """A function that queries the Django database, as a coroutine function that runs it in a
    `DatabaseThread`. `blocking` is the function itself, for code that is not asynchronous."""

    def __init__(self, thread: DatabaseThread, function: Callable[Arguments, Result]) -> None:
        update_wrapper(self, function)
        self._thread = thread
        self.blocking = function

    async def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return await self._thread.ask(self.blocking, *args, **kwargs)


STREAMS = DatabaseThread("streams")
AUTHENTICATION = DatabaseThread("authentication")
REVOCATION = DatabaseThread("revocation")
NAMED_QUERIES = DatabaseThread("named-queries")
_THREADS = (STREAMS, AUTHENTICATION, REVOCATION, NAMED_QUERIES)


async def close_connections() -> None:
    """Closes the connections of these threads. The next query in a thread opens another one."""
    await asyncio.gather(*(thread.ask(connections.close_all) for thread in _THREADS))
