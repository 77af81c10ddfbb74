"""What a marker in a source can make us ask of the Django database, and how often.

A publish or a change of access is stored before its marker is written. So an answer that was asked for after a marker was
received is the last word on it, and on all markers that were received before: one answer serves a whole batch of them. That
bounds the work, because anybody who may write to the source can write such markers, thousands in a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

LOOKUP_SECONDS = 0.1
"""At most so often an answer is asked for again. A stream waits for that long at a marker: few enough queries for a small
database, and a delay that nobody notices beside that of a publish."""


class Lookup(Generic[Answer]):
    """An answer of the Django database that readers of one process share. Belongs to one event loop."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._tried_at = float("-inf")
        self._asked_at = float("-inf")
        self._since = 0
        self._answer: Answer | None = None

    async def answer(self, received_at: float, since: int, ask: Callable[[int], Awaitable[Answer]]) -> Answer:
        """What `ask` gives for the cluster time `since` or an earlier one, asked after `received_at` by the monotonic clock.
        Raises what `ask` raises."""
        async with self._lock:
            if self._answer is not None and self._asked_at > received_at and self._since <= since:
                return self._answer
            await asyncio.sleep(max(0.0, self._tried_at + LOOKUP_SECONDS - time.monotonic()))
            self._tried_at = asked_at = time.monotonic()
            since = since if self._answer is None else min(since, self._since)
            self._answer = await ask(since)
            self._asked_at, self._since = asked_at, since
            return self._answer
