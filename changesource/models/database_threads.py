"""The threads of a process that ask the Django database for the streams.

asgiref would run all of it in one thread, in which anybody can make a queue: each wrong token and each question whether the
process is ready asks the database. So what ends a connection has a thread of its own, what opens one has another, and all
the rest has a third. Each has its own connection to the database. (Django gives each request of a view a thread.)
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import connections

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


IDLE_SECONDS = 10.0
"""After which a connection is tried before it is used again: a proxy or a database may have closed it."""


class DatabaseThread:
    """Any event loop may use it. Its connection stays open, whatever CONN_MAX_AGE says: where strangers have taken all that
    the database gives, this thread still has its own."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"database-{name}")
        self._asked_at = -IDLE_SECONDS

    async def ask(
        self, query: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """What `query` gives, which runs in the thread when those before it have ended. Cancelling this drops a query that
        has not begun, and leaves one that has to end by itself."""
        bound = partial(query, *args, **kwargs)
        in_context = partial(contextvars.copy_context().run, self._ask, bound)
        return await asyncio.get_running_loop().run_in_executor(self._executor, in_context)

    def _ask(self, query: Callable[[], Result]) -> Result:
        self._keep_connections()
        try:
            return query()
        finally:
            self._asked_at = time.monotonic()
            self._keep_connections()

    def _keep_connections(self) -> None:
        """Django drops or replaces connections between requests; a stream has none."""
        was_idle = time.monotonic() - self._asked_at >= IDLE_SECONDS
        for connection in connections.all(initialized_only=True):
            connection.close_at = None
            connection.health_check_enabled = True  # type: ignore[attr-defined]
            connection.health_check_done = not was_idle  # type: ignore[attr-defined]
            connection.close_if_unusable_or_obsolete()


STREAMS = DatabaseThread("streams")
AUTHENTICATION = DatabaseThread("authentication")
REVOCATION = DatabaseThread("revocation")


async def close_connections() -> None:
    """Closes those of these threads; the next query opens its own again."""
    await asyncio.gather(*(thread.ask(connections.close_all) for thread in (STREAMS, AUTHENTICATION, REVOCATION)))
