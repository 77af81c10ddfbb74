"""Work in threads that streams must not wait for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

REST_FACTOR = 2
"""How many times as long as the work before it a rest is."""
MAX_REST_SECONDS = 0.02
"""Work that takes long waits for something, and takes no processor from the streams."""


class OneAtATime:
    """Lets one coroutine at a time work in a thread. It belongs to one event loop.

    A thread that is busy keeps the event loop waiting for Python's lock each time that the loop wakes up, for up to five
    milliseconds, and each further thread does so again. So there is one, and if others wait, it rests before the next: of
    1,000 requests at once, streams then notice little (`python -m tests.benchmarks.herd`).
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        """Waits for all that came before, and for a rest after each."""
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1
        began = time.monotonic()
        try:
            yield
        finally:
            if self._waiting:
                rest = min(REST_FACTOR * (time.monotonic() - began), MAX_REST_SECONDS)
                asyncio.get_running_loop().call_later(rest, self._lock.release)
            else:
                self._lock.release()
