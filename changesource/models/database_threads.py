"""The threads of a process that ask the Django database for the streams.

asgiref would run all of it in one thread, in which anybody can make a queue: each wrong token and each question whether the
process is ready asks the database. So what ends a connection has a thread of its own, what opens one has another, and all
the rest has a third. Each has its own connection to the database. (Django gives each request of a view a thread.)
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import close_old_connections, connections

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class DatabaseThread:
    """Any event loop may use it."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"database-{name}")

    async def ask(
        self, query: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """What `query` gives, which runs in the thread when those before it have ended. Cancelling this drops a query that
        has not begun, and leaves one that has to end by itself."""
        bound = partial(query, *args, **kwargs)
        in_context = partial(contextvars.copy_context().run, _with_live_connection, bound)
        return await asyncio.get_running_loop().run_in_executor(self._executor, in_context)


STREAMS = DatabaseThread("streams")
AUTHENTICATION = DatabaseThread("authentication")
REVOCATION = DatabaseThread("revocation")


async def close_connections() -> None:
    """Closes those of these threads; the next query opens its own again."""
    await asyncio.gather(*(thread.ask(connections.close_all) for thread in (STREAMS, AUTHENTICATION, REVOCATION)))


def _with_live_connection(query: Callable[[], Result]) -> Result:
    """Django drops connections between requests; a stream has none."""
    close_old_connections()
    try:
        return query()
    finally:
        close_old_connections()
